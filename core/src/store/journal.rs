//! The journal: groups of records, written one after the other into files that are reused.
//!
//! A *group* is written by one write. It starts at a block boundary, names the last group that was known to be durable,
//! lists the replicas that its records concern, and ends with a *trailer* block. The trailer repeats the group's
//! header, so that the list survives a damaged header. A torn write can damage whole blocks, so no two groups share a
//! block, and no group overwrites another of the same use of the file. `docs/format.md` has the layout, and how a
//! damaged journal is read.
//!
//! This file writes; `journal_reader.rs` reads.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use crate::ids::{DirectoryId, Incarnation, TopicPartition};
use crate::store::codec::{Decoded, Malformed, Put, Take};
use crate::store::journal_reader::JournalScan;
use crate::store::record::JournalRecord;
use crate::store::{Disk, DiskError, DiskFile, Vote, VoterChange};

/// The directory of journal files.
pub(super) const DIRECTORY: &str = "journal";
/// The unit of alignment, and of damage by a torn write.
pub(super) const BLOCK: usize = 4096;
pub(super) const BLOCK_U64: u64 = 4096;

const FILE_MAGIC: u32 = u32::from_be_bytes(*b"VJF1");
const GROUP_MAGIC: u32 = u32::from_be_bytes(*b"VJG2");
/// Magic of a group whose records' checksums are not seeded with the group's number: format versions 1 and 2.
const UNNAMED_GROUP_MAGIC: u32 = u32::from_be_bytes(*b"VJG1");
const TRAILER_MAGIC: u32 = u32::from_be_bytes(*b"VJT1");
const COPIES_MAGIC: u32 = u32::from_be_bytes(*b"VJV2");
/// Magic of second copies without voter changes: up to format version 3.
const VOTES_MAGIC: u32 = u32::from_be_bytes(*b"VJV1");
/// Maximum length of second copies without voter changes.
const VOTES_LENGTH_MAX: usize = 4 * BLOCK;
const FILE_VERSION: u16 = 1;

/// Bytes of a group's header before its list of replicas.
pub(super) const HEADER_SIZE: usize = 52;
/// Bytes of one replica in the list.
pub(super) const REPLICA_SIZE: usize = 20;
/// The most replicas of one group: the list must fit into the trailer, which is one block.
const REPLICAS_MAX: usize = (BLOCK - HEADER_SIZE) / REPLICA_SIZE;

/// Numbers groups within an incarnation, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupNumber(pub(super) u64);

impl GroupNumber {
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A place in the journal, where a group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JournalPlace {
    /// Number of the file's use: counts the uses of all journal files in this directory, from 1.
    pub(super) file_use: u64,
    /// Byte offset in the file.
    pub(super) offset: u64,
    /// Number of the group that starts there.
    pub(super) number: GroupNumber,
}

/// The first block of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) file_use: u64,
    pub(super) incarnation: Incarnation,
    /// Number of the file's first group.
    pub(super) first: GroupNumber,
}

/// The start of a group, and its trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// The file's use, repeated here so that a damaged file header loses nothing.
    pub(super) file_use: u64,
    pub(super) incarnation: Incarnation,
    pub(super) number: GroupNumber,
    /// This group and all before it were known to be durable when the present one was written.
    pub(super) durable: GroupNumber,
    /// Bytes of the records.
    pub(super) records_length: u32,
    /// Bytes of the second copies, which start at the next block.
    pub(super) copies_length: u32,
    /// Whether its records' checksums are seeded with its incarnation and number.
    pub(super) is_named_by_records: bool,
    /// The replicas that its records concern.
    pub(super) replicas: Vec<TopicPartition>,
}

/// A block that holds a group's header or trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Group(GroupHeader),
    Trailer(GroupHeader),
}

impl FileHeader {
    pub(super) fn encode(&self, directory: DirectoryId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.u32(FILE_MAGIC);
        bytes.u32(0);
        bytes.u16(FILE_VERSION);
        bytes.u128(directory.0);
        bytes.u64(self.file_use);
        bytes.u64(self.incarnation.0);
        bytes.u64(self.first.0);
        seal(&mut bytes, seed(directory));
        bytes.resize(BLOCK, 0);
        bytes
    }

