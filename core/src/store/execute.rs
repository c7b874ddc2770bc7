//! How each order is executed: bytes first, then the journal record, then the state.
//!
//! An append that cannot be written leaves nothing behind but bytes after the log's end, which mean nothing: it
//! is journalled, and becomes visible, only when all of it has been written.

use bytes::Bytes;

use crate::hooks::Mutant;
use crate::ids::{Offset, TopicPartition, Voter};
use crate::log::{Entry, Position};
use crate::record::{Batch, BatchHeader, HEADER_SIZE};
use crate::store::index::IndexTail;
use crate::store::open_files::{FileName, Opened};
use crate::store::record::{AppendedEntry, Record};
use crate::store::removals::Removal;
use crate::store::replica::{Hole, Place, ReplicaState, Segment, Snapshot};
use crate::store::replica_log::ReplicaLog;
use crate::store::segment::{self, FileKind};
use crate::store::store::{LogStore, Taken};
use crate::store::{
    Disk, DiskError, DiskFile, Flush, OrderKind, Refusal, Roll, StoreFailure, bad_sectors, journal,
};

/// What an entry adds to a record besides its header, at most: a tag, a place, or a note.
const ENTRY_OVERHEAD: usize = 128;

/// How batches lie in a hole.
enum Layout {
    /// They fill it, or are not all that is missing.
    Open,
    /// They fill this wider one.
    Wider(Hole),
    /// They are not as many bytes as are missing.
    Wrong,
}

impl<D: Disk> LogStore<D> {
    /// Executes everything but an append and a fill.
    pub(super) fn execute_small(
        &mut self,
        replica: TopicPartition,
        kind: &OrderKind,
    ) -> Result<(), DiskError> {
        match kind {
            OrderKind::Create { voters } => {
                self.create(replica, voters.clone());
                Ok(())
            }
            OrderKind::Append { .. } | OrderKind::Fill { .. } => {
                unreachable!("what may be refused is executed by itself")
            }
            OrderKind::Truncate { to } => self.truncate(replica, *to),
            OrderKind::StoreVote(vote) => {
                self.state_of(replica).vote = *vote;
                self.stage(replica, &Record::Vote(*vote));
                Ok(())
            }
            OrderKind::SetMark(mark) => {
                self.state_of(replica).set_mark(*mark);
                self.stage(replica, &Record::Mark(*mark));
                Ok(())
            }
            OrderKind::Probe => {
                let mark = self.state_of(replica).mark;
                self.stage(replica, &Record::Mark(mark));
                Ok(())
            }
            OrderKind::AcceptLoss { range } => {
                self.state_of(replica).accept_loss(range);
                let range = range.clone();
                self.stage(replica, &Record::Loss { range });
                Ok(())
            }
            OrderKind::SaveSnapshot { at, image } => self.save_snapshot(replica, *at, image),
            OrderKind::Delete => self.delete(replica),
        }
    }

    pub(super) fn log_of(&mut self, replica: TopicPartition) -> &mut ReplicaLog {
        self.replicas
            .get_mut(&replica)
            .expect("a replica is created before anything else is ordered of it")
    }

    fn state_of(&mut self, replica: TopicPartition) -> &mut ReplicaState {
        &mut self.log_of(replica).state
    }

    fn create(&mut self, replica: TopicPartition, voters: Vec<Voter>) {
        assert!(
            !self.replicas.contains_key(&replica),
            "a replica is created once"
        );
        let record = Record::Create {
            voters: voters.clone(),
        };
        let state = ReplicaState::new(voters);
        self.replicas.insert(replica, ReplicaLog::new(state));
        self.names.note_made(replica);
        self.names.sync_with_commit(String::new());
        self.stage(replica, &record);
    }

    fn truncate(&mut self, replica: TopicPartition, to: Position) -> Result<(), DiskError> {
        let log = self.log_of(replica);
        if log.refused.is_some() && to > log.state.end {
            return Ok(()); // what it keeps has been refused as well
        }
        log.refused = None;
        let emptied = log.truncate(to);
        let last = log
            .state
            .segments
            .last()
            .map(|last| (last.base_offset, last.length));
        self.stage(replica, &Record::Truncate { to });
        self.log_of(replica).truncated = Some(self.journal.number());
        for segment in emptied {
            self.remove_when_durable(Removal::Segment(replica, segment))?;
        }
        match last {
            Some((segment, length)) => {
                self.remove_when_durable(Removal::Tail(replica, segment, length))
            }
            None => Ok(()),
        }
    }

