//! Opening a directory: checkpoint, journal replay, recovery's decisions, and a new incarnation.
//!
//! The state is that of the latest intact checkpoint, with the journal after it replayed. Replay writes the bodies that
//! the journal holds into their segments again, and verifies those of direct appends there. Recovery's decisions
//! (suspects, truncations, holes) are durable in a new checkpoint and in the journal before they are reported. The cost
//! is bounded by the journal and by what may be appended between two checkpoints, whatever the size of the logs.
//! `docs/format.md` has the cases.

use std::collections::VecDeque;

use crate::hooks::{Hooks, Mutant};
use crate::ids::{Incarnation, TopicPartition, Voter};
use crate::store::checkpoint::{self, Checkpoint};
use crate::store::checkpoint_schedule::CheckpointSchedule;
use crate::store::commit_queue::CommitQueue;
use crate::store::failed_sync::FailedSync;
use crate::store::free_space::FreeSpace;
use crate::store::health::Health;
use crate::store::journal::{self, Journal, JournalPlace};
use crate::store::journal_reader;
use crate::store::record::JournalRecord;
use crate::store::removals::{Removals, remove_replica};
use crate::store::replay::Replay;
use crate::store::scrub::Scrub;
use crate::store::segment;
use crate::store::store::LogStore;
use crate::store::unsynced_names::UnsyncedNames;
use crate::store::{
    BootId, Disk, DiskError, Identity, Mark, OpenError, Recovered, StoreFailure, StoreOptions,
    identity,
};

impl<D: Disk> LogStore<D> {
    /// Recovers a directory and begins a new incarnation on it, which is durable when this returns.
    ///
    /// `boot` tells whether the page cache is still that of the last start. If it may not be, a replica with
    /// [`Mark::Volatile`] comes back as [`Mark::Suspect`].
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Panics
    /// If the journal files of `options` are too small for a group.
    pub fn open(
        disk: D,
        options: StoreOptions,
        boot: BootId,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_with_hooks(disk, options, boot, Hooks::default())
    }

    /// As [`Self::open`], with the simulator's hooks.
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// # Panics
    /// As [`Self::open`].
    pub fn open_with_hooks(
        disk: D,
        options: StoreOptions,
        boot: BootId,
        hooks: Hooks,
    ) -> Result<(Self, Recovered), OpenError> {
        assert!(
            options.journal_file_bytes >= 64 << 10,
            "a journal file has 64 KiB at least"
        );
        let identity = identity::read(&disk)?;
        let failed_sync = FailedSync::open(&disk, boot)?;
        if !hooks.is(Mutant::ReopensAfterFailedSync) {
            failed_sync.check_none()?;
        }
        match Self::recover(disk, identity, options, boot, hooks, failed_sync.clone()) {
            Err(OpenError::Disk(error)) => failed_sync.record(Err(error)).map_err(OpenError::Disk),
            recovered => recovered,
        }
    }

    fn recover(
        disk: D,
        identity: Identity,
        options: StoreOptions,
        boot: BootId,
        hooks: Hooks,
        failed_sync: FailedSync<D::File>,
    ) -> Result<(Self, Recovered), OpenError> {
        identity::upgrade_or_sync(&disk, identity)?;
        let checkpoints = checkpoint::read(&disk, identity.directory)?;
        let latest = latest(checkpoints, &disk, identity)?;
        checkpoint::sync(&disk, latest.generation)?;
        let journal =
            journal_reader::read(&disk, identity.directory, latest.incarnation, latest.place)?;
        let me = Voter {
            broker: identity.broker,
            directory: identity.directory,
        };
        let mut replay = Replay::new(
            &disk,
            options,
            me,
            latest.replicas,
            boot.is_same_run(latest.boot),
            &hooks,
        )?;
        replay.run(&journal.files, &journal.found)?;
        let forgotten = replay.decide_marks();
        let Replay {
            replicas,
            files,
            written,
            decisions,
            ..
        } = replay;
        let incarnation = Incarnation(journal.incarnation.0.max(latest.incarnation.0) + 1);
        let mut store = Self {
            // The journal is kept from this checkpoint on, which recovery uses if the new one rots.
            journal: Journal::new(
                disk.clone(),
                identity.directory,
                incarnation,
                options.journal_file_bytes,
                journal,
            ),
            disk,
            options,
            health: Health::new(failed_sync, hooks.clone()),
            hooks,
            identity,
            incarnation,
            boot,
            replicas,
            files,
            commits: CommitQueue::default(),
            committing: None,
            names: UnsyncedNames::of_recovery(written.iter().map(|&(replica, _, _)| replica)),
            removals: Removals::default(),
            postponed: VecDeque::new(),
            joining: None,
            checkpoints: CheckpointSchedule::new(latest.generation, latest.place),
            scrub: Scrub::default(),
            space: FreeSpace::default(),
        };
        store.remove_orphans()?;
        store.begin_incarnation(&decisions)?;
        let mut recovered = store.recovered()?;
        for replica in &mut recovered.replicas {
            if forgotten.contains(&replica.replica) {
                replica.mark = Mark::Suspect;
            }
        }
        Ok((store, recovered))
    }

