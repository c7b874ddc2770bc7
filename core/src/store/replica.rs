//! The stored state of one replica, in memory.
//!
//! All of it follows from the replica's journal records, in order. A checkpoint stores a [`StoredReplica`], and
//! executing an order and replaying its record after a crash lead to the same one.

use std::collections::VecDeque;
use std::ops::Range;

use crate::ids::{LogClock, Offset, Timestamp, TopicPartition, Voter};
use crate::log::{Note, NoteKind, Position, clock_at};
use crate::producer::ProducerTable;
use crate::record::BatchHeader;
use crate::store::index::{OffsetEntry, TimeEntry};
use crate::store::{Mark, RecoveredReplica, Roll, Vote, VoterChange};

/// One replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StoredReplica {
    /// The voters that count until the log's first voter note.
    pub(super) voters: Vec<Voter>,
    /// The first offset that is kept.
    pub(super) log_start_offset: Offset,
    /// Number of notes before `notes`.
    pub(super) notes_below: u64,
    /// The notes, in order.
    pub(super) notes: Vec<Note>,
    /// The log's end.
    pub(super) end: Position,
    /// The log clock at the end.
    pub(super) clock: LogClock,
    /// The greatest high watermark that an append has named; at most the end.
    pub(super) high_watermark: Offset,
    pub(super) vote: Vote,
    pub(super) mark: Mark,
    /// Voter changes whose notes the log has lost; empty once the replica is not a suspect any more.
    pub(super) lost_voter_changes: Vec<VoterChange>,
    /// What is damaged or missing below the end: ascending, not overlapping.
    pub(super) holes: Vec<Hole>,
    /// Ascending by base offset. Only the last one grows.
    pub(super) segments: Vec<Segment>,
    /// The batches from `producers_offset` to the end: those that may still be truncated, so there are few.
    pub(super) tail: VecDeque<TailBatch>,
    /// Producer state at `producers_offset`.
    pub(super) producers: ProducerTable,
    /// Exclusive.
    pub(super) producers_offset: Offset,
    pub(super) snapshot: Option<Snapshot>,
}

/// A segment's logical content; the file may have meaningless bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Offset of its first batch, and its name.
    pub(super) base_offset: Offset,
    /// Bytes.
    pub(super) length: u32,
    /// Greatest timestamp of its batches; `Timestamp::NONE` where it has none.
    pub(super) max_timestamp: Timestamp,
    /// Base offset of the first batch with `max_timestamp`.
    pub(super) max_timestamp_offset: Offset,
    /// Greatest timestamp of its first batch, from which its age counts.
    pub(super) first_timestamp: Timestamp,
    /// Entries of its offset index.
    pub(super) offset_entries: u32,
    /// Entries of its time index.
    pub(super) time_entries: u32,
    /// Timestamp of the last entry of its time index.
    pub(super) last_time_entry: Timestamp,
    /// Bytes since the last entry of the offset index.
    pub(super) unindexed: u32,
}

/// A batch above the high watermark, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailBatch {
    pub(super) header: BatchHeader,
    /// The log clock at this batch.
    pub(super) clock: LogClock,
    /// Where it starts: the end of the last segment before it, or a new segment.
    pub(super) place: Place,
    /// The segment before this batch was appended, to which truncation restores it. `None` if the batch is the
    /// segment's first.
    pub(super) before: Option<Segment>,
}

/// A place in a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's base offset.
    pub(super) segment: Offset,
    /// The byte in it.
    pub(super) position: u32,
}

/// Offsets whose bytes are damaged or missing, within one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    /// End exclusive.
    pub(super) offsets: Range<Offset>,
    /// The segment's base offset.
    pub(super) segment: Offset,
    /// Their bytes in the segment, end exclusive.
    pub(super) bytes: Range<u32>,
    /// Accepted as lost for good: nobody requests it, and reads skip it.
    pub(super) accepted: bool,
}

/// A metadata snapshot's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) at: Position,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// What a batch adds to its segment's indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexEntries {
    pub(super) offset: Option<OffsetEntry>,
    pub(super) time: Option<TimeEntry>,
}

impl Segment {
    pub(super) const fn new(base_offset: Offset) -> Self {
        Self {
            base_offset,
            length: 0,
            max_timestamp: Timestamp(-1),
            max_timestamp_offset: base_offset,
            first_timestamp: Timestamp(-1),
            offset_entries: 0,
            time_entries: 0,
            last_time_entry: Timestamp(-1),
            unindexed: 0,
        }
    }

    /// Whether `header` belongs in a new segment, by Kafka's rules: size, age by record timestamps, and index
    /// entries that must fit 31 bits.
    pub(super) fn is_full_for(&self, header: &BatchHeader, roll: Roll) -> bool {
        let size = u64::try_from(header.size()).expect("a batch's size fits 64 bits");
        let length = u64::from(self.length) + size;
        let too_large = length > u64::from(roll.bytes.min(i32::MAX.unsigned_abs()));
        let too_old = header
            .max_timestamp
            .0
            .saturating_sub(self.first_timestamp.0)
            > roll.ms;
        let too_far = header.last_offset().0 - self.base_offset.0 > i64::from(i32::MAX);
        self.length > 0 && (too_large || too_old || too_far)
    }

