//! Orders of the state machine to a log store, the store's reports, queries, and what recovery returns.
//!
//! The orders of one replica run in the order given, each with a sequence number of its own. A report names that number
//! and the position reached, so the completion of an append can never be taken for that of another append at the same
//! offset (counter-example 9).

use std::ops::Range;

use bincode::{Decode, Encode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{
    BrokerId, ClusterId, DirectoryId, Incarnation, LeaderEpoch, Offset, Timestamp, TopicPartition,
    Voter,
};
use crate::log::{Entry, Note, Position};
use crate::producer::ProducerTable;
use crate::record::BatchHeader;

/// Sequence number of an order to one replica. Within one incarnation of the node, no number of a partition is used
/// twice: a replica that is created starts after the greatest number that the node has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OrderSeq(pub u64);

/// An order to change one replica's stored state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose.
    pub replica: TopicPartition,
    /// Its number.
    pub seq: OrderSeq,
    /// What.
    pub kind: OrderKind,
}

/// What is ordered. Every order is reported once, by a [`Completion`] at [`Stage::Durable`], with these exceptions: an
/// append with [`Flush::Replicated`] is reported at [`Stage::Written`] first; an append for which there is no room is
/// reported at [`Stage::Refused`] instead, and a fill that leaves something missing at [`Stage::Unfilled`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Create an empty log. Always the first order to a replica that was not recovered.
    Create {
        /// The voters that count until the log's first voter note.
        voters: Vec<Voter>,
    },
    /// Append entries after `after`, which is the log's end when the order runs. Batches that would use the reserve are
    /// refused, and so is every append that follows a refused one. Notes need only the journal. Records of the metadata
    /// log may use the reserve, since deleting a topic takes one.
    Append {
        /// The log's end before the append.
        after: Position,
        /// The entries, in log order.
        entries: Vec<Entry>,
        /// Nothing below this offset will be truncated; exclusive. A hint for checkpoints.
        high_watermark: Offset,
        /// When the append must be durable.
        flush: Flush,
        /// When to start a new segment.
        roll: Roll,
    },
    /// Truncate the log to `to`, notes included. Never below the high watermark. If the append up to `to` was refused,
    /// there is nothing to truncate.
    Truncate {
        /// The log's end after the truncation.
        to: Position,
    },
    /// Store a vote. It is kept twice, since a voter that has lost its vote may vote twice in one epoch.
    StoreVote(Vote),
    /// Store the replica's mark.
    SetMark(Mark),
    /// Write batches from a peer into a hole. Every batch has the offset and epoch of the missing one. Batches that are
    /// not missing are skipped.
    Fill {
        /// The batches, in order.
        batches: Vec<crate::record::Batch>,
    },
    /// Write and sync something that changes nothing, to see whether the disk still can.
    Probe,
    /// Store that this range is lost for good: an admin said so, or a majority never had it.
    AcceptLoss {
        /// Offsets, end exclusive.
        range: Range<Offset>,
    },
    /// Store a snapshot of the metadata image, replacing all earlier ones.
    SaveSnapshot {
        /// The committed position up to which the image has applied the log.
        at: Position,
        /// The encoded image.
        image: Bytes,
    },
    /// Delete everything of the replica.
    Delete,
}

impl OrderKind {
    /// Bytes that the order counts for in queues: mostly those of its records.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(Entry::weight).sum(),
            Self::Fill { batches } => batches.iter().map(crate::record::Batch::size).sum(),
            Self::SaveSnapshot { image, .. } => image.len(),
            Self::Create { .. }
            | Self::Truncate { .. }
            | Self::StoreVote(_)
            | Self::SetMark(_)
            | Self::Probe
            | Self::AcceptLoss { .. }
            | Self::Delete => 0,
        }
    }
}

/// When a segment is full, by its topic's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Roll {
    /// `segment.bytes`: a segment does not grow beyond this.
    pub bytes: u32,
    /// `segment.ms`: a batch starts a new segment if its greatest timestamp is more than this many milliseconds above
    /// that of the segment's first batch.
    pub ms: i64,
}

impl Default for Roll {
    /// Kafka's defaults: 1 GiB, 7 days.
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// When an append must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum Flush {
    /// With the next group commit.
    Commit,
    /// Within a time bound, after it has been acknowledged.
    Replicated,
}

/// A replica's vote and the epoch that it is given in.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Vote {
    /// The highest epoch seen.
    pub leader_epoch: LeaderEpoch,
    /// Whom this replica voted for in it. Never changed once given.
    pub voted_for: Option<Voter>,
}

/// A voter change in a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct VoterChange {
    /// Epoch of the leader that appended the change.
    pub leader_epoch: LeaderEpoch,
    /// The number of notes up to and including the change's own.
    pub notes: u64,
    /// The voters from that note on.
    pub voters: Vec<Voter>,
}

impl VoterChange {
    /// Whether a log that ends here decides the outcome of this change. There is one log per epoch, so a log of the
    /// same epoch that is long enough has the change. If a log that ends in a later epoch does not have it, it was not
    /// committed, or was given up as lost.
    #[must_use]
    pub fn outcome_is_known_at(&self, end: Position) -> bool {
        (end.leader_epoch, end.notes) >= self.place()
    }

    pub(super) const fn place(&self) -> (LeaderEpoch, u64) {
        (self.leader_epoch, self.notes)
    }
}

/// What a replica's acknowledgements are worth after its next start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub enum Mark {
    /// Everything acknowledged was durable.
    #[default]
    Clean,
    /// Acknowledgements may be ahead of the disk: a power cut from here on makes it suspect.
    Volatile,
    /// Something acknowledged may be missing. Journalled at the start, before anything else (counter-example 4).
    Suspect,
    /// The replica was created after the partition, and has not caught up yet. An earlier copy may have been here and
    /// deleted: then its votes may be missing as well, and the new log may name old voters.
    New,
}

