//! One copy of one partition, and its part in the quorum that keeps it: Raft, in Kafka's words.
//!
//! `docs/protocol.md` states the protocol with its proof sketch. In short: a log of batches and notes, compared by
//! [`Position`]; a leader a leader epoch, elected by a majority of the voters that its log names; entries are
//! committed when a majority has them durably (or in memory, by the topic's `flush`) and the leader's own
//! opening is among them.
//!
//! What stands where: `orders` keeps account of what the store has been told and has done, `election` decides
//! who leads, `follower` takes the leader's entries, `leader` sends them, `commit` says what a majority
//! has, `confirmation` whether a leader is still the latest, `handover` when leadership ends, `membership` changes voters,
//! `holes` repairs damage.
//!
//! A replica knows nothing of clients, topics' names or the controller. It is told its target by the broker, which
//! reads it in the metadata.

mod orders;
mod election;
mod follower;
mod leader;
mod commit;
mod confirmation;
mod handover;
mod progress;
mod membership;
mod holes;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use crate::effect::{Effect, Effects, NoticeKind};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, LogClock, Offset, TopicPartition, Voter};
use crate::links::{Links, Timing};
use crate::log::{Entry, NoteIndex, NoteKind, Position, Tail, clock_at};
use crate::peer::{DirectoryState, LeaderAndIsr, PeerMessage, ReplicaBody, ReplicaMessage};
use crate::producer::ProducerLog;
use crate::queries::Queries;
use crate::record::Batch;
use crate::store::{Flush, Mark, OrderKind, OrderSeq, RecoveredReplica, Roll, Vote, VoterChange};
use crate::time::Instant;

use election::{Campaign, Following};
use holes::Holes;
use leader::Leading;
use orders::Orders;

pub(crate) use confirmation::Confirmation;
pub use leader::{Appended, ProduceRefusal};

/// Bytes of entries that a replica keeps in memory beyond what is not durable yet.
const TAIL_WEIGHT_MAX: usize = 1 << 20;

/// What a replica needs from its broker during a call.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) timing: &'a Timing,
    pub(crate) links: &'a Links,
    pub(crate) rng: &'a mut ChaCha8Rng,
    pub(crate) fx: &'a mut Effects,
    /// The node's queries of its disk.
    pub(crate) queries: &'a mut Queries,
    /// The greatest number that an order of any of the node's replicas has.
    pub(crate) last_order: &'a mut OrderSeq,
    /// What the broker's directory takes.
    pub(crate) directory: DirectoryState,
    /// Whether its disk keeps an order waiting for too long.
    pub(crate) disk_hangs: bool,
}

impl Cx<'_> {
    /// A duration below `max`, drawn evenly.
    fn jitter(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.rng.next_u64() % micros)
    }
}

/// What a replica does by its topic's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// When an acknowledged record is durable.
    pub flush: Flush,
    /// When a segment is full.
    pub roll: Roll,
    /// Whether followers are told of a commit at once rather than with the next entries: the metadata log,
    /// whose followers act on it.
    pub eager: bool,
    /// How much time passes at least between two ticks of the log's clock that it makes as a leader.
    pub clock_tick_min: Duration,
}

/// What a replica is at present.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// Takes entries from a leader, or waits for one.
    Follower(Following),
    /// Asks whether it would be elected.
    PreCandidate(Campaign),
    /// Is a candidate in its leader epoch.
    Candidate(Campaign),
    /// Leads its leader epoch.
    Leader(Box<Leading>),
}

