//! What a replica has in any role: its log, its vote, and what it has ordered of the store.
//!
//! Nothing here asks which role the replica has. A follower that takes entries and a leader that appends its own put them at
//! the log's end in the same way, and whoever votes orders its vote in the same way.

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

/// A replica but for its role.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReplicaState {
    pub(super) id: TopicPartition,
    pub(super) me: Voter,
    pub(super) config: ReplicaConfig,

    /// Voters until the log's first voter note.
    pub(super) voters_at_creation: Vec<Voter>,
    /// The start of this node has not found which: what the disk had of the creation is lost.
    pub(super) creation_lost: bool,
    /// Voters at the log's end, sorted: effective when appended, not when committed.
    pub(super) voters: Vec<Voter>,
    /// Of each of them, the count of the note that made it one. Without that, what it has does not count.
    pub(super) voters_since: Vec<u64>,
    /// The highest epoch seen and the vote in it, as ordered; durable once the order is done.
    pub(super) vote: Vote,
    pub(super) mark: Mark,
    /// Where a suspect must be durable to be cleared: the end of the first leader heard in this incarnation.
    pub(super) suspect_until: Option<Position>,
    /// Changes of the voters whose notes are lost: by this replica's disk, while it is a suspect, or by another's, where they
    /// have made this one a voter and it has not heard of that otherwise.
    pub(super) lost_voter_changes: Vec<VoterChange>,

    /// First offset that is kept.
    pub(super) log_start_offset: Offset,
    pub(super) notes: NoteIndex,
    /// The log's end: everything ordered, durable or not.
    pub(super) end: Position,
    pub(super) tail: Tail,
    /// What is known to be committed: never falls within an incarnation. Its end offset is the high watermark.
    /// **Invariant:** `committed <= end`.
    pub(super) committed: Position,
    pub(super) producers: ProducerLog,
    /// When it took the last tick of the log's clock, from a leader or as one, and in this incarnation.
    pub(super) ticked_at: Instant,
    pub(super) orders: Orders,
    /// The store's log ends here, for want of space; what is behind it is committed and in memory only. A replica in
    /// this state takes nothing more and starts no election: any majority has a voter that stored it.
    pub(super) unstored: Option<Position>,
    pub(super) holes: Holes,
    /// Its broker has asked the leader whether it may be deleted.
    pub(super) unwanted: bool,
}

