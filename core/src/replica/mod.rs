//! One copy of one partition, and its part in the quorum that keeps it: Raft, in Kafka's words.
//!
//! `docs/protocol.md` states the protocol with its proof sketch. In short: a log of batches and notes, compared by
//! [`Position`]; a leader a leader epoch, elected by a majority of the voters that its log names; entries are
//! committed when a majority has them durably (or in memory, by the topic's `flush`) and the leader's own
//! opening is among them.
//!
//! The files: `state` is what a replica has in any role, `orders` tracks what the store was ordered to do and what of
//! it is done, `election` decides who leads, `follower` takes the leader's entries, `leader` appends them and holds
//! what only a leader has, `replication` sends them, `commit` computes what a majority has, `confirmation` checks
//! whether a leader is still the current one, `resignation` ends leadership or transfers it, `membership` changes the
//! voters, `holes` repairs damage.
//!
//! A replica knows nothing of clients, topic names or the controller. The broker reads the partition's target in the
//! metadata and passes it on.

mod state;
mod orders;
mod election;
mod follower;
mod leader;
mod replication;
mod commit;
mod confirmation;
mod resignation;
mod progress;
mod membership;
mod holes;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use crate::effect::{Effects, NoticeKind};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, Offset, TopicPartition, Voter};
use crate::links::{Links, Timing};
use crate::log::{NoteIndex, Position};
use crate::peer::{DirectoryState, LeaderAndIsr, ReplicaBody, ReplicaMessage};
use crate::producer::ProducerLog;
use crate::queries::Queries;
use crate::record::Batch;
use crate::store::{Flush, Mark, OrderKind, OrderSeq, RecoveredReplica, Roll};
use crate::time::Instant;

use election::{Campaign, Following};
use leader::Leading;
use state::ReplicaState;

pub(crate) use confirmation::Confirmation;
pub use leader::{Appended, ProduceRefusal};
pub use state::TailRead;

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
    /// The greatest sequence number of an order to any replica of this node.
    pub(crate) last_order: &'a mut OrderSeq,
    /// Whether the broker's log directory has room for records.
    pub(crate) directory: DirectoryState,
    /// Whether an order to this node's disk has been pending for too long.
    pub(crate) disk_hangs: bool,
}

impl Cx<'_> {
    /// A random duration below `max`, uniformly distributed.
    fn jitter(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.rng.next_u64() % micros)
    }
}

/// What a replica takes from its topic's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// When an acknowledged record is durable.
    pub flush: Flush,
    /// When a segment is full.
    pub roll: Roll,
    /// Whether the leader sends a new high watermark to its followers at once rather than with the next entries. True
    /// for the metadata log, whose followers apply what is committed.
    pub eager: bool,
    /// Minimum time between two clock ticks that this replica appends as leader.
    pub clock_tick_min: Duration,
}

/// What a replica is at present.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// Takes entries from a leader, or waits for one.
    Follower(Following),
    /// Asks the voters whether they would vote for it, before it enters a new epoch.
    PreCandidate(Campaign),
    /// Has voted for itself in its leader epoch and asks for votes.
    Candidate(Campaign),
    /// Leads its leader epoch.
    Leader(Box<Leading>),
}

/// One copy of one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    state: ReplicaState,
    role: Role,
}

/// A replica's state as shown to people and checkers.
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
    /// The high watermark that clients see; `None` while a leader's opening is not committed.
    pub high_watermark: Option<Offset>,
    /// Voters at the log's end.
    pub voters: Vec<Voter>,
    /// The mark.
    pub mark: Mark,
    /// Damaged ranges.
    pub holes: Vec<Range<Offset>>,
}