    /// Appends a batch to the segment.
    pub(super) fn push(&mut self, header: &BatchHeader, interval: u32) -> IndexEntries {
        let mut entries = IndexEntries::default();
        if self.unindexed > interval {
            entries.offset = Some(OffsetEntry {
                offset: header.last_offset(),
                position: self.length,
            });
            self.offset_entries += 1;
            self.unindexed = 0;
            entries.time = self.time_entry();
        }
        if self.length == 0 {
            self.first_timestamp = header.max_timestamp;
        }
        if self.length == 0 || header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.base_offset;
        }
        let size = u32::try_from(header.size()).expect("a batch is shorter than 2^31 bytes");
        self.length += size;
        self.unindexed = self.unindexed.saturating_add(size);
        entries
    }

    /// The time index entry that is due, if the greatest timestamp has grown since the last entry.
    pub(super) fn time_entry(&mut self) -> Option<TimeEntry> {
        if self.length == 0 || self.max_timestamp <= self.last_time_entry {
            return None;
        }
        self.last_time_entry = self.max_timestamp;
        self.time_entries += 1;
        Some(TimeEntry {
            timestamp: self.max_timestamp,
            offset: self.max_timestamp_offset,
        })
    }
}

impl StoredReplica {
    pub(super) fn new(voters: Vec<Voter>) -> Self {
        Self {
            voters,
            ..Self::default()
        }
    }

