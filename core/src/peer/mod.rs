//! The messages between brokers.
//!
//! Between two brokers there is one link each way. A link delivers everything in order, or breaks; after a break it
//! comes back with a new session, and messages in flight are lost. One [`Heartbeat`] per link covers all partitions;
//! everything about one partition is a [`ReplicaMessage`].

mod forwarded;
mod version;

use std::collections::BTreeMap;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::cluster::{BrokerRegistration, VoterReport};
use crate::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, LeaderEpoch, Offset, ProducerId, TopicPartition,
    Voter,
};
use crate::log::{Entry, Position};
use crate::record::Batch;
use crate::store::{Flush, VoterChange};
use crate::time::Instant;

pub use forwarded::{ForwardedRequest, ForwardedResponse};
pub use version::{Newer, PeerVersion, PeerVersions, Since10};

/// The node at the other end of a link, as its hello identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PeerIdentity {
    /// The cluster that it belongs to; `None` while it has joined none.
    pub cluster: Option<ClusterId>,
    /// The broker.
    pub broker: BrokerId,
    /// The directory that it runs on.
    pub directory: DirectoryId,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl PeerIdentity {
    /// The voter that its replicas are.
    #[must_use]
    pub const fn voter(&self) -> Voter {
        Voter {
            broker: self.broker,
            directory: self.directory,
        }
    }
}

/// A message from one broker to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PeerMessage {
    /// The sender is alive.
    Heartbeat(Heartbeat),
    /// About one partition.
    Replica(ReplicaMessage),
    /// Announcements of leaders: those that have changed, or all of the sender when a link comes up.
    Leaders(Vec<LeaderAndIsr>),
    /// The addresses of brokers that the sender knows. A node that starts has its bootstrap addresses and an image that
    /// may be old; without this message it could not respond to a leader whose address is in neither.
    Peers(PeerAddresses),
    /// An unwanted replica asks the leader of its partition for its release.
    Release(ReleaseRequest),
    /// The leader has released the replica.
    Released {
        /// Which partition.
        partition: TopicPartition,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// As in the request that this answers: the replica may have been assigned and dropped again since.
        metadata_offset: Offset,
    },
    /// A request to the controller.
    ControllerRequest {
        /// Chosen by the sender, repeated in the response.
        id: u64,
        /// What.
        request: ControllerRequest,
    },
    /// The controller's response.
    ControllerResponse {
        /// The id of the request.
        id: u64,
        /// What.
        response: ControllerResponse,
    },
    /// A read-index query to every voter of the metadata: how far can any broker have shown the metadata?
    ReadIndex {
        /// The number of the sender's round.
        round: u64,
    },
    /// The answer.
    ReadIndexReply(ReadIndexReply),
}

/// A voter's answer to a read-index query (Raft dissertation, 6.4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadIndexReply {
    /// As in the request.
    pub round: u64,
    /// The latest leader epoch of the metadata that the voter has entered.
    pub leader_epoch: LeaderEpoch,
    /// The read index; only from a leader whose opening is committed.
    pub leader: Option<ReadIndex>,
}

/// The committed end of a leader's log, and the voters that can confirm it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadIndex {
    /// Its high watermark.
    pub end: Offset,
    /// The voters at its log end.
    pub voters: Vec<Voter>,
}

/// Liveness of the sender, for all partitions at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Heartbeat {
    /// When it was sent, by the sender's clock.
    pub sent_at: Instant,
    /// `sent_at` of the latest heartbeat that the sender has received from the addressee's present incarnation: proof
    /// that the sender was alive *after* the addressee sent it. Check-quorum counts from there.
    pub echo: Option<Instant>,
    /// How long the sender's directory has kept its oldest order waiting; zero while none waits
    /// (counter-example 8: the disk hangs, the network loop goes on).
    pub disk_stalled: Duration,
    /// What the sender's directory accepts.
    pub directory: DirectoryState,
}

/// What a broker's directory accepts, as every heartbeat reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DirectoryState {
    /// Everything.
    #[default]
    Online,
    /// Votes and notes but no records, since too many bytes of records wait for the disk.
    Behind,
    /// Votes and notes but no records, since the disk is full.
    Full,
    /// Nothing: a write or a sync has failed.
    Offline,
}

impl DirectoryState {
    /// Whether it accepts records.
    #[must_use]
    pub const fn takes_records(self) -> bool {
        matches!(self, Self::Online)
    }
}