    /// `None` where the block is no header of this directory.
    pub(super) fn decode(block: &[u8], directory: DirectoryId) -> Option<Self> {
        let decode = || -> Decoded<Self> {
            let mut bytes = Take(block.get(..50).ok_or(Malformed)?);
            check(bytes.0, FILE_MAGIC, seed(directory))?;
            bytes.bytes(8)?;
            if bytes.u16()? != FILE_VERSION || bytes.u128()? != directory.0 {
                return Err(Malformed);
            }
            Ok(Self {
                file_use: bytes.u64()?,
                incarnation: Incarnation(bytes.u64()?),
                first: GroupNumber(bytes.u64()?),
            })
        };
        decode().ok()
    }
}

impl GroupHeader {
    fn encode(&self, magic: u32, seed: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.u32(magic);
        bytes.u32(0);
        bytes.u64(self.file_use);
        bytes.u64(self.incarnation.0);
        bytes.u64(self.number.0);
        bytes.u64(self.durable.0);
        bytes.u32(self.records_length);
        bytes.u32(self.copies_length);
        bytes.count(self.replicas.len());
        for &replica in &self.replicas {
            bytes.replica(replica);
        }
        seal(&mut bytes, seed);
        bytes
    }

    /// The seed of its records' checksums, derived from the directory's.
    pub(super) fn record_seed(&self, seed: u32) -> u32 {
        if self.is_named_by_records {
            record_seed(seed, self.incarnation, self.number)
        } else {
            seed
        }
    }

    /// Bytes of the header itself.
    pub(super) fn header_length(&self) -> usize {
        HEADER_SIZE + REPLICA_SIZE * self.replicas.len()
    }

    /// Whether the group was written by recovery, with what that decided: every later group of the incarnation names a
    /// durable group.
    pub(super) fn is_of_recovery(&self) -> bool {
        self.durable == GroupNumber(0)
    }

    /// The records within the bytes of the whole group, as far as they are there.
    pub(super) fn records<'a>(&self, group: &'a [u8]) -> &'a [u8] {
        let start = self.header_length().min(group.len());
        let end = (start + self.records_length as usize).min(group.len());
        &group[start..end]
    }

    /// Bytes up to the second copies.
    pub(super) fn body_length(&self) -> u64 {
        let length = self.header_length() + self.records_length as usize;
        to_u64(length.next_multiple_of(BLOCK))
    }

    /// Bytes up to its trailer.
    pub(super) fn length(&self) -> u64 {
        self.body_length() + u64::from(self.copies_length).next_multiple_of(BLOCK_U64)
    }
}

impl Block {
    /// Reads the header at the front of a block.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let (&magic, _) = bytes.split_first_chunk()?;
        let magic = u32::from_be_bytes(magic);
        if ![GROUP_MAGIC, UNNAMED_GROUP_MAGIC, TRAILER_MAGIC].contains(&magic) {
            return None;
        }
        let decode = || -> Decoded<Self> {
            let mut take = Take(bytes);
            take.bytes(8)?;
            let file_use = take.u64()?;
            let incarnation = Incarnation(take.u64()?);
            let number = GroupNumber(take.u64()?);
            let durable = GroupNumber(take.u64()?);
            let records_length = take.u32()?;
            let copies_length = take.u32()?;
            let replicas = take.list(Take::replica)?;
            check(&bytes[..bytes.len() - take.0.len()], magic, seed)?;
            let header = GroupHeader {
                file_use,
                incarnation,
                number,
                durable,
                records_length,
                copies_length,
                is_named_by_records: magic == GROUP_MAGIC,
                replicas,
            };
            Ok(if magic == TRAILER_MAGIC {
                Self::Trailer(header)
            } else {
                Self::Group(header)
            })
        };
        decode().ok()
    }
}

/// The parts of a group that are written twice: votes, since a voter that has lost its vote may vote twice in one
/// epoch, and voter changes, since a replica that has lost one may believe that it is the only voter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecondCopies {
    pub(super) incarnation: Incarnation,
    /// The group that holds them.
    pub(super) number: GroupNumber,
    pub(super) votes: Vec<(TopicPartition, Vote)>,
    /// The voter changes in the group's records.
    pub(super) voter_changes: Vec<(TopicPartition, VoterChange)>,
}

impl SecondCopies {
    /// Maximum length: about a kilobyte for each replica of a group.
    const LENGTH_MAX: usize = 64 * BLOCK;

    /// Whether second copies may start at this block.
    pub(super) fn may_start(block: &[u8]) -> bool {
        [COPIES_MAGIC, VOTES_MAGIC]
            .iter()
            .any(|magic| block.starts_with(&magic.to_be_bytes()))
    }

