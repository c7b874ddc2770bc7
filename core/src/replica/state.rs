//! What a replica has in any role: its log, its vote, and its orders to the store.
//!
//! Nothing here depends on the role. A follower and a leader append entries to the log in the same way, and store a
//! vote in the same way.

use std::ops::Range;

use crate::effect::{Effect, Effects, NoticeKind};
use crate::hooks::{Mutant, Probe};
use crate::ids::{LeaderEpoch, LogClock, Offset, TopicPartition, Voter};
use crate::log::{Entry, NoteIndex, NoteKind, Position, Tail, clock_at};
use crate::peer::{PeerMessage, ReplicaBody, ReplicaMessage};
use crate::producer::ProducerLog;
use crate::record::Batch;
use crate::store::{Flush, Mark, OrderKind, RecoveredReplica, Vote, VoterChange};
use crate::time::Instant;

use super::holes::Holes;
use super::orders::Orders;
use super::{Cx, ReplicaConfig};

/// Everything of a replica except its role.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReplicaState {
    pub(super) id: TopicPartition,
    pub(super) me: Voter,
    pub(super) config: ReplicaConfig,

    /// The voters that count until the log's first voter note.
    pub(super) voters_at_creation: Vec<Voter>,
    /// Recovery did not find `voters_at_creation`: the record of the creation is lost from the disk.
    pub(super) creation_lost: bool,
    /// Voters at the log's end, sorted: effective when appended, not when committed.
    pub(super) voters: Vec<Voter>,
    /// For each voter, the number of notes up to and including the one that made it a voter. What a voter has counts
    /// towards a majority only once its log has that note.
    pub(super) voters_since: Vec<u64>,
    /// The highest epoch seen and the vote in it, as ordered; durable once that order is complete.
    pub(super) vote: Vote,
    pub(super) mark: Mark,
    /// Where a suspect must be durable to be cleared: the log end of the first leader that it has followed in this
    /// incarnation.
    pub(super) suspect_until: Option<Position>,
    /// Voter changes whose notes are lost. Either this replica's disk has lost them, while it is a suspect; or another
    /// disk has lost a change that made this replica a voter, and this replica knows the change from that other one
    /// alone.
    pub(super) lost_voter_changes: Vec<VoterChange>,

    /// First offset that the log keeps.
    pub(super) log_start_offset: Offset,
    pub(super) notes: NoteIndex,
    /// The log's end: everything ordered, durable or not.
    pub(super) end: Position,
    pub(super) tail: Tail,
    /// What is known to be committed: never moves back within an incarnation. Its end offset is the high watermark.
    /// **Invariant:** `committed <= end`.
    pub(super) committed: Position,
    pub(super) producers: ProducerLog,
    /// When this replica last appended a clock tick, as follower or leader; the time of the start if it has not yet.
    pub(super) ticked_at: Instant,
    pub(super) orders: Orders,
    /// Where the stored log ends, if the disk was full: the entries above it are committed and in memory only. A
    /// replica in this state takes no more entries and starts no election: every majority has a voter that stored them.
    pub(super) unstored: Option<Position>,
    pub(super) holes: Holes,
    /// Its broker wants to delete it and has asked the leader for its release.
    pub(super) unwanted: bool,
}

/// What memory holds for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailRead {
    /// These batches; empty if the reader is at the end.
    Batches(Vec<Batch>),
    /// They are on disk: query the store.
    OnDisk,
    /// They are damaged, and being repaired.
    Hole(Range<Offset>),
}