    fn delete(&mut self, replica: TopicPartition) -> Result<(), DiskError> {
        self.replicas
            .remove(&replica)
            .expect("only what is there is deleted");
        self.files.forget_replica(replica);
        self.names.forget_replica(replica);
        self.stage(replica, &Record::Delete);
        self.remove_when_durable(Removal::Replica(replica))
    }

    fn save_snapshot(
        &mut self,
        replica: TopicPartition,
        at: Position,
        image: &Bytes,
    ) -> Result<(), DiskError> {
        let snapshot = Snapshot {
            at,
            length: u32::try_from(image.len()).expect("an image is shorter than 4 GiB"),
            crc: crc32c::crc32c_append(journal::seed(self.identity.directory), image),
        };
        let written = self.write_snapshot(replica, &snapshot, image);
        if self.health.or_without(written)?.is_none() {
            // The one before stands for it. What is there of this one goes once anything else is durable.
            return self.remove_when_durable(Removal::Snapshot(replica, snapshot));
        }
        self.names.sync_replica_with_commit(replica);
        let before = self.state_of(replica).snapshot.replace(snapshot);
        self.stage(replica, &Record::Snapshot(snapshot));
        match before {
            Some(before) => self.remove_when_durable(Removal::Snapshot(replica, before)),
            None => Ok(()),
        }
    }

    fn write_snapshot(
        &mut self,
        replica: TopicPartition,
        snapshot: &Snapshot,
        image: &Bytes,
    ) -> Result<(), DiskError> {
        let name = (replica, snapshot.at.end_offset, FileKind::Snapshot);
        let path = segment::snapshot_path(replica, snapshot);
        let (file, opened) = self.files.open_anew(&self.disk, name, &path)?;
        if opened == Opened::Made {
            self.names.note_made(replica);
        }
        self.files.sync_with_commit(name);
        let seed = journal::seed(self.identity.directory);
        if segment::read_snapshot(&self.disk, replica, snapshot, seed)?.is_none() {
            file.truncate(0)?;
            file.write_at(0, &[image])?;
        }
        Ok(())
    }

    /// Writes batches into the holes that they start. A batch that does not fit exactly where one is missing, or
    /// is damaged itself, is passed over, as are all where they are not as many bytes as are missing: the hole stays, and
    /// can be asked for again. Returns whether none was.
    pub(super) fn fill(
        &mut self,
        replica: TopicPartition,
        batches: &[Batch],
    ) -> Result<bool, DiskError> {
        // Where it cannot be looked at, they are asked for again.
        match self.layout_of(replica, batches) {
            Ok(Layout::Open) => {}
            Ok(Layout::Wider(hole)) => self.add_hole(replica, hole),
            Ok(Layout::Wrong) | Err(_) => return Ok(false),
        }
        let mut all_fit = true;
        for batch in batches {
            let state = &self.log_of(replica).state;
            let header = &batch.header;
            let Some(hole) = state.hole_at(header.base_offset) else {
                continue;
            };
            if !fits(hole, batch, state) {
                all_fit = false;
                continue;
            }
            let place = Place {
                segment: hole.segment,
                position: hole.bytes.start,
            };
            let written = self.write_filling(replica, place, batch);
            if self.health.or_without(written)?.is_none() {
                all_fit = false;
                continue;
            }
            let range = header.base_offset..header.next_offset();
            let bytes = segment::size(header);
            self.state_of(replica).fill_hole(&range, bytes);
            self.stage(replica, &Record::Fill { range, bytes });
        }
        Ok(all_fit)
    }

