//! The scrub: reads everything once within an interval, to find rot where nobody else reads.
//!
//! It goes round all replicas in small steps, each within one segment, spread evenly: the share of all bytes that a
//! step has covered decides how long the next one waits. Consecutive starts of a node begin at places far apart, so
//! that a node that is restarted often covers everything too.
//!
//! A step reads without holding the store, from a copy of the state, and bypasses the page cache, which may have intact
//! bytes where the disk has rot. So its findings are preliminary, and [`LogStore::finish_scrub`] examines them: what is
//! damaged in the cache as well is a hole, and is journalled; what is intact there is written again, since the next
//! power cut takes the cache away.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::time::Duration;

use crate::hooks::{Hooks, Mutant};
use crate::ids::{Incarnation, Offset, TopicPartition};
use crate::record::Batch;
use crate::store::index::{self, IndexTail};
use crate::store::query::LogReader;
use crate::store::replica::Segment;
use crate::store::replica_log::ReplicaLog;
use crate::store::segment::{self, FileKind, Step, Walk};
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, StoreFailure, bad_sectors};
use crate::time::Instant;

/// About how many bytes a step reads: few enough not to delay other reads.
const STEP_BYTES: u64 = 256 << 10;

/// Added to each replica's bytes as its weight in a round, so that empty replicas take time too.
const REPLICA_WEIGHT: u64 = 4096;

/// 2^64 divided by the golden ratio: multiples of it, modulo 2^64, lie far from each other.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The scrub's progress in one store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scrub {
    /// Where the next step starts; `None` before the first.
    cursor: Option<ScrubPlace>,
    /// When the next step may begin.
    due: Instant,
    /// Whether a step is running.
    running: bool,
}

/// A place in a round: an offset in a replica's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ScrubPlace {
    replica: TopicPartition,
    offset: Offset,
}

/// A step of the scrub, detached from the store.
#[derive(Debug)]
pub struct ScrubTicket<D: Disk> {
    disk: D,
    replica: TopicPartition,
    log: ReplicaLog,
    start: Offset,
    index_interval_bytes: u32,
    hooks: Hooks,
}

/// The outcome of a step's reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where the next step continues in the replica; `None` at its end.
    next: Option<Offset>,
    /// Bytes read or skipped.
    bytes: u64,
    /// Ranges that are damaged on the disk.
    damaged: Vec<Range<Offset>>,
    /// The rebuilt indexes of a segment whose index files are damaged or missing.
    index: Option<IndexTail>,
}

/// The result of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The replica that the step read.
    pub replica: TopicPartition,
    /// Journalled holes to report to the broker, ascending: those that the step has found; at the log's end, all that
    /// the log has.
    pub holes: Vec<Range<Offset>>,
    /// Ranges that were damaged on the disk and intact in the page cache, and have been written again. Ascending.
    pub rewritten: Vec<Range<Offset>>,
}

#[cfg(test)]
impl Scrubbed {
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn suspects_something(&self) -> bool {
        !self.damaged.is_empty()
    }
}

impl<D: Disk> ScrubTicket<D> {
    /// Reads and checks. Waits for the disk; call it without holding the store.
    #[must_use]
    pub fn run(&self) -> Scrubbed {
        let reader = LogReader {
            disk: &self.disk,
            files: None,
            replica: self.replica,
            log: &self.log,
        };
        let mut scrubbed = Scrubbed::default();
        // On an error the scrub continues with the next replica: a disk that fails here will soon fail elsewhere.
        scrubbed.next = reader.check(self, &mut scrubbed).unwrap_or_default();
        scrubbed
    }
}