    /// Makes the new incarnation and recovery's decisions durable, first in a checkpoint, then in the journal.
    fn begin_incarnation(
        &mut self,
        decisions: &[(TopicPartition, JournalRecord)],
    ) -> Result<(), OpenError> {
        self.journal.preallocate(self.options.journal_files)?;
        let unusable = |StoreFailure::Offline(reason)| OpenError::Disk(DiskError::Io(reason));
        let ticket = self.force_checkpoint().map_err(unusable)?.expect(
            "no checkpoint is under way before the first, and the journal has nothing to write",
        );
        match ticket.run() {
            Err(error @ DiskError::OutOfResources(_)) => return Err(error.into()),
            ran => self.finish_checkpoint(&ticket, ran).map_err(unusable)?,
        }
        // In the journal as well: if the new checkpoint rots, the earlier one does not have the incarnation and its
        // decisions.
        self.stage(TopicPartition::default(), &JournalRecord::Opened);
        for (replica, record) in decisions {
            self.stage(*replica, record);
        }
        if self.commit_now().map_err(unusable)? {
            Ok(())
        } else {
            Err(OpenError::Disk(DiskError::OutOfResources(
                "there is no descriptor or memory for its first commit".to_owned(),
            )))
        }
    }

    /// Removes the directories of deleted replicas whose deletion was durable and whose files were not removed yet.
    fn remove_orphans(&self) -> Result<(), DiskError> {
        for name in self.disk.list("")? {
            if let Some(replica) = segment::parse_directory(&name)
                && !self.replicas.contains_key(&replica)
            {
                remove_replica(&self.disk, replica)?;
            }
        }
        Ok(())
    }

    fn recovered(&self) -> Result<Recovered, OpenError> {
        let seed = journal::seed(self.identity.directory);
        let mut replicas = Vec::with_capacity(self.replicas.len());
        for (&replica, log) in &self.replicas {
            let mut recovered = log.state.recovered(replica);
            if let Some(snapshot) = &log.state.snapshot {
                let image = segment::read_snapshot(&self.disk, replica, snapshot, seed)?;
                recovered.snapshot = image.map(|image| (snapshot.at, image));
            }
            replicas.push(recovered);
        }
        Ok(Recovered {
            cluster: self.identity.cluster,
            broker: self.identity.broker,
            directory: self.identity.directory,
            incarnation: self.incarnation,
            replicas,
        })
    }
}

/// The checkpoint to start from.
fn latest<D: Disk>(
    mut checkpoints: Vec<Checkpoint>,
    disk: &D,
    identity: Identity,
) -> Result<Checkpoint, OpenError> {
    if checkpoints.is_empty() {
        if !was_never_opened(disk, identity)? {
            return Err(OpenError::Damaged("every checkpoint".to_owned()));
        }
        let place = JournalPlace {
            file_use: 1,
            offset: journal::BLOCK_U64,
            number: journal::GroupNumber(1),
        };
        return Ok(Checkpoint {
            place,
            ..Checkpoint::default()
        });
    }
    Ok(checkpoints.remove(0))
}

/// Whether the directory has never been opened. The first checkpoint is durable before the first group is written, so
/// if there are groups of this directory, a checkpoint was there and is lost.
fn was_never_opened<D: Disk>(disk: &D, identity: Identity) -> Result<bool, OpenError> {
    let nowhere = JournalPlace::default();
    let journal = journal_reader::read(disk, identity.directory, Incarnation(0), nowhere)?;
    Ok(journal.files.is_empty())
}