impl ReplicaState {
    /// As the store recovered it.
    pub(super) fn recover(
        recovered: RecoveredReplica,
        me: Voter,
        config: ReplicaConfig,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut notes = NoteIndex::new(recovered.notes_below, recovered.notes);
        let mut end = recovered.end;
        let ends_in_note = |notes: &NoteIndex| {
            let last = notes.as_slice().last();
            last.is_some_and(|note| note.offset == recovered.end.end_offset)
        };
        if cx.fx.mutant(Mutant::DropsTrailingOpening) {
            while ends_in_note(&notes) {
                notes.truncate(notes.count() - 1);
            }
            end = Position {
                leader_epoch: notes.epoch_at(notes.count()),
                notes: notes.count(),
                ..end
            };
        }
        assert_eq!(
            notes.count(),
            end.notes,
            "the recovered end counts the recovered notes"
        );
        if ends_in_note(&notes) {
            cx.fx.probe(Probe::RecoveredTrailingOpening);
        }
        let mut producers = ProducerLog::new(recovered.producers, recovered.producers_offset);
        for header in &recovered.headers {
            producers.append(header, clock_at(notes.as_slice(), header.base_offset));
        }
        // The replica had entered the epoch in which its log ends, even if a crash has lost the order that stored that
        // epoch.
        let entered = recovered.vote.leader_epoch >= end.leader_epoch;
        let vote = if entered {
            recovered.vote
        } else {
            Vote {
                leader_epoch: end.leader_epoch,
                voted_for: None,
            }
        };
        // What was once committed stays committed: the replica can act on it before it hears from a leader.
        let once = recovered.high_watermark.min(end.end_offset);
        let committed = notes.position_of_offset(once).min(end);
        let mut state = Self {
            id: recovered.replica,
            me,
            config,
            creation_lost: recovered.voters.is_empty(),
            voters_at_creation: recovered.voters,
            voters: Vec::new(),
            voters_since: Vec::new(),
            vote,
            mark: recovered.mark,
            lost_voter_changes: recovered.lost_voter_changes,
            suspect_until: None,
            log_start_offset: recovered.log_start_offset,
            notes,
            end,
            tail: Tail::default(),
            committed,
            producers,
            ticked_at: cx.now,
            orders: Orders::recovered(end, cx),
            unstored: None,
            holes: Holes::new(recovered.holes, cx.now),
            unwanted: false,
        };
        state.refresh_voters();
        if state.mark.is_suspect() {
            cx.fx.probe(Probe::StartedSuspect);
            state.notice(NoticeKind::Suspect, cx);
        }
        state
    }

    /// Whether this replica is among the voters at its log's end.
    pub(super) fn is_voter(&self) -> bool {
        self.voters.contains(&self.me)
    }

    /// Voters other than this replica.
    pub(super) fn other_voters(&self) -> Vec<Voter> {
        self.voters
            .iter()
            .copied()
            .filter(|&voter| voter != self.me)
            .collect()
    }

    /// Recomputes the voters from the log's notes.
    pub(super) fn refresh_voters(&mut self) {
        let at_end = self.notes.voters_at(self.notes.count());
        self.voters = at_end.map_or_else(
            || self.voters_at_creation.clone(),
            |(_, voters)| voters.to_vec(),
        );
        self.voters.sort_unstable();
        let since = |&voter: &Voter| self.notes.voter_since(voter, &self.voters_at_creation);
        self.voters_since = self.voters.iter().map(since).collect();
    }

    /// Appends an entry to the log in memory. The caller orders the store to append it.
    pub(super) fn push_entry(&mut self, entry: Entry, cx: &mut Cx<'_>) {
        let after = entry.position_after(self.end);
        assert!(after > self.end, "an entry moves the log's end");
        match &entry {
            Entry::Batch(batch) => {
                let clock = if cx.fx.mutant(Mutant::AgesByOwnClock) {
                    LogClock(cx.now.0)
                } else {
                    self.notes.clock()
                };
                self.producers.append(&batch.header, clock);
            }
            Entry::Note(note) => {
                self.notes.push(note.clone());
                match note.kind {
                    NoteKind::Voters(_) => self.refresh_voters(),
                    NoteKind::ClockTick(_) => self.ticked_at = cx.now,
                    NoteKind::Opening { .. } | NoteKind::LogStart(_) => {}
                }
            }
        }
        self.tail.push(self.end, entry);
        self.end = after;
    }

