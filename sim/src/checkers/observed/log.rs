//! Logs as the checkers keep them: an entry is a position, and a digest of all that it is.

use std::hash::{Hash as _, Hasher as _};

use varve_core::ids::{LeaderEpoch, Offset, Voter};
use varve_core::log::{Entry, Note, NoteKind, Position};
use varve_core::record::BatchHeader;

use crate::hash::StableHasher;

/// One entry of a log, as small as can tell it from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The position behind it.
    pub after: Position,
    /// Of all that the entry is.
    pub digest: u64,
    /// A batch's first offset, or where the note stands.
    pub offset: Offset,
    /// The batch's CRC; 0 for a note.
    pub crc: u32,
}

/// Index behind the entry that ends at this position; 0 for the beginning.
#[must_use]
pub fn index_of(log: &[Logged], position: Position) -> Option<usize> {
    if position == Position::default() {
        return Some(0);
    }
    let index = log.partition_point(|logged| order(logged.after) < order(position));
    (log.get(index)?.after == position).then_some(index + 1)
}

/// Positions ascend along a log by end offset and notes alone, whatever the epochs are.
pub(super) const fn order(position: Position) -> (i64, u64) {
    (position.end_offset.0, position.notes)
}

pub(super) fn log_entry(entry: &Entry, after: Position) -> Logged {
    match entry {
        Entry::Batch(batch) => Logged {
            after,
            digest: digest_batch(&batch.header),
            offset: batch.header.base_offset,
            crc: batch.header.crc.max(1),
        },
        Entry::Note(note) => Logged {
            after,
            digest: digest_note(note),
            offset: note.offset,
            crc: 0,
        },
    }
}

pub(super) fn digest_note(note: &Note) -> u64 {
    let mut hasher = StableHasher::default();
    note.hash(&mut hasher);
    hasher.finish()
}

pub(super) fn digest_batch(header: &BatchHeader) -> u64 {
    let mut hasher = StableHasher::default();
    header.hash(&mut hasher);
    hasher.finish()
}

/// The voters that a note of this entry names, where it is one.
#[must_use]
pub fn voters_of(entry: &Entry) -> Option<&[Voter]> {
    match entry {
        Entry::Note(note) => match &note.kind {
            NoteKind::Voters(voters) => Some(voters),
            NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => None,
        },
        Entry::Batch(_) => None,
    }
}

/// The last epoch before this index of a log.
#[must_use]
pub fn epoch_before(log: &[Logged], index: usize) -> LeaderEpoch {
    index
        .checked_sub(1)
        .and_then(|last| log.get(last))
        .map_or(LeaderEpoch::default(), |logged| logged.after.leader_epoch)
}
