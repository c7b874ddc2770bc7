//! The log store of one directory: executes orders, commits them in groups, and reports.
//!
//! An order is executed by writing its bytes and a journal record, without a sync. A *group commit* makes everything
//! executed so far durable with one sync of the journal and of the segments that took large appends. Small appends are
//! in the journal *and*, through the page cache, in their segments: reads use segments only, and a checkpoint syncs
//! those later, all at once. Bytes are overwritten, and files removed, only once the truncation or deletion that caused
//! it is durable: if it were lost, recovery would need them.
//!
//! A shortage of descriptors or memory says nothing about the disk. An append is then refused, and index entries or a
//! snapshot are not written; everything else is postponed and retried ([`LogStore::retry`]), in the order given.
//!
//! Not here: threads and time. The driver decides when to commit, and passes the time.

use std::collections::{BTreeMap, VecDeque};

use crate::hooks::{Hooks, Mutant};
use crate::ids::{ClusterId, Incarnation, TopicPartition};
use crate::store::append::AppendOutcome;
use crate::store::checkpoint_schedule::CheckpointSchedule;
use crate::store::commit::{CheckpointTicket, CommitTicket};
use crate::store::commit_queue::CommitQueue;
use crate::store::free_space::{FreeSpace, free_bytes};
use crate::store::health::Health;
use crate::store::index_files::Indexes;
use crate::store::journal::{GroupNumber, Journal};
use crate::store::open_files::OpenFiles;
use crate::store::record::JournalRecord;
use crate::store::removals::Removals;
use crate::store::replica_log::ReplicaLog;
use crate::store::scrub::Scrub;
use crate::store::segment;
use crate::store::unsynced_names::UnsyncedNames;
use crate::store::{
    BootId, Completion, Disk, DiskError, Flush, Identity, OpenError, Order, OrderKind, Stage,
    StoreFailure, StoreOptions, checkpoint, failed_sync, identity, journal,
};
use crate::time::Instant;

/// The log store of one directory: its parts, and in which order they are used.
#[derive(Debug)]
pub struct LogStore<D: Disk> {
    /// The directory.
    pub(super) disk: D,
    /// Sizes and bounds.
    pub(super) options: StoreOptions,
    /// What a simulator has planted.
    pub(super) hooks: Hooks,
    /// Whose directory it is.
    pub(super) identity: Identity,
    /// The incarnation of this start.
    pub(super) incarnation: Incarnation,
    /// The current run of the operating system.
    pub(super) boot: BootId,
    /// Whether the directory is online.
    pub(super) health: Health<D::File>,
    /// The journal, to which every order writes a record.
    pub(super) journal: Journal<D>,
    /// Every replica's log.
    pub(super) replicas: BTreeMap<TopicPartition, ReplicaLog>,
    /// The open files of replicas, and which of them have unsynced bytes.
    pub(super) files: OpenFiles<D::File>,
    /// Which file names are not durable.
    pub(super) names: UnsyncedNames,
    /// The executed orders that wait for a group commit.
    pub(super) commits: CommitQueue,
    /// The group commit in progress; at most one.
    pub(super) committing: Option<CommitTicket<D>>,
    /// Removals that wait for their group to be durable.
    pub(super) removals: Removals,
    /// When a checkpoint is due.
    pub(super) checkpoints: CheckpointSchedule,
    /// The scrub's progress.
    pub(super) scrub: Scrub,
    /// Whether an append would leave the reserve untouched.
    pub(super) space: FreeSpace,
    /// Orders that wait for a descriptor or memory, and later orders of the same replicas.
    pub(super) postponed: VecDeque<Order>,
    /// The cluster id that is still to be written, once there is a descriptor.
    pub(super) joining: Option<ClusterId>,
}

impl<D: Disk> LogStore<D> {
    /// Formats an empty directory, so that it can be opened. Done once, when the node is set up.
    ///
    /// # Errors
    /// [`OpenError::AlreadyFormatted`], or the disk's.
    pub fn format(disk: &D, identity: Identity) -> Result<(), OpenError> {
        if identity::exists(disk)? {
            return Err(OpenError::AlreadyFormatted);
        }
        disk.create_directory(journal::DIRECTORY)?;
        checkpoint::format(disk)?;
        // The identity file comes last, so that a format which was cut short can be repeated. Writing it syncs the
        // names.
        identity::write(disk, identity)?;
        Ok(())
    }

    /// Whether a directory has been formatted.
    ///
    /// # Errors
    /// [`OpenError::Disk`].
    pub fn is_formatted(disk: &D) -> Result<bool, OpenError> {
        Ok(identity::exists(disk)?)
    }

