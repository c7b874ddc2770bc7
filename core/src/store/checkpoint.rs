//! Checkpoints: the state of all replicas at a place in the journal.
//!
//! There are two files, written alternately and in place, so a checkpoint needs no new space, and a torn one leaves the
//! previous one intact. Recovery takes the latest intact checkpoint and replays the journal from its place. The journal
//! is kept from the place of the *earlier* checkpoint on, which is enough to recover if the later one rots.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{DirectoryId, Incarnation, LogClock, ProducerEpoch, ProducerId, TopicPartition};
use crate::log::clock_at;
use crate::producer::{ProducedBatch, ProducerState, ProducerTable};
use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::journal::{self, GroupNumber, JournalPlace, seal};
use crate::store::record::{
    put_hole, put_place, put_snapshot, take_hole, take_place, take_snapshot,
};
use crate::store::replica::{Segment, StoredReplica, TailBatch};
use crate::store::{BootId, Disk, DiskError, DiskFile, OpenError, bad_sectors};

const MAGIC: u32 = u32::from_be_bytes(*b"VCP1");
const VERSION: u16 = 3;
/// Without lost voter changes.
const VERSION_WITHOUT_LOST_CHANGES: u16 = 2;
/// Producers aged by record timestamps, and their table had the configuration for that.
const VERSION_OF_RECORD_TIME: u16 = 1;
/// Magic, checksum, version, length.
const PREFIX: usize = 18;

/// What a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Checkpoint {
    /// Counts checkpoints, from 1.
    pub(super) generation: u64,
    /// The incarnation that wrote it.
    pub(super) incarnation: Incarnation,
    /// The run of the operating system that it ran in.
    pub(super) boot: BootId,
    /// Everything before this place in the journal is in the checkpoint.
    pub(super) place: JournalPlace,
    pub(super) replicas: BTreeMap<TopicPartition, StoredReplica>,
}

/// The file of a generation.
pub(super) fn path(generation: u64) -> String {
    format!("checkpoint.{}", generation % 2)
}

/// Whether a name in the directory is that of a checkpoint.
pub(super) fn is_name(name: &str) -> bool {
    (0..2).any(|generation| path(generation) == name)
}