/// One copy of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    id: TopicPartition,
    me: Voter,
    config: ReplicaConfig,
    role: Role,

    /// Voters until the log's first voter note.
    voters_at_creation: Vec<Voter>,
    /// The start of this node has not found which: what the disk had of the creation is lost.
    creation_lost: bool,
    /// Voters at the log's end, sorted: effective when appended, not when committed.
    voters: Vec<Voter>,
    /// Of each of them, the count of the note that made it one. Without that, what it has does not count.
    voters_since: Vec<u64>,
    /// The highest epoch seen and the vote in it, as ordered; durable once the order is done.
    vote: Vote,
    mark: Mark,
    /// Where a suspect must be durable to be cleared: the end of the first leader heard in this incarnation.
    suspect_until: Option<Position>,
    /// Changes of the voters whose notes are lost: by this replica's disk, while it is a suspect, or by another's, where they
    /// have made this one a voter and it has not heard of that otherwise.
    lost_voter_changes: Vec<VoterChange>,

    /// First offset that is kept.
    log_start_offset: Offset,
    notes: NoteIndex,
    /// The log's end: everything ordered, durable or not.
    end: Position,
    tail: Tail,
    /// What is known to be committed: never falls within an incarnation. Its end offset is the high watermark.
    /// **Invariant:** `committed <= end`.
    committed: Position,
    producers: ProducerLog,
    /// When it took the last tick of the log's clock, from a leader or as one, and in this incarnation.
    ticked_at: Instant,
    orders: Orders,
    /// The store's log ends here, for want of space; what is behind it is committed and in memory only. A replica in
    /// this state takes nothing more and starts no election: any majority has a voter that stored it.
    unstored: Option<Position>,
    holes: Holes,
    /// Its broker has asked the leader whether it may be deleted.
    unwanted: bool,

    /// What is to be told of this partition's leader, while this replica leads.
    announcement: Option<LeaderAndIsr>,
}

/// What people and checkers see of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplicaView {
    /// `follower`, `learner`, `pre-candidate`, `candidate` or `leader`.
    pub role: &'static str,
    /// The highest epoch seen.
    pub leader_epoch: LeaderEpoch,
    /// Who leads it, where known.
    pub leader: Option<Voter>,
    /// The vote given in that epoch.
    pub voted_for: Option<Voter>,
    /// Inclusive.
    pub log_start_offset: Offset,
    /// Exclusive.
    pub end: Position,
    /// Durable up to here.
    pub durable: Position,
    /// Bytes of records that wait for the disk.
    pub unwritten_bytes: usize,
    /// Bytes of entries in memory.
    pub tail_bytes: usize,
    /// Committed up to here.
    pub committed: Position,
    /// As clients see it; none while a leader's opening is not committed.
    pub high_watermark: Option<Offset>,
    /// Voters at the log's end.
    pub voters: Vec<Voter>,
    /// The mark.
    pub mark: Mark,
    /// Damaged ranges.
    pub holes: Vec<Range<Offset>>,
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

impl Replica {
    /// A new, empty replica. Orders its creation. `preferred` says that the placement wants it to lead.
    ///
    /// A replica may be one that was here before and was deleted, or is lost, unless it is an initial voter that was never
    /// removed. It starts as new then: as a suspect that votes for nobody until it has caught up. `leader_epoch_min` is
    /// the leader epoch of the last voter report, at or above any that it had entered when it was deleted: it follows no
    /// leader of an earlier one, who may still count it among its voters. `None` for an initial voter that was never
    /// removed, which starts clean.
    pub(crate) fn create(
        id: TopicPartition,
        me: Voter,
        voters: Vec<Voter>,
        config: ReplicaConfig,
        leader_epoch_min: Option<LeaderEpoch>,
        preferred: bool,
        cx: &mut Cx<'_>,
    ) -> Self {
        let empty = RecoveredReplica::empty(id, voters.clone());
        let mut replica = Self::recover(empty, me, config, cx);
        replica
            .orders
            .push(OrderKind::Create { voters }, replica.end, replica.id, cx);
        if let Some(leader_epoch) = leader_epoch_min
            && !cx.fx.mutant(Mutant::TrustsNewReplica)
        {
            replica.set_mark(Mark::New, cx);
            replica.begin_in(leader_epoch, cx);
        }
        if preferred {
            // Whom the placement prefers stands at once, so a new topic's leaders are where they belong.
            replica.role = Role::Follower(Following {
                election_at: Some(cx.now),
                ..Following::default()
            });
        }
        replica
    }

