//! Appending entries: first the bytes, then the journal record, then the state.
//!
//! An append is journalled, and becomes visible, only when all of it has been written. One that fails leaves nothing
//! but meaningless bytes after the log's end.

use crate::hooks::Mutant;
use crate::ids::{Offset, TopicPartition};
use crate::log::{Entry, Position};
use crate::record::{Batch, BatchHeader, HEADER_SIZE};
use crate::store::index::IndexTail;
use crate::store::open_files::Opened;
use crate::store::record::{AppendedEntry, JournalRecord};
use crate::store::replica::{Place, Segment};
use crate::store::segment::FileKind;
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, DiskFile, Flush, Refusal, Roll, StoreFailure, bad_sectors};

/// Maximum bytes of an entry in a record besides the batch header: a tag, a place, or a note.
const ENTRY_OVERHEAD: usize = 128;

/// The outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendOutcome {
    Written,
    /// The append has changed nothing.
    Refused(Refusal),
}

impl<D: Disk> LogStore<D> {
    /// Appends entries, unless space, descriptors or memory are short.
    pub(super) fn append(
        &mut self,
        replica: TopicPartition,
        after: Position,
        entries: &[Entry],
        high_watermark: Offset,
        flush: Flush,
        roll: Roll,
    ) -> Result<AppendOutcome, StoreFailure> {
        let log = self.log_of(replica);
        if log.state.end != after {
            let why = log.refused.expect("an append starts at the log's end");
            return Ok(AppendOutcome::Refused(why));
        }
        log.refused = None;
        match self.journal.write_sealed() {
            Err(error) if let Some(why) = self.health.refusal(&error) => {
                return Ok(self.refuse(replica, why));
            }
            written => self.health.or_offline(written)?,
        }
        if !self.finish_truncation(replica)? {
            return Ok(self.refuse(replica, Refusal::OutOfResources));
        }
        let size = entries.iter().map(batch_size).sum::<usize>();
        let spares = replica != TopicPartition::METADATA && !self.hooks.is(Mutant::EatsReserve);
        let reserve = if spares {
            self.options.reserve_bytes
        } else {
            0
        };
        if !self.space.take(&self.disk, to_u64(size), reserve) {
            return Ok(self.refuse(replica, Refusal::DiskFull));
        }
        let direct = size >= self.direct_append_bytes_min();
        let written = match self.write_batches(replica, entries, direct, roll, false) {
            // Perhaps the last page of the segment is unreadable: retries in a new segment.
            Err(DiskError::Io(_)) => self.write_batches(replica, entries, direct, roll, true),
            written => written,
        };
        let placed = match written {
            Ok(placed) => placed,
            Err(error) => match self.health.refusal(&error) {
                Some(why) => return Ok(self.refuse(replica, why)),
                None => return self.health.or_offline(Err(error)),
            },
        };
        self.journal_append(
            replica,
            after,
            entries,
            &placed,
            high_watermark,
            flush,
            direct,
        );
        let interval = self.options.index_interval_bytes;
        for (entry, place) in entries.iter().zip(placed) {
            match (entry, place) {
                (Entry::Batch(batch), Some(place)) => {
                    let pushed = self.push_batch(replica, batch, place, interval);
                    self.health.or_offline(pushed)?;
                }
                (Entry::Note(note), _) => self.state_of(replica).push_note(note.clone()),
                (Entry::Batch(_), None) => unreachable!("every batch has been placed"),
            }
        }
        self.state_of(replica)
            .advance_high_watermark(high_watermark);
        if direct {
            self.checkpoints.count_direct_append(to_u64(size));
        }
        Ok(AppendOutcome::Written)
    }

    fn refuse(&mut self, replica: TopicPartition, why: Refusal) -> AppendOutcome {
        self.log_of(replica).refused = Some(why);
        self.space.forget();
        AppendOutcome::Refused(why)
    }

    /// Before bytes that a truncation has dropped are overwritten, the truncation must be durable and the files cut.
    /// Returns whether both are done.
    fn finish_truncation(&mut self, replica: TopicPartition) -> Result<bool, StoreFailure> {
        let Some(number) = self.log_of(replica).truncated else {
            return Ok(true);
        };
        if !self.hooks.is(Mutant::OverwritesBeforeDurable) {
            if number > self.journal.durable() {
                self.commit_now()?;
            }
            if !self.is_truncation_done(replica, number) {
                return Ok(false);
            }
        }
        self.log_of(replica).truncated = None;
        Ok(true)
    }

    fn direct_append_bytes_min(&self) -> usize {
        let most = usize::try_from(self.journal.group_bytes_max()).unwrap_or(usize::MAX);
        self.options.direct_append_bytes_min.min(most)
    }