/// Creates both files.
pub(super) fn format<D: Disk>(disk: &D) -> Result<(), DiskError> {
    for generation in 0..2 {
        match disk.create(&path(generation)) {
            Ok(_) | Err(DiskError::Exists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the intact checkpoints, the latest first.
pub(super) fn read<D: Disk>(
    disk: &D,
    directory: DirectoryId,
) -> Result<Vec<Checkpoint>, OpenError> {
    let mut found = Vec::new();
    for generation in 0..2 {
        let file = match disk.open(&path(generation)) {
            Ok(file) => file,
            Err(DiskError::NotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        let length = bad_sectors::read(&file, 0, &mut bytes)?;
        found.extend(decode(&bytes[..length], directory));
    }
    found.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.generation));
    Ok(found)
}

/// Makes the checkpoint that was read durable: a killed process may have left it in the page cache only, and the next
/// checkpoint overwrites the other one.
pub(super) fn sync<D: Disk>(disk: &D, generation: u64) -> Result<(), DiskError> {
    if generation == 0 {
        return Ok(()); // none was read
    }
    disk.open(&path(generation))?.sync()
}

/// The bytes of a checkpoint.
pub(super) fn encode<'a>(
    generation: u64,
    incarnation: Incarnation,
    boot: BootId,
    place: JournalPlace,
    replicas: impl ExactSizeIterator<Item = (TopicPartition, &'a StoredReplica)>,
    directory: DirectoryId,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.u32(MAGIC);
    bytes.u32(0);
    bytes.u16(VERSION);
    bytes.u64(0);
    bytes.u64(generation);
    bytes.u64(incarnation.0);
    bytes.u128(boot.0);
    bytes.u64(place.file_use);
    bytes.u64(place.offset);
    bytes.u64(place.number.0);
    bytes.count(replicas.len());
    for (replica, state) in replicas {
        bytes.replica(replica);
        put_replica(&mut bytes, state);
    }
    let length = u64::try_from(bytes.len()).expect("a length fits 64 bits");
    bytes[10..PREFIX].copy_from_slice(&length.to_be_bytes());
    seal(&mut bytes, journal::seed(directory));
    bytes
}

fn decode(bytes: &[u8], directory: DirectoryId) -> Option<Checkpoint> {
    let decode = || -> Decoded<Checkpoint> {
        let mut take = Take(bytes);
        take.bytes(8)?;
        let version = take.u16()?;
        let length = usize::try_from(take.u64()?).map_err(|_| Malformed)?;
        let bytes = bytes.get(..length).ok_or(Malformed)?;
        journal::check(bytes, MAGIC, journal::seed(directory))?;
        if !(VERSION_OF_RECORD_TIME..=VERSION).contains(&version) {
            return Err(Malformed);
        }
        let mut take = Take(bytes.get(PREFIX..).ok_or(Malformed)?);
        let checkpoint = Checkpoint {
            generation: take.u64()?,
            incarnation: Incarnation(take.u64()?),
            boot: BootId(take.u128()?),
            place: JournalPlace {
                file_use: take.u64()?,
                offset: take.u64()?,
                number: GroupNumber(take.u64()?),
            },
            replicas: take
                .list(|take| Ok((take.replica()?, take_replica(take, version)?)))?
                .into_iter()
                .collect(),
        };
        take.end()?;
        Ok(checkpoint)
    };
    decode().ok()
}

fn put_replica(out: &mut Vec<u8>, state: &StoredReplica) {
    out.voters(&state.voters);
    out.offset(state.log_start_offset);
    out.u64(state.notes_below);
    out.count(state.notes.len());
    for note in &state.notes {
        out.note(note);
    }
    out.position(state.end);
    out.offset(state.high_watermark);
    out.vote(state.vote);
    out.mark(state.mark);
    out.count(state.holes.len());
    for hole in &state.holes {
        put_hole(out, hole);
    }
    out.count(state.segments.len());
    for segment in &state.segments {
        put_segment(out, segment);
    }
    out.count(state.tail.len());
    for batch in &state.tail {
        put_place(out, batch.place);
        out.header(&batch.header);
        put_optional(out, batch.before.as_ref(), put_segment);
    }
    out.offset(state.producers_offset);
    put_producers(out, &state.producers);
    put_optional(out, state.snapshot.as_ref(), put_snapshot);
    out.count(state.lost_voter_changes.len());
    for change in &state.lost_voter_changes {
        out.voter_change(change);
    }
}

fn take_replica(take: &mut Take<'_>, version: u16) -> Decoded<StoredReplica> {
    let mut state = StoredReplica {
        voters: take.voters()?,
        log_start_offset: take.offset()?,
        notes_below: take.u64()?,
        notes: take.list(Take::note)?,
        end: take.position()?,
        high_watermark: take.offset()?,
        vote: take.vote()?,
        mark: take.mark()?,
        holes: take.list(take_hole)?,
        segments: take.list(take_segment)?,
        ..StoredReplica::default()
    };
    let notes = &state.notes;
    state.clock = clock_at(notes, state.end.end_offset);
    state.tail = VecDeque::from(take.list(|take| {
        let place = take_place(take)?;
        let header = take.header()?;
        Ok(TailBatch {
            header,
            clock: clock_at(notes, header.base_offset),
            place,
            before: optional(take, take_segment)?,
        })
    })?);
    state.producers_offset = take.offset()?;
    state.producers = take_producers(take, version)?;
    state.snapshot = optional(take, take_snapshot)?;
    if version > VERSION_WITHOUT_LOST_CHANGES {
        state.lost_voter_changes = take.list(Take::voter_change)?;
    }
    Ok(state)
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn optional<'a, T>(
    take: &mut Take<'a>,
    value: impl FnOnce(&mut Take<'a>) -> Decoded<T>,
) -> Decoded<Option<T>> {
    match take.u8()? {
        0 => Ok(None),
        1 => value(take).map(Some),
        _ => Err(Malformed),
    }
}

fn put_segment(out: &mut Vec<u8>, segment: &Segment) {
    out.offset(segment.base_offset);
    out.u32(segment.length);
    out.timestamp(segment.max_timestamp);
    out.offset(segment.max_timestamp_offset);
    out.timestamp(segment.first_timestamp);
    out.u32(segment.offset_entries);
    out.u32(segment.time_entries);
    out.timestamp(segment.last_time_entry);
    out.u32(segment.unindexed);
}

fn take_segment(take: &mut Take<'_>) -> Decoded<Segment> {
    Ok(Segment {
        base_offset: take.offset()?,
        length: take.u32()?,
        max_timestamp: take.timestamp()?,
        max_timestamp_offset: take.offset()?,
        first_timestamp: take.timestamp()?,
        offset_entries: take.u32()?,
        time_entries: take.u32()?,
        last_time_entry: take.timestamp()?,
        unindexed: take.u32()?,
    })
}

fn put_producers(out: &mut Vec<u8>, table: &ProducerTable) {
    out.count(table.len());
    for (id, state) in table.iter() {
        out.i64(id.0);
        out.put(&state.producer_epoch.0.to_be_bytes());
        out.timestamp(state.last_timestamp);
        out.offset(state.last_offset);
        out.u64(state.clock.0);
        out.count(state.batches.len());
        for batch in &state.batches {
            out.i32(batch.base_sequence);
            out.i32(batch.last_sequence);
            out.offset(batch.base_offset);
            out.offset(batch.last_offset);
            out.timestamp(batch.timestamp);
        }
    }
}

fn take_producers(take: &mut Take<'_>, version: u16) -> Decoded<ProducerTable> {
    let by_record_time = version == VERSION_OF_RECORD_TIME;
    if by_record_time {
        take.bytes(4 * 8)?; // three configured numbers, and the greatest timestamp
    }
    let states = take.list(|take| {
        let id = ProducerId(take.i64()?);
        let state = ProducerState {
            producer_epoch: ProducerEpoch(take.u16()?.cast_signed()),
            last_timestamp: take.timestamp()?,
            last_offset: take.offset()?,
            clock: take_clock(take, by_record_time)?,
            batches: take.list(|take| {
                Ok(ProducedBatch {
                    base_sequence: take.i32()?,
                    last_sequence: take.i32()?,
                    base_offset: take.offset()?,
                    last_offset: take.offset()?,
                    timestamp: take.timestamp()?,
                })
            })?,
        };
        Ok((id, state))
    })?;
    Ok(ProducerTable::restore(states))
}

/// A log of the first version has no clock tick, so its clock is 0 at every batch.
fn take_clock(take: &mut Take<'_>, by_record_time: bool) -> Decoded<LogClock> {
    let clock = LogClock(take.u64()?);
    Ok(if by_record_time { LogClock(0) } else { clock })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Offset, Timestamp};

    #[test]
    fn producers_of_the_first_version_are_read_as_if_they_had_just_written() {
        let batch = ProducedBatch {
            base_sequence: 3,
            last_sequence: 4,
            base_offset: Offset(10),
            last_offset: Offset(11),
            timestamp: Timestamp(1_700_000_000_123),
        };
        let mut bytes = Vec::new();
        for configured in [86_400_000, 64, 100_000] {
            bytes.i64(configured);
        }
        bytes.timestamp(Timestamp(1_700_000_000_456));
        bytes.count(1);
        bytes.i64(4711);
        bytes.put(&2_i16.to_be_bytes());
        bytes.timestamp(batch.timestamp);
        bytes.offset(batch.last_offset);
        bytes.timestamp(Timestamp(1_700_000_000_456));
        bytes.count(1);
        bytes.i32(batch.base_sequence);
        bytes.i32(batch.last_sequence);
        bytes.offset(batch.base_offset);
        bytes.offset(batch.last_offset);
        bytes.timestamp(batch.timestamp);
        let mut take = Take(&bytes);
        let table = take_producers(&mut take, VERSION_OF_RECORD_TIME).expect("it is whole");
        assert_eq!(take.end(), Ok(()));
        let state = ProducerState {
            producer_epoch: ProducerEpoch(2),
            batches: vec![batch],
            last_timestamp: batch.timestamp,
            last_offset: batch.last_offset,
            clock: LogClock(0),
        };
        assert_eq!(table, ProducerTable::restore([(ProducerId(4711), state)]));
        let mut again = Vec::new();
        put_producers(&mut again, &table);
        assert_eq!(take_producers(&mut Take(&again), VERSION), Ok(table));
    }

    #[test]
    fn a_checkpoint_of_the_second_version_ends_with_the_snapshots() {
        let replica = TopicPartition::METADATA;
        let state = StoredReplica::new(Vec::new());
        let (directory, place) = (DirectoryId(7), JournalPlace::default());
        let replicas = [(replica, &state)].into_iter();
        let incarnation = Incarnation(3);
        let mut bytes = encode(5, incarnation, BootId(1), place, replicas, directory);
        let written = decode(&bytes, directory).expect("it is whole");
        assert_eq!(written.replicas, BTreeMap::from([(replica, state)]));
        bytes.truncate(bytes.len() - 4); // the count of lost voter changes
        bytes[8..10].copy_from_slice(&VERSION_WITHOUT_LOST_CHANGES.to_be_bytes());
        let length = bytes.len() as u64;
        bytes[10..PREFIX].copy_from_slice(&length.to_be_bytes());
        seal(&mut bytes, journal::seed(directory));
        assert_eq!(decode(&bytes, directory), Some(written));
    }
}