/// A message about one partition from one replica of it to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplicaMessage {
    /// Which partition. A receiver without a replica of it refuses the message, and never creates one.
    pub partition: TopicPartition,
    /// The sending replica.
    pub from: Voter,
    /// The addressed replica. Another directory of the same broker is another replica, and ignores it.
    pub to: Voter,
    /// The sender's leader epoch; for a pre-vote, the epoch of the election that it would start.
    pub leader_epoch: LeaderEpoch,
    /// The message itself.
    pub body: ReplicaBody,
}

/// A candidate's request for a vote or pre-vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteRequest {
    /// Its log's end.
    pub end: Position,
    /// The voter changes that it knows to be lost, by itself or from others, and whose outcome its log does not show.
    pub lost_voter_changes: Vec<VoterChange>,
}

/// A voter's answer to a vote or pre-vote request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteReply {
    /// The epoch of the election.
    pub election: LeaderEpoch,
    /// Why the vote is refused; `None` where it is granted.
    pub refusal: Option<VoteRefusal>,
    /// Whether the voter is a suspect, whose vote counts less.
    pub marked: bool,
    /// As in [`VoteRequest`].
    pub lost_voter_changes: Vec<VoterChange>,
}

impl VoteReply {
    /// Whether the vote is granted.
    #[must_use]
    pub const fn is_granted(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Why a vote or pre-vote is refused. For logs and traces; no decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum VoteRefusal {
    /// The epoch is not later than the voter's own.
    EpochOver,
    /// The voter trusts a leader, or leads.
    HasLeader,
    /// The voter has voted in this epoch, for another replica or for itself.
    HasVoted,
    /// The candidate's log is behind the voter's.
    LogBehind,
    /// The voter is new, or its log is not all durable.
    MayNotVote,
    /// The voter's disk hangs, and could not store the vote.
    DiskHangs,
}

/// The messages between replicas of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReplicaBody {
    /// Would you vote for me? Changes nothing (Raft dissertation, 9.6).
    PreVote(VoteRequest),
    /// The answer: whether it would.
    PreVoteReply(VoteReply),
    /// Vote for me (Raft 5.2).
    Vote(VoteRequest),
    /// The answer, durable before it is sent.
    VoteReply(VoteReply),
    /// Entries of the leader's log (Raft 5.3).
    Append(Append),
    /// The answer.
    AppendReply(AppendReply),
    /// Start an election now: your log has everything (Raft dissertation, 3.10).
    TransferLeadership,
    /// I have resigned in this epoch; do not wait for the election timeout.
    Resigned,
    /// I have entered this epoch, and do not follow the leader of an earlier one.
    EpochEntered,
    /// Are you still in my epoch? A leader asks before it answers what only the current leader can answer (Raft
    /// dissertation, 6.4).
    ConfirmLeadership {
        /// The number of the leader's confirmation round.
        round: LeadershipRound,
    },
    /// The answer: it confirms the leader if it has the leader's own epoch.
    ConfirmLeadershipReply {
        /// As in the request.
        round: LeadershipRound,
    },
    /// A request for the batches in a hole.
    FillRequest {
        /// First offset of the hole.
        offset: Offset,
        /// Epoch of the record there.
        record_epoch: LeaderEpoch,
        /// Exclusive.
        end: Offset,
    },
    /// The sender's batches in the hole: whole ones, ascending; empty where it has none.
    FillReply {
        /// First offset of the hole, as in the request.
        offset: Offset,
        /// The batches.
        batches: Vec<Batch>,
        /// Set where the sender does not have the record at `offset`, and can never accept it from an earlier epoch,
        /// since its own epoch is durable.
        denial: Option<Denial>,
    },
}

/// What it proves that a replica does not have a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Denial {
    /// It never had it.
    NeverHad,
    /// It is a suspect, and may have had and acknowledged the record.
    Marked,
}

impl ReplicaBody {
    /// The record batches that it carries, in order.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        let (entries, batches): (&[Entry], &[Batch]) = match self {
            Self::Append(append) => (&append.entries, &[]),
            Self::FillReply { batches, .. } => (&[], batches),
            Self::PreVote(_)
            | Self::PreVoteReply(_)
            | Self::Vote(_)
            | Self::VoteReply(_)
            | Self::AppendReply(_)
            | Self::TransferLeadership
            | Self::Resigned
            | Self::EpochEntered
            | Self::ConfirmLeadership { .. }
            | Self::ConfirmLeadershipReply { .. }
            | Self::FillRequest { .. } => (&[], &[]),
        };
        let in_entries = entries.iter().filter_map(|entry| match entry {
            Entry::Batch(batch) => Some(batch),
            Entry::Note(_) => None,
        });
        in_entries.chain(batches)
    }
}