    fn is_empty(&self) -> bool {
        self.votes.is_empty() && self.voter_changes.is_empty()
    }

    /// Whether there is room for these voter changes, whatever votes are added as well.
    fn has_room(&self, new: &[VoterChange]) -> bool {
        const COPY_SIZE_MAX: usize = 64;
        if new.is_empty() {
            return true;
        }
        let of_votes = (REPLICAS_MAX + 1) * COPY_SIZE_MAX;
        let of_change = |change: &VoterChange| COPY_SIZE_MAX + change.voters.len() * 20;
        let changes = self.voter_changes.iter().map(|(_, change)| change);
        let of_changes: usize = changes.chain(new).map(of_change).sum();
        of_votes + of_changes <= Self::LENGTH_MAX
    }

    /// Adds what of a record is written twice (`changes` are its voter changes), and drops what the record makes void.
    fn take(&mut self, replica: TopicPartition, record: &JournalRecord, changes: Vec<VoterChange>) {
        match record {
            JournalRecord::Vote(vote) => {
                // Only a replica's last vote counts, so that the copies stay few.
                self.votes.retain(|(other, _)| *other != replica);
                self.votes.push((replica, *vote));
            }
            JournalRecord::Truncate { to } => self
                .voter_changes
                .retain(|(other, change)| *other != replica || change.outcome_is_known_at(*to)),
            JournalRecord::Create { .. } | JournalRecord::Delete => {
                self.voter_changes.retain(|(other, _)| *other != replica);
            }
            JournalRecord::Opened
            | JournalRecord::Append { .. }
            | JournalRecord::Mark(_)
            | JournalRecord::LostVoterChange(_)
            | JournalRecord::Hole(_)
            | JournalRecord::Fill { .. }
            | JournalRecord::Loss { .. }
            | JournalRecord::Snapshot(_) => {}
        }
        let changes = changes.into_iter().map(|change| (replica, change));
        self.voter_changes.extend(changes);
    }

    fn encode(&self, seed: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.u32(COPIES_MAGIC);
        bytes.u32(0);
        bytes.u64(self.incarnation.0);
        bytes.u64(self.number.0);
        bytes.u32(0);
        bytes.count(self.votes.len());
        for &(replica, vote) in &self.votes {
            bytes.replica(replica);
            bytes.vote(vote);
        }
        bytes.count(self.voter_changes.len());
        for (replica, change) in &self.voter_changes {
            bytes.replica(*replica);
            bytes.voter_change(change);
        }
        let length = u32::try_from(bytes.len()).expect("they are bounded");
        bytes[24..28].copy_from_slice(&length.to_be_bytes());
        seal(&mut bytes, seed);
        bytes
    }

    /// The length of the second copies that start with this block, as they state it, within bounds.
    pub(super) fn length(block: &[u8]) -> usize {
        let said = block.get(24..28).and_then(|bytes| bytes.first_chunk());
        let said = said.map_or(0, |bytes| u32::from_be_bytes(*bytes)) as usize;
        if block.starts_with(&VOTES_MAGIC.to_be_bytes()) {
            VOTES_LENGTH_MAX
        } else {
            said.min(Self::LENGTH_MAX)
        }
    }

    /// Decodes second copies from the front of `bytes`; what follows them is ignored.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let decode = || -> Decoded<_> {
            let mut take = Take(bytes);
            let magic = take.u32()?;
            take.bytes(4)?;
            let (incarnation, number) = (Incarnation(take.u64()?), GroupNumber(take.u64()?));
            if magic == COPIES_MAGIC {
                take.u32()?; // the length, which the lists tell as well
            }
            let mut copies = Self {
                incarnation,
                number,
                votes: take.list(|take| Ok((take.replica()?, take.vote()?)))?,
                voter_changes: Vec::new(),
            };
            match magic {
                COPIES_MAGIC => {
                    copies.voter_changes =
                        take.list(|take| Ok((take.replica()?, take.voter_change()?)))?;
                }
                VOTES_MAGIC => {}
                _ => return Err(Malformed),
            }
            check(&bytes[..bytes.len() - take.0.len()], magic, seed)?;
            Ok(copies)
        };
        decode().ok()
    }
}