impl<D: Disk> LogStore<D> {
    /// Begins a step if one is due. Run the ticket as for a commit; everything else continues meanwhile. `None` for a
    /// directory that is offline.
    #[must_use]
    pub fn begin_scrub(&mut self, now: Instant) -> Option<ScrubTicket<D>> {
        if self.next_scrub_deadline().is_none_or(|due| now < due) {
            return None;
        }
        let cursor = match self.scrub.cursor {
            Some(cursor) => cursor,
            None => first_cursor(&self.replicas, self.incarnation),
        };
        let mut here = self.replicas.range(cursor.replica..);
        let Some((&replica, log)) = here.next().or_else(|| self.replicas.iter().next()) else {
            self.scrub.due = now + self.options.scrub_interval;
            return None;
        };
        self.scrub.running = true;
        Some(ScrubTicket {
            disk: self.disk.clone(),
            replica,
            log: log.for_reading(),
            index_interval_bytes: self.options.index_interval_bytes,
            hooks: self.hooks.clone(),
            start: if replica == cursor.replica {
                cursor.offset
            } else {
                Offset(0)
            },
        })
    }

    /// When the next step is due; `None` while a step is running, if the scrub is disabled, and if the directory is
    /// offline.
    #[must_use]
    pub fn next_scrub_deadline(&self) -> Option<Instant> {
        let is_off = self.options.scrub_interval.is_zero() || self.hooks.is(Mutant::NeverScrubs);
        let waits = !is_off && !self.scrub.running && self.health.is_online();
        waits.then_some(self.scrub.due)
    }

    /// Ends a step with the outcome of its run, and examines what seems damaged.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn finish_scrub(
        &mut self,
        now: Instant,
        ticket: &ScrubTicket<D>,
        scrubbed: &Scrubbed,
    ) -> Result<Findings, StoreFailure> {
        self.scrub.running = false;
        self.health.check_online()?;
        self.pass(now, ticket.replica, scrubbed);
        let mut findings = Findings {
            replica: ticket.replica,
            ..Findings::default()
        };
        if let Some(index) = &scrubbed.index {
            self.rewrite_index(ticket.replica, index.clone())?;
        }
        for range in &scrubbed.damaged {
            let holes = self.examine(ticket.replica, range.clone())?;
            if holes.is_empty() && self.rewrite_from_cache(ticket.replica, range)? {
                findings.rewritten.push(range.clone());
            }
            findings.holes.extend(holes);
        }
        findings.holes.dedup();
        // The broker may not know all of them: examining a range may find holes before it, and a broker ignores holes
        // beyond what has been reported written.
        if scrubbed.next.is_none() && !self.hooks.is(Mutant::TellsOfHolesOnce) {
            findings.holes = self.holes_of(ticket.replica);
        }
        Ok(findings)
    }

    fn holes_of(&self, replica: TopicPartition) -> Vec<Range<Offset>> {
        let log = self.replicas.get(&replica);
        log.map(|log| log.state.open_holes().collect())
            .unwrap_or_default()
    }

    /// Moves the cursor past what has been read, and schedules the next step.
    fn pass(&mut self, now: Instant, replica: TopicPartition, scrubbed: &Scrubbed) {
        let mut passed = scrubbed.bytes;
        let next = scrubbed.next.map(|offset| ScrubPlace { replica, offset });
        let cursor = next.or_else(|| {
            passed += REPLICA_WEIGHT;
            let behind = (Bound::Excluded(replica), Bound::Unbounded);
            let (&replica, _) = self.replicas.range(behind).next()?;
            let offset = Offset(0);
            Some(ScrubPlace { replica, offset })
        });
        let all = self.replicas.values().map(weight).sum();
        self.scrub.due = now + share(self.options.scrub_interval, passed, all);
        self.scrub.cursor = Some(cursor.unwrap_or_default());
    }

    /// Writes the batches of a range again from the page cache. Returns whether all of them were intact there.
    fn rewrite_from_cache(
        &mut self,
        replica: TopicPartition,
        range: &Range<Offset>,
    ) -> Result<bool, StoreFailure> {
        let Some(log) = self.replicas.get(&replica) else {
            return Ok(false);
        };
        let reader = self.reader(replica, log);
        // If it cannot be read at the moment, the next round comes back to it.
        let Ok(Some((segment, batches))) = reader.whole_batches(range) else {
            return Ok(false);
        };
        for (position, batch) in &batches {
            let written = self.open_for_commit(replica, segment).and_then(|file| {
                let parts: [&[u8]; 2] = [&batch.header.to_bytes(), &batch.body];
                bad_sectors::write(&file, (*position).into(), &parts)
            });
            if self.health.or_retry_later(written)?.is_none() {
                return Ok(false);
            }
        }
        self.commits.request();
        Ok(true)
    }
}

