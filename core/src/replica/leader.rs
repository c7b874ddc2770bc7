//! Leading: appending and sending.
//!
//! Entries go to the followers and to the leader's own disk at the same time; the leader's disk is one of the
//! majority like any other, and need not be among it.

use std::collections::BTreeMap;

use crate::hooks::{Mutant, Probe};
use crate::ids::{
    BrokerId, LeaderEpoch, LogClock, Offset, ProducerId, Timestamp, TopicPartition, Voter,
};
use crate::links::Links;
use crate::log::{Entry, Note, NoteKind, Position};
use crate::peer::{Append, AppendReply, ReplicaBody};
use crate::producer::{ProducedBatch, SequenceCheck};
use crate::queries::Waiter;
use crate::record::Batch;
use crate::store::{Flush, QueryId, QueryKind};
use crate::time::Instant;

use super::confirmation::Rounds;
use super::handover::Transfer;
use super::progress::Progress;
use super::{Cx, Replica, Role};

/// Bytes of entries in one message to a follower, unless one entry is larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A replica that leads its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    /// The position behind this epoch's opening. Nothing is committed before it is.
    pub(super) opening: Position,
    /// No high watermark is shown before this is committed: the opening.
    pub(super) shown_from: Position,
    /// When it was elected: its voters were heard then, if not since.
    pub(super) since: Instant,
    /// Every other voter and every observer.
    pub(super) progress: BTreeMap<Voter, Progress>,
    /// Replicas without a vote that are kept up to date: learners on their way in, and observers.
    pub(super) observers: Vec<Voter>,
    /// The voters that the metadata wants; empty while that is not known.
    pub(super) target: Vec<Voter>,
    /// A transfer of leadership under way.
    pub(super) transfer: Option<Transfer>,
    /// What its voters have been asked of its leadership.
    pub(super) rounds: Rounds,
    /// When something that waits must be looked after.
    tick_at: Option<Instant>,
}

/// Where a produced batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Behind its last record: acknowledged once this is.
    pub end_offset: Offset,
    /// The epoch it was appended in, or, for a duplicate, in which it was sent again.
    pub leader_epoch: LeaderEpoch,
    /// Whether it was in the log already.
    pub duplicate: bool,
}

/// Why a produced batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceRefusal {
    /// Another replica leads, or none, or leadership is being handed over.
    NotLeader,
    /// Fewer voters are current than the topic asks for.
    NotEnoughReplicas,
    /// There is a gap in the producer's sequence.
    OutOfOrderSequence,
    /// The producer's epoch is over.
    Fenced,
}

impl ProduceRefusal {
    /// Whether the reason is what this leader knows of the producer: only the latest leader knows all of it.
    #[must_use]
    pub const fn depends_on_producer_state(self) -> bool {
        match self {
            Self::OutOfOrderSequence | Self::Fenced => true,
            Self::NotLeader | Self::NotEnoughReplicas => false,
        }
    }
}

