//! Sparse indexes of a segment, in the formats of Kafka's `.index` and `.timeindex` files.
//!
//! ```text
//! .index      last offset of a batch, less the base offset  i32 | position of the batch  i32
//! .timeindex  greatest timestamp so far                     i64 | offset of its batch, less the base offset  i32
//! ```
//! Indexes are hints. The replica's state has the number of valid entries; entries after those are obsolete. An entry
//! is used only if the batch that it points to confirms it, so a damaged index only makes lookups slower.

use crate::ids::{Offset, Timestamp};
use crate::store::replica::{IndexEntries, Segment};
use crate::store::{DiskError, DiskFile, bad_sectors};

/// Bytes of an entry of the offset index.
const OFFSET_ENTRY: usize = 8;
/// Bytes of an entry of the time index.
const TIME_ENTRY: usize = 12;
/// Entries are written to the files when this many are buffered.
const BUFFERED_MAX: usize = 128;

/// An entry of the offset index: where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    /// Offset of its last record, inclusive.
    pub(super) offset: Offset,
    /// Its first byte.
    pub(super) position: u32,
}

/// An entry of the time index: no record up to this batch has a later timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: Timestamp,
    /// Base offset of the first batch with that timestamp.
    pub(super) offset: Offset,
}

/// The entries of a replica's last segment that are not in its index files yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexTail {
    segment: Offset,
    offsets_written: u32,
    times_written: u32,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
}

impl IndexTail {
    /// An index whose valid entries are all in the files.
    pub(super) const fn written(segment: &Segment) -> Self {
        Self {
            segment: segment.base_offset,
            offsets_written: segment.offset_entries,
            times_written: segment.time_entries,
            offsets: Vec::new(),
            times: Vec::new(),
        }
    }

    pub(super) const fn segment(&self) -> Offset {
        self.segment
    }

    pub(super) fn push(&mut self, entries: IndexEntries) {
        self.offsets.extend(entries.offset);
        self.times.extend(entries.time);
    }

    /// Follows a truncation; `segment` is the last segment after it.
    pub(super) fn truncate(&mut self, segment: &Segment) {
        if segment.base_offset != self.segment {
            *self = Self::written(segment);
            return;
        }
        self.offsets_written = self.offsets_written.min(segment.offset_entries);
        self.times_written = self.times_written.min(segment.time_entries);
        let kept = segment.offset_entries - self.offsets_written;
        self.offsets.truncate(kept.try_into().unwrap_or(usize::MAX));
        let kept = segment.time_entries - self.times_written;
        self.times.truncate(kept.try_into().unwrap_or(usize::MAX));
    }

    pub(super) fn is_full(&self) -> bool {
        self.offsets.len() >= BUFFERED_MAX || self.times.len() >= BUFFERED_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.times.is_empty()
    }