impl<D: Disk> LogReader<'_, D> {
    /// Reads one step. Returns where the next one continues, or `None` at the log's end.
    fn check(
        &self,
        ticket: &ScrubTicket<D>,
        scrubbed: &mut Scrubbed,
    ) -> Result<Option<Offset>, DiskError> {
        let state = &self.log.state;
        let start = ticket.start.max(state.log_start_offset);
        let Some(index) = state.segment_of(start) else {
            return Ok(None);
        };
        let segment = &state.segments[index];
        let end = state.segment_end(index);
        let next = |offset: Offset| (offset < state.end.end_offset).then_some(offset);
        let path = segment::path(self.replica, segment.base_offset, FileKind::Log);
        let opened = if ticket.hooks.is(Mutant::ScrubsCache) {
            self.disk.open(&path)
        } else {
            self.disk.open_uncached(&path)
        };
        let file = match opened {
            Ok(file) => file,
            Err(DiskError::NotFound) => {
                if state.hole_at(start).is_none() {
                    scrubbed.damaged.push(start..end);
                }
                scrubbed.bytes = segment.length.into();
                return Ok(next(end));
            }
            Err(error) => return Err(error),
        };
        if start == segment.base_offset && !self.are_indexes_intact(index)? {
            scrubbed.index = self.rebuild_index(segment, ticket.index_interval_bytes)?;
        }
        let mut walk = self.walk_to(index, &file, start)?;
        while scrubbed.bytes < STEP_BYTES {
            if let Some(hole) = state.hole_at(walk.expected) {
                scrubbed.bytes += u64::from(hole.bytes.end.saturating_sub(walk.position));
                walk.jump(hole.bytes.end, hole.offsets.end);
                continue;
            }
            match walk.peek()? {
                Step::End => return Ok(next(end)),
                Step::Header(header) if header.next_offset() <= start => walk.pass(&header),
                Step::Header(header) if walk.batch(&header)?.is_some() => {
                    scrubbed.bytes += u64::from(segment::size(&header));
                    walk.pass(&header);
                }
                // The damage may be in the header, in the length of its batch.
                Step::Header(_) | Step::Damaged => {
                    let Some(hole) = self.hole_from(index, &file, walk.position, walk.expected)?
                    else {
                        return Ok(next(end));
                    };
                    scrubbed.bytes += u64::from(hole.bytes.end - walk.position);
                    walk.jump(hole.bytes.end, hole.offsets.end);
                    scrubbed.damaged.push(hole.offsets);
                }
            }
        }
        Ok(next(walk.expected))
    }

    /// Whether a segment's index files have as many entries as they should, in ascending order, and the batches of
    /// their last entries confirm those. Damage that passes this check only makes lookups slower.
    fn are_indexes_intact(&self, index: usize) -> Result<bool, DiskError> {
        let segment = &self.log.state.segments[index];
        let (_, (offsets, times)) = self.index_of(segment);
        if let Some(count) = offsets.checked_sub(1) {
            let Some(file) = self.open_index(segment, FileKind::OffsetIndex, offsets) else {
                return Ok(false);
            };
            let is_ascending = index::is_ascending_by_offset(&file, offsets)?;
            let last = index::read_offset(&file, segment.base_offset, count)?;
            let (Some(last), true) = (last, is_ascending) else {
                return Ok(false);
            };
            if self
                .verify_offset_entry(segment, &self.open(segment)?, last)?
                .is_none()
            {
                return Ok(false);
            }
        }
        let Some(count) = times.checked_sub(1) else {
            return Ok(true);
        };
        let Some(file) = self.open_index(segment, FileKind::TimeIndex, times) else {
            return Ok(false);
        };
        let is_ascending = index::is_ascending_by_time(&file, times)?;
        match index::read_time(&file, segment.base_offset, count)? {
            Some(last) if is_ascending => self.verify_time_entry(index, last),
            Some(_) | None => Ok(false),
        }
    }

    /// Rebuilds a segment's indexes; `None` if the segment is missing or damaged.
    fn rebuild_index(
        &self,
        known: &Segment,
        index_interval_bytes: u32,
    ) -> Result<Option<IndexTail>, DiskError> {
        let file = match self.open(known) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rebuilt = Segment::new(known.base_offset);
        let mut index = IndexTail::written(&rebuilt);
        let state = &self.log.state;
        let mut walk = Walk::new(&file, state, 0, known.length, known.base_offset);
        loop {
            match walk.peek()? {
                Step::Header(header) => {
                    index.push(rebuilt.push(&header, index_interval_bytes));
                    walk.pass(&header);
                }
                Step::Damaged => return Ok(None),
                Step::End => break,
            }
        }
        // The state counts the entries, so a segment that was indexed with another interval keeps its indexes.
        let is_same = rebuilt.offset_entries == known.offset_entries
            && rebuilt.time_entries == known.time_entries;
        Ok(is_same.then_some(index))
    }

    /// The batches of a range with their positions, and their segment; `None` if one of them is damaged, or the range
    /// is not in the log any more.
    fn whole_batches(&self, range: &Range<Offset>) -> Result<Option<WholeBatches>, DiskError> {
        let state = &self.log.state;
        let Some(index) = state.segment_of(range.start) else {
            return Ok(None);
        };
        let segment = &state.segments[index];
        let file = match self.open(segment) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut batches = Vec::new();
        let mut walk = self.walk_to(index, &file, range.start)?;
        while walk.expected < range.end {
            let Step::Header(header) = walk.peek()? else {
                return Ok(None);
            };
            if header.next_offset() > range.start {
                let Some(batch) = walk.batch(&header)? else {
                    return Ok(None);
                };
                batches.push((walk.position, batch));
            }
            walk.pass(&header);
        }
        Ok(Some((segment.base_offset, batches)))
    }
}

