//! Segment files: names, and walking through their batches.
//!
//! A segment is a plain sequence of Kafka v2 batches with Kafka's file name, so that Kafka's own tools can read it.
//! Nothing that is read is trusted: a batch must parse, start at the offset where the one before ended, and carry the
//! leader epoch that the replica's notes give, since Kafka's CRC covers neither offset nor epoch.

use bytes::Bytes;

use crate::ids::{Offset, PartitionIndex, TopicPartition};
use crate::record::{Batch, BatchHeader, HEADER_SIZE};
use crate::store::replica::{Snapshot, StoredReplica};
use crate::store::{Disk, DiskError, DiskFile, bad_sectors};

/// Bytes read at once while looking for an offset.
const WALK_CHUNK: usize = 16 << 10;

/// A replica's directory, named as Kafka does, with the topic's id in place of its name.
pub(super) fn directory(replica: TopicPartition) -> String {
    format!("{}-{}", replica.topic, replica.partition)
}

/// The replica whose directory has this name.
pub(super) fn parse_directory(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let replica = TopicPartition {
        topic: topic.parse().ok()?,
        partition: PartitionIndex(partition.parse().ok()?),
    };
    (directory(replica) == name).then_some(replica)
}

/// The kinds of files of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    Snapshot,
}

impl FileKind {
    /// The files of a segment.
    pub(super) const ALL: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];
}

/// The path of a segment's file.
pub(super) fn path(replica: TopicPartition, segment: Offset, kind: FileKind) -> String {
    let suffix = match kind {
        FileKind::Log => "log",
        FileKind::OffsetIndex => "index",
        FileKind::TimeIndex => "timeindex",
        FileKind::Snapshot => "snapshot",
    };
    format!("{}/{:020}.{suffix}", directory(replica), segment.0)
}

/// The path of a metadata snapshot.
pub(super) fn snapshot_path(replica: TopicPartition, snapshot: &Snapshot) -> String {
    let at = snapshot.at;
    format!(
        "{}/{:020}-{:010}-{}-{:08x}.snapshot",
        directory(replica),
        at.end_offset.0,
        at.leader_epoch.0,
        at.notes,
        snapshot.crc
    )
}