impl Replica {
    /// A new, empty replica. Orders its creation. `preferred`: it is the partition's preferred leader.
    ///
    /// Unless it is an initial voter that was never removed, this broker may have held an earlier copy that was deleted
    /// or lost. The replica then starts with [`Mark::New`]: a suspect that votes for nobody until it has caught up.
    /// `leader_epoch_min` is the leader epoch of the partition's last voter report. It is at or above every epoch that
    /// the earlier copy had entered, so the replica follows no leader of an earlier epoch, which may still count it
    /// among its voters. `None` for an initial voter that was never removed: it starts clean.
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
        replica.state.order(OrderKind::Create { voters }, cx);
        if let Some(leader_epoch) = leader_epoch_min
            && !cx.fx.mutant(Mutant::TrustsNewReplica)
        {
            replica.state.set_mark(Mark::New, cx);
            replica.enter_reported_epoch(leader_epoch, cx);
        }
        if preferred {
            // The preferred leader starts an election at once, so that a new topic is led where its placement wants it.
            replica.role = Role::Follower(Following {
                election_at: Some(cx.now),
                ..Following::default()
            });
        }
        replica
    }

    /// A replica as the store recovered it. It follows no leader yet.
    pub(crate) fn recover(
        recovered: RecoveredReplica,
        me: Voter,
        config: ReplicaConfig,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut replica = Self {
            state: ReplicaState::recover(recovered, me, config, cx),
            role: Role::Follower(Following::default()),
        };
        replica.wait_for_leader(cx);
        if cx.fx.mutant(Mutant::TruncatesToHole) {
            replica.state.truncate_to_hole(cx);
        }
        replica
    }

    /// Which partition.
    #[must_use]
    pub const fn id(&self) -> TopicPartition {
        self.state.id
    }

    /// Whether it leads its partition.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The highest epoch seen.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.state.vote.leader_epoch
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<Voter> {
        match &self.role {
            Role::Leader(_) => Some(self.state.me),
            Role::Follower(following) => following.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// Voters at the log's end, sorted.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.state.voters
    }

    /// Inclusive.
    #[must_use]
    pub const fn log_start_offset(&self) -> Offset {
        self.state.log_start_offset
    }

    /// Exclusive.
    #[must_use]
    pub const fn log_end_offset(&self) -> Offset {
        self.state.end.end_offset
    }

    /// The log's end.
    #[must_use]
    pub const fn end(&self) -> Position {
        self.state.end
    }

    /// Committed up to here, as far as this replica knows.
    #[must_use]
    pub const fn committed(&self) -> Position {
        self.state.committed
    }

    /// Exclusive; what clients may read up to. A leader exposes none before its opening is committed.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        let committed = self.state.committed;
        self.leading()
            .is_none_or(|leading| leading.exposes(committed))
            .then_some(committed.end_offset)
    }

    /// The greatest epoch at or below `leader_epoch` and its end, exclusive (OffsetForLeaderEpoch).
    #[must_use]
    pub fn end_of_epoch(&self, leader_epoch: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let end = self.state.notes.end_of_epoch(leader_epoch, self.state.end);
        (end.leader_epoch, end.end_offset)
    }

    /// Epoch of the record at `offset`.
    #[must_use]
    pub fn epoch_of_record(&self, offset: Offset) -> LeaderEpoch {
        self.state.notes.epoch_of_record(offset)
    }

    /// Producer state at the log's end.
    #[must_use]
    pub const fn producers(&self) -> &ProducerLog {
        &self.state.producers
    }

    /// The announcement of this partition's leader and ISR, while this replica leads.
    #[must_use]
    pub fn announcement(&self) -> Option<&LeaderAndIsr> {
        self.leading()?.announcement.as_ref()
    }

    /// The brokers in the ISR, ascending; empty unless this replica leads.
    #[must_use]
    pub fn isr(&self) -> &[BrokerId] {
        self.leading().map_or(&[], Leading::isr)
    }

    /// When the oldest pending order was given.
    #[must_use]
    pub(crate) fn oldest_order(&self) -> Option<Instant> {
        self.state.orders.oldest()
    }

    /// The replica's state as shown to people and checkers.
    #[must_use]
    pub fn view(&self) -> ReplicaView {
        ReplicaView {
            role: match &self.role {
                Role::Follower(_) if !self.state.is_voter() => "learner",
                Role::Follower(_) => "follower",
                Role::PreCandidate(_) => "pre-candidate",
                Role::Candidate(_) => "candidate",
                Role::Leader(_) => "leader",
            },
            leader_epoch: self.state.vote.leader_epoch,
            leader: self.leader(),
            voted_for: self.state.vote.voted_for,
            log_start_offset: self.state.log_start_offset,
            end: self.state.end,
            durable: self.state.orders.durable(),
            unwritten_bytes: self.state.orders.unwritten_bytes(),
            tail_bytes: self.state.tail.weight(),
            committed: self.state.committed,
            high_watermark: self.high_watermark(),
            voters: self.state.voters.clone(),
            mark: self.state.mark,
            holes: self.state.holes.ranges().to_vec(),
        }
    }

    /// Orders the removal of everything that the store has of it. The broker then forgets the replica.
    pub(crate) fn delete(&mut self, cx: &mut Cx<'_>) {
        self.state
            .orders
            .push(OrderKind::Delete, self.state.end, self.state.id, cx);
    }

    /// Orders the store to save a snapshot of the metadata image at `offset`.
    pub(crate) fn save_snapshot(&mut self, offset: Offset, image: Bytes, cx: &mut Cx<'_>) {
        if self.state.is_unstored() {
            return; // the image is ahead of the stored log; a later snapshot covers it
        }
        let at = self.state.notes.position_of_offset(offset);
        self.state.order(OrderKind::SaveSnapshot { at, image }, cx);
    }

    /// Batches from the one that holds `offset` on, below `end`; `None` where memory does not hold them.
    #[must_use]
    pub(crate) fn batches_from(&self, offset: Offset, end: Offset) -> Option<Vec<Batch>> {
        self.state.tail.batches_from(offset, end, usize::MAX)
    }

    /// Whether the store has written this log up to `end`, exclusive, and a query sees it.
    #[must_use]
    pub(crate) fn is_written(&self, end: Offset) -> bool {
        self.state.orders.written().end_offset >= end
    }

    /// How far records below `end` may be read from disk, exclusive: those above are in memory.
    #[must_use]
    pub(crate) fn readable_end(&self, end: Offset, fx: &Effects) -> Offset {
        self.state.readable_end(end, fx)
    }

    /// Whole batches in memory for a reader, from the one that holds `offset` on, below `end`.
    #[must_use]
    pub fn read_tail(&self, offset: Offset, end: Offset, bytes_max: usize) -> TailRead {
        self.state.read_tail(offset, end, bytes_max)
    }

    /// The log's notes.
    #[must_use]
    pub const fn notes(&self) -> &NoteIndex {
        &self.state.notes
    }

    /// If the replica is new and has not caught up, enters the epoch of the last voter report in the metadata. It may
    /// have been in that epoch before it was deleted, so it follows no leader of an earlier one.
    pub(crate) fn enter_reported_epoch(&mut self, leader_epoch: LeaderEpoch, cx: &mut Cx<'_>) {
        let is_later = leader_epoch > self.state.vote.leader_epoch;
        if self.state.mark == Mark::New && is_later && !cx.fx.mutant(Mutant::IgnoresReportedEpoch) {
            self.state.store_vote(leader_epoch, None, cx);
            self.wait_for_leader(cx);
        }
    }

    /// Updates the configuration of its topic.
    pub(crate) fn configure(&mut self, config: ReplicaConfig) {
        self.state.config = config;
    }

    /// Sets the voters that the replica was created with, where the disk has lost them.
    pub(crate) fn learn_voters_at_creation(&mut self, voters: &[Voter]) {
        if self.state.voters_at_creation.is_empty() {
            self.state.voters_at_creation = voters.to_vec();
            self.state.refresh_voters();
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
        let holes = self.state.holes.next_deadline();
        role.into_iter().chain(holes).min()
    }

    /// Runs every timer that is due.
    pub(crate) fn fire(&mut self, cx: &mut Cx<'_>) {
        let holes = self.state.holes.next_deadline();
        if holes.is_some_and(|at| at <= cx.now) {
            self.request_fill(cx);
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
            Role::Leader(_) => self.act_as_leader(cx, |leader, cx| leader.on_tick(cx)),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        self.assert_invariants();
    }

    /// Handles a message from another replica of this partition.
    pub(crate) fn receive(&mut self, message: ReplicaMessage, cx: &mut Cx<'_>) {
        let ReplicaMessage {
            from,
            to,
            leader_epoch,
            body,
            ..
        } = message;
        if to != self.state.me && !cx.fx.mutant(Mutant::IgnoresDirectoryId) {
            self.state.notice(
                NoticeKind::Refused("it is addressed to a directory that is gone"),
                cx,
            );
            return;
        }
        // A pre-vote names an epoch that nobody has entered yet. The sender of any other message is in the epoch that
        // the message names.
        let entered = !matches!(body, ReplicaBody::PreVote(_));
        if entered && leader_epoch > self.state.vote.leader_epoch {
            self.enter_epoch(leader_epoch, from, cx);
        }
        match body {
            ReplicaBody::PreVote(request) => self.on_pre_vote(from, leader_epoch, request, cx),
            ReplicaBody::PreVoteReply(reply) => self.on_pre_vote_reply(from, reply, cx),
            ReplicaBody::Vote(request) => self.on_vote(from, leader_epoch, request, cx),
            ReplicaBody::VoteReply(reply) => self.on_vote_reply(from, leader_epoch, reply, cx),
            ReplicaBody::Append(append) => self.on_append(from, leader_epoch, append, cx),
            ReplicaBody::AppendReply(reply) => self.act_as_leader(cx, |leader, cx| {
                leader.on_append_reply(from, leader_epoch, reply, cx)
            }),
            ReplicaBody::TransferLeadership => self.on_transfer_leadership(from, leader_epoch, cx),
            ReplicaBody::Resigned => self.on_resigned(from, leader_epoch, cx),
            ReplicaBody::EpochEntered => {} // this replica has just entered that epoch, above
            ReplicaBody::ConfirmLeadership { round } => {
                // If this replica is in a later epoch, the reply carries it, and so deposes the sender.
                self.state
                    .send(from, ReplicaBody::ConfirmLeadershipReply { round }, cx);
            }
            ReplicaBody::ConfirmLeadershipReply { round } => {
                if let Some(mut leader) = self.leader_mut() {
                    leader.on_confirm_leadership_reply(from, leader_epoch, round, cx);
                }
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
                    && leader_epoch == self.state.vote.leader_epoch
                {
                    self.on_denial(from, offset, denial, cx);
                }
            }
        }
        self.assert_invariants();
    }

    /// What must hold after every input. Constant time.
    fn assert_invariants(&self) {
        self.state.assert_invariants();
        if let Some(leading) = self.leading() {
            leading.assert_invariants(&self.state);
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transitions;