    /// The names in a directory that are not of this format: what must not be there when it is formatted.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn foreign_names(disk: &D) -> Result<Vec<String>, DiskError> {
        let mut names = disk.list("")?;
        names.retain(|name| {
            let own = name == journal::DIRECTORY
                || identity::is_name(name)
                || failed_sync::is_name(name)
                || checkpoint::is_name(name);
            !own
        });
        Ok(names)
    }

    /// Whose directory it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The incarnation of this start.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Durably stores which cluster the directory has joined.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    ///
    /// # Panics
    /// If the directory belongs to another cluster.
    pub fn join(&mut self, cluster: ClusterId) -> Result<(), StoreFailure> {
        self.health.check_online()?;
        assert!(
            self.identity.cluster.is_none_or(|known| known == cluster),
            "a directory belongs to one cluster for ever"
        );
        if self.identity.cluster.is_none() {
            let mut identity = self.identity;
            identity.cluster = Some(cluster);
            let written = identity::write(&self.disk, identity);
            match self.health.or_retry_later(written)? {
                Some(()) => self.identity = identity,
                None => self.joining = Some(cluster),
            }
        }
        Ok(())
    }

    /// Executes an order: its effects are written and visible to queries, but not durable. An append with
    /// [`Flush::Replicated`] is reported at [`Stage::Written`] at once; every order is reported at [`Stage::Durable`]
    /// by [`LogStore::finish_commit`].
    ///
    /// # Errors
    /// [`StoreFailure::Offline`]. It is no error if space, descriptors or memory are short for an append, which is
    /// reported at [`Stage::Refused`], or if a fill does not fit, which is reported at [`Stage::Unfilled`]. Any other
    /// order that finds no descriptor is executed later by [`LogStore::retry`].
    ///
    /// # Panics
    /// If the order contradicts the replica's state: the state machine gives orders in sequence.
    pub fn execute(
        &mut self,
        now: Instant,
        order: &Order,
    ) -> Result<Option<Completion>, StoreFailure> {
        self.health.check_online()?;
        let replica = order.replica;
        if self.must_wait(order)? {
            self.postponed.push_back(order.clone());
            return Ok(None);
        }
        let flush = match &order.kind {
            OrderKind::Append {
                after,
                entries,
                high_watermark,
                flush,
                roll,
            } => match self.append(replica, *after, entries, *high_watermark, *flush, *roll)? {
                AppendOutcome::Written => *flush,
                AppendOutcome::Refused(why) => {
                    return Ok(Some(self.completion(order, Stage::Refused(why))));
                }
            },
            OrderKind::Fill { batches } => {
                let filled = self.fill(replica, batches);
                if !self.health.or_offline(filled)? {
                    if !self.journal.is_staged_empty() {
                        self.commits.request();
                    }
                    return Ok(Some(self.completion(order, Stage::Unfilled)));
                }
                Flush::Commit
            }
            OrderKind::Create { .. }
            | OrderKind::Truncate { .. }
            | OrderKind::StoreVote(_)
            | OrderKind::SetMark(_)
            | OrderKind::Probe
            | OrderKind::AcceptLoss { .. }
            | OrderKind::SaveSnapshot { .. }
            | OrderKind::Delete => {
                let executed = self.execute_small(replica, &order.kind);
                self.health.or_offline(executed)?;
                Flush::Commit
            }
        };
        let completion = self.completion(order, Stage::Durable);
        // An order that has staged nothing, such as a fill where nothing is missing, completes with the group before:
        // the next group may never be written.
        let group = if self.journal.is_staged_empty() {
            GroupNumber(self.journal.number().0 - 1)
        } else {
            self.journal.number()
        };
        self.commits.push(group, completion);
        match flush {
            Flush::Commit => {
                self.commits.request();
                Ok(None)
            }
            Flush::Replicated => {
                // Written to the operating system, so that it survives if the process is killed.
                let written = self.health.or_retry_later(self.journal.write())?;
                if !self.hooks.is(Mutant::NeverFlushesReplicated) {
                    self.commits
                        .request_by(now + self.options.replicated_flush_max);
                }
                // If it could not be written yet, the only report is that it is durable.
                Ok(written.map(|()| Completion {
                    stage: Stage::Written,
                    ..completion
                }))
            }
        }
    }

    /// Whether an order must be postponed: behind another postponed order of its replica; or, if it creates a replica,
    /// until the files of a deleted predecessor are removed, and until the replica's directory can be created.
    fn must_wait(&mut self, order: &Order) -> Result<bool, StoreFailure> {
        let replica = order.replica;
        if self.postponed.iter().any(|it| it.replica == replica) {
            return Ok(true);
        }
        if !matches!(order.kind, OrderKind::Create { .. }) {
            return Ok(false);
        }
        if self.removals.has_deleted(replica) {
            self.commit_now()?;
            if self.removals.has_deleted(replica) {
                return Ok(true);
            }
        }
        // The directory's name shows that the replica existed, should the group that creates it be lost.
        match self.disk.create_directory(&segment::directory(replica)) {
            // The disk may stay full for long, and the partition may need this initial voter: it is created without its
            // directory.
            Err(DiskError::NoSpace) => Ok(false),
            made => Ok(self.health.or_retry_later(made)?.is_none()),
        }
    }

    /// Whether something waits for a descriptor or memory, so that [`LogStore::retry`] should be called in a while.
    #[must_use]
    pub fn is_short_of_resources(&self) -> bool {
        self.health.is_online()
            && (self.removals.is_due(self.journal.durable())
                || !self.postponed.is_empty()
                || self.joining.is_some()
                || self.journal.has_sealed())
    }

    /// Retries what waits for a descriptor or memory. The reports are like those of [`LogStore::execute`].
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    ///
    /// # Panics
    /// As [`LogStore::execute`].
    pub fn retry(&mut self, now: Instant) -> Result<Vec<Completion>, StoreFailure> {
        self.health.check_online()?;
        if let Some(cluster) = self.joining.take() {
            self.join(cluster)?;
        }
        self.remove_due()?;
        self.health.or_retry_later(self.journal.write_sealed())?;
        let mut reports = Vec::new();
        for order in std::mem::take(&mut self.postponed) {
            reports.extend(self.execute(now, &order)?);
        }
        Ok(reports)
    }

    fn completion(&self, order: &Order, stage: Stage) -> Completion {
        let log = self.replicas.get(&order.replica);
        Completion {
            replica: order.replica,
            seq: order.seq,
            position: log.map(|log| log.state.end).unwrap_or_default(),
            stage,
        }
    }

    /// Whether a group commit should begin: it was requested, is due by time, or completions wait to be reported.
    #[must_use]
    pub fn is_commit_due(&self, now: Instant) -> bool {
        self.health.is_online() && self.committing.is_none() && self.commits.is_due(now)
    }

    /// When [`LogStore::is_commit_due`] becomes true if no other order comes; `None` for a directory that is offline.
    #[must_use]
    pub fn next_flush_deadline(&self) -> Option<Instant> {
        let deadline = self.commits.next_deadline();
        deadline.filter(|_| self.health.is_online())
    }

    /// Begins a group commit of everything executed so far. `None` if there is nothing to make durable, if a commit is
    /// in progress (finish that first), or if the journal cannot be written at the moment (retry later).
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn begin_commit(&mut self) -> Result<Option<CommitTicket<D>>, StoreFailure> {
        self.health.check_online()?;
        let nothing =
            self.commits.is_empty() && self.files.is_commit_clean() && self.journal.is_clean();
        if self.committing.is_some() || nothing {
            return Ok(None);
        }
        if self.health.or_retry_later(self.journal.write())?.is_none() {
            return Ok(None); // the requests for a commit stay
        }
        let ticket = self.take_ticket();
        self.committing = Some(ticket.clone());
        Ok(Some(ticket))
    }

    /// Ends a group commit with the outcome of its sync, and reports the orders that are durable.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`] if the sync failed: it is then unknown what is durable, and the directory goes
    /// offline.
    pub fn finish_commit(
        &mut self,
        ticket: &CommitTicket<D>,
        synced: Result<(), DiskError>,
    ) -> Result<Vec<Completion>, StoreFailure> {
        self.committing = None;
        self.health.check_online()?;
        let retries = self.hooks.is(Mutant::RetriesFailedSync);
        let synced = synced.or_else(|error| if retries { ticket.sync() } else { Err(error) });
        if self.health.or_retry_later(synced)?.is_none() {
            self.requeue(ticket);
            return Ok(Vec::new());
        }
        self.on_ticket_synced(ticket)?;
        Ok(self.commits.take_durable())
    }

    /// Begins a checkpoint if one is due and can begin; its completion frees journal files. Run the ticket as for a
    /// commit; orders and commits continue meanwhile.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn begin_checkpoint(&mut self) -> Result<Option<CheckpointTicket<D>>, StoreFailure> {
        let written = self.journal.written();
        if self.checkpoints.is_due(written, &self.options) {
            self.take_checkpoint(Indexes::WhereRoom)
        } else {
            Ok(None)
        }
    }

    /// Begins a checkpoint whether it is due or not, as in a clean stop. `None` if one is in progress, or if the
    /// journal cannot be written at the moment (retry later).
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn force_checkpoint(&mut self) -> Result<Option<CheckpointTicket<D>>, StoreFailure> {
        self.take_checkpoint(Indexes::All)
    }

    fn take_checkpoint(
        &mut self,
        extent: Indexes,
    ) -> Result<Option<CheckpointTicket<D>>, StoreFailure> {
        self.health.check_online()?;
        if self.checkpoints.is_running() {
            return Ok(None);
        }
        if self.health.or_retry_later(self.journal.write())?.is_none() {
            return Ok(None);
        }
        let written = self.write_indexes(extent);
        self.health.or_offline(written)?;
        let generation = self.checkpoints.next_generation();
        let place = self.journal.end();
        let ticket = CheckpointTicket {
            disk: self.disk.clone(),
            failed_sync: self.health.failed_sync(),
            generation,
            place,
            segments: self.files.take_dirty(),
            names: self.names.take_for_checkpoint(),
            bytes: checkpoint::encode(
                generation,
                self.incarnation,
                self.boot,
                place,
                self.replicas
                    .iter()
                    .map(|(&replica, log)| (replica, &log.state)),
                self.identity.directory,
            ),
        };
        self.checkpoints.begin(self.journal.written());
        Ok(Some(ticket))
    }

    /// Ends a checkpoint with the outcome of its run.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`] if it failed.
    pub fn finish_checkpoint(
        &mut self,
        ticket: &CheckpointTicket<D>,
        ran: Result<(), DiskError>,
    ) -> Result<(), StoreFailure> {
        self.checkpoints.end();
        self.health.check_online()?;
        if ran == Err(DiskError::NoSpace) {
            return Ok(()); // the previous checkpoint and the journal from there still hold; the next one becomes due as usual
        }
        if self.health.or_retry_later(ran)?.is_none() {
            // The previous checkpoint still holds, but the names have not been synced, and the next one is due at once.
            self.names.requeue_for_checkpoint(&ticket.names);
            self.checkpoints.postpone();
            return Ok(());
        }
        self.names.on_synced(&ticket.names);
        let before = self.checkpoints.complete(ticket.generation, ticket.place);
        self.journal.release_before(before.file_use);
        Ok(())
    }

    /// Takes a checkpoint if one is due, all within the call: for drivers without threads.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn maintain(&mut self) -> Result<(), StoreFailure> {
        if let Some(ticket) = self.begin_checkpoint()? {
            let ran = ticket.run();
            self.finish_checkpoint(&ticket, ran)?;
        }
        Ok(())
    }

    /// Whether there is enough space again to retry appends after one was refused.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn has_space(&mut self) -> Result<bool, StoreFailure> {
        self.health.check_online()?;
        // Twice the reserve, so that the next append does not use it up at once.
        Ok(free_bytes(&self.disk) >= self.options.reserve_bytes.saturating_mul(2))
    }

    /// Takes the directory offline: every later call fails. For a driver that has detected a failure itself, such as a
    /// sync that hangs.
    pub fn fail(&mut self, reason: String) {
        self.health.fail(reason);
    }

    fn take_ticket(&mut self) -> CommitTicket<D> {
        let (journal, has_new_names) = self.journal.take_unsynced();
        if has_new_names {
            self.names.sync_with_commit(journal::DIRECTORY.to_owned());
        }
        self.commits.clear_requests();
        CommitTicket {
            disk: self.disk.clone(),
            failed_sync: self.health.failed_sync(),
            number: GroupNumber(self.journal.number().0 - 1),
            segments: self.files.take_unsynced(),
            names: self.names.take_for_commit(),
            journal,
        }
    }

    /// Puts back what a ticket could not sync for lack of a descriptor: its names, and the journal files that come
    /// after them.
    fn requeue(&mut self, ticket: &CommitTicket<D>) {
        self.names.requeue_for_commit(&ticket.names);
        self.journal.requeue_unsynced(&ticket.journal);
        self.commits.request();
    }

    /// Commits everything within the call, for an order that must not run before that. Returns whether it has; if not,
    /// the caller retries later.
    pub(super) fn commit_now(&mut self) -> Result<bool, StoreFailure> {
        if self.health.or_retry_later(self.journal.write())?.is_none() {
            return Ok(false);
        }
        // What the commit in progress has taken is not known to be durable either.
        if let Some(running) = &self.committing
            && self.health.or_retry_later(running.sync())?.is_none()
        {
            return Ok(false);
        }
        let ticket = self.take_ticket();
        let synced = ticket.sync();
        if self.health.or_retry_later(synced)?.is_none() {
            self.requeue(&ticket);
            return Ok(false);
        }
        self.on_ticket_synced(&ticket)?;
        Ok(true)
    }

    /// Everything that a ticket has synced is durable.
    fn on_ticket_synced(&mut self, synced: &CommitTicket<D>) -> Result<(), StoreFailure> {
        self.names.on_synced(&synced.names);
        self.journal.set_durable(synced.number);
        self.commits.on_durable(synced.number);
        self.remove_due()
    }

    /// Adds a record without bodies to the group being staged.
    pub(super) fn stage(&mut self, replica: TopicPartition, record: &JournalRecord) {
        self.journal.stage(replica, record, std::iter::empty(), 0);
    }
}