/// Reads a snapshot's image; `None` if it is damaged or missing.
pub(super) fn read_snapshot<D: Disk>(
    disk: &D,
    replica: TopicPartition,
    snapshot: &Snapshot,
    seed: u32,
) -> Result<Option<Bytes>, DiskError> {
    let file = match disk.open(&snapshot_path(replica, snapshot)) {
        Ok(file) => file,
        Err(DiskError::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.length()?;
    if length != u64::from(snapshot.length) {
        return Ok(None);
    }
    let mut bytes = vec![0; snapshot.length as usize];
    let read = bad_sectors::read(&file, 0, &mut bytes)?;
    let crc = crc32c::crc32c_append(seed, &bytes);
    Ok((read == bytes.len() && crc == snapshot.crc).then(|| Bytes::from(bytes)))
}

/// Opens a file, or creates it and its directory. Returns whether it was created.
pub(super) fn open_or_create<D: Disk>(
    disk: &D,
    replica: TopicPartition,
    path: &str,
) -> Result<(D::File, bool), DiskError> {
    match disk.open(path) {
        Ok(file) => return Ok((file, false)),
        Err(DiskError::NotFound) => {}
        Err(error) => return Err(error),
    }
    disk.create_directory(&directory(replica))?;
    disk.create(path).map(|file| (file, true))
}

/// Removes a file, if it exists.
pub(super) fn remove<D: Disk>(disk: &D, path: &str) -> Result<(), DiskError> {
    match disk.remove(path) {
        Ok(()) | Err(DiskError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a walk finds at its position.
#[derive(Debug)]
pub(super) enum Step {
    /// A batch's header; the body has not been verified.
    Header(BatchHeader),
    /// No plausible batch.
    Damaged,
    /// The segment's end.
    End,
}

/// Walks through a segment from batch to batch.
#[derive(Debug)]
pub(super) struct Walk<'a, F> {
    file: &'a F,
    state: &'a StoredReplica,
    /// The walk's position.
    pub(super) position: u32,
    /// The segment's end, exclusive.
    end: u32,
    /// Offset of the batch at `position`.
    pub(super) expected: Offset,
    chunk: Vec<u8>,
    chunk_at: u32,
}

impl<'a, F: DiskFile> Walk<'a, F> {
    pub(super) const fn new(
        file: &'a F,
        state: &'a StoredReplica,
        position: u32,
        end: u32,
        expected: Offset,
    ) -> Self {
        Self {
            file,
            state,
            position,
            end,
            expected,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// The header at the walk's position.
    pub(super) fn peek(&mut self) -> Result<Step, DiskError> {
        if self.position >= self.end {
            return Ok(Step::End);
        }
        let from = self.header_in_chunk();
        let from = match from {
            Some(from) => from,
            None => {
                self.chunk.resize(WALK_CHUNK, 0);
                let at = self.position.into();
                let length = bad_sectors::read(self.file, at, &mut self.chunk)?;
                self.chunk.truncate(length);
                self.chunk_at = self.position;
                0
            }
        };
        Ok(match BatchHeader::parse(&self.chunk[from..]) {
            Ok(header)
                if is_plausible(&header, self.expected, self.end - self.position, self.state) =>
            {
                Step::Header(header)
            }
            Ok(_) | Err(_) => Step::Damaged,
        })
    }

    fn header_in_chunk(&self) -> Option<usize> {
        let from = usize::try_from(self.position.checked_sub(self.chunk_at)?).ok()?;
        (from + HEADER_SIZE <= self.chunk.len()).then_some(from)
    }

    /// Moves past the batch that [`Walk::peek`] found.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        self.position += size(header);
        self.expected = header.next_offset();
    }

    /// Moves to another place, where a batch is known to start.
    pub(super) const fn jump(&mut self, position: u32, expected: Offset) {
        self.position = position;
        self.expected = expected;
    }

    /// Reads the batch that [`Walk::peek`] found; `None` if its body is damaged.
    pub(super) fn batch(&self, header: &BatchHeader) -> Result<Option<Batch>, DiskError> {
        read_batch(self.file, self.position, header.size())
            .map(|batch| batch.filter(|batch| batch.header == *header))
    }
}

/// Reads a batch of `size` bytes and checks its CRC; `None` if it is damaged or missing.
pub(super) fn read_batch<F: DiskFile>(
    file: &F,
    position: u32,
    size: usize,
) -> Result<Option<Batch>, DiskError> {
    let mut bytes = vec![0; size];
    let length = bad_sectors::read(file, position.into(), &mut bytes)?;
    bytes.truncate(length);
    let mut bytes = Bytes::from(bytes);
    Ok(Batch::split_from(&mut bytes)
        .ok()
        .filter(|batch| batch.verify().is_ok()))
}

/// Whether a header can be that of the log's batch at `expected`, with `room` bytes left in its segment.
pub(super) fn is_plausible(
    header: &BatchHeader,
    expected: Offset,
    room: u32,
    state: &StoredReplica,
) -> bool {
    header.next_offset() <= state.end.end_offset && may_continue_log(header, expected, room, state)
}

/// Whether a header can be that of the next batch, at `expected`, also beyond the log's present end.
pub(super) fn may_continue_log(
    header: &BatchHeader,
    expected: Offset,
    room: u32,
    state: &StoredReplica,
) -> bool {
    header.base_offset == expected
        && header.last_offset_delta >= 0
        && u64::try_from(header.size()).is_ok_and(|size| size <= u64::from(room))
        && state
            .epoch_at(expected)
            .is_none_or(|leader_epoch| leader_epoch == header.leader_epoch)
}

/// Bytes of a batch, as segments count them.
pub(super) fn size(header: &BatchHeader) -> u32 {
    u32::try_from(header.size()).expect("a batch is shorter than 2^31 bytes")
}