    /// Writes the buffered entries.
    pub(super) fn write<F: DiskFile>(&mut self, offsets: &F, times: &F) -> Result<(), DiskError> {
        let base = self.segment.0;
        let mut bytes = Vec::new();
        for entry in &self.offsets {
            bytes.extend_from_slice(&relative(entry.offset, base).to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bad_sectors::overwrite(offsets, at(self.offsets_written, OFFSET_ENTRY), &[&bytes])?;
        bytes.clear();
        for entry in &self.times {
            bytes.extend_from_slice(&entry.timestamp.0.to_be_bytes());
            bytes.extend_from_slice(&relative(entry.offset, base).to_be_bytes());
        }
        bad_sectors::overwrite(times, at(self.times_written, TIME_ENTRY), &[&bytes])?;
        self.offsets_written += count(self.offsets.len());
        self.times_written += count(self.times.len());
        self.offsets.clear();
        self.times.clear();
        Ok(())
    }

    /// The last buffered entry at or below `offset`.
    pub(super) fn lookup(&self, offset: Offset) -> Option<OffsetEntry> {
        let found = self.offsets.partition_point(|entry| entry.offset <= offset);
        self.offsets.get(found.checked_sub(1)?).copied()
    }

    /// The last buffered entry below `timestamp`.
    pub(super) fn lookup_time(&self, timestamp: Timestamp) -> Option<TimeEntry> {
        let found = self
            .times
            .partition_point(|entry| entry.timestamp < timestamp);
        self.times.get(found.checked_sub(1)?).copied()
    }

    /// The first buffered entry above `position`.
    pub(super) fn after(&self, position: u32) -> Option<OffsetEntry> {
        let found = self
            .offsets
            .partition_point(|entry| entry.position <= position);
        self.offsets.get(found).copied()
    }

    /// Number of entries in the files.
    pub(super) const fn in_files(&self) -> (u32, u32) {
        (self.offsets_written, self.times_written)
    }
}

/// The last of the file's first `entries` entries whose offset is at or below `offset`.
pub(super) fn lookup<F: DiskFile>(
    file: &F,
    base: Offset,
    entries: u32,
    offset: Offset,
) -> Result<Option<OffsetEntry>, DiskError> {
    let found = search(entries, |index| {
        Ok(read_offset(file, base, index)?.is_some_and(|entry| entry.offset <= offset))
    })?;
    match found.checked_sub(1) {
        None => Ok(None),
        Some(index) => read_offset(file, base, index),
    }
}

/// The last of the file's first `entries` entries whose timestamp is below `timestamp`.
pub(super) fn lookup_time<F: DiskFile>(
    file: &F,
    base: Offset,
    entries: u32,
    timestamp: Timestamp,
) -> Result<Option<TimeEntry>, DiskError> {
    let found = search(entries, |index| {
        Ok(read_time(file, base, index)?.is_some_and(|entry| entry.timestamp < timestamp))
    })?;
    match found.checked_sub(1) {
        None => Ok(None),
        Some(index) => read_time(file, base, index),
    }
}

/// The first of the file's first `entries` entries whose position is above `position`.
pub(super) fn after<F: DiskFile>(
    file: &F,
    base: Offset,
    entries: u32,
    position: u32,
) -> Result<Option<OffsetEntry>, DiskError> {
    let found = search(entries, |index| {
        Ok(read_offset(file, base, index)?.is_some_and(|entry| entry.position <= position))
    })?;
    if found < entries {
        read_offset(file, base, found)
    } else {
        Ok(None)
    }
}

/// Whether the file has its first `entries` entries, offsets and positions strictly ascending.
pub(super) fn is_ascending_by_offset<F: DiskFile>(
    file: &F,
    entries: u32,
) -> Result<bool, DiskError> {
    let key = |bytes: [u8; OFFSET_ENTRY]| {
        let [a, b, c, d, position @ ..] = bytes;
        (
            i32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes(position),
        )
    };
    is_ascending(file, entries, key)
}

/// Whether the file has its first `entries` entries, timestamps and offsets strictly ascending.
pub(super) fn is_ascending_by_time<F: DiskFile>(file: &F, entries: u32) -> Result<bool, DiskError> {
    let key = |bytes: [u8; TIME_ENTRY]| {
        let (timestamp, offset) = bytes.split_first_chunk().expect("twelve bytes");
        let offset = offset.first_chunk().expect("four bytes are left");
        (i64::from_be_bytes(*timestamp), i32::from_be_bytes(*offset))
    };
    is_ascending(file, entries, key)
}

/// Whether the file has its first `entries` entries, both halves of their keys strictly ascending.
fn is_ascending<F: DiskFile, A: PartialOrd, B: PartialOrd, const N: usize>(
    file: &F,
    entries: u32,
    key: impl Fn([u8; N]) -> (A, B),
) -> Result<bool, DiskError> {
    let mut bytes = vec![0; length_of(entries) * N];
    let length = bad_sectors::read(file, 0, &mut bytes)?;
    let (found, _) = bytes[..length].as_chunks::<N>();
    let keys: Vec<_> = found.iter().map(|entry| key(*entry)).collect();
    let is_ascending = keys
        .windows(2)
        .all(|it| it[0].0 < it[1].0 && it[0].1 < it[1].1);
    Ok(is_ascending && keys.len() == length_of(entries))
}

/// How many of `entries` come before the first for which `is_before` does not hold.
fn search(
    entries: u32,
    mut is_before: impl FnMut(u32) -> Result<bool, DiskError>,
) -> Result<u32, DiskError> {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The offset index entry at `index`; `None` if the file ends before it.
pub(super) fn read_offset<F: DiskFile>(
    file: &F,
    base: Offset,
    index: u32,
) -> Result<Option<OffsetEntry>, DiskError> {
    let mut bytes = [0; OFFSET_ENTRY];
    if bad_sectors::read(file, at(index, OFFSET_ENTRY), &mut bytes)? < OFFSET_ENTRY {
        return Ok(None);
    }
    let [a, b, c, d, position @ ..] = bytes;
    Ok(Some(OffsetEntry {
        offset: base.plus(i32::from_be_bytes([a, b, c, d]).into()),
        position: u32::from_be_bytes(position),
    }))
}

/// The time index entry at `index`; `None` if the file ends before it.
pub(super) fn read_time<F: DiskFile>(
    file: &F,
    base: Offset,
    index: u32,
) -> Result<Option<TimeEntry>, DiskError> {
    let mut bytes = [0; TIME_ENTRY];
    if bad_sectors::read(file, at(index, TIME_ENTRY), &mut bytes)? < TIME_ENTRY {
        return Ok(None);
    }
    let (timestamp, offset) = bytes.split_first_chunk().expect("twelve bytes");
    let offset = *offset.first_chunk().expect("four bytes are left");
    Ok(Some(TimeEntry {
        timestamp: Timestamp(i64::from_be_bytes(*timestamp)),
        offset: base.plus(i32::from_be_bytes(offset).into()),
    }))
}

fn at(index: u32, entry_size: usize) -> u64 {
    u64::from(index) * u64::try_from(entry_size).expect("entries are a few bytes")
}

fn length_of(entries: u32) -> usize {
    usize::try_from(entries).expect("addresses have 32 bits at least")
}

fn relative(offset: Offset, base: i64) -> i32 {
    i32::try_from(offset.0 - base).expect("a segment is closed before its offsets exceed 31 bits")
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).expect("entries are written long before there are so many")
}
