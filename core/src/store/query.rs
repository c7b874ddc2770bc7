//! Answering queries from segment files.
//!
//! Queries change nothing, so any number may run at once. A query that meets damage fails with it, and the driver has
//! [`LogStore::examine`] journal the hole before it reports to the state machine.

use std::ops::Range;

use bytes::Bytes;

use crate::hooks::Mutant;
use crate::ids::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use crate::record::{Batch, BatchHeader};
use crate::store::index::{self, OffsetEntry, TimeEntry};
use crate::store::open_files::OpenFiles;
use crate::store::replica::{Hole, Segment, StoredReplica};
use crate::store::replica_log::ReplicaLog;
use crate::store::segment::{self, FileKind, Step, Walk, is_plausible, read_batch};
use crate::store::store::LogStore;
use crate::store::{
    Disk, DiskError, DiskFile, Query, QueryKind, QueryResult, ReadError, StoreFailure, bad_sectors,
};

/// A batch is not decompressed beyond this many bytes.
const DECOMPRESSED_MAX: usize = 256 << 20;

/// Index entries that are tried for a verified one before the segment is read from its start.
const ENTRIES_TRIED_MAX: usize = 4;

/// A file that cannot be opened or read at the moment says nothing about the log: the replica is unavailable meanwhile.
impl From<DiskError> for ReadError {
    fn from(_: DiskError) -> Self {
        Self::Unavailable
    }
}

type QueryOutcome<T> = Result<T, ReadError>;
type FoundRecord = (Offset, Timestamp, LeaderEpoch);

impl<D: Disk> LogStore<D> {
    /// Answers a query. Everything that was executed is visible, durable or not.
    ///
    /// A [`ReadError::Hole`] must be handed to [`LogStore::examine`] before it is reported.
    #[must_use]
    pub fn query(&self, query: &Query) -> QueryResult {
        let Some(log) = self.online_log(query.replica) else {
            return QueryResult::Failed(ReadError::Unavailable);
        };
        let reader = self.reader(query.replica, log);
        let answer = match query.kind {
            QueryKind::Read {
                offset,
                end,
                bytes_max,
            } => reader
                .read(offset, end, bytes_max)
                .map(QueryResult::Records),
            QueryKind::OffsetForTimestamp { timestamp, end } => {
                reader.offset_for(timestamp, end).map(QueryResult::Found)
            }
            QueryKind::MaxTimestamp { end } => reader.max_timestamp(end).map(QueryResult::Found),
        };
        match answer {
            Ok(result) => result,
            Err(error) => QueryResult::Failed(error),
        }
    }

    /// Examines a range that a query or the scrub found damaged, and journals the holes in it. Returns the holes, old
    /// and new, that overlap the range; none if it reads intact this time.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn examine(
        &mut self,
        replica: TopicPartition,
        range: Range<Offset>,
    ) -> Result<Vec<Range<Offset>>, StoreFailure> {
        self.health.check_online()?;
        let Some(log) = self.online_log(replica) else {
            return Ok(Vec::new());
        };
        let reader = self.reader(replica, log);
        let found = reader.holes_in(&range);
        if self.hooks.is(Mutant::GivesUpUnreadable) && reader.is_unreadable(&range) {
            self.health.fail("input/output error".to_owned());
            self.health.check_online()?;
        }
        // If the range cannot be examined at the moment, nothing is known to be damaged, and the reader retries.
        for hole in found.unwrap_or_default() {
            self.add_hole(replica, hole);
            self.commits.request();
        }
        let Some(log) = self.online_log(replica) else {
            return Ok(Vec::new());
        };
        let holes = log.state.open_holes();
        Ok(holes
            .filter(|hole| hole.start < range.end && range.start < hole.end)
            .collect())
    }

    /// A reader of a replica's log that uses the files that are open.
    pub(super) const fn reader<'a>(
        &'a self,
        replica: TopicPartition,
        log: &'a ReplicaLog,
    ) -> LogReader<'a, D> {
        LogReader {
            disk: &self.disk,
            files: Some(&self.files),
            replica,
            log,
        }
    }

    fn online_log(&self, replica: TopicPartition) -> Option<&ReplicaLog> {
        self.replicas
            .get(&replica)
            .filter(|_| self.health.is_online())
    }
}

/// Reads one replica's log.
pub(super) struct LogReader<'a, D: Disk> {
    pub(super) disk: &'a D,
    /// The store's open files, for readers that hold the store.
    pub(super) files: Option<&'a OpenFiles<D::File>>,
    pub(super) replica: TopicPartition,
    pub(super) log: &'a ReplicaLog,
}