    /// Orders the store to append the entries from `after` to the log's end.
    pub(super) fn order_append(
        &mut self,
        after: Position,
        entries: Vec<Entry>,
        flush: Flush,
        cx: &mut Cx<'_>,
    ) {
        // Notes are durable before they are acknowledged, whatever the topic's `flush` says about records.
        let has_note = entries.iter().any(|entry| matches!(entry, Entry::Note(_)));
        let flush = if has_note { Flush::Commit } else { flush };
        let unmarked =
            flush == Flush::Replicated && self.orders.mark_after(self.mark) == Mark::Clean;
        if unmarked && !cx.fx.mutant(Mutant::NeverMarksVolatile) {
            // The mark comes before the first acknowledgement ahead of the disk, so that recovery notices a power cut
            // from here on. A suspect that is being cleared stays suspect until its clean mark is durable, and is
            // volatile then.
            if self.mark == Mark::Clean {
                self.mark = Mark::Volatile;
            }
            self.orders
                .push(OrderKind::SetMark(Mark::Volatile), after, self.id, cx);
        }
        let high_watermark = self.committed.end_offset;
        let order = OrderKind::Append {
            after,
            entries,
            high_watermark,
            flush,
            roll: self.config.roll,
        };
        self.orders.push(order, self.end, self.id, cx);
    }

    /// Gives the store an order that does not move the log's end.
    pub(super) fn order(&mut self, kind: OrderKind, cx: &mut Cx<'_>) {
        self.orders.push(kind, self.ordered_end(), self.id, cx);
    }

    /// Emits a notice about this replica.
    pub(super) fn notice(&self, what: NoticeKind, cx: &mut Cx<'_>) {
        cx.fx.notice(Some(self.id), what);
    }

    /// Sends a message in this replica's epoch.
    pub(super) fn send(&self, to: Voter, body: ReplicaBody, cx: &mut Cx<'_>) {
        self.send_in(self.vote.leader_epoch, to, body, cx);
    }

    /// Sends a message in an epoch that this replica may not have entered.
    pub(super) fn send_in(
        &self,
        leader_epoch: LeaderEpoch,
        to: Voter,
        body: ReplicaBody,
        cx: &mut Cx<'_>,
    ) {
        let mut from = self.me;
        if cx.fx.mutant(Mutant::IgnoresDirectoryId) {
            let mut voters = self.voters.iter();
            from = *voters
                .find(|voter| voter.broker == from.broker)
                .unwrap_or(&from);
        }
        let message = ReplicaMessage {
            partition: self.id,
            from,
            to,
            leader_epoch,
            body,
        };
        cx.fx.push(Effect::Send {
            to: to.broker,
            message: PeerMessage::Replica(message),
        });
    }

    /// How far records below `end` may be read from disk, exclusive: those above are in memory.
    pub(super) fn readable_end(&self, end: Offset, fx: &Effects) -> Offset {
        if fx.mutant(Mutant::ReadsWhatIsDropped) {
            return end;
        }
        end.min(self.orders.readable_end(self.end.end_offset))
    }

    /// Whole batches in memory for a reader, from the one that holds `offset` on, below `end`.
    pub(super) fn read_tail(&self, offset: Offset, end: Offset, bytes_max: usize) -> TailRead {
        if let Some(hole) = self.holes.containing(offset) {
            return TailRead::Hole(hole);
        }
        if offset >= end {
            return TailRead::Batches(Vec::new());
        }
        let end = self
            .holes
            .next_after(offset)
            .map_or(end, |hole| end.min(hole));
        self.tail
            .batches_from(offset, end, bytes_max)
            .map_or(TailRead::OnDisk, TailRead::Batches)
    }

    /// Advances the committed position.
    pub(super) fn commit_to(&mut self, committed: Position) {
        assert!(
            committed >= self.committed,
            "the high watermark never goes back"
        );
        self.committed = committed;
        self.producers.commit_to(committed.end_offset);
    }

    /// Whether the last voter change is committed.
    pub(super) fn has_settled_voters(&self) -> bool {
        let last_change = self.notes.voters_at(self.notes.count());
        last_change.is_none_or(|(count, _)| count <= self.committed.notes)
    }

    /// The stored log's end once every order given so far is complete: without the entries that are committed and in
    /// memory only.
    pub(super) fn ordered_end(&self) -> Position {
        self.unstored.unwrap_or(self.end)
    }

    /// Whether committed entries are in memory only because the disk was full.
    pub(super) const fn is_unstored(&self) -> bool {
        self.unstored.is_some()
    }

