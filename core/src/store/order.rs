//! What the state machine orders of a log store, and what the store reports.
//!
//! Orders of one replica run in the order given and each is named by a sequence number of its own; a report
//! names that number and the position reached, so the completion of an append can never be taken for that of
//! another append at the same offset (counter-example 9).

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

/// Numbers the orders of one replica, one after the other. Within one incarnation of the node no number of a partition
/// is used twice: a replica that is created begins behind the greatest that the node has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OrderSeq(pub u64);

/// Something to be done to one replica's durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose.
    pub replica: TopicPartition,
    /// Its number.
    pub seq: OrderSeq,
    /// What.
    pub kind: OrderKind,
}

/// What is to be done. Every order is reported once, by a [`Completion`] at [`Stage::Durable`]; an append with
/// [`Flush::Replicated`] is reported at [`Stage::Written`] first, one for which the disk has no room is reported at
/// [`Stage::Refused`] instead, and a fill that leaves something missing at [`Stage::Unfilled`] instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Start an empty log. Always the first order of a replica that was not recovered.
    Create {
        /// The voters until the log's first voter note.
        voters: Vec<Voter>,
    },
    /// Append entries behind `after`, which is the log's end when the order runs. Batches are refused where they would
    /// not leave the reserve alone, and so is everything that stands behind what was refused; notes need the journal
    /// only, and records of the metadata log may use the reserve: deleting a topic takes one.
    Append {
        /// The end before.
        after: Position,
        /// What to append, in order.
        entries: Vec<Entry>,
        /// Below this offset nothing will be truncated any more: exclusive, and a hint for checkpoints.
        high_watermark: Offset,
        /// When it must be durable.
        flush: Flush,
        /// Where a new segment begins.
        roll: Roll,
    },
    /// Drop everything behind `to`, notes included. Never below the high watermark. Where `to` itself was refused there
    /// is nothing to drop.
    Truncate {
        /// The end after.
        to: Position,
    },
    /// Remember a vote; kept twice, since a lost vote is an amnesiac voter.
    StoreVote(Vote),
    /// Remember what this replica's acknowledgements were worth.
    SetMark(Mark),
    /// Put batches that a peer sent into a hole. Every batch has the offset and epoch of the one that is missing; where
    /// nothing is missing any more there is nothing to do.
    Fill {
        /// The batches, in order.
        batches: Vec<crate::record::Batch>,
    },
    /// Write something that changes nothing, and sync it: whether the disk still does that.
    Probe,
    /// Remember that this range is lost for good: an admin's word, or a majority never had it.
    AcceptLoss {
        /// Offsets, end exclusive.
        range: Range<Offset>,
    },
    /// Keep a snapshot of the metadata image in place of all earlier ones.
    SaveSnapshot {
        /// The committed position that the image stands at.
        at: Position,
        /// The encoded image.
        image: Bytes,
    },
    /// Remove every trace of the replica.
    Delete,
}

impl OrderKind {
    /// Bytes that it weighs in queues: those of its records, mostly.
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
    /// `segment.bytes`: it does not grow beyond this.
    pub bytes: u32,
    /// `segment.ms`: it takes no batch whose greatest timestamp is more milliseconds above that of its first batch.
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
    /// Within a bound of time; it is acknowledged earlier.
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

/// A change of a log's voters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct VoterChange {
    /// Of the leader that has made it.
    pub leader_epoch: LeaderEpoch,
    /// The number of notes up to and including the one that names it.
    pub notes: u64,
    /// Who votes from there on.
    pub voters: Vec<Voter>,
}

impl VoterChange {
    /// Whether a log that ends here tells what has become of it: in one epoch there is one log, so one that is long enough
    /// has it; and where one of a later epoch does not have it, it was not committed, or has been given up as lost.
    #[must_use]
    pub fn outcome_is_known_at(&self, end: Position) -> bool {
        (end.leader_epoch, end.notes) >= self.place()
    }

