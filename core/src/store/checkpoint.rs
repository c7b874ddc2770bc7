//! Checkpoints: the state of all replicas at a place in the journal.
//!
//! There are two files, written in turn and in place, so a checkpoint needs no new space and a torn one leaves
//! the one before. Recovery takes the latest that is whole and replays the journal from its place; the journal
//! is kept from the place of the *earlier* one on, so a checkpoint that rots is made up for.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{DirectoryId, Incarnation, ProducerEpoch, ProducerId, TopicPartition};
use crate::producer::{Expiry, ProducedBatch, ProducerState, ProducerTable};
use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::journal::{self, GroupNumber, JournalPlace, seal};
use crate::store::record::{put_gap, put_place, put_snapshot, take_gap, take_place, take_snapshot};
use crate::store::replica::{ReplicaState, Segment, TailBatch};
use crate::store::{BootId, Disk, DiskError, DiskFile, OpenError, bad_sectors};

const MAGIC: u32 = u32::from_be_bytes(*b"VCP1");
const VERSION: u16 = 1;
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
    /// Everything before this place is in the checkpoint.
    pub(super) place: JournalPlace,
    pub(super) replicas: BTreeMap<TopicPartition, ReplicaState>,
}

/// The file of a generation.
pub(super) fn path(generation: u64) -> String {
    format!("checkpoint.{}", generation % 2)
}

/// Whether a name in the directory is that of a checkpoint.
pub(super) fn is_name(name: &str) -> bool {
    (0..2).any(|generation| path(generation) == name)
}

/// Makes both files.
pub(super) fn format<D: Disk>(disk: &D) -> Result<(), DiskError> {
    for generation in 0..2 {
        match disk.create(&path(generation)) {
            Ok(_) | Err(DiskError::Exists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the checkpoints that are whole, the latest first.
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

/// The bytes of a checkpoint.
pub(super) fn encode<'a>(
    generation: u64,
    incarnation: Incarnation,
    boot: BootId,
    place: JournalPlace,
    replicas: impl ExactSizeIterator<Item = (TopicPartition, &'a ReplicaState)>,
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
        if version != VERSION {
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
                .list(|take| Ok((take.replica()?, take_replica(take)?)))?
                .into_iter()
                .collect(),
        };
        take.end()?;
        Ok(checkpoint)
    };
    decode().ok()
}

fn put_replica(out: &mut Vec<u8>, state: &ReplicaState) {
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
    out.count(state.gaps.len());
    for gap in &state.gaps {
        put_gap(out, gap);
    }
    out.count(state.segments.len());
    for segment in &state.segments {
        put_segment(out, segment);
    }
    out.count(state.tail.len());
    for batch in &state.tail {
        put_place(out, batch.place);
        out.header(&batch.header);
        match &batch.before {
            None => out.u8(0),
            Some(segment) => {
                out.u8(1);
                put_segment(out, segment);
            }
        }
    }
    out.offset(state.producers_offset);
    put_producers(out, &state.producers);
    match &state.snapshot {
        None => out.u8(0),
        Some(snapshot) => {
            out.u8(1);
            put_snapshot(out, snapshot);
        }
    }
}

fn take_replica(take: &mut Take<'_>) -> Decoded<ReplicaState> {
    Ok(ReplicaState {
        voters: take.voters()?,
        log_start_offset: take.offset()?,
        notes_below: take.u64()?,
        notes: take.list(Take::note)?,
        end: take.position()?,
        high_watermark: take.offset()?,
        vote: take.vote()?,
        mark: take.mark()?,
        gaps: take.list(take_gap)?,
        segments: take.list(take_segment)?,
        tail: VecDeque::from(take.list(|take| {
            Ok(TailBatch {
                place: take_place(take)?,
                header: take.header()?,
                before: optional(take, take_segment)?,
            })
        })?),
        producers_offset: take.offset()?,
        producers: take_producers(take)?,
        snapshot: optional(take, take_snapshot)?,
    })
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
    let expiry = table.expiry();
    let kept = |count: usize| u64::try_from(count).expect("a count fits 64 bits");
    out.i64(expiry.age_ms);
    out.u64(kept(expiry.kept_min));
    out.u64(kept(expiry.kept_max));
    out.timestamp(table.log_time());
    out.count(table.len());
    for (id, state) in table.iter() {
        out.i64(id.0);
        out.put(&state.producer_epoch.0.to_be_bytes());
        out.timestamp(state.last_timestamp);
        out.offset(state.last_offset);
        out.timestamp(state.log_time);
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

fn take_producers(take: &mut Take<'_>) -> Decoded<ProducerTable> {
    let kept = |count: u64| usize::try_from(count).map_err(|_| Malformed);
    let expiry = Expiry {
        age_ms: take.i64()?,
        kept_min: kept(take.u64()?)?,
        kept_max: kept(take.u64()?)?,
    };
    if expiry.kept_max == 0 {
        return Err(Malformed);
    }
    let log_time = take.timestamp()?;
    let states = take.list(|take| {
        let id = ProducerId(take.i64()?);
        let state = ProducerState {
            producer_epoch: ProducerEpoch(take.u16()?.cast_signed()),
            last_timestamp: take.timestamp()?,
            last_offset: take.offset()?,
            log_time: take.timestamp()?,
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
    Ok(ProducerTable::restore(states, log_time, expiry))
}