    /// Enters this epoch, or records a vote in it, and orders the store to keep that.
    pub(super) fn store_vote(
        &mut self,
        leader_epoch: LeaderEpoch,
        voted_for: Option<Voter>,
        cx: &mut Cx<'_>,
    ) {
        self.vote = Vote {
            leader_epoch,
            voted_for,
        };
        self.order(OrderKind::StoreVote(self.vote), cx);
    }

    /// Whether this replica may win an election by a majority alone: a suspect needs the vote of every voter.
    pub(super) fn can_win_by_majority(&self, cx: &mut Cx<'_>) -> bool {
        !self.mark.is_suspect() || cx.fx.mutant(Mutant::SuspectStartsElection)
    }

    /// Whether this replica marks the votes that it grants to others: as a suspect.
    pub(super) fn marks_its_vote(&self, cx: &mut Cx<'_>) -> bool {
        self.mark.is_suspect() && !cx.fx.mutant(Mutant::SuspectVotesUnmarked)
    }

    /// Takes over the lost voter changes of a candidate that this replica refuses because its own log has more. If such
    /// a change made this replica a voter, nobody can be elected without its vote, so it may have to start an election
    /// itself.
    pub(super) fn learn_lost_voter_changes(&mut self, changes: &[VoterChange]) {
        if self.creation_lost {
            return; // its own journal alone decides whether it has a vote
        }
        for change in changes {
            let concerns =
                change.voters.contains(&self.me) && !change.outcome_is_known_at(self.committed);
            if concerns && !self.lost_voter_changes.contains(change) {
                self.lost_voter_changes.push(change.clone());
            }
        }
    }

    /// Whether a log that ends at `end` is at least as up to date as this one, and so has everything that this replica
    /// may have helped to commit (Raft 5.4.1).
    pub(super) fn is_up_to_date(&self, end: Position, cx: &mut Cx<'_>) -> bool {
        if cx.fx.mutant(Mutant::ComparesOffsetsOnly) {
            return end.end_offset >= self.end.end_offset;
        }
        if cx.fx.mutant(Mutant::RanksOffsetsAboveNotes) {
            return end >= self.end;
        }
        // Of two logs that end in one epoch, one is a prefix of the other, unless one belongs to a suspect that has
        // lost notes between its batches. A replica that has records after such a note cannot follow a log without it.
        let rank = |end: Position| (end.leader_epoch, end.notes, end.end_offset);
        rank(end) >= rank(self.end)
    }

    /// Whether the vote of `from` may count towards a majority.
    pub(super) fn counts_as_voter(&self, from: Voter, cx: &mut Cx<'_>) -> bool {
        self.voters.contains(&from)
            || cx.fx.mutant(Mutant::IgnoresDirectoryId)
                && self.voters.iter().any(|voter| voter.broker == from.broker)
    }

    /// Orders the store to keep another mark.
    pub(super) fn set_mark(&mut self, mark: Mark, cx: &mut Cx<'_>) {
        self.order(OrderKind::SetMark(mark), cx);
        if mark != Mark::Clean {
            self.mark = mark; // a worse mark holds at once, a clean one once it is durable
        }
    }

    /// The store reports a mark durable.
    pub(super) fn on_marked(&mut self, mark: Mark, cx: &mut Cx<'_>) {
        if self.mark.is_suspect() && mark == Mark::Clean {
            cx.fx.probe(Probe::SuspectCleared);
            self.notice(NoticeKind::SuspectCleared, cx);
        }
        self.mark = mark;
        if !mark.is_suspect() {
            self.lost_voter_changes.clear();
        }
    }

    /// What must hold in any role after every input. Constant time.
    pub(super) fn assert_invariants(&self) {
        assert!(
            self.committed <= self.end,
            "the high watermark is within the log"
        );
        assert!(
            self.log_start_offset <= self.end.end_offset,
            "the log starts before it ends"
        );
        assert!(
            self.end.leader_epoch <= self.vote.leader_epoch,
            "the log holds no epoch not yet seen"
        );
        assert_eq!(
            self.notes.count(),
            self.end.notes,
            "the end counts the notes"
        );
    }
}
