//! Looking for rot where nobody reads: one bounded step at a time, driven from outside.

use std::ops::Range;

use crate::ids::{Offset, TopicPartition};
use crate::store::index::IndexTail;
use crate::store::query::Reader;
use crate::store::replica::Segment;
use crate::store::segment::{self, FileKind, Step, Walk};
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, StoreFailure};

/// Where a scrub goes on: at an offset of a replica. The default is the beginning of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    replica: Option<TopicPartition>,
    offset: Offset,
}

/// What a step of the scrub has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on; the default where it has gone round.
    pub next: ScrubCursor,
    /// Bytes read, about as many as were asked for.
    pub bytes: u64,
    /// What is damaged, to be handed to [`LogStore::examine`].
    pub damaged: Vec<(TopicPartition, Range<Offset>)>,
    /// Segments whose offset index is damaged or missing, to be handed to [`LogStore::rebuild_index`].
    pub bad_indexes: Vec<(TopicPartition, Offset)>,
}

impl<D: Disk> LogStore<D> {
    /// Reads on from `cursor`, within one replica, about `bytes_max` bytes and at least one batch, and checks every
    /// batch. An offline directory has nothing to check.
    #[must_use]
    pub fn scrub(&self, cursor: ScrubCursor, bytes_max: u64) -> Scrubbed {
        let from = cursor.replica.unwrap_or_default();
        let Some((&replica, log)) = self.replicas.range(from..).next() else {
            return Scrubbed::default();
        };
        if self.failure.is_some() {
            return Scrubbed::default();
        }
        let start = if cursor.replica == Some(replica) {
            cursor.offset
        } else {
            Offset(0)
        };
        let reader = Reader {
            disk: &self.disk,
            replica,
            log,
        };
        let mut scrubbed = Scrubbed::default();
        // A disk that fails here fails in the open before long; the scrub goes on with the next replica.
        let next = reader
            .check(start, bytes_max, &mut scrubbed)
            .unwrap_or_default();
        scrubbed.next = match next {
            Some(offset) => ScrubCursor {
                replica: Some(replica),
                offset,
            },
            None => ScrubCursor {
                replica: self
                    .replicas
                    .range(replica..)
                    .nth(1)
                    .map(|(&replica, _)| replica),
                offset: Offset(0),
            },
        };
        scrubbed
    }

    /// Writes the indexes of a segment anew, from its batches. Those of a segment with holes stay as they are.
    ///
    /// # Errors
    /// [`StoreFailure::Offline`].
    pub fn rebuild_index(
        &mut self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<(), StoreFailure> {
        self.check_online()?;
        let rebuilt = self.index_anew(replica, segment);
        let Some((mut index, known)) = self.done(rebuilt)? else {
            return Ok(());
        };
        let written = self.write_index_files(replica, &mut index);
        self.done(written)?;
        let Some(log) = self.replicas.get_mut(&replica) else {
            return Ok(());
        };
        if log
            .index
            .as_ref()
            .is_some_and(|tail| tail.segment() == segment)
        {
            log.index = Some(IndexTail::written(&known));
        }
        Ok(())
    }

    /// The index that a segment should have. `None` where the segment is not there or cannot be read through.
    fn index_anew(
        &self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<Option<(IndexTail, Segment)>, DiskError> {
        let Some(log) = self.replicas.get(&replica) else {
            return Ok(None);
        };
        let mut segments = log.state.segments.iter();
        let Some(known) = segments.find(|known| known.base_offset == segment) else {
            return Ok(None);
        };
        let path = segment::path(replica, segment, FileKind::Log);
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rebuilt = Segment::new(segment);
        let mut index = IndexTail::written(&rebuilt);
        let mut walk = Walk::new(&file, &log.state, 0, known.length, segment);
        loop {
            match walk.peek()? {
                Step::Header(header) => {
                    index.push(rebuilt.push(&header, self.options.index_interval_bytes));
                    walk.pass(&header);
                }
                Step::Damaged => return Ok(None),
                Step::End => break,
            }
        }
        // The state counts the entries; a segment of another interval keeps what it has.
        let is_same = rebuilt.offset_entries == known.offset_entries
            && rebuilt.time_entries == known.time_entries;
        Ok(is_same.then_some((index, *known)))
    }
}

impl<D: Disk> Reader<'_, D> {
    /// Checks from `start` on. Returns where to go on, or `None` at the log's end.
    fn check(
        &self,
        start: Offset,
        bytes_max: u64,
        scrubbed: &mut Scrubbed,
    ) -> Result<Option<Offset>, DiskError> {
        let state = &self.log.state;
        let start = start.max(state.log_start_offset);
        let Some(index) = state.segment_of(start) else {
            return Ok(None);
        };
        let segment = &state.segments[index];
        let end = state.segment_end(index);
        let next = |offset: Offset| (offset < state.end.end_offset).then_some(offset);
        if start == segment.base_offset && !self.is_index_good(segment)? {
            scrubbed
                .bad_indexes
                .push((self.replica, segment.base_offset));
        }
        let file = match self.open(segment) {
            Ok(file) => file,
            Err(DiskError::NotFound) => {
                if state.gap_at(start).is_none() {
                    scrubbed.damaged.push((self.replica, start..end));
                }
                return Ok(next(end));
            }
            Err(error) => return Err(error),
        };
        let mut walk = self.walk_to(index, &file, start)?;
        while scrubbed.bytes < bytes_max {
            if let Some(gap) = state.gap_at(walk.expected) {
                walk.jump(gap.bytes.end, gap.offsets.end);
                continue;
            }
            match walk.peek()? {
                Step::Header(header) => {
                    if header.next_offset() > start {
                        scrubbed.bytes += u64::from(segment::size(&header));
                        if walk.batch(&header)?.is_none() {
                            let range = header.base_offset..header.next_offset();
                            scrubbed.damaged.push((self.replica, range));
                        }
                    }
                    walk.pass(&header);
                }
                Step::Damaged => {
                    let Some(gap) = self.gap_from(index, &file, walk.position, walk.expected)?
                    else {
                        return Ok(next(end));
                    };
                    walk.jump(gap.bytes.end, gap.offsets.end);
                    scrubbed.damaged.push((self.replica, gap.offsets));
                }
                Step::End => return Ok(next(end)),
            }
        }
        Ok(next(walk.expected))
    }

    /// Whether every entry of a segment's offset index that is in its file points at its batch.
    fn is_index_good(&self, segment: &Segment) -> Result<bool, DiskError> {
        let (_, (entries, _)) = self.index_of(segment);
        let mut position = 0;
        for _ in 0..entries {
            let Some(entry) = self.entry_after(segment, position)? else {
                return Ok(false);
            };
            if entry.position <= position {
                return Ok(false);
            }
            position = entry.position;
        }
        let file = match self.open(segment) {
            Ok(file) => file,
            Err(DiskError::NotFound) => return Ok(true),
            Err(error) => return Err(error),
        };
        let last = self.lookup(segment, Offset(i64::MAX))?;
        match last {
            Some(entry) => Ok(self.believe(segment, &file, entry)?.is_some()),
            None => Ok(entries == 0),
        }
    }
}