    /// Sets the mark, and drops the lost voter changes with the last suspicion: the replica has caught up with a
    /// leader, or leads by the votes of all voters that those changes name.
    pub(super) fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
        if !mark.is_suspect() {
            self.lost_voter_changes.clear();
        }
    }

    /// Adds a voter change whose note is lost. Returns whether it is new.
    pub(super) fn add_lost_voter_change(&mut self, change: &VoterChange) -> bool {
        let is_new = !self.lost_voter_changes.contains(change);
        if is_new {
            self.lost_voter_changes.push(change.clone());
        }
        is_new
    }

    /// Appends a batch at its place. Returns the index entries to write.
    pub(super) fn push_batch(
        &mut self,
        header: BatchHeader,
        place: Place,
        interval: u32,
    ) -> IndexEntries {
        let before = self
            .segments
            .last()
            .filter(|segment| segment.base_offset == place.segment)
            .copied();
        if before.is_none() {
            self.segments.push(Segment::new(place.segment));
        }
        let segment = self
            .segments
            .last_mut()
            .expect("pushed above if there was none");
        assert_eq!(
            segment.length, place.position,
            "a batch is placed at its segment's end"
        );
        let entries = segment.push(&header, interval);
        self.tail.push_back(TailBatch {
            header,
            clock: self.clock,
            place,
            before,
        });
        self.end = Position {
            leader_epoch: header.leader_epoch,
            end_offset: header.next_offset(),
            notes: self.end.notes,
        };
        entries
    }

    pub(super) fn push_note(&mut self, note: Note) {
        self.end = Position {
            leader_epoch: note.leader_epoch,
            end_offset: note.offset,
            notes: self.end.notes + 1,
        };
        if let NoteKind::ClockTick(clock) = note.kind {
            self.clock = clock;
        }
        self.notes.push(note);
    }

    /// Nothing below `offset` will be truncated: applies those batches to the producer state and drops them from the
    /// tail.
    pub(super) fn advance_high_watermark(&mut self, offset: Offset) {
        self.high_watermark = self.high_watermark.max(offset.min(self.end.end_offset));
        while let Some(first) = self.tail.front()
            && first.header.next_offset() <= self.high_watermark
        {
            self.producers.apply(&first.header, first.clock);
            self.producers_offset = first.header.next_offset();
            self.tail.pop_front();
        }
    }

    /// Whether the log may still be truncated to `to`: a position between two entries, not below what is known to be
    /// committed.
    pub(super) fn can_truncate(&self, to: Position) -> bool {
        let is_behind_end = to.end_offset > self.end.end_offset || to.notes > self.end.notes;
        let is_committed = to.end_offset < self.producers_offset || to.notes < self.notes_below;
        let is_within = self.tail.iter().any(|batch| {
            batch.header.base_offset < to.end_offset && to.end_offset < batch.header.next_offset()
        });
        !is_behind_end && !is_committed && !is_within
    }

    /// Truncates the log to `to`. Returns the segments that are left without a batch.
    ///
    /// # Panics
    /// If `to` is below the high watermark or not between two entries.
    pub(super) fn truncate(&mut self, to: Position) -> Vec<Offset> {
        assert!(
            self.can_truncate(to),
            "a log is truncated between two entries, above its high watermark"
        );
        let mut emptied = Vec::new();
        while let Some(last) = self.tail.back()
            && last.header.next_offset() > to.end_offset
        {
            let segment = self
                .segments
                .last_mut()
                .expect("the tail's batches stand in segments");
            match last.before {
                Some(before) => *segment = before,
                None => {
                    emptied.push(segment.base_offset);
                    self.segments.pop();
                }
            }
            self.tail.pop_back();
        }
        let kept = usize::try_from(to.notes - self.notes_below)
            .expect("as many notes as are kept in memory");
        self.notes.truncate(kept);
        self.clock = clock_at(&self.notes, to.end_offset);
        let last = self
            .segments
            .last()
            .map(|last| (last.base_offset, last.length));
        for hole in &mut self.holes {
            hole.offsets.end = hole.offsets.end.min(to.end_offset);
            if let Some((segment, length)) = last
                && segment == hole.segment
            {
                hole.bytes.end = hole.bytes.end.min(length);
            }
        }
        self.holes
            .retain(|hole| hole.offsets.start < hole.offsets.end);
        self.end = to;
        emptied
    }

    /// Adds a hole, merging it with those that it touches.
    pub(super) fn add_hole(&mut self, hole: Hole) {
        if hole.offsets.start >= hole.offsets.end || hole.offsets.start >= self.end.end_offset {
            return;
        }
        let mut merged = hole;
        self.holes.retain(|other| {
            let touches = !other.accepted
                && other.segment == merged.segment
                && other.offsets.start <= merged.offsets.end
                && merged.offsets.start <= other.offsets.end;
            if touches {
                let (a, b) = (&other.offsets, &merged.offsets);
                merged.offsets = a.start.min(b.start)..a.end.max(b.end);
                let (a, b) = (&other.bytes, &merged.bytes);
                merged.bytes = a.start.min(b.start)..a.end.max(b.end);
            }
            !touches
        });
        self.holes.push(merged);
        self.holes.sort_by_key(|hole| hole.offsets.start);
    }

    /// Shortens or closes the hole that starts at `range.start`: its first `bytes` bytes are intact again.
    pub(super) fn fill_hole(&mut self, range: &Range<Offset>, bytes: u32) {
        for hole in &mut self.holes {
            if hole.offsets.start == range.start && !hole.accepted {
                hole.offsets.start = range.end;
                hole.bytes.start += bytes;
            }
        }
        self.holes
            .retain(|hole| hole.offsets.start < hole.offsets.end);
    }

    /// Accepts the loss of every hole within `range`.
    pub(super) fn accept_loss(&mut self, range: &Range<Offset>) {
        for hole in &mut self.holes {
            hole.accepted |= hole.offsets.start >= range.start && hole.offsets.end <= range.end;
        }
    }

    /// The holes whose loss is not accepted, ascending.
    pub(super) fn open_holes(&self) -> impl Iterator<Item = Range<Offset>> {
        let holes = self.holes.iter().filter(|hole| !hole.accepted);
        holes.map(|hole| hole.offsets.clone())
    }

    /// The hole that holds `offset`, accepted or not.
    pub(super) fn hole_at(&self, offset: Offset) -> Option<&Hole> {
        self.holes
            .iter()
            .find(|hole| hole.offsets.contains(&offset))
    }

    /// Index of the segment that holds `offset`.
    pub(super) fn segment_of(&self, offset: Offset) -> Option<usize> {
        self.segments
            .partition_point(|segment| segment.base_offset <= offset)
            .checked_sub(1)
    }

    /// Exclusive end of the offsets in the segment at `index`.
    pub(super) fn segment_end(&self, index: usize) -> Offset {
        self.segments
            .get(index + 1)
            .map_or(self.end.end_offset, |next| next.base_offset)
    }

    /// The leader epoch that a batch at `offset` must carry: that of the last opening at or before it; `None` if there
    /// is none.
    pub(super) fn epoch_at(&self, offset: Offset) -> Option<crate::ids::LeaderEpoch> {
        self.notes
            .iter()
            .rev()
            .find(|note| note.offset <= offset && matches!(note.kind, NoteKind::Opening { .. }))
            .map(|note| note.leader_epoch)
    }

    /// What recovery reports of this replica.
    pub(super) fn recovered(&self, replica: TopicPartition) -> RecoveredReplica {
        RecoveredReplica {
            replica,
            voters: self.voters.clone(),
            log_start_offset: self.log_start_offset,
            notes_below: self.notes_below,
            notes: self.notes.clone(),
            end: self.end,
            high_watermark: self.high_watermark,
            vote: self.vote,
            mark: self.mark,
            lost_voter_changes: self.lost_voter_changes.clone(),
            holes: self.open_holes().collect(),
            producers: self.producers.clone(),
            producers_offset: self.producers_offset,
            headers: self.tail.iter().map(|batch| batch.header).collect(),
            snapshot: None,
        }
    }
}