impl<D: Disk> LogReader<'_, D> {
    const fn state(&self) -> &StoredReplica {
        &self.log.state
    }

    fn read(&self, offset: Offset, end: Offset, bytes_max: u32) -> QueryOutcome<Bytes> {
        let state = self.state();
        if offset < state.log_start_offset || offset > state.end.end_offset {
            return Err(ReadError::OutOfRange);
        }
        let mut offset = offset;
        // Accepted losses are skipped, like what compaction removed.
        while let Some(hole) = state.hole_at(offset) {
            if !hole.accepted {
                return Err(ReadError::Hole(hole.offsets.clone()));
            }
            offset = hole.offsets.end;
        }
        let end = end.min(state.end.end_offset);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let Some(index) = state.segment_of(offset) else {
            return Err(ReadError::OutOfRange);
        };
        let segment = &state.segments[index];
        let file = self.open_for_query(index)?;
        let Some((position, header)) = self.find(index, &file, offset)? else {
            return self.damaged(index, &file, offset);
        };
        let stop = state
            .holes
            .iter()
            .find(|hole| hole.offsets.start > offset)
            .map_or(end, |hole| end.min(hole.offsets.start));
        let bytes = read_run(
            &file,
            state,
            segment.length,
            position,
            &header,
            stop,
            bytes_max,
        )?;
        if bytes.is_empty() && header.base_offset < stop {
            return self.damaged(index, &file, header.base_offset);
        }
        Ok(bytes)
    }

    /// Fails with the damaged range at `offset`.
    fn damaged<T>(&self, index: usize, file: &D::File, offset: Offset) -> QueryOutcome<T> {
        let holes = self.holes_in_segment(index, file, &(offset..offset.plus(1)))?;
        let range = holes
            .first()
            .map_or(offset..offset.plus(1), |hole| hole.offsets.clone());
        Err(ReadError::Hole(range))
    }

    pub(super) fn open(&self, segment: &Segment) -> Result<D::File, DiskError> {
        self.open_file(segment, FileKind::Log)
    }

    fn open_file(&self, segment: &Segment, kind: FileKind) -> Result<D::File, DiskError> {
        let name = (self.replica, segment.base_offset, kind);
        match self.files.and_then(|files| files.get(name)) {
            Some(file) => Ok(file.clone()),
            None => {
                let path = segment::path(self.replica, segment.base_offset, kind);
                self.disk.open(&path)
            }
        }
    }

    /// Opens a segment for a query: a missing segment is a hole.
    fn open_for_query(&self, index: usize) -> QueryOutcome<D::File> {
        let segment = &self.state().segments[index];
        match self.open(segment) {
            Err(DiskError::NotFound) => {
                let end = self.state().segment_end(index);
                Err(ReadError::Hole(segment.base_offset..end))
            }
            opened => Ok(opened?),
        }
    }

    /// Position and header of the batch that holds `offset`; `None` if damage is in the way.
    pub(super) fn find(
        &self,
        index: usize,
        file: &D::File,
        offset: Offset,
    ) -> Result<Option<(u32, BatchHeader)>, DiskError> {
        let mut walk = self.walk_to(index, file, offset)?;
        loop {
            match walk.peek()? {
                Step::Header(header) if header.next_offset() > offset => {
                    return Ok(Some((walk.position, header)));
                }
                Step::Header(header) => walk.pass(&header),
                Step::Damaged => {
                    let Some(hole) = self.hole_from(index, file, walk.position, walk.expected)?
                    else {
                        return Ok(None);
                    };
                    if hole.offsets.end > offset {
                        return Ok(None);
                    }
                    walk.jump(hole.bytes.end, hole.offsets.end);
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// A walk that starts as close before `offset` as is safe: at the last index entry that a walk from the entry
    /// before it reaches. A rotten entry alone may point to a copy of its batch that a misdirected write has left
    /// elsewhere.
    pub(super) fn walk_to<'f>(
        &'f self,
        index: usize,
        file: &'f D::File,
        offset: Offset,
    ) -> Result<Walk<'f, D::File>, DiskError> {
        let state = self.state();
        let segment = &state.segments[index];
        let mut start = (0, segment.base_offset);
        for hole in &state.holes {
            if hole.segment == segment.base_offset && hole.offsets.end <= offset {
                start = (hole.bytes.end, hole.offsets.end);
            }
        }
        let walk =
            |(position, expected)| Walk::new(file, state, position, segment.length, expected);
        let mut target = None;
        let mut below = offset;
        for _ in 0..ENTRIES_TRIED_MAX {
            let entry = self.lookup(segment, below)?;
            let Some(entry) = entry.filter(|entry| entry.offset >= start.1) else {
                break;
            };
            below = Offset(entry.offset.0 - 1);
            let Some(header) = self.verify_offset_entry(segment, file, entry)? else {
                continue;
            };
            let from = (entry.position, header.base_offset);
            if let Some(target) = target.replace(from)
                && let Some(arrived) = advance_to(walk(from), target)?
            {
                return Ok(arrived);
            }
        }
        match target {
            Some(target) => Ok(advance_to(walk(start), target)?.unwrap_or_else(|| walk(start))),
            None => Ok(walk(start)),
        }
    }

    pub(super) fn lookup(
        &self,
        segment: &Segment,
        offset: Offset,
    ) -> Result<Option<OffsetEntry>, DiskError> {
        let (tail, in_file) = self.index_of(segment);
        if let Some(entry) = tail.and_then(|tail| tail.lookup(offset)) {
            return Ok(Some(entry));
        }
        match self.open_index(segment, FileKind::OffsetIndex, in_file.0) {
            Some(file) => index::lookup(&file, segment.base_offset, in_file.0, offset),
            None => Ok(None),
        }
    }

    /// The buffered index entries of a segment, and the numbers of entries in its files.
    pub(super) fn index_of(&self, segment: &Segment) -> (Option<&index::IndexTail>, (u32, u32)) {
        match self.log.index() {
            Some(tail) if tail.segment() == segment.base_offset => (Some(tail), tail.in_files()),
            Some(_) | None => (None, (segment.offset_entries, segment.time_entries)),
        }
    }

    /// An index is a hint: `None` if it cannot be opened.
    pub(super) fn open_index(
        &self,
        segment: &Segment,
        kind: FileKind,
        entries: u32,
    ) -> Option<D::File> {
        let file = (entries > 0).then(|| self.open_file(segment, kind))?;
        file.ok()
    }

    /// The header of the batch that an index entry points to, if that is there and is the entry's batch.
    pub(super) fn verify_offset_entry(
        &self,
        segment: &Segment,
        file: &D::File,
        entry: OffsetEntry,
    ) -> Result<Option<BatchHeader>, DiskError> {
        let mut bytes = [0; crate::record::HEADER_SIZE];
        if entry.position >= segment.length
            || bad_sectors::read(file, entry.position.into(), &mut bytes)? < bytes.len()
        {
            return Ok(None);
        }
        let room = segment.length - entry.position;
        Ok(BatchHeader::parse(&bytes).ok().filter(|header| {
            header.last_offset() == entry.offset
                && header.base_offset >= segment.base_offset
                && is_plausible(header, header.base_offset, room, self.state())
        }))
    }

    /// The damage within `range` that is not known as holes yet.
    pub(super) fn holes_in(&self, range: &Range<Offset>) -> Result<Vec<Hole>, DiskError> {
        let state = self.state();
        let mut holes = Vec::new();
        for (index, segment) in state.segments.iter().enumerate() {
            if segment.base_offset >= range.end || state.segment_end(index) <= range.start {
                continue;
            }
            match self.open(segment) {
                Ok(file) => holes.extend(self.holes_in_segment(index, &file, range)?),
                Err(DiskError::NotFound) => holes.push(Hole {
                    offsets: segment.base_offset..state.segment_end(index),
                    segment: segment.base_offset,
                    bytes: 0..segment.length,
                    accepted: false,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(holes)
    }

    /// For a mutant: whether a byte of a segment in `range` cannot be read. A directory must never go offline for that.
    fn is_unreadable(&self, range: &Range<Offset>) -> bool {
        let state = self.state();
        let segments = state.segments.iter().enumerate();
        let mut asked = segments.filter(|&(index, segment)| {
            segment.base_offset < range.end && state.segment_end(index) > range.start
        });
        asked.any(|(_, segment)| {
            let mut bytes = vec![0; segment.length as usize];
            let read = self.open(segment).map(|file| file.read_at(0, &mut bytes));
            matches!(read, Ok(Err(DiskError::Io(_))))
        })
    }

    /// The damage of a segment within `range` that is not known yet, and before it from where the walk starts: every
    /// batch on the way is checked, since one with a rotten length leads to a place where no batch starts.
    fn holes_in_segment(
        &self,
        index: usize,
        file: &D::File,
        range: &Range<Offset>,
    ) -> Result<Vec<Hole>, DiskError> {
        let state = self.state();
        let mut holes = Vec::new();
        let mut walk = self.walk_to(index, file, range.start)?;
        while walk.expected < range.end {
            if let Some(known) = state.hole_at(walk.expected) {
                walk.jump(known.bytes.end, known.offsets.end);
                continue;
            }
            match walk.peek()? {
                Step::End => break,
                Step::Header(header) if walk.batch(&header)?.is_some() => walk.pass(&header),
                Step::Header(_) | Step::Damaged => {
                    let Some(hole) = self.hole_from(index, file, walk.position, walk.expected)?
                    else {
                        break;
                    };
                    walk.jump(hole.bytes.end, hole.offsets.end);
                    holes.push(hole);
                }
            }
        }
        Ok(holes)
    }

    /// The extent of the damage that starts at `position`, where the batch with offset `expected` should be: up to the
    /// next intact batch that is known to belong where it is.
    pub(super) fn hole_from(
        &self,
        index: usize,
        file: &D::File,
        position: u32,
        expected: Offset,
    ) -> Result<Option<Hole>, DiskError> {
        let state = self.state();
        let segment = &state.segments[index];
        let segment_end = (segment.length, state.segment_end(index));
        let hole_to = |(end, next): (u32, Offset)| {
            (next > expected).then_some(Hole {
                offsets: expected..next,
                segment: segment.base_offset,
                bytes: position..end,
                accepted: false,
            })
        };
        // First its own header, if the next batch confirms its length.
        let mut walk = Walk::new(file, state, position, segment.length, expected);
        if let Step::Header(header) = walk.peek()? {
            walk.pass(&header);
            let at = (walk.position, walk.expected);
            if at == segment_end || is_followed(&mut walk, segment_end)? {
                return Ok(hole_to(at));
            }
        }
        // Then the uncommitted batches, whose headers and places are in memory.
        for known in &state.tail {
            if known.place.segment == segment.base_offset
                && known.place.position > position
                && known.header.base_offset > expected
                && read_batch(file, known.place.position, known.header.size())?
                    .is_some_and(|batch| batch.header == known.header)
            {
                return Ok(hole_to((known.place.position, known.header.base_offset)));
            }
        }
        // Then the index, which has some of the others.
        let mut from = position;
        while let Some(entry) = self.entry_after(segment, from)? {
            if entry.position <= from || entry.position >= segment.length {
                break;
            }
            from = entry.position;
            if let Some(header) = self.verify_offset_entry(segment, file, entry)?
                && header.base_offset > expected
                && read_batch(file, entry.position, header.size())?.is_some()
            {
                return Ok(hole_to((entry.position, header.base_offset)));
            }
        }
        Ok(hole_to(segment_end))
    }

    pub(super) fn entry_after(
        &self,
        segment: &Segment,
        position: u32,
    ) -> Result<Option<OffsetEntry>, DiskError> {
        let (tail, in_file) = self.index_of(segment);
        if let Some(file) = self.open_index(segment, FileKind::OffsetIndex, in_file.0)
            && let Some(entry) = index::after(&file, segment.base_offset, in_file.0, position)?
        {
            return Ok(Some(entry));
        }
        Ok(tail.and_then(|tail| tail.after(position)))
    }

    fn offset_for(&self, timestamp: Timestamp, end: Offset) -> QueryOutcome<Option<FoundRecord>> {
        let state = self.state();
        let end = end.min(state.end.end_offset);
        for (index, segment) in state.segments.iter().enumerate() {
            if segment.base_offset >= end {
                break;
            }
            let reaches = segment.max_timestamp >= timestamp;
            if !reaches || state.segment_end(index) <= state.log_start_offset {
                continue;
            }
            let start = self.lookup_time(index, timestamp)?;
            let start = start.max(state.log_start_offset);
            let mut found = None;
            self.scan(index, start, end, |batch| {
                if batch.header.max_timestamp >= timestamp {
                    found = first_at(&batch, timestamp, start, end);
                }
                found.is_none()
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first offset where a record at or above `timestamp` can be. A time index entry says that no record up to its
    /// batch has a later timestamp; it is used only if the batch confirms it.
    fn lookup_time(&self, index: usize, timestamp: Timestamp) -> QueryOutcome<Offset> {
        let segment = &self.state().segments[index];
        let (tail, in_file) = self.index_of(segment);
        let entry = match tail.and_then(|tail| tail.lookup_time(timestamp)) {
            Some(entry) => Some(entry),
            None => match self.open_index(segment, FileKind::TimeIndex, in_file.1) {
                Some(file) => index::lookup_time(&file, segment.base_offset, in_file.1, timestamp)?,
                None => None,
            },
        };
        let Some(entry) = entry.filter(|entry| entry.offset > segment.base_offset) else {
            return Ok(segment.base_offset);
        };
        Ok(if self.verify_time_entry(index, entry)? {
            entry.offset
        } else {
            segment.base_offset
        })
    }

    /// Whether the batch that a time index entry names is there and has that timestamp.
    pub(super) fn verify_time_entry(
        &self,
        index: usize,
        entry: TimeEntry,
    ) -> Result<bool, DiskError> {
        let file = match self.open(&self.state().segments[index]) {
            Err(DiskError::NotFound) => return Ok(false),
            opened => opened?,
        };
        let found = self.find(index, &file, entry.offset)?;
        Ok(found.is_some_and(|(_, header)| {
            header.base_offset == entry.offset && header.max_timestamp == entry.timestamp
        }))
    }

    fn max_timestamp(&self, end: Offset) -> QueryOutcome<Option<FoundRecord>> {
        let state = self.state();
        let end = end.min(state.end.end_offset);
        let mut best: Option<FoundRecord> = None;
        for (index, segment) in state.segments.iter().enumerate() {
            let start = state.log_start_offset.max(segment.base_offset);
            let is_above = best.is_none_or(|(_, best, _)| segment.max_timestamp > best);
            if segment.base_offset >= end || state.segment_end(index) <= start || !is_above {
                continue;
            }
            let from = self.lookup_time(index, segment.max_timestamp)?.max(start);
            let mut found = self.greatest_from(index, from, end)?;
            let is_it = found.is_some_and(|(_, found, _)| found >= segment.max_timestamp);
            if !is_it && from > start {
                // The record with the segment's greatest timestamp is not in `start..end`.
                found = self.greatest_from(index, start, end)?;
            }
            let is_greater = |found: &FoundRecord| best.is_none_or(|(_, best, _)| found.1 > best);
            best = found.filter(is_greater).or(best);
        }
        Ok(best)
    }

    /// The record of a segment with the greatest timestamp and its offset in `start..end`; the first of equals.
    fn greatest_from(
        &self,
        index: usize,
        start: Offset,
        end: Offset,
    ) -> QueryOutcome<Option<FoundRecord>> {
        let mut best: Option<FoundRecord> = None;
        // A header has the greatest timestamp of its batch. A batch is decompressed only if that is the greatest of
        // all, or if the batch is only partly in the range.
        let mut whole: Option<Batch> = None;
        self.scan(index, start, end, |batch| {
            let header = &batch.header;
            let of_whole = whole.as_ref().map(|batch| batch.header.max_timestamp);
            let known = best.map(|(_, timestamp, _)| timestamp).max(of_whole);
            if Some(header.max_timestamp) <= known {
                return true;
            }
            if header.base_offset >= start && header.next_offset() <= end {
                whole = Some(batch);
            } else if let Some(found) = greatest_in(&batch, start, end)
                && Some(found.1) > known
            {
                best = Some(found);
                whole = None;
            }
            true
        })?;
        let of_whole = whole.and_then(|batch| greatest_in(&batch, start, end));
        Ok(of_whole.or(best))
    }

    /// Calls `take` with the batches of a segment from `start` to `end` until it returns false. Each batch is verified:
    /// the fields that a header has about its records are covered by the CRC of the whole batch.
    fn scan(
        &self,
        index: usize,
        start: Offset,
        end: Offset,
        mut take: impl FnMut(Batch) -> bool,
    ) -> QueryOutcome<()> {
        let state = self.state();
        let file = self.open_for_query(index)?;
        let mut walk = self.walk_to(index, &file, start)?;
        loop {
            if let Some(hole) = state.hole_at(walk.expected) {
                if !hole.accepted {
                    return Err(ReadError::Hole(hole.offsets.clone()));
                }
                walk.jump(hole.bytes.end, hole.offsets.end);
                continue;
            }
            match walk.peek()? {
                Step::Header(header) if header.base_offset >= end => return Ok(()),
                Step::Header(header) => {
                    if header.next_offset() > start {
                        let Some(batch) = walk.batch(&header)? else {
                            return self.damaged(index, &file, header.base_offset);
                        };
                        if !take(batch) {
                            return Ok(());
                        }
                    }
                    walk.pass(&header);
                }
                Step::Damaged => return self.damaged(index, &file, walk.expected),
                Step::End => return Ok(()),
            }
        }
    }
}

/// Advances a walk to `target`; `None` if the walk does not pass exactly there.
fn advance_to<'f, F: DiskFile>(
    mut walk: Walk<'f, F>,
    target: (u32, Offset),
) -> Result<Option<Walk<'f, F>>, DiskError> {
    while walk.position < target.0 {
        match walk.peek()? {
            Step::Header(header) => walk.pass(&header),
            Step::Damaged | Step::End => return Ok(None),
        }
    }
    Ok(((walk.position, walk.expected) == target).then_some(walk))
}

/// Whether an intact batch is at the walk's position and the one after it, or the segment's end, confirms where it
/// ends. One batch is not enough: the CRC does not cover its base offset, which is wrong if the same bit has rotted in
/// it and in the last offset delta of the batch before.
fn is_followed<F: DiskFile>(
    walk: &mut Walk<'_, F>,
    segment_end: (u32, Offset),
) -> Result<bool, DiskError> {
    let Step::Header(next) = walk.peek()? else {
        return Ok(false);
    };
    if walk.batch(&next)?.is_none() {
        return Ok(false);
    }
    walk.pass(&next);
    Ok(match walk.peek()? {
        Step::Header(_) => true,
        Step::End => (walk.position, walk.expected) == segment_end,
        Step::Damaged => false,
    })
}

/// The first record of a batch at or above `timestamp`, with its offset in `start..end`.
fn first_at(
    batch: &Batch,
    timestamp: Timestamp,
    start: Offset,
    end: Offset,
) -> Option<FoundRecord> {
    records_of(batch).find(|&(offset, at, _)| at >= timestamp && offset >= start && offset < end)
}

/// The record of a batch with the greatest timestamp and its offset in `start..end`; the first of equals.
fn greatest_in(batch: &Batch, start: Offset, end: Offset) -> Option<FoundRecord> {
    let mut best: Option<FoundRecord> = None;
    for found in records_of(batch) {
        let is_in = found.0 >= start && found.0 < end;
        if is_in && best.is_none_or(|best| found.1 > best.1) {
            best = Some(found);
        }
    }
    best
}

/// Offsets and timestamps of a batch's records. A batch that cannot be decompressed counts as one record, with its
/// greatest timestamp at its last offset: it was examined before it was appended, so that would be a codec's bug.
fn records_of(batch: &Batch) -> impl Iterator<Item = FoundRecord> {
    let header = batch.header;
    let records = batch.records(DECOMPRESSED_MAX).ok();
    let whole = records.is_none().then_some((
        header.last_offset(),
        header.max_timestamp,
        header.leader_epoch,
    ));
    records
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .map(move |record| (record.offset, record.timestamp, header.leader_epoch))
        .chain(whole)
}

/// Intact batches from `position` on, where the batch `first` is, up to `stop`: at least that one, unless it is
/// damaged.
fn read_run<F: DiskFile>(
    file: &F,
    state: &StoredReplica,
    length: u32,
    position: u32,
    first: &BatchHeader,
    stop: Offset,
    bytes_max: u32,
) -> Result<Bytes, DiskError> {
    let one = segment::size(first).min(length - position);
    let wanted = bytes_max.max(one).min(length - position);
    let mut bytes = vec![0; wanted as usize];
    let read = bad_sectors::read(file, position.into(), &mut bytes)?;
    bytes.truncate(read);
    let bytes = Bytes::from(bytes);
    let mut rest = bytes.clone();
    let mut expected = first.base_offset;
    while expected < stop {
        let passed = u32::try_from(bytes.len() - rest.len()).expect("less than was wanted");
        let room = length - position - passed;
        match Batch::split_from(&mut rest) {
            Ok(batch)
                if is_plausible(&batch.header, expected, room, state) && batch.verify().is_ok() =>
            {
                expected = batch.header.next_offset();
            }
            Ok(batch) => {
                let kept = bytes.len() - rest.len() - batch.size();
                return Ok(bytes.slice(..kept));
            }
            Err(_) => break,
        }
    }
    let kept = bytes.len() - rest.len();
    Ok(bytes.slice(..kept))
}
