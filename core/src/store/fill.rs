//! Writing batches from a peer into holes.
//!
//! A batch is written only if it is exactly the one that is missing. A batch that does not fit is skipped: the hole
//! stays open, and the replica can request it again.

use crate::ids::{Offset, TopicPartition};
use crate::record::{Batch, BatchHeader};
use crate::store::record::JournalRecord;
use crate::store::replica::{Hole, Place, StoredReplica};
use crate::store::replica_log::ReplicaLog;
use crate::store::segment;
use crate::store::store::LogStore;
use crate::store::{Disk, DiskError, bad_sectors};

/// How the batches of a fill fit a hole.
enum Layout {
    /// They fill the hole exactly, or are only a part of what is missing.
    Open,
    /// They fill this wider hole: the batch before the known hole is damaged too.
    Wider(Hole),
    /// They do not have as many bytes as are missing.
    Wrong,
}

impl<D: Disk> LogStore<D> {
    /// Writes each batch at the start of its hole. Skips a batch that does not fit exactly, or is damaged itself, and
    /// all batches if together they do not have as many bytes as are missing. Returns whether no batch was skipped for
    /// such a reason.
    pub(super) fn fill(
        &mut self,
        replica: TopicPartition,
        batches: &[Batch],
    ) -> Result<bool, DiskError> {
        // If the disk cannot be read at the moment, the replica requests the batches again.
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
            if self.health.or_do_without(written)?.is_none() {
                all_fit = false;
                continue;
            }
            let range = header.base_offset..header.next_offset();
            let bytes = segment::size(header);
            self.state_of(replica).fill_hole(&range, bytes);
            self.stage(replica, &JournalRecord::Fill { range, bytes });
        }
        Ok(all_fit)
    }

    /// How these batches fit a hole, if they are everything that is missing in it. If they take more or fewer bytes
    /// than the hole, the batch before the hole is not the one that was written there: no CRC covers the base offset,
    /// so the end of another batch that was written to the wrong place may pass for the end of this one. If the first
    /// of these batches belongs before the hole, and all of them take exactly the bytes from there to the hole's end,
    /// the batch before the hole is lost as well.
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

    /// The batch directly before a hole: its first byte and its header.
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
        bad_sectors::overwrite(&file, place.position.into(), &parts)
    }
}

/// Whether this is the batch that is missing at the start of the hole.
fn fits(hole: &Hole, batch: &Batch, state: &StoredReplica) -> bool {
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
