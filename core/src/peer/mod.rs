//! What brokers say to each other.
//!
//! Between two brokers there is one link each way. A link delivers in order and whole, or breaks; after a break
//! it comes back with a new session, and whatever was under way is lost. One [`Heartbeat`] a link speaks for all
//! partitions; everything about one partition is a [`ReplicaMessage`].

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

/// Who is at the other end of a link, told in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PeerIdentity {
    /// The cluster that it belongs to; `None` while it has joined none.
    pub cluster: Option<ClusterId>,
    /// The broker.
    pub broker: BrokerId,
    /// The directory that it runs on.
    pub directory: DirectoryId,
    /// This start of it.
    pub incarnation: Incarnation,
}

impl PeerIdentity {
    /// The voter that it is.
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
    /// I am here.
    Heartbeat(Heartbeat),
    /// About one partition.
    Replica(ReplicaMessage),
    /// Who leads: what has changed, or all that the sender leads when a link comes up.
    Leaders(Vec<LeaderAndIsr>),
    /// How brokers are reached, as the sender knows. A node that starts knows its bootstrap addresses and an image
    /// that may be old; without this it could not answer a leader that it has not heard of.
    Peers(PeerAddresses),
    /// A replica that is wanted no more asks the leader of its partition to let it go.
    Release(ReleaseRequest),
    /// The answer, where the leader does.
    Released {
        /// Which partition.
        partition: TopicPartition,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// As in the request that this answers: the replica may have been wanted again since, and be no more.
        metadata_offset: Offset,
    },
    /// Something for the controller.
    ControllerRequest {
        /// Chosen by the sender, named in the answer.
        id: u64,
        /// What.
        request: ControllerRequest,
    },
    /// The controller's answer.
    ControllerResponse {
        /// Of the request.
        id: u64,
        /// What.
        response: ControllerResponse,
    },
    /// To every voter of the metadata: up to where may anybody have been told of the cluster?
    ReadIndex {
        /// Numbers the rounds of the sender.
        round: u64,
    },
    /// The answer.
    ReadIndexReply(ReadIndexReply),
}

/// What a voter of the metadata knows of where they end (Raft dissertation, 6.4).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReadIndexReply {
    /// As asked.
    pub round: u64,
    /// The latest leader epoch of the metadata that the voter has entered.
    pub leader_epoch: LeaderEpoch,
    /// What a leader has to say whose opening is committed.
    pub leader: Option<ReadIndex>,
}

/// A leader's word on where its log ends, as far as it is committed.
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
    /// `sent_at` of the latest heartbeat that the sender has had from the addressee in the addressee's present
    /// incarnation: proof that the addressee was heard *after* it sent that. Check-quorum counts from there.
    pub echo: Option<Instant>,
    /// How long the sender's directory has kept its oldest order waiting; zero while none waits
    /// (counter-example 8: the disk hangs, the network loop goes on).
    pub disk_stalled: Duration,
    /// What the sender's directory takes.
    pub directory: DirectoryState,
}

/// What a broker's directory takes, as the broker says with every heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DirectoryState {
    /// Everything.
    #[default]
    Online,
    /// No records until it says otherwise, since as many wait for the disk as may: but votes and notes.
    Behind,
    /// No records until it says otherwise, since the disk is full: but votes and notes.
    Full,
    /// Nothing any more: a write or a sync has failed.
    Offline,
}

impl DirectoryState {
    /// Whether it takes records.
    #[must_use]
    pub const fn takes_records(self) -> bool {
        matches!(self, Self::Online)
    }
}

/// A message about one partition from one replica of it to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ReplicaMessage {
    /// Which partition. A receiver that does not know it refuses; it never creates one.
    pub partition: TopicPartition,
    /// The sending replica.
    pub from: Voter,
    /// The addressed replica. Another directory of the same broker is another replica, and ignores it.
    pub to: Voter,
    /// The sender's leader epoch; for a pre-vote, the epoch of the election that it would start.
    pub leader_epoch: LeaderEpoch,
    /// What it says.
    pub body: ReplicaBody,
}

/// What a candidate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteRequest {
    /// Its log's end.
    pub end: Position,
    /// The changes of the voters that it has lost or heard of as lost, and of which its log does not tell what became.
    pub lost_voter_changes: Vec<VoterChange>,
}

/// The answer of one that is asked for its vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteReply {
    /// The epoch of the election that it was asked for.
    pub election: LeaderEpoch,
    /// Why it is not given; `None` where it is.
    pub refusal: Option<VoteRefusal>,
    /// Whether it is worth less: the voter is a suspect.
    pub marked: bool,
    /// As in [`VoteRequest`].
    pub lost_voter_changes: Vec<VoterChange>,
}