    /// Writes batches to their segments, consecutive ones in one write; `anew` starts a new segment. Returns the place
    /// of each batch.
    fn write_batches(
        &mut self,
        replica: TopicPartition,
        entries: &[Entry],
        direct: bool,
        roll: Roll,
        anew: bool,
    ) -> Result<Vec<Option<Place>>, DiskError> {
        let roll = Roll {
            bytes: roll.bytes.min(self.options.segment_bytes_max),
            ..roll
        };
        let headers: Vec<[u8; HEADER_SIZE]> = entries
            .iter()
            .map(|entry| match entry {
                Entry::Batch(batch) => batch.header.to_bytes(),
                Entry::Note(_) => [0; HEADER_SIZE],
            })
            .collect();
        let state = &self.log_of(replica).state;
        let mut last = state.segments.last().copied().filter(|_| !anew);
        let mut placed = Vec::with_capacity(entries.len());
        let mut writes: Vec<(Place, Vec<&[u8]>)> = Vec::new();
        for (entry, header) in entries.iter().zip(&headers) {
            let Entry::Batch(batch) = entry else {
                placed.push(None);
                continue;
            };
            assert_eq!(
                batch.body.len(),
                batch.header.body_length as usize,
                "a batch's header tells its body's length"
            );
            let (place, is_new) = place_for(last.as_ref(), &batch.header, roll);
            if is_new {
                last = Some(Segment::new(place.segment));
            }
            last.as_mut()
                .expect("created above if there was none")
                .push(&batch.header, self.options.index_interval_bytes);
            placed.push(Some(place));
            if is_new || writes.is_empty() {
                writes.push((place, Vec::new()));
            }
            let (_, parts) = writes.last_mut().expect("pushed above");
            parts.push(header);
            parts.push(&batch.body);
        }
        for (place, parts) in &writes {
            let file = self.segment_file(replica, place.segment)?;
            bad_sectors::write(&file, place.position.into(), parts)?;
            if direct {
                self.files
                    .sync_with_commit((replica, place.segment, FileKind::Log));
                if !self.names.are_durable(replica) {
                    // No checkpoint has made the file's name durable, so this commit must.
                    self.names.sync_replica_with_commit(replica);
                }
            }
        }
        Ok(placed)
    }

    /// The file of a replica's last segment.
    fn segment_file(
        &mut self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<D::File, DiskError> {
        let name = (replica, segment, FileKind::Log);
        let (file, opened) = self.files.open(&self.disk, name)?;
        if opened == Opened::AlreadyOpen {
            return Ok(file);
        }
        let made = opened == Opened::Created;
        let mut known = self.log_of(replica).state.segments.iter();
        let known = known.find(|known| known.base_offset == segment).copied();
        if made || known.is_none() {
            // The file may be left from an incarnation that was killed before its name was durable.
            self.names.on_created(replica);
        }
        let length = known.map_or(0, |known| known.length);
        if !made && file.length()? > u64::from(length) {
            // It has bytes of an append that was truncated, or that failed.
            bad_sectors::truncate(&file, u64::from(length))?;
        }
        Ok(file)
    }

    /// Journals an append that has been written, split into records that fit a group.
    #[expect(clippy::too_many_arguments, reason = "an append's parts, once")]
    fn journal_append(
        &mut self,
        replica: TopicPartition,
        after: Position,
        entries: &[Entry],
        placed: &[Option<Place>],
        high_watermark: Offset,
        flush: Flush,
        direct: bool,
    ) {
        let most = usize::try_from(self.journal.group_bytes_max()).unwrap_or(usize::MAX);
        let mut after = after;
        let mut start = 0;
        while start < entries.len() {
            let mut appended = Vec::new();
            let mut bodies = Vec::new();
            let (mut length, mut bodies_length) = (0, 0);
            let first = after;
            for (entry, place) in entries[start..].iter().zip(&placed[start..]) {
                let inline = if direct { 0 } else { batch_size(entry) };
                let weight = ENTRY_OVERHEAD + HEADER_SIZE + inline;
                if length > 0 && length + weight > most {
                    break;
                }
                length += weight;
                after = entry.position_after(after);
                start += 1;
                appended.push(match (entry, place) {
                    (Entry::Batch(batch), Some(place)) => {
                        if !direct {
                            bodies_length += batch.body.len();
                            bodies.push(batch.body.clone());
                        }
                        AppendedEntry::Batch {
                            header: batch.header,
                            place: *place,
                            inline: !direct,
                        }
                    }
                    (Entry::Note(note), _) => AppendedEntry::Note(note.clone()),
                    (Entry::Batch(_), None) => unreachable!("every batch has been placed"),
                });
            }
            let record = JournalRecord::Append {
                after: first,
                high_watermark,
                flush,
                entries: appended,
            };
            self.journal
                .stage(replica, &record, bodies.into_iter(), bodies_length);
        }
    }

    /// Adds a written batch to the state and the index.
    fn push_batch(
        &mut self,
        replica: TopicPartition,
        batch: &Batch,
        place: Place,
        interval: u32,
    ) -> Result<(), DiskError> {
        let log = self.log_of(replica);
        if log.opens_segment(place) || log.index().is_some_and(IndexTail::is_full) {
            self.write_index(replica)?;
        }
        self.log_of(replica)
            .push_batch(batch.header, place, interval);
        Ok(())
    }
}

fn batch_size(entry: &Entry) -> usize {
    match entry {
        Entry::Batch(batch) => batch.size(),
        Entry::Note(_) => 0,
    }
}

fn to_u64(size: usize) -> u64 {
    u64::try_from(size).expect("sizes fit 64 bits")
}

/// The place of the next batch after `last`, and whether it starts a new segment.
fn place_for(last: Option<&Segment>, header: &BatchHeader, roll: Roll) -> (Place, bool) {
    match last {
        Some(segment) if !segment.is_full_for(header, roll) => (
            Place {
                segment: segment.base_offset,
                position: segment.length,
            },
            false,
        ),
        Some(_) | None => (
            Place {
                segment: header.base_offset,
                position: 0,
            },
            true,
        ),
    }
}