/// The number of a leadership confirmation within the leader's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LeadershipRound(pub u64);

impl LeadershipRound {
    /// The next round.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Entries to append; without entries, a probe or an update of `committed`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Append {
    /// The follower must have exactly this position.
    pub previous: Position,
    /// The entries behind it.
    pub entries: Vec<Entry>,
    /// The committed position of the sender; the default position until its opening is committed.
    pub committed: Position,
    /// The end of the sender's log, up to which a suspect must be durable before it is cleared.
    pub leader_end: Position,
    /// When these entries must be durable at the follower.
    pub flush: Flush,
    /// Whether the leader waits for an answer although there may be nothing to append.
    pub probe: bool,
}

/// The result of an append. Sent again when the entries become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum AppendReply {
    /// The follower's log equals the leader's.
    Matched {
        /// The end up to which the follower's incarnation has ordered everything: nothing below it needs to be resent
        /// to this incarnation.
        verified: Position,
        /// The end of what is at least in memory, where the topic's `flush` lets that count. Never above `verified`.
        appended: Position,
        /// The durable end. Never above `verified`.
        durable: Position,
        /// The follower may become a voter or a transfer target: it has everything that it may have acknowledged, since
        /// it has no holes and is durably no suspect, and its broker does not want to delete it.
        eligible: bool,
    },
    /// The follower does not have the position `previous` of the append.
    Diverged {
        /// That position: tells the answer to the present probe from one to an earlier probe.
        previous: Position,
        /// The end of the follower's log within the greatest epoch that is not above `previous`'s (KIP-595's
        /// diverging epoch), or less where one of the two logs has lost notes of it: the leader looks for a common
        /// position at or below it.
        hint: Position,
    },
}

/// The announcement of a partition's leader and ISR, by the leader itself. The highest epoch wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LeaderAndIsr {
    /// Which partition.
    pub partition: TopicPartition,
    /// The epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who leads it; `None` when the leader has resigned.
    pub leader: Option<BrokerId>,
    /// Counts the announcements of one epoch, so that a delayed one is recognised.
    pub version: u32,
    /// Voters whose end is current, ascending.
    pub isr: Vec<BrokerId>,
}

/// A request to release a replica, which is neither in the target nor in the reported voters of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReleaseRequest {
    /// Which partition.
    pub partition: TopicPartition,
    /// The highest epoch that the replica has entered: no leader of an earlier epoch can release it.
    pub leader_epoch: LeaderEpoch,
    /// The end of the metadata that make the replica unwanted: no leader that has not applied them can release it.
    pub metadata_offset: Offset,
}

/// A broker's request to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControllerRequest {
    /// Register me (again, with this incarnation).
    Register(BrokerRegistration),
    /// Begin a controlled shutdown of the sender: assign it no new replicas.
    Stopping,
    /// Allocate a block of producer ids.
    AllocateProducerIds,
    /// A partition's committed voters.
    ReportVoters(Vec<VoterReport>),
    /// An administrative request of one of the sender's clients.
    Client(Box<ForwardedRequest>),
}

/// The controller's response to a broker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControllerResponse {
    /// The receiver is not the controller. It names the leader of the metadata quorum, where it knows one.
    NotController(Option<BrokerId>),
    /// A decision, which is committed.
    Decided {
        /// What.
        decision: Decision,
        /// The end of the metadata that contain the change, exclusive; all of them are committed.
        metadata_end: Offset,
    },
}

/// What the controller decides.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    /// The change has been made.
    Done,
    /// Refused, with the reason.
    Refused(String),
    /// Producer ids from the first, inclusive, to the second, exclusive.
    ProducerIds(ProducerId, ProducerId),
    /// The controller's build does not know the API of a client's request, or its version.
    Unsupported,
    /// The answer to a client's request.
    Client(Box<ForwardedResponse>),
}

/// How to reach peers, by broker: `host:port` of their peer listeners.
pub type PeerAddresses = BTreeMap<BrokerId, String>;