/// What memory holds for a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailRead {
    /// These batches; none where the reader is at the end.
    Batches(Vec<Batch>),
    /// They are on disk: ask the store.
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
        // The log's last epoch was entered even where the order that stored it was lost with the crash.
        let entered = recovered.vote.leader_epoch >= end.leader_epoch;
        let vote = if entered {
            recovered.vote
        } else {
            Vote {
                leader_epoch: end.leader_epoch,
                voted_for: None,
            }
        };
        // What was once committed stays so: this replica can act on it before it hears from a leader.
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

    /// Whether this replica votes, by the voters at its log's end.
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

    /// Takes the voters that the log's notes name.
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

    /// Puts an entry at the end of the log in memory. The caller orders it of the store.
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

    /// Orders the entries from `after` to the log's end of the store.
    pub(super) fn order_append(
        &mut self,
        after: Position,
        entries: Vec<Entry>,
        flush: Flush,
        cx: &mut Cx<'_>,
    ) {
        // Notes are durable before they are acknowledged, whatever the topic says of its records.
        let has_note = entries.iter().any(|entry| matches!(entry, Entry::Note(_)));
        let flush = if has_note { Flush::Commit } else { flush };
        let unmarked =
            flush == Flush::Replicated && self.orders.mark_after(self.mark) == Mark::Clean;
        if unmarked && !cx.fx.mutant(Mutant::NeverMarksVolatile) {
            // Before the first acknowledgement ahead of the disk: a power cut from here on must be noticed. A suspect
            // that is being cleared stays one until that is durable, and is volatile then.
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

    /// Gives the store an order that leaves the log's end where it is.
    pub(super) fn order(&mut self, kind: OrderKind, cx: &mut Cx<'_>) {
        self.orders.push(kind, self.ordered_end(), self.id, cx);
    }

    /// Tells what has happened to this replica.
    pub(super) fn notice(&self, what: NoticeKind, cx: &mut Cx<'_>) {
        cx.fx.notice(Some(self.id), what);
    }

    /// Sends another replica something in this one's epoch.
    pub(super) fn send(&self, to: Voter, body: ReplicaBody, cx: &mut Cx<'_>) {
        self.send_in(self.vote.leader_epoch, to, body, cx);
    }

    /// Sends another replica something in an epoch that this one may not have entered.
    pub(super) fn send_in(
        &self,
        leader_epoch: LeaderEpoch,
        to: Voter,
        body: ReplicaBody,
        cx: &mut Cx<'_>,
    ) {
        let mut from = self.me;
        if cx.fx.mutant(Mutant::IgnoresDirectoryId) {
            let mut same_broker = self.voters.iter();
            from = *same_broker
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

    /// Up to where the disk may be asked for records below `end`, exclusive: what is behind is in memory.
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

    /// Moves what is committed, never back.
    pub(super) fn commit_to(&mut self, committed: Position) {
        assert!(
            committed >= self.committed,
            "the high watermark never goes back"
        );
        self.committed = committed;
        self.producers.commit_to(committed.end_offset);
    }

    /// Whether the last change of the voters is committed.
    pub(super) fn has_settled_voters(&self) -> bool {
        let last_change = self.notes.voters_at(self.notes.count());
        last_change.is_none_or(|(count, _)| count <= self.committed.notes)
    }

    /// The log's end once every order given so far is done: without what is committed and in memory only.
    pub(super) fn ordered_end(&self) -> Position {
        self.unstored.unwrap_or(self.end)
    }

    /// Whether something committed is in memory only, since the disk had no room for it.
    pub(super) const fn is_unstored(&self) -> bool {
        self.unstored.is_some()
    }

    /// Enters this epoch, or votes in it.
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

    /// Whether this replica's own vote for itself is worth something without everybody else's.
    pub(super) fn can_win_by_majority(&self, cx: &mut Cx<'_>) -> bool {
        !self.mark.is_suspect() || cx.fx.mutant(Mutant::SuspectStartsElection)
    }

    /// Whether the vote that this replica gives to another is marked.
    pub(super) fn marks_its_vote(&self, cx: &mut Cx<'_>) -> bool {
        self.mark.is_suspect() && !cx.fx.mutant(Mutant::SuspectVotesUnmarked)
    }

    /// Hears from a candidate of changes of the voters that are lost, and refuses it, having more itself. Where they have
    /// made this replica a voter, nobody may be elected without its vote: so it may have to start an election.
    pub(super) fn learn_lost_voter_changes(&mut self, changes: &[VoterChange]) {
        if self.creation_lost {
            return; // it has a vote by what its own journal knows, or none
        }
        for change in changes {
            let concerns =
                change.voters.contains(&self.me) && !change.outcome_is_known_at(self.committed);
            if concerns && !self.lost_voter_changes.contains(change) {
                self.lost_voter_changes.push(change.clone());
            }
        }
    }

    /// Whether a log that ends at `end` has everything that this replica may have helped to commit (Raft 5.4.1).
    pub(super) fn is_up_to_date(&self, end: Position, cx: &mut Cx<'_>) -> bool {
        if cx.fx.mutant(Mutant::ComparesOffsetsOnly) {
            return end.end_offset >= self.end.end_offset;
        }
        if cx.fx.mutant(Mutant::RanksOffsetsAboveNotes) {
            return end >= self.end;
        }
        // Of two logs of one epoch either is the front of the other, or one is a suspect's that has lost notes between its
        // batches. A replica that has records after such a note cannot follow that log.
        let rank = |end: Position| (end.leader_epoch, end.notes, end.end_offset);
        rank(end) >= rank(self.end)
    }

    /// Whether what this one grants may count towards a majority.
    pub(super) fn counts_as_voter(&self, from: Voter, cx: &mut Cx<'_>) -> bool {
        self.voters.contains(&from)
            || cx.fx.mutant(Mutant::IgnoresDirectoryId)
                && self.voters.iter().any(|voter| voter.broker == from.broker)
    }

    /// Orders another mark.
    pub(super) fn set_mark(&mut self, mark: Mark, cx: &mut Cx<'_>) {
        self.order(OrderKind::SetMark(mark), cx);
        if mark != Mark::Clean {
            self.mark = mark; // worse at once, better when it is durable
        }
    }

    /// A mark is durable.
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

    /// What must hold in any role, whatever came in. Constant time.
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