/// The seed of every checksum in a directory: bytes of another directory, or forged by a client that does not know the
/// directory's id, are never taken for the directory's own.
pub(super) fn seed(directory: DirectoryId) -> u32 {
    crc32c::crc32c(&directory.0.to_be_bytes())
}

/// The seed of the checksums of a group's records, derived from the directory's: in a torn group, a record that an
/// earlier use left in the same blocks is never taken for one of this group.
fn record_seed(seed: u32, incarnation: Incarnation, number: GroupNumber) -> u32 {
    let seed = crc32c::crc32c_append(seed, &incarnation.0.to_be_bytes());
    crc32c::crc32c_append(seed, &number.0.to_be_bytes())
}

/// Writes the checksum of everything that follows it, just after the magic.
pub(super) fn seal(bytes: &mut [u8], seed: u32) {
    let crc = crc32c::crc32c_append(seed, &bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// Checks magic and checksum.
pub(super) fn check(bytes: &[u8], magic: u32, seed: u32) -> Decoded<()> {
    let mut take = Take(bytes);
    if take.u32()? == magic && take.u32()? == crc32c::crc32c_append(seed, take.0) {
        Ok(())
    } else {
        Err(Malformed)
    }
}

/// The name of a journal file.
pub(super) fn path(slot: u32) -> String {
    format!("{DIRECTORY}/{slot:08}.journal")
}

/// Writes the journal of one incarnation.
#[derive(Debug)]
pub(super) struct Journal<D: Disk> {
    disk: D,
    directory: DirectoryId,
    incarnation: Incarnation,
    file_bytes: u64,
    /// All files by slot, open: continuing in the next file needs no further descriptor.
    files: BTreeMap<u32, D::File>,
    /// Use and slot of the file being written; `None` before the first group.
    current: Option<(u64, u32)>,
    /// Where the next group goes in the current file: after the file header if it is the first group there.
    offset: u64,
    /// Files that recovery may still need, by use, including the current one.
    kept: BTreeMap<u64, u32>,
    /// Files that may be overwritten.
    free: Vec<u32>,
    next_use: u64,
    next_slot: u32,
    /// Whether a new file's name is not durable yet.
    names_unsynced: bool,
    staged: Staged,
    /// Groups that are complete and not written yet, in order.
    sealed: VecDeque<(GroupNumber, Staged)>,
    /// Number of the group being staged.
    number: GroupNumber,
    /// The last group known to be durable, which the next group will name.
    durable: GroupNumber,
    /// Files with bytes that no ticket has taken to sync yet.
    unsynced: Vec<D::File>,
    /// Whether the current file is among them.
    current_unsynced: bool,
    /// Bytes of groups written in this incarnation.
    written: u64,
}

/// The group being staged. Bodies are shared, not copied.
#[derive(Debug, Default)]
struct Staged {
    meta: Vec<u8>,
    parts: Vec<Part>,
    length: usize,
    replicas: BTreeMap<TopicPartition, u32>,
    copies: SecondCopies,
}

#[derive(Debug)]
enum Part {
    Meta(Range<usize>),
    Body(Bytes),
}

impl<D: Disk> Journal<D> {
    /// A journal that starts after everything that recovery found, in a file of its own.
    pub(super) fn new(
        disk: D,
        directory: DirectoryId,
        incarnation: Incarnation,
        file_bytes: u64,
        found: JournalScan<D::File>,
    ) -> Self {
        let used = found.files.iter();
        let kept = used.map(|it| (it.header.file_use, it.slot)).collect();
        let free = found.free.iter().map(|&(slot, _)| slot).collect();
        let used = found.files.into_iter().map(|it| (it.slot, it.file));
        let files: BTreeMap<u32, D::File> = used.chain(found.free).collect();
        Self {
            disk,
            directory,
            incarnation,
            file_bytes,
            next_slot: files.last_key_value().map_or(0, |(slot, _)| slot + 1),
            files,
            current: None,
            offset: 0,
            kept,
            free,
            next_use: found.next_use,
            names_unsynced: false,
            staged: Staged::default(),
            sealed: VecDeque::new(),
            number: GroupNumber(1),
            durable: GroupNumber(0),
            unsynced: Vec::new(),
            current_unsynced: false,
            written: 0,
        }
    }

    /// Creates files until there are `count`.
    pub(super) fn preallocate(&mut self, count: usize) -> Result<(), DiskError> {
        while self.kept.len() + self.free.len() < count {
            let slot = self.create_file()?;
            self.free.push(slot);
        }
        Ok(())
    }

    fn create_file(&mut self) -> Result<u32, DiskError> {
        let slot = self.next_slot;
        let path = path(slot);
        let file = match self.disk.create(&path) {
            // Left over from a start that was cut short.
            Err(DiskError::Exists) => self.disk.open(&path)?,
            created => created?,
        };
        file.allocate(self.file_bytes)?;
        self.unsynced.push(file.clone());
        self.files.insert(slot, file);
        self.names_unsynced = true;
        self.next_slot += 1;
        Ok(slot)
    }

    /// Number of the group being staged.
    pub(super) const fn number(&self) -> GroupNumber {
        self.number
    }

    /// The last group known to be durable.
    pub(super) const fn durable(&self) -> GroupNumber {
        self.durable
    }

    /// Bytes of groups written so far.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn is_staged_empty(&self) -> bool {
        self.staged.parts.is_empty()
    }

    /// Whether everything staged has been written.
    pub(super) fn is_written(&self) -> bool {
        self.is_staged_empty() && !self.has_sealed()
    }

    /// Whether a complete group has not been written yet.
    pub(super) fn has_sealed(&self) -> bool {
        !self.sealed.is_empty()
    }

    /// Whether everything staged has been written, and no file waits for a sync.
    pub(super) fn is_clean(&self) -> bool {
        self.is_written() && self.unsynced.is_empty()
    }

    /// Maximum bytes of the records of one group.
    pub(super) const fn group_bytes_max(&self) -> u64 {
        self.file_bytes / 4
    }

    /// Adds a record to the group being staged, or to a new group if it does not fit.
    pub(super) fn stage(
        &mut self,
        replica: TopicPartition,
        record: &JournalRecord,
        bodies: impl Iterator<Item = Bytes>,
        bodies_length: usize,
    ) {
        let voter_changes = record.voter_changes();
        if to_u64(self.staged.length + bodies_length) > self.group_bytes_max()
            || self.staged.replicas.len() >= REPLICAS_MAX
            || !self.staged.copies.has_room(&voter_changes)
        {
            self.seal();
        }
        let seed = record_seed(seed(self.directory), self.incarnation, self.number);
        let staged = &mut self.staged;
        let next = u32::try_from(staged.replicas.len()).expect("bounded above");
        let place = *staged.replicas.entry(replica).or_insert(next);
        let start = staged.meta.len();
        record.encode(&mut staged.meta, seed, place, bodies_length);
        staged.length += staged.meta.len() - start + bodies_length;
        // Adjacent record metadata become one part, so a group of many small records has few parts.
        match staged.parts.last_mut() {
            Some(Part::Meta(range)) => range.end = staged.meta.len(),
            Some(Part::Body(_)) | None => staged.parts.push(Part::Meta(start..staged.meta.len())),
        }
        staged.parts.extend(bodies.map(Part::Body));
        staged.copies.take(replica, record, voter_changes);
    }

    /// Completes the group being staged.
    fn seal(&mut self) {
        if !self.is_staged_empty() {
            let mut staged = std::mem::take(&mut self.staged);
            staged.copies.incarnation = self.incarnation;
            staged.copies.number = self.number;
            self.sealed.push_back((self.number, staged));
            self.number = self.number.next();
        }
    }

    /// Writes everything staged, without a sync. Groups that could not be written are kept, to be retried.
    pub(super) fn write(&mut self) -> Result<(), DiskError> {
        self.seal();
        self.write_sealed()
    }

    /// Writes the complete groups only.
    pub(super) fn write_sealed(&mut self) -> Result<(), DiskError> {
        while let Some((number, group)) = self.sealed.pop_front() {
            let written = self.write_group(number, &group);
            if written.is_err() {
                self.sealed.push_front((number, group));
                return written;
            }
        }
        Ok(())
    }

    fn write_group(&mut self, number: GroupNumber, staged: &Staged) -> Result<(), DiskError> {
        let seed = seed(self.directory);
        let mut replicas = vec![TopicPartition::default(); staged.replicas.len()];
        for (replica, place) in &staged.replicas {
            replicas[*place as usize] = *replica;
        }
        let copies = if staged.copies.is_empty() {
            Vec::new()
        } else {
            staged.copies.encode(seed)
        };
        let length = |length: usize| u32::try_from(length).expect("a group fits a journal file");
        let mut header = GroupHeader {
            file_use: 0,
            incarnation: self.incarnation,
            number,
            durable: self.durable,
            records_length: length(staged.length),
            copies_length: length(copies.len()),
            is_named_by_records: true,
            replicas,
        };
        let total = header.length();
        let (file, at, file_header) = self.place(number, total)?;
        header.file_use = self.next_use - 1;
        let start = header.encode(GROUP_MAGIC, seed);
        let padding = header.body_length() - to_u64(start.len() + staged.length);
        let copies_padding = total - header.body_length() - to_u64(copies.len());
        let trailer = header.encode(TRAILER_MAGIC, seed);
        let mut parts: Vec<&[u8]> = Vec::with_capacity(staged.parts.len() + 7);
        parts.push(&file_header);
        parts.push(&start);
        for part in &staged.parts {
            parts.push(match part {
                Part::Meta(range) => &staged.meta[range.clone()],
                Part::Body(body) => body,
            });
        }
        parts.push(zeros(padding));
        parts.push(&copies);
        parts.push(zeros(copies_padding));
        parts.push(&trailer);
        parts.push(zeros(BLOCK_U64 - to_u64(trailer.len())));
        parts.retain(|part| !part.is_empty());
        file.write_at(at, &parts)?;
        self.written += total + BLOCK_U64;
        self.offset += total + BLOCK_U64;
        Ok(())
    }

    /// Where a group of `length` bytes goes: its file, the byte to write from, and, for the first group in a file, the
    /// file header to write before it.
    fn place(
        &mut self,
        number: GroupNumber,
        length: u64,
    ) -> Result<(D::File, u64, Vec<u8>), DiskError> {
        let (file_use, slot) = match self.current {
            Some(current) if self.offset + length + BLOCK_U64 <= self.file_bytes => current,
            Some(_) | None => self.next_file()?,
        };
        let file = self.files[&slot].clone();
        if !self.current_unsynced {
            self.unsynced.push(file.clone());
            self.current_unsynced = true;
        }
        if self.offset > BLOCK_U64 {
            return Ok((file, self.offset, Vec::new()));
        }
        let header = FileHeader {
            file_use,
            incarnation: self.incarnation,
            first: number,
        };
        Ok((file, 0, header.encode(self.directory)))
    }

    /// Continues in a free file, or a new one.
    fn next_file(&mut self) -> Result<(u64, u32), DiskError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.create_file()?,
        };
        let current = (self.next_use, slot);
        self.next_use += 1;
        self.kept.insert(current.0, slot);
        self.current_unsynced = false;
        self.current = Some(current);
        self.offset = BLOCK_U64;
        Ok(current)
    }

    /// Where the next group goes: the place of a checkpoint. Everything staged must have been written.
    pub(super) fn end(&self) -> JournalPlace {
        assert!(self.is_written(), "a checkpoint's place is between groups");
        match self.current {
            Some((file_use, _)) => JournalPlace {
                file_use,
                offset: self.offset,
                number: self.number,
            },
            None => JournalPlace {
                file_use: self.next_use,
                offset: BLOCK_U64,
                number: self.number,
            },
        }
    }

    /// Takes what must be synced for everything written to be durable: files, and whether the names in the directory.
    pub(super) fn take_unsynced(&mut self) -> (Vec<D::File>, bool) {
        self.current_unsynced = false;
        (
            std::mem::take(&mut self.unsynced),
            std::mem::take(&mut self.names_unsynced),
        )
    }

    /// Puts back files that were not synced.
    pub(super) fn requeue_unsynced(&mut self, files: &[D::File]) {
        self.unsynced.extend_from_slice(files);
    }

    /// All groups up to `number` are durable.
    pub(super) fn set_durable(&mut self, number: GroupNumber) {
        self.durable = self.durable.max(number);
    }

    /// Frees the files of uses before `file_use`, except the current one.
    pub(super) fn release_before(&mut self, file_use: u64) {
        let kept = self.kept.split_off(&file_use);
        let current = self.current.map(|(file_use, _)| file_use);
        for (file_use, slot) in std::mem::replace(&mut self.kept, kept) {
            if Some(file_use) == current {
                self.kept.insert(file_use, slot);
            } else {
                self.free.push(slot);
            }
        }
    }
}

/// Zeros for padding, less than a block of them.
fn zeros(count: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    &ZEROS[..usize::try_from(count).expect("less than a block")]
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).expect("lengths fit 64 bits")
}