    /// A replica as the store recovered it. It trusts nobody yet.
    pub(crate) fn recover(
        recovered: RecoveredReplica,
        me: Voter,
        config: ReplicaConfig,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut notes = NoteIndex::new(recovered.notes_below, recovered.notes);
        let mut end = recovered.end;
        if cx.fx.mutant(Mutant::DropsTrailingOpening) {
            while notes
                .as_slice()
                .last()
                .is_some_and(|note| note.offset == end.end_offset)
            {
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
        if notes
            .as_slice()
            .last()
            .is_some_and(|note| note.offset == end.end_offset)
        {
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
        let mut replica = Self {
            id: recovered.replica,
            me,
            config,
            role: Role::Follower(Following::default()),
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
            announcement: None,
        };
        replica.refresh_voters();
        if replica.mark.is_suspect() {
            cx.fx.probe(Probe::StartedSuspect);
            cx.fx.notice(Some(replica.id), NoticeKind::Suspect);
        }
        replica.wait_for_leader(cx);
        if cx.fx.mutant(Mutant::TruncatesToHole) {
            replica.truncate_to_hole(cx);
        }
        replica
    }

    /// Which partition.
    #[must_use]
    pub const fn id(&self) -> TopicPartition {
        self.id
    }

    /// Whether it leads its partition.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The highest epoch seen.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.vote.leader_epoch
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<Voter> {
        match &self.role {
            Role::Leader(_) => Some(self.me),
            Role::Follower(following) => following.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Voters at the log's end, sorted.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// Inclusive.
    #[must_use]
    pub const fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// Exclusive.
    #[must_use]
    pub const fn log_end_offset(&self) -> Offset {
        self.end.end_offset
    }

    /// The log's end.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.end
    }

    /// Committed up to here, as far as this replica knows.
    #[must_use]
    pub const fn committed(&self) -> Position {
        self.committed
    }

    /// Exclusive; what clients may read up to. A leader exposes none before its opening is committed.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader(leading) if self.committed < leading.shown_from => None,
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                Some(self.committed.end_offset)
            }
        }
    }

    /// The greatest epoch at or below `leader_epoch` and its end, exclusive (OffsetForLeaderEpoch).
    #[must_use]
    pub fn end_of_epoch(&self, leader_epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let end = self.notes.end_of_epoch(leader_epoch, self.end);
        (end.leader_epoch, end.end_offset)
    }

    /// Epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_of_record(&self, offset: Offset) -> LeaderEpoch {
        self.notes.epoch_of_record(offset)
    }

    /// Producer state at the log's end.
    #[must_use]
    pub const fn producers(&self) -> &ProducerLog {
        &self.producers
    }

    /// What is to be told of this partition's leader, while this replica leads.
    #[must_use]
    pub const fn announcement(&self) -> Option<&LeaderAndIsr> {
        self.announcement.as_ref()
    }

    /// Brokers whose voters are current, ascending, as this leader sees them; empty elsewhere.
    #[must_use]
    pub fn isr(&self) -> &[BrokerId] {
        self.announcement
            .as_ref()
            .map_or(&[], |announcement| &announcement.isr)
    }

    /// When the oldest order was given that is not done.
    #[must_use]
    pub(crate) fn oldest_order(&self) -> Option<Instant> {
        self.orders.oldest()
    }

    /// What people and checkers see.
    #[must_use]
    pub fn view(&self) -> ReplicaView {
        ReplicaView {
            role: match &self.role {
                Role::Follower(_) if !self.is_voter() => "learner",
                Role::Follower(_) => "follower",
                Role::PreCandidate(_) => "pre-candidate",
                Role::Candidate(_) => "candidate",
                Role::Leader(_) => "leader",
            },
            leader_epoch: self.vote.leader_epoch,
            leader: self.leader(),
            voted_for: self.vote.voted_for,
            log_start_offset: self.log_start_offset,
            end: self.end,
            durable: self.orders.durable(),
            unwritten_bytes: self.orders.unwritten_bytes(),
            tail_bytes: self.tail.weight(),
            committed: self.committed,
            high_watermark: self.high_watermark(),
            voters: self.voters.clone(),
            mark: self.mark,
            holes: self.holes.ranges().to_vec(),
        }
    }