    pub(super) const fn place(&self) -> (LeaderEpoch, u64) {
        (self.leader_epoch, self.notes)
    }
}

/// What a replica's word is worth after its next start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub enum Mark {
    /// Everything acknowledged was durable.
    #[default]
    Clean,
    /// Acknowledgements may be ahead of the disk: a power cut from here on makes it suspect.
    Volatile,
    /// Something acknowledged may be missing. Journalled before anything else (counter-example 4).
    Suspect,
    /// The replica was made when others had voted and acknowledged, and has not caught up yet. It may have been there before,
    /// and deleted: then its own votes may be missing as well, and its log names voters of long ago.
    New,
}

impl Mark {
    /// Whether something that the replica has acknowledged may be missing.
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
    /// The append could not be written and has changed nothing. Everything that its replica orders behind the refused end
    /// is refused too, and reported so; all other orders go on. Reported before any later order of the replica.
    Refused(Refusal),
    /// A batch of a fill did not fit where one is missing, or found no room: at least the hole that it was for is still
    /// there. Reported before any later order of the replica.
    Unfilled,
    /// Handed to the operating system: survives the process.
    Written,
    /// On disk: survives a power cut.
    Durable,
}

/// Why an append was refused. Either is worth another try in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Refusal {
    /// The disk is full, and so no directory for any append.
    DiskFull,
    /// The process or the system has no descriptor or no memory left for this one.
    OutOfResources,
}

/// The report on an order and, since they run in order, on all earlier ones of its replica that were not refused or
/// left something unfilled.
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

/// Why a directory's store stopped doing what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum StoreFailure {
    /// A write or sync failed. The directory is offline for the rest of this incarnation.
    Offline(String),
}

/// Numbers the queries of one node within an incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct QueryId(pub u64);

/// Something to be looked up in one replica's log. Answered once, by `Input::QueryDone`.
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
    /// Whole batches from the one that holds `offset` on, up to `end` and about `bytes_max`, at least one.
    Read {
        /// Where to start.
        offset: Offset,
        /// Exclusive.
        end: Offset,
        /// The first batch is returned even where it is larger.
        bytes_max: u32,
    },
    /// The first record at or above `timestamp` below `end` (ListOffsets by timestamp).
    OffsetForTimestamp {
        /// What is sought.
        timestamp: Timestamp,
        /// Exclusive.
        end: Offset,
    },
    /// The record with the greatest timestamp below `end`, the earliest of equals (KIP-734).
    MaxTimestamp {
        /// Exclusive.
        end: Offset,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryResult {
    /// Whole batches, one behind the other; empty where `offset` is at the end.
    Records(Bytes),
    /// A record, or none.
    Found(Option<(Offset, Timestamp, LeaderEpoch)>),
    /// It could not be looked up.
    Failed(ReadError),
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum ReadError {
    /// The bytes are damaged or missing. The store has journalled the hole.
    Hole(Range<Offset>),
    /// The offset is not in the log (any more).
    OutOfRange,
    /// No such replica, the directory is offline, or there is no descriptor or no memory for it at the moment.
    Unavailable,
}

/// What a directory holds when a node starts on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// The cluster that it was formatted for or has joined; `None` for an empty directory.
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

/// What a directory holds of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredReplica {
    /// Whose.
    pub replica: TopicPartition,
    /// The voters until the first voter note.
    pub voters: Vec<Voter>,
    /// The first offset that is kept.
    pub log_start_offset: Offset,
    /// Number of notes before those in `notes`.
    pub notes_below: u64,
    /// The notes, in order.
    pub notes: Vec<Note>,
    /// The log's end: everything before it was journalled.
    pub end: Position,
    /// A high watermark that it once had; the true one may be above.
    pub high_watermark: Offset,
    /// The vote.
    pub vote: Vote,
    /// The mark, after recovery has judged it by boot id and journal.
    pub mark: Mark,
    /// Changes of the voters of which the log has lost the notes.
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
    /// A log that holds nothing yet, of these voters.
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