    /// How these batches lie in a hole, should they be all that is missing in it. If they take more or fewer bytes,
    /// what stands in front of the hole is not what was written there: no CRC covers the base offset, so the end of another
    /// batch that a write has put at the wrong place may pass for the end of this one. Where the first of these batches
    /// belongs there, and all of them take exactly the bytes from it to the hole's end, it is lost as well.
    fn layout_of(&self, replica: TopicPartition, batches: &[Batch]) -> Result<Layout, DiskError> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            return Ok(Layout::Open);
        };
        let log = &self.replicas[&replica];
        let Some(hole) = log.state.hole_at(last.header.last_offset()) else {
            return Ok(Layout::Open);
        };
        let is_run = batches
            .windows(2)
            .all(|pair| pair[0].header.next_offset() == pair[1].header.base_offset);
        let is_all = first.header.base_offset <= hole.offsets.start
            && last.header.next_offset() == hole.offsets.end;
        if hole.accepted || !is_run || !is_all {
            return Ok(Layout::Open);
        }
        let bytes = |batches: &[Batch]| {
            let sizes = batches.iter().map(|batch| segment::size(&batch.header));
            sizes.sum::<u32>()
        };
        let within = batches
            .iter()
            .position(|batch| batch.header.base_offset == hole.offsets.start);
        if within.is_some_and(|at| bytes(&batches[at..]) == hole.bytes.end - hole.bytes.start) {
            return Ok(Layout::Open);
        }
        let Some((position, header)) = self.batch_in_front(replica, log, hole)? else {
            return Ok(Layout::Wrong);
        };
        let reaches = header.base_offset == first.header.base_offset
            && header != first.header
            && bytes(batches) == hole.bytes.end - position;
        if !reaches {
            return Ok(Layout::Wrong);
        }
        Ok(Layout::Wider(Hole {
            offsets: header.base_offset..hole.offsets.end,
            bytes: position..hole.bytes.end,
            ..hole.clone()
        }))
    }

    /// The batch that stands right before a hole, by its header, and its first byte.
    fn batch_in_front(
        &self,
        replica: TopicPartition,
        log: &ReplicaLog,
        hole: &Hole,
    ) -> Result<Option<(u32, BatchHeader)>, DiskError> {
        let mut segments = log.state.segments.iter();
        let index = segments.position(|known| known.base_offset == hole.segment);
        let Some(index) = index.filter(|_| hole.offsets.start > hole.segment) else {
            return Ok(None);
        };
        let reader = self.reader(replica, log);
        let file = reader.open(&log.state.segments[index])?;
        let before = Offset(hole.offsets.start.0 - 1);
        let found = reader.find(index, &file, before)?;
        Ok(found.filter(|(_, header)| header.next_offset() == hole.offsets.start))
    }

    fn write_filling(
        &mut self,
        replica: TopicPartition,
        place: Place,
        batch: &Batch,
    ) -> Result<(), DiskError> {
        let file = self.open_for_commit(replica, place.segment)?;
        let parts: [&[u8]; 2] = [&batch.header.to_bytes(), &batch.body];
        bad_sectors::write_over(&file, place.position.into(), &parts)
    }

    /// A segment's file, to be written and made durable with the next group commit.
    pub(super) fn open_for_commit(
        &mut self,
        replica: TopicPartition,
        segment: Offset,
    ) -> Result<D::File, DiskError> {
        let name = (replica, segment, FileKind::Log);
        let (file, opened) = self.open_file(name)?;
        self.files.sync_with_commit(name);
        if opened == Opened::Made {
            self.names.sync_replica_with_commit(replica);
        }
        Ok(file)
    }

    /// A file to be written, with its name noted where it has been made.
    pub(super) fn open_file(&mut self, name: FileName) -> Result<(D::File, Opened), DiskError> {
        let (file, opened) = self.files.open(&self.disk, name)?;
        if opened == Opened::Made {
            self.names.note_made(name.0);
        }
        Ok((file, opened))
    }

    /// Remembers a hole, so that it is known before anything is read there again.
    pub(super) fn add_hole(&mut self, replica: TopicPartition, hole: Hole) {
        self.state_of(replica).add_hole(hole.clone());
        self.stage(replica, &Record::Hole(hole));
    }

    /// Appends entries, where there is room, a descriptor and memory.
    pub(super) fn append(
        &mut self,
        replica: TopicPartition,
        after: Position,
        entries: &[Entry],
        high_watermark: Offset,
        flush: Flush,
        roll: Roll,
    ) -> Result<Taken, StoreFailure> {
        let log = self.log_of(replica);
        if log.state.end != after {
            let why = log.refused.expect("an append stands at the log's end");
            return Ok(Taken::No(why));
        }
        log.refused = None;
        match self.journal.write_sealed() {
            Err(error) if let Some(why) = self.health.refusal(&error) => {
                return Ok(self.refuse(replica, why));
            }
            written => self.health.done(written)?,
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
            // Perhaps because the last page of its segment cannot be read.
            Err(DiskError::Io(_)) => self.write_batches(replica, entries, direct, roll, true),
            written => written,
        };
        let placed = match written {
            Ok(placed) => placed,
            Err(error) => match self.health.refusal(&error) {
                Some(why) => return Ok(self.refuse(replica, why)),
                None => return self.health.done(Err(error)),
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
                    self.health.done(pushed)?;
                }
                (Entry::Note(note), _) => self.state_of(replica).push_note(note.clone()),
                (Entry::Batch(_), None) => unreachable!("every batch has been placed"),
            }
        }
        self.state_of(replica)
            .advance_high_watermark(high_watermark);
        if direct {
            self.checkpoints.note_direct_append(to_u64(size));
        }
        Ok(Taken::Yes)
    }

    fn refuse(&mut self, replica: TopicPartition, why: Refusal) -> Taken {
        self.log_of(replica).refused = Some(why);
        self.space.forget();
        Taken::No(why)
    }

    /// Sees to it that bytes which a truncation has dropped may be overwritten: it is durable, and they are cut. Whether
    /// they may.
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

    /// Writes batches to their segments, neighbours together, the first to a new one where that is wanted. Returns the
    /// place of each.
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
                .expect("made above where there was none")
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
        if opened == Opened::Before {
            return Ok(file);
        }
        let made = opened == Opened::Made;
        let mut known = self.log_of(replica).state.segments.iter();
        let known = known.find(|known| known.base_offset == segment).copied();
        if made || known.is_none() {
            // A file may be left from an incarnation that was killed before its name was durable.
            self.names.note_made(replica);
        }
        let length = known.map_or(0, |known| known.length);
        if !made && file.length()? > u64::from(length) {
            // Bytes of an append that was truncated, or that failed.
            bad_sectors::cut(&file, u64::from(length))?;
        }
        Ok(file)
    }

    /// Journals an append that has been written, in as many records as keep groups small.
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
            let record = Record::Append {
                after: first,
                high_watermark,
                flush,
                entries: appended,
            };
            self.journal
                .stage(replica, &record, bodies.into_iter(), bodies_length);
        }
    }

    /// Takes a batch that has been written into the state and the index.
    fn push_batch(
        &mut self,
        replica: TopicPartition,
        batch: &Batch,
        place: Place,
        interval: u32,
    ) -> Result<(), DiskError> {
        let log = self.log_of(replica);
        if log.opens_segment(place) || log.index().is_some_and(IndexTail::has_gathered) {
            self.write_index(replica)?;
        }
        self.log_of(replica)
            .push_batch(batch.header, place, interval);
        Ok(())
    }
}

/// Whether a batch is the one that the hole starts with.
fn fits(hole: &Hole, batch: &Batch, state: &ReplicaState) -> bool {
    let header = &batch.header;
    let room = hole.bytes.end.saturating_sub(hole.bytes.start);
    let closes = header.next_offset() == hole.offsets.end;
    let exact = segment::size(header) == room;
    let is_known_batch = state
        .tail
        .iter()
        .find(|known| known.header.base_offset == header.base_offset)
        .is_none_or(|known| known.header == *header);
    hole.offsets.start == header.base_offset
        && segment::is_plausible(header, hole.offsets.start, room, state)
        && header.next_offset() <= hole.offsets.end
        && closes == exact
        && is_known_batch
        && batch.verify().is_ok()
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

/// The place of the batch that comes behind `last`, and whether it opens a segment.
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