impl Leading {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.tick_at
            .into_iter()
            .chain(self.transfer.map(|transfer| transfer.ends_at))
            .min()
    }

    pub(super) fn tick_by(&mut self, at: Instant) {
        self.tick_at = Some(self.tick_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Replica {
    /// This replica has been elected: opens its epoch.
    pub(super) fn lead(&mut self, cx: &mut Cx<'_>) {
        let before = self.end;
        let note = Note {
            leader_epoch: self.vote.leader_epoch,
            offset: self.end.end_offset,
            kind: NoteKind::Opening { leader: self.me },
        };
        let entry = Entry::Note(note);
        let opening = entry.position_after(before);
        let shown_from = if cx.fx.mutant(Mutant::ExposesBeforeOpening) {
            Position::default()
        } else {
            opening
        };
        let others = self.other_voters();
        let progress = others
            .into_iter()
            .map(|voter| (voter, Progress::new(before, cx.now)))
            .collect();
        self.role = Role::Leader(Box::new(Leading {
            opening,
            shown_from,
            since: cx.now,
            progress,
            observers: Vec::new(),
            target: Vec::new(),
            transfer: None,
            rounds: Rounds::default(),
            tick_at: None,
        }));
        if !cx.fx.mutant(Mutant::LeadsWithoutOpening) {
            self.push_entry(entry.clone(), cx);
            self.order_append(before, vec![entry], Flush::Commit, cx);
        }
        // Its voters were heard when they voted; look again once that proves nothing any more.
        if let Role::Leader(leading) = &mut self.role {
            leading.tick_by(cx.now + cx.timing.election_timeout);
        }
        self.update_announcement(cx);
        self.replicate(cx);
    }

    /// Takes a produced batch. `log_append_time` is the time to stamp and the CRC of the batch's body.
    ///
    /// # Errors
    /// See [`ProduceRefusal`]; nothing is appended then.
    pub(crate) fn produce(
        &mut self,
        mut batch: Batch,
        log_append_time: Option<(Timestamp, u32)>,
        insync_min: Option<usize>,
        cx: &mut Cx<'_>,
    ) -> Result<Appended, ProduceRefusal> {
        let leader_epoch = self.vote.leader_epoch;
        match &self.role {
            Role::Leader(leading)
                if leading.transfer.is_none() || cx.fx.mutant(Mutant::AppendsWhileHandingOver) => {}
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                return Err(ProduceRefusal::NotLeader);
            }
        }
        if insync_min.is_some_and(|min| self.isr().len() < min) {
            cx.fx.probe(Probe::NotEnoughReplicas);
            return Err(ProduceRefusal::NotEnoughReplicas);
        }
        match self.producers.check(&batch.header) {
            SequenceCheck::InOrder => {}
            SequenceCheck::Duplicate(ProducedBatch {
                base_offset,
                last_offset,
                ..
            }) => {
                cx.fx.probe(Probe::DuplicateAnswered);
                let end_offset = last_offset.plus(1);
                return Ok(Appended {
                    base_offset,
                    end_offset,
                    leader_epoch,
                    duplicate: true,
                });
            }
            SequenceCheck::OutOfOrder { .. } => return Err(ProduceRefusal::OutOfOrderSequence),
            SequenceCheck::Fenced => return Err(ProduceRefusal::Fenced),
        }
        if batch.header.producer_id != ProducerId::NONE {
            self.tick_clock(cx);
        }
        batch.stamp(self.end.end_offset, leader_epoch);
        if let Some((timestamp, body_crc)) = log_append_time {
            batch.stamp_log_append_time(timestamp, body_crc);
        }
        let base_offset = batch.header.base_offset;
        self.append_entry(Entry::Batch(batch), cx);
        Ok(Appended {
            base_offset,
            end_offset: self.end.end_offset,
            leader_epoch,
            duplicate: false,
        })
    }

    /// Moves the log's clock on, by which producers age, where it is time: a producer is about to write. However long it
    /// was silent, and whatever has happened meanwhile, that is one tick.
    fn tick_clock(&mut self, cx: &mut Cx<'_>) {
        let due = cx.now.since(self.ticked_at) >= self.config.clock_tick_min
            || cx.fx.mutant(Mutant::TicksTooOften);
        if !due || cx.fx.mutant(Mutant::NeverTicks) {
            return;
        }
        let note = Note {
            leader_epoch: self.vote.leader_epoch,
            offset: self.end.end_offset,
            kind: NoteKind::ClockTick(LogClock(self.notes.clock().0 + 1)),
        };
        cx.fx.probe(Probe::ClockTicked);
        self.append_entry(Entry::Note(note), cx);
    }

    /// Appends an entry of this leader's own epoch and sends it on its way.
    pub(super) fn append_entry(&mut self, entry: Entry, cx: &mut Cx<'_>) {
        assert!(self.is_leader(), "only a leader appends");
        let before = self.end;
        self.push_entry(entry.clone(), cx);
        self.order_append(before, vec![entry], self.config.flush, cx);
        self.replicate(cx);
        self.assert_invariants();
    }

    /// Sends every follower what it lacks and has room for.
    pub(super) fn replicate(&mut self, cx: &mut Cx<'_>) {
        let Role::Leader(leading) = &self.role else {
            return;
        };
        let followers: Vec<Voter> = leading.progress.keys().copied().collect();
        for follower in followers {
            self.replicate_to(follower, cx);
        }
    }

    fn replicate_to(&mut self, follower: Voter, cx: &mut Cx<'_>) {
        while cx.links.reaches(follower) && self.is_served(follower, cx.links) {
            let committed = self.exposed();
            let directory = cx.links.directory(follower.broker);
            let is_full = !directory.takes_records() && self.id != TopicPartition::METADATA;
            let Role::Leader(leading) = &mut self.role else {
                return;
            };
            let Some(progress) = leading.progress.get_mut(&follower) else {
                return;
            };
            if !progress.has_room() {
                return;
            }
            let next = progress.next;
            let eager = self.config.eager && progress.replicating && progress.told < committed;
            let note = self.notes.get(next.notes);
            let is_note = note.is_some_and(|note| note.offset == next.end_offset);
            // A disk that is full or behind takes notes; records wait until it has room, and who lags is looked after.
            let only_asks = !progress.replicating && progress.is_window_full();
            if next == self.end || only_asks || is_full && !is_note {
                if !progress.replicating || eager {
                    self.send_entries(follower, Vec::new(), cx);
                } else if progress.told < committed {
                    leading.tick_by(cx.now + cx.timing.heartbeat_interval);
                } else if next != self.end {
                    leading.tick_by(cx.now + cx.timing.retry_interval);
                }
                return;
            }
            match self.tail.entries_from(next, MESSAGE_BYTES_MAX) {
                Some(mut entries) => {
                    if is_full {
                        let is_note = |entry: &&Entry| matches!(entry, Entry::Note(_));
                        entries.truncate(entries.iter().take_while(is_note).count());
                    }
                    self.send_entries(follower, entries, cx);
                }
                None => self.send_from_disk(follower, next, cx),
            }
        }
    }

    /// Whether this follower is sent anything: not on a directory that its broker has called offline, but what its
    /// clients are answered from.
    fn is_served(&self, follower: Voter, links: &Links) -> bool {
        self.id == TopicPartition::METADATA || !links.is_offline(follower)
    }

    /// Committed as followers may be told: nothing before this leader's opening is.
    fn exposed(&self) -> Position {
        if self.high_watermark().is_some() {
            self.committed
        } else {
            Position::default()
        }
    }

    /// Sends entries from where the follower is; none asks what it has, or tells what is committed.
    fn send_entries(&mut self, follower: Voter, entries: Vec<Entry>, cx: &mut Cx<'_>) {
        let committed = self.exposed();
        let leader_end = self.end;
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let retry_at = cx.now + cx.timing.retry_interval;
        let Some(progress) = leading.progress.get_mut(&follower) else {
            return;
        };
        let previous = progress.next;
        let weight = entries.iter().map(Entry::weight).sum();
        let end = entries
            .iter()
            .fold(previous, |at, entry| entry.position_after(at));
        let probe = !progress.replicating;
        progress.sent(end, weight, cx.now);
        progress.told = committed;
        leading.tick_by(retry_at);
        let flush = self.config.flush;
        let append = Append {
            previous,
            entries,
            committed,
            leader_end,
            flush,
            probe,
        };
        self.send(follower, ReplicaBody::Append(append), cx);
    }

    /// Fetches what a follower lacks and memory does not hold. Notes are in memory; batches are read.
    fn send_from_disk(&mut self, follower: Voter, next: Position, cx: &mut Cx<'_>) {
        cx.fx.probe(Probe::CaughtUpFromDisk);
        let mut notes = Vec::new();
        let mut at = next;
        while let Some(note) = self.notes.get(at.notes)
            && note.offset == at.end_offset
        {
            let entry = Entry::Note(note.clone());
            at = entry.position_after(at);
            notes.push(entry);
        }
        if !notes.is_empty() {
            self.send_entries(follower, notes, cx);
            return;
        }
        let end = self
            .notes
            .get(next.notes)
            .map_or(self.end.end_offset, |note| note.offset);
        let bytes_max = u32::try_from(MESSAGE_BYTES_MAX).expect("a constant that fits");
        let kind = QueryKind::Read {
            offset: next.end_offset,
            end: self.readable_end(end, cx.fx),
            bytes_max,
        };
        let id = cx
            .queries
            .ask(self.id, kind, Waiter::Replication(follower), cx.fx);
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        if let Some(progress) = leading.progress.get_mut(&follower) {
            progress.reading = Some(id);
        }
    }

    /// Reads batches from disk for a peer that has lost them.
    pub(super) fn read_for(&mut self, peer: Voter, offset: Offset, end: Offset, cx: &mut Cx<'_>) {
        let bytes_max = u32::try_from(MESSAGE_BYTES_MAX).expect("a constant that fits");
        let kind = QueryKind::Read {
            offset,
            end: self.readable_end(end, cx.fx),
            bytes_max,
        };
        cx.queries
            .ask(self.id, kind, Waiter::Fill(peer, offset), cx.fx);
    }

    /// What was read for a follower; `None` where it could not be.
    pub(crate) fn on_read(
        &mut self,
        id: QueryId,
        follower: Voter,
        batches: Option<Vec<Batch>>,
        cx: &mut Cx<'_>,
    ) {
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let progress = leading.progress.get_mut(&follower);
        let Some(progress) = progress.filter(|progress| progress.reading == Some(id)) else {
            return; // it is sent something else by now
        };
        progress.reading = None;
        let next = progress.next;
        let entries: Vec<Entry> = batches
            .into_iter()
            .flatten()
            .skip_while(|batch| batch.header.base_offset < next.end_offset)
            .map(Entry::Batch)
            .collect();
        if entries
            .first()
            .is_none_or(|entry| entry.offset() != next.end_offset)
        {
            // Damaged, or the store had not got there: look again later.
            leading.tick_by(cx.now + cx.timing.retry_interval);
            return;
        }
        self.send_entries(follower, entries, cx);
        self.replicate_to(follower, cx);
    }

    pub(super) fn on_append_reply(
        &mut self,
        from: Voter,
        leader_epoch: LeaderEpoch,
        reply: AppendReply,
        cx: &mut Cx<'_>,
    ) {
        if leader_epoch != self.vote.leader_epoch {
            return; // an answer to an earlier leader; a later epoch has been entered by `receive`
        }
        let (end, retry_at) = (self.end, cx.now + cx.timing.retry_interval);
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let Some(progress) = leading.progress.get_mut(&from) else {
            return;
        };
        match reply {
            AppendReply::Matched {
                verified,
                appended,
                durable,
                eligible,
            } => {
                assert!(
                    appended <= end && verified <= end,
                    "a follower matches no more than the leader has"
                );
                progress.matched(verified, appended, durable, end, cx.now);
                progress.eligible = eligible || cx.fx.mutant(Mutant::PrefersDamaged);
                if progress.waiting_since.is_some() {
                    leading.tick_by(retry_at);
                }
                self.advance_committed(cx);
            }
            AppendReply::Diverged { previous, hint } => {
                let ignores_regress = cx.fx.mutant(Mutant::IgnoresRegressedFollower);
                progress.diverged(previous, self.notes.common(hint, end), ignores_regress);
            }
        }
        self.update_announcement(cx);
        self.replicate_to(from, cx);
        self.continue_transfer(cx);
        self.change_voters(cx);
    }

    /// Looks after what waits: followers that do not answer, commits not told, the ISR, a transfer.
    pub(super) fn lead_on(&mut self, cx: &mut Cx<'_>) {
        if let Role::Leader(leading) = &mut self.role {
            leading.tick_at = None;
        }
        self.check_quorum(cx);
        let committed = self.exposed();
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        leading.tick_at = None;
        if leading
            .transfer
            .is_some_and(|transfer| transfer.ends_at <= cx.now)
        {
            leading.transfer = None;
        }
        let mut untold = Vec::new();
        for (&follower, progress) in &mut leading.progress {
            let silent_since = progress.waiting_since;
            if silent_since.is_some_and(|since| cx.now.since(since) >= cx.timing.retry_interval) {
                progress.ask_anew(self.end, cx.fx.mutant(Mutant::ForgetsWhatWaits));
            }
            if progress.replicating && progress.told < committed && progress.next == self.end {
                untold.push(follower);
            }
        }
        for follower in untold {
            if cx.links.reaches(follower) && self.is_served(follower, cx.links) {
                self.send_entries(follower, Vec::new(), cx);
            }
        }
        self.update_announcement(cx);
        self.replicate(cx);
        self.change_voters(cx);
        self.count_confirmations(cx);
        self.ask_round_again(None, cx);
        self.keep_ticking(cx);
    }

    /// A leader ticks while a follower owes it an answer or lags; an idle partition costs nothing.
    fn keep_ticking(&mut self, cx: &mut Cx<'_>) {
        let end = self.end;
        let Role::Leader(leading) = &self.role else {
            return;
        };
        let owed = leading.progress.iter().any(|(&follower, progress)| {
            cx.links.reaches(follower)
                && self.is_served(follower, cx.links)
                && (progress.waiting_since.is_some() || progress.appended < end)
        });
        let owed = owed || leading.target_differs(&self.voters);
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        if owed {
            leading.tick_by(cx.now + cx.timing.retry_interval);
        }
        // A voter that has proven nothing since it voted is not noticed by its link, which proved nothing before.
        let votes_count_until = leading.since + cx.timing.election_timeout;
        if cx.now < votes_count_until && !cx.fx.mutant(Mutant::CountsVotesForEver) {
            leading.tick_by(votes_count_until);
        }
    }

    /// A replica asks whether it would be elected instead of this leader: it has stopped following, and is asked what
    /// it has, which tells it whom to follow. It may have everything, and would hear nothing more until the next
    /// entry; and none is appended while leadership is being handed to it.
    pub(super) fn remind(&mut self, follower: Voter, cx: &mut Cx<'_>) {
        let end = self.end;
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        if let Some(progress) = leading.progress.get_mut(&follower) {
            progress.ask_anew(end, false);
            self.replicate_to(follower, cx);
        }
    }

    /// A broker takes records again: asks its replicas that lag what they have, since they may have turned some away.
    pub(crate) fn on_room(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        let end = self.end;
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        for (follower, progress) in &mut leading.progress {
            if follower.broker == broker && progress.lags(end) {
                progress.ask_anew(end, false);
            }
        }
        self.replicate(cx);
    }

    /// The link to or from a broker is another one: what was under way may be lost.
    pub(crate) fn on_link_renewed(&mut self, broker: BrokerId, cx: &mut Cx<'_>) {
        self.holes.ask_again(cx.now);
        match &mut self.role {
            Role::Leader(leading) => {
                for (follower, progress) in &mut leading.progress {
                    if follower.broker == broker && !cx.fx.mutant(Mutant::SendsOnAfterBreak) {
                        progress.ask_after_break(self.end);
                    }
                }
                self.replicate(cx);
                self.update_announcement(cx);
                self.ask_round_again(Some(broker), cx);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => self.ask_again(broker, cx),
            Role::Follower(following) => {
                // The acknowledgements under way may be lost as well.
                if following
                    .leader
                    .is_some_and(|leader| leader.broker == broker)
                {
                    following.acknowledged = None;
                    self.acknowledge(cx);
                }
            }
        }
    }
}