impl Mark {
    /// Whether something that the replica acknowledged may be missing.
    #[must_use]
    pub const fn is_suspect(self) -> bool {
        match self {
            Self::Clean | Self::Volatile => false,
            Self::Suspect | Self::New => true,
        }
    }
}

/// How far an order got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Stage {
    /// The append could not be written and has changed nothing. Every later append of the replica that builds on it is
    /// refused too, and reported so; all other orders are executed. Reported before any later order of the replica.
    Refused(Refusal),
    /// A batch of a fill did not fit the hole, or there was no room for it: at least that hole is still open. Reported
    /// before any later order of the replica.
    Unfilled,
    /// Written to the operating system: survives the process.
    Written,
    /// On disk: survives a power cut.
    Durable,
}

/// Why an append was refused. It may be retried later in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Refusal {
    /// The disk is full, for any append.
    DiskFull,
    /// The process or the system has no descriptor or memory left for this append.
    OutOfResources,
}

/// The report on an order and, since orders run in sequence, on all earlier ones of its replica, except those reported
/// as refused or unfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Completion {
    /// Whose order.
    pub replica: TopicPartition,
    /// Which.
    pub seq: OrderSeq,
    /// The log's end after it.
    pub position: Position,
    /// How far it got.
    pub stage: Stage,
}

/// Why a directory's store has stopped executing orders.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum StoreFailure {
    /// A write or sync failed. The directory is offline for the rest of this incarnation.
    Offline(String),
}

/// Numbers the queries of one node within an incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct QueryId(pub u64);

/// A lookup in one replica's log. Answered once, by `Input::QueryDone`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Query {
    /// Its number.
    pub id: QueryId,
    /// Whose log.
    pub replica: TopicPartition,
    /// What.
    pub kind: QueryKind,
}

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum QueryKind {
    /// Whole batches from the one that holds `offset` on, up to `end` and about `bytes_max`, but at least one batch.
    Read {
        /// The first offset to read.
        offset: Offset,
        /// Exclusive.
        end: Offset,
        /// The first batch is returned even where it is larger.
        bytes_max: u32,
    },
    /// The first record at or above `timestamp` below `end` (ListOffsets by timestamp).
    OffsetForTimestamp {
        /// The timestamp to look up.
        timestamp: Timestamp,
        /// Exclusive.
        end: Offset,
    },
    /// The record below `end` with the greatest timestamp, the earliest of equals (KIP-734).
    MaxTimestamp {
        /// Exclusive.
        end: Offset,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryResult {
    /// Whole consecutive batches; empty if `offset` is at the end.
    Records(Bytes),
    /// A record, or none.
    Found(Option<(Offset, Timestamp, LeaderEpoch)>),
    /// The lookup failed.
    Failed(ReadError),
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ReadError {
    /// The bytes are damaged or missing. The store has journalled the hole.
    Hole(Range<Offset>),
    /// The offset is not in the log.
    OutOfRange,
    /// There is no such replica, the directory is offline, or descriptors or memory are short at the moment.
    Unavailable,
}

/// What recovery found in a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// The cluster that the directory was formatted for or has joined; `None` if neither.
    pub cluster: Option<ClusterId>,
    /// Whose directory it is.
    pub broker: BrokerId,
    /// Its id.
    pub directory: DirectoryId,
    /// This start's number, already durable.
    pub incarnation: Incarnation,
    /// Every replica.
    pub replicas: Vec<RecoveredReplica>,
}

/// What recovery found of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredReplica {
    /// Whose.
    pub replica: TopicPartition,
    /// The voters that count until the log's first voter note; empty if the record of the creation is lost.
    pub voters: Vec<Voter>,
    /// The first offset that is kept.
    pub log_start_offset: Offset,
    /// Number of notes before those in `notes`.
    pub notes_below: u64,
    /// The notes, in order.
    pub notes: Vec<Note>,
    /// The log's end: everything before it was journalled.
    pub end: Position,
    /// A high watermark that the replica once knew; the present one may be above.
    pub high_watermark: Offset,
    /// The vote.
    pub vote: Vote,
    /// The mark, after recovery has judged it by boot id and journal.
    pub mark: Mark,
    /// Voter changes whose notes the log has lost.
    pub lost_voter_changes: Vec<VoterChange>,
    /// Ranges below the end whose bytes are damaged or missing, ascending.
    pub holes: Vec<Range<Offset>>,
    /// Producer state at `producers_offset`.
    pub producers: ProducerTable,
    /// Exclusive; at most the recovered high watermark or the log's end.
    pub producers_offset: Offset,
    /// Headers of the batches from `producers_offset` to the end, in order.
    pub headers: Vec<BatchHeader>,
    /// The latest metadata snapshot, where there is one.
    pub snapshot: Option<(Position, Bytes)>,
}

impl RecoveredReplica {
    /// An empty log with these voters.
    #[must_use]
    pub fn empty(replica: TopicPartition, voters: Vec<Voter>) -> Self {
        Self {
            replica,
            voters,
            log_start_offset: Offset(0),
            notes_below: 0,
            notes: Vec::new(),
            end: Position::default(),
            high_watermark: Offset(0),
            vote: Vote::default(),
            mark: Mark::Clean,
            lost_voter_changes: Vec::new(),
            holes: Vec::new(),
            producers: ProducerTable::default(),
            producers_offset: Offset(0),
            headers: Vec::new(),
            snapshot: None,
        }
    }
}