    /// Orders that nothing be left of it. The broker then forgets it.
    pub(crate) fn delete(&mut self, cx: &mut Cx<'_>) {
        self.orders.push(OrderKind::Delete, self.end, self.id, cx);
    }

    /// Orders that a snapshot of the metadata image at `offset` be kept.
    pub(crate) fn save_snapshot(&mut self, offset: Offset, image: Bytes, cx: &mut Cx<'_>) {
        if self.is_unstored() {
            return; // the image would be ahead of the stored log; the next one will do
        }
        let at = self.notes.position_of_offset(offset);
        self.orders
            .push(OrderKind::SaveSnapshot { at, image }, self.end, self.id, cx);
    }

    /// Batches from the one that holds `offset` on, below `end`; `None` where memory does not hold them.
    #[must_use]
    pub(crate) fn batches_from(&self, offset: Offset, end: Offset) -> Option<Vec<Batch>> {
        self.tail.batches_from(offset, end, usize::MAX)
    }

    /// Whether the store has written this log up to `end`, exclusive, and a query sees it.
    #[must_use]
    pub(crate) fn is_written(&self, end: Offset) -> bool {
        self.orders.written().end_offset >= end
    }

    /// Up to where the disk may be asked for records below `end`, exclusive: what is behind is in memory.
    #[must_use]
    pub(crate) fn readable_end(&self, end: Offset, cx: &Effects) -> Offset {
        if cx.mutant(Mutant::ReadsWhatIsDropped) {
            return end;
        }
        end.min(self.orders.readable_end(self.end.end_offset))
    }

    /// The log's notes.
    #[must_use]
    pub const fn notes(&self) -> &NoteIndex {
        &self.notes
    }

    /// Enters the epoch that the metadata have a report of, where it is new and has not caught up: it may have been in that
    /// one before it was deleted, and follows no leader of an earlier one.
    pub(crate) fn begin_in(&mut self, leader_epoch: LeaderEpoch, cx: &mut Cx<'_>) {
        let is_later = leader_epoch > self.vote.leader_epoch;
        if self.mark == Mark::New && is_later && !cx.fx.mutant(Mutant::IgnoresReportedEpoch) {
            let voted_for = None;
            self.store_vote(
                Vote {
                    leader_epoch,
                    voted_for,
                },
                cx,
            );
            self.wait_for_leader(cx);
        }
    }

    /// Takes its topic's configuration.
    pub(crate) fn configure(&mut self, config: ReplicaConfig) {
        self.config = config;
    }

    /// Hears with which voters it was created, where that was lost with the disk's bytes.
    pub(crate) fn learn_creation(&mut self, voters: &[Voter]) {
        if self.voters_at_creation.is_empty() {
            self.voters_at_creation = voters.to_vec();
            self.refresh_voters();
        }
    }