impl VoteReply {
    /// Whether the vote is given.
    #[must_use]
    pub const fn is_granted(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Why a vote, or the promise of one, is not given. Nothing is decided by it: it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum VoteRefusal {
    /// The epoch is not later than the voter's own.
    EpochOver,
    /// The voter hears a leader, or leads.
    HasLeader,
    /// The voter has voted in this epoch, for another replica or for itself.
    HasVoted,
    /// The candidate's log is behind the voter's.
    LogBehind,
    /// The voter is new, or its log is not all on its disk.
    MayNotVote,
    /// The voter's disk hangs, and could not store the vote.
    DiskHangs,
}

/// What replicas of a partition say.
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
    /// The leader's log (Raft 5.3).
    Append(Append),
    /// The answer.
    AppendReply(AppendReply),
    /// Stand now: you have everything (Raft dissertation, 3.10).
    TransferLeadership,
    /// I do not lead this epoch any more; do not wait for the timeout.
    Resigned,
    /// I have entered this epoch, and follow the leader of an earlier one no more.
    EpochEntered,
    /// Are you still in my epoch? Asked by a leader for what only the latest one can tell (Raft dissertation, 6.4).
    ConfirmLeadership {
        /// Which time it asks.
        round: LeadershipRound,
    },
    /// The answer: yes where it comes in the leader's own epoch.
    ConfirmLeadershipReply {
        /// As asked.
        round: LeadershipRound,
    },
    /// Send me what I have lost.
    FillRequest {
        /// First offset of the hole.
        offset: Offset,
        /// Epoch of the record there.
        record_epoch: LeaderEpoch,
        /// Exclusive.
        end: Offset,
    },
    /// What the sender has of it: whole batches, ascending; empty where it has nothing.
    FillReply {
        /// First offset of the hole, as asked.
        offset: Offset,
        /// The batches.
        batches: Vec<Batch>,
        /// Where the sender has not the record at `offset`, and takes none of an earlier epoch any more, since its epoch is
        /// durable.
        denial: Option<Denial>,
    },
}

/// What it is worth that a replica has not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Denial {
    /// It never had it.
    NeverHad,
    /// It is a suspect, and may have had it and acknowledged it.
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

/// Numbers the times that a leader has its leadership confirmed, within its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LeadershipRound(pub u64);

impl LeadershipRound {
    /// The one behind it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Entries to append, or a probe or notice where there are none.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Append {
    /// The follower must have exactly this position.
    pub previous: Position,
    /// What comes behind it.
    pub entries: Vec<Entry>,
    /// Committed by the sender; a default position until its opening is.
    pub committed: Position,
    /// The sender's own end, up to which a suspect must be durable before it is cleared.
    pub leader_end: Position,
    /// When these entries must be durable at the follower.
    pub flush: Flush,
    /// Whether the leader waits for an answer although there may be nothing to append.
    pub probe: bool,
}

/// What an append came to. Sent again when durability catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum AppendReply {
    /// The follower's log equals the leader's.
    Matched {
        /// As ordered, so up to here nothing need be sent again: this incarnation has it or falls with it.
        verified: Position,
        /// In memory, at least, where the topic's policy lets that count. Never above `verified`.
        appended: Position,
        /// On disk. Never above `verified`.
        durable: Position,
        /// The follower may be made a voter, or be handed leadership: nothing is missing of what it may have acknowledged,
        /// since it has no holes and is durably no suspect, and its broker does not want to delete it.
        eligible: bool,
    },
    /// The follower does not have the position that it was asked for.
    Diverged {
        /// That position: tells the answer to the present question from one to an earlier.
        previous: Position,
        /// The end of the follower's log within the greatest epoch that is not above `previous`'s (KIP-595's
        /// diverging epoch), or less where one of the two logs has lost notes of it: the leader looks for a common
        /// position at or below it.
        hint: Position,
    },
}

/// One partition's leader, as its quorum has it. The highest epoch wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct LeaderAndIsr {
    /// Which partition.
    pub partition: TopicPartition,
    /// The epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who leads it; `None` when the leader has resigned.
    pub leader: Option<BrokerId>,
    /// Counts the announcements of one epoch, so that a late one is known as such.
    pub version: u32,
    /// Voters whose end is current, ascending.
    pub isr: Vec<BrokerId>,
}

/// Neither the target nor the reported voters of a partition have the sender's replica: may it be deleted?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct ReleaseRequest {
    /// Which partition.
    pub partition: TopicPartition,
    /// The highest epoch that the replica has seen: no leader of an earlier one can tell.
    pub leader_epoch: LeaderEpoch,
    /// The metadata that say so are before this offset: no leader that has not applied them can tell.
    pub metadata_offset: Offset,
}

/// What a broker asks of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControllerRequest {
    /// Register me (again, with this incarnation).
    Register(BrokerRegistration),
    /// I am about to stop: move my leaderships away.
    Stopping,
    /// Give me a block of producer ids.
    AllocateProducerIds,
    /// A partition's committed voters.
    ReportVoters(Vec<VoterReport>),
    /// An administrative request that one of my clients sent.
    Client(Box<ForwardedRequest>),
}

/// What the controller answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControllerResponse {
    /// Ask somebody else: this broker leads the metadata quorum, if any.
    NotController(Option<BrokerId>),
    /// It is decided.
    Decided {
        /// What.
        decision: Decision,
        /// Where the metadata end that have what was done, exclusive; all of them are committed.
        metadata_end: Offset,
    },
}

/// What the controller decides.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Decision {
    /// Done.
    Done,
    /// Refused, in words.
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
