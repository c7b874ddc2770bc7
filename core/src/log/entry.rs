//! What a log is made of.
//!
//! A log is a sequence of entries: *batches*, whose records take Kafka's offsets, and *notes*, which take none
//! and carry what Raft needs besides records. So the first record of a topic is offset 0, failovers leave no
//! gaps, and a place in the log is a [`Position`], never a bare offset (counter-example 1, the dropped opening).

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{LeaderEpoch, LogClock, Offset, Voter};
use crate::record::Batch;

/// A place between two entries: everything before it, in the log of the leader of its epoch.
///
/// Compared field by field in this order: within one epoch every entry moves the end offset or the note count, and by log
/// matching the shorter log is a prefix. Raft's *at least as up to date as*, in votes, is not this order: it compares the
/// notes before the end offset, since a log may have lost a note between its batches.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
pub struct Position {
    /// Epoch of the last entry before it, a trailing epoch opening included; 0 where nothing is before it.
    pub leader_epoch: LeaderEpoch,
    /// Offset of the next record: exclusive end.
    pub end_offset: Offset,
    /// Number of notes before it since the log's beginning, those below log start included.
    pub notes: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "e{}@{}+{}",
            self.leader_epoch, self.end_offset, self.notes
        )
    }
}

/// An entry that takes no offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Note {
    /// Epoch of the leader that wrote it.
    pub leader_epoch: LeaderEpoch,
    /// Where it stands: the offset of the next record after it.
    pub offset: Offset,
    /// What it says.
    pub kind: NoteKind,
}

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum NoteKind {
    /// The first entry of every epoch. Once it is committed the leader may expose a high watermark and change voters.
    Opening {
        /// Who leads the epoch.
        leader: Voter,
    },
    /// The voters from here on, effective when appended and undone by truncation; they differ from those
    /// before by one voter. Sorted, without duplicates.
    Voters(Vec<Voter>),
    /// Records below this offset are deleted once the note is committed.
    LogStart(Offset),
    /// The log's clock shows this from here on: one more than before. Producers age by it.
    ClockTick(LogClock),
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    /// Records.
    Batch(Batch),
    /// A note.
    Note(Note),
}

impl Entry {
    /// Epoch of the leader that wrote it.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match self {
            Self::Batch(batch) => batch.header.leader_epoch,
            Self::Note(note) => note.leader_epoch,
        }
    }

    /// Offset of its first record, or where the note stands.
    #[must_use]
    pub fn offset(&self) -> Offset {
        match self {
            Self::Batch(batch) => batch.header.base_offset,
            Self::Note(note) => note.offset,
        }
    }

    /// Its size in queues and messages, in bytes: a batch's size, a small constant for a note.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.size(),
            Self::Note(_) => 64,
        }
    }

    /// The position behind this entry when it stands at `before`.
    #[must_use]
    pub fn position_after(&self, before: Position) -> Position {
        match self {
            Self::Batch(batch) => Position {
                leader_epoch: batch.header.leader_epoch,
                end_offset: batch.header.next_offset(),
                notes: before.notes,
            },
            Self::Note(note) => Position {
                leader_epoch: note.leader_epoch,
                end_offset: note.offset,
                notes: before.notes + 1,
            },
        }
    }
}