    /// When [`Self::fire`] is next due.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let role = match &self.role {
            Role::Follower(following) => following.election_at,
            Role::PreCandidate(campaign) | Role::Candidate(campaign) => Some(campaign.ends_at),
            Role::Leader(leading) => leading.next_deadline(),
        };
        role.into_iter().chain(self.holes.next_deadline()).min()
    }

    /// Does what is due.
    pub(crate) fn fire(&mut self, cx: &mut Cx<'_>) {
        if self.holes.next_deadline().is_some_and(|at| at <= cx.now) {
            self.ask_for_holes(cx);
        }
        match &self.role {
            Role::Follower(following) if following.election_at.is_some_and(|at| at <= cx.now) => {
                self.start_election(cx);
            }
            Role::PreCandidate(campaign) | Role::Candidate(campaign)
                if campaign.ends_at <= cx.now =>
            {
                cx.fx.probe(Probe::SplitVote);
                self.start_election(cx);
            }
            Role::Leader(_) => self.lead_on(cx),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        self.assert_invariants();
    }

    /// Takes a message of another replica of this partition.
    pub(crate) fn receive(&mut self, message: ReplicaMessage, cx: &mut Cx<'_>) {
        let ReplicaMessage {
            from,
            to,
            leader_epoch,
            body,
            ..
        } = message;
        if to != self.me && !cx.fx.mutant(Mutant::IgnoresDirectoryId) {
            cx.fx.notice(
                Some(self.id),
                NoticeKind::Refused("it is addressed to a directory that is gone"),
            );
            return;
        }
        // A pre-vote names an epoch that nobody has entered; every other message's sender is in its epoch.
        let entered = !matches!(body, ReplicaBody::PreVote(_));
        if entered && leader_epoch > self.vote.leader_epoch {
            self.enter_epoch(leader_epoch, from, cx);
        }
        match body {
            ReplicaBody::PreVote(asked) => self.on_pre_vote(from, leader_epoch, asked, cx),
            ReplicaBody::PreVoteReply(reply) => self.on_pre_vote_reply(from, reply, cx),
            ReplicaBody::Vote(asked) => self.on_vote(from, leader_epoch, asked, cx),
            ReplicaBody::VoteReply(reply) => self.on_vote_reply(from, leader_epoch, reply, cx),
            ReplicaBody::Append(append) => self.on_append(from, leader_epoch, append, cx),
            ReplicaBody::AppendReply(reply) => self.on_append_reply(from, leader_epoch, reply, cx),
            ReplicaBody::TransferLeadership => self.on_transfer_leadership(from, leader_epoch, cx),
            ReplicaBody::Resigned => self.on_resigned(from, leader_epoch, cx),
            ReplicaBody::EpochEntered => {} // which this replica has entered with it
            ReplicaBody::ConfirmLeadership { round } => {
                // In a later epoch the answer tells the sender of that.
                self.send(from, ReplicaBody::ConfirmLeadershipReply { round }, cx);
            }
            ReplicaBody::ConfirmLeadershipReply { round } => {
                self.on_confirm_leadership_reply(from, leader_epoch, round, cx);
            }
            ReplicaBody::FillRequest {
                offset,
                record_epoch,
                end,
            } => self.on_fill_request(from, offset, record_epoch, end, cx),
            ReplicaBody::FillReply {
                offset,
                batches,
                denial,
            } => {
                self.on_fill_reply(from, batches, cx);
                if let Some(denial) = denial
                    && leader_epoch == self.vote.leader_epoch
                {
                    self.on_denial(from, offset, denial, cx);
                }
            }
        }
        self.assert_invariants();
    }

    /// What must hold whatever came in. Constant time.
    fn assert_invariants(&self) {
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
        if let Role::Leader(leading) = &self.role {
            assert_eq!(
                self.end.leader_epoch, self.vote.leader_epoch,
                "a leader's log ends in its epoch"
            );
            assert!(
                leading.opening <= self.end,
                "a leader's opening is in its log"
            );
        }
    }

    /// Whether this replica votes, by the voters at its log's end.
    fn is_voter(&self) -> bool {
        self.voters.contains(&self.me)
    }

    fn refresh_voters(&mut self) {
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
    fn push_entry(&mut self, entry: Entry, cx: &mut Cx<'_>) {
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
    fn order_append(
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

    fn send(&self, to: Voter, body: ReplicaBody, cx: &mut Cx<'_>) {
        self.send_in(self.vote.leader_epoch, to, body, cx);
    }

    fn send_in(&self, leader_epoch: LeaderEpoch, to: Voter, body: ReplicaBody, cx: &mut Cx<'_>) {
        let mut from = self.me;
        if cx.fx.mutant(Mutant::IgnoresDirectoryId) {
            let mut namesakes = self.voters.iter();
            from = *namesakes
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

    /// Whole batches in memory for a reader, from the one that holds `offset` on, below `end`.
    #[must_use]
    pub fn read_tail(&self, offset: Offset, end: Offset, bytes_max: usize) -> TailRead {
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
    fn commit_to(&mut self, committed: Position) {
        assert!(
            committed >= self.committed,
            "the high watermark never goes back"
        );
        self.committed = committed;
        self.producers.commit_to(committed.end_offset);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transitions;