/// A segment, and batches in it with their positions.
type WholeBatches = (Offset, Vec<(u32, Batch)>);

fn weight(log: &ReplicaLog) -> u64 {
    let bytes = log.state.segments.iter().map(|it| u64::from(it.length));
    bytes.sum::<u64>() + REPLICA_WEIGHT
}

/// Where the first step after a start begins.
fn first_cursor(
    replicas: &BTreeMap<TopicPartition, ReplicaLog>,
    incarnation: Incarnation,
) -> ScrubPlace {
    let total: u64 = replicas.values().map(weight).sum();
    let fraction = u128::from(incarnation.0.wrapping_mul(GOLDEN));
    let mut left = u64::try_from((fraction * u128::from(total)) >> 64).unwrap_or(0);
    for (&replica, log) in replicas {
        for segment in &log.state.segments {
            let length = u64::from(segment.length);
            if left < length {
                let offset = segment.base_offset;
                return ScrubPlace { replica, offset };
            }
            left -= length;
        }
        left = left.saturating_sub(REPLICA_WEIGHT);
    }
    ScrubPlace::default()
}

/// The part of an interval that corresponds to `part` of `whole`.
fn share(interval: Duration, part: u64, whole: u64) -> Duration {
    let part = part.min(whole);
    let micros = interval.as_micros() * u128::from(part) / u128::from(whole.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}
