//! Scanning the journal at a start: which groups there are, and which were there and are lost.
//!
//! Only headers are read here, so the scan is cheap; the records are checked one by one when they are replayed. A group
//! is *recorded* when a later group names it as durable. What is missing or damaged in a recorded group is rot. In the
//! groups after the last recorded one, which may never have been synced, it may be a torn write as well, and the two
//! cannot be told apart: every replica in such a group may have lost something that it acknowledged.
//!
//! A group is identified by its header or its trailer. If neither can be read, there may have been a group all the same
//! where the next one would start: if the block there is unreadable, or if second copies of a group are found.

use crate::ids::{DirectoryId, Incarnation, TopicPartition};
use crate::store::journal::{
    self, BLOCK, BLOCK_U64, Block, FileHeader, GroupHeader, GroupNumber, JournalPlace, SecondCopies,
};
use crate::store::{Disk, DiskError, DiskFile, bad_sectors};

/// A journal file that may hold groups to replay.
#[derive(Debug)]
pub(super) struct JournalFile<F> {
    pub(super) slot: u32,
    pub(super) header: FileHeader,
    pub(super) file: F,
}

/// One finding of the scan, in journal order.
#[derive(Debug)]
pub(super) enum Finding {
    /// A group whose header can be read.
    Group {
        /// Index in [`JournalScan::files`].
        file: usize,
        /// Byte offset of the group in the file.
        at: u64,
        header: GroupHeader,
        /// Whether a later group names it as durable.
        recorded: bool,
    },
    /// Second copies of a group whose header and trailer cannot be read.
    SecondCopies(SecondCopies),
    /// One or more groups that were written and cannot be found.
    Lost {
        /// The replicas that their records concern; `None` if that is lost too.
        replicas: Option<Vec<TopicPartition>>,
    },
}

/// Everything that was found after a checkpoint's place.
#[derive(Debug)]
pub(super) struct JournalScan<F> {
    /// The files that may hold groups after that place, in order of use.
    pub(super) files: Vec<JournalFile<F>>,
    /// All other files, by slot.
    pub(super) free: Vec<(u32, F)>,
    pub(super) found: Vec<Finding>,
    /// The greatest incarnation that wrote to the journal.
    pub(super) incarnation: Incarnation,
    /// Number of the next file's use.
    pub(super) next_use: u64,
}

/// Reads the headers of all groups from `from` on, a place in the groups of `incarnation`.
pub(super) fn read<D: Disk>(
    disk: &D,
    directory: DirectoryId,
    incarnation: Incarnation,
    from: JournalPlace,
) -> Result<JournalScan<D::File>, DiskError> {
    let mut journal = JournalScan {
        files: Vec::new(),
        free: Vec::new(),
        found: Vec::new(),
        incarnation,
        next_use: from.file_use,
    };
    for name in disk.list(journal::DIRECTORY)? {
        let Some(slot) = name
            .strip_suffix(".journal")
            .and_then(|digits| digits.parse().ok())
        else {
            continue;
        };
        let file = disk.open(&journal::path(slot))?;
        match file_header(&file, directory)? {
            None => journal.free.push((slot, file)),
            Some(header) if header.file_use < from.file_use => journal.free.push((slot, file)),
            Some(header) => journal.files.push(JournalFile { slot, header, file }),
        }
    }
    journal.files.sort_by_key(|file| file.header.file_use);
    if let Some(last) = journal.files.last() {
        journal.next_use = last.header.file_use + 1;
        journal.incarnation = incarnation.max(last.header.incarnation);
    }
    let is_gone = journal
        .files
        .first()
        .is_none_or(|first| first.header.file_use > from.file_use);
    if from.offset > BLOCK_U64 && is_gone {
        // The checkpoint's place is within a file of which nothing can be read.
        journal.found.push(Finding::Lost { replicas: None });
    }
    let mut start = 0;
    while start < journal.files.len() {
        let run = journal.files[start].header.incarnation;
        let length = journal.files[start..]
            .iter()
            .take_while(|file| file.header.incarnation == run)
            .count();
        let files = &journal.files[start..start + length];
        let mut reader = RunReader {
            files,
            first_file: start,
            seed: journal::seed(directory),
            incarnation: run,
            durable: GroupNumber(0),
            found: Vec::new(),
        };
        let from = (run == incarnation).then_some(from);
        reader.read(from)?;
        journal.found.extend(reader.found);
        start += length;
    }
    Ok(journal)
}

/// The header of a file; if that is damaged, it is reconstructed from the file's groups.
fn file_header<F: DiskFile>(
    file: &F,
    directory: DirectoryId,
) -> Result<Option<FileHeader>, DiskError> {
    if let Some(block) = read_block(file, 0)? {
        if let Some(header) = FileHeader::decode(&block, directory) {
            return Ok(Some(header));
        }
        if !block.is_empty() && block.iter().all(|&byte| byte == 0) {
            return Ok(None); // never used
        }
    }
    let mut found: Option<FileHeader> = None;
    for at in (BLOCK_U64..file.length()?).step_by(BLOCK) {
        let block = read_block(file, at)?;
        let block = block.and_then(|block| Block::decode(&block, journal::seed(directory)));
        // A reused file still holds groups of its earlier use, further on.
        if let Some(Block::Group(group) | Block::Trailer(group)) = block
            && found.is_none_or(|found| found.file_use < group.file_use)
        {
            found = Some(FileHeader {
                file_use: group.file_use,
                incarnation: group.incarnation,
                first: group.number,
            });
        }
    }
    Ok(found)
}

/// Scans the groups of one incarnation.
struct RunReader<'a, F> {
    files: &'a [JournalFile<F>],
    first_file: usize,
    seed: u32,
    incarnation: Incarnation,
    /// The greatest group that any header names as durable.
    durable: GroupNumber,
    found: Vec<Finding>,
}

/// What the scan finds next.
enum NextGroup {
    /// The expected group, or a later one.
    Group(usize, u64, GroupHeader),
    /// The trailer of the expected group, or of a later one, whose header cannot be read.
    Trailer(usize, u64, GroupHeader),
    /// The next file begins with the expected group, or a later one.
    File(usize, GroupNumber),
    /// More was or may have been written, and nothing says what.
    Unknown,
    /// Nothing more was written.
    End,
}

/// What a block holds.
enum BlockContent {
    /// The start of a group of this incarnation, or its trailer.
    Block(Block),
    /// A block of an earlier incarnation, or zeros: this incarnation has not written here.
    Unused,
    /// Something else, such as records.
    Other,
    /// The block cannot be read.
    Unreadable,
}

impl<F: DiskFile> RunReader<'_, F> {
    fn read(&mut self, from: Option<JournalPlace>) -> Result<(), DiskError> {
        let first = self.files[0].header;
        let mut file = 0;
        let (mut at, mut expected) = (BLOCK_U64, GroupNumber(1));
        if let Some(from) = from {
            expected = from.number;
            if from.file_use == first.file_use {
                at = from.offset;
            }
        }
        if first.first > expected {
            // The file before this one is lost.
            self.found.push(Finding::Lost { replicas: None });
            expected = first.first;
        }
        loop {
            match self.find_next(file, at, expected)? {
                NextGroup::Group(in_file, start, header) => {
                    if header.number > expected {
                        self.found.push(Finding::Lost { replicas: None });
                    }
                    self.durable = self.durable.max(header.durable);
                    (file, at) = (in_file, start + header.length() + BLOCK_U64);
                    expected = header.number.next();
                    self.found.push(Finding::Group {
                        file: self.first_file + file,
                        at: start,
                        header,
                        recorded: false,
                    });
                }
                NextGroup::Trailer(in_file, start, header) => {
                    let known = header.number == expected;
                    self.durable = self.durable.max(header.durable);
                    (file, at) = (in_file, start + BLOCK_U64);
                    expected = header.number.next();
                    self.found.push(Finding::Lost {
                        replicas: known.then_some(header.replicas),
                    });
                }
                NextGroup::File(in_file, number) => {
                    if number > expected {
                        self.found.push(Finding::Lost { replicas: None });
                        expected = number;
                    }
                    (file, at) = (in_file, BLOCK_U64);
                }
                NextGroup::Unknown => {
                    self.found.push(Finding::Lost { replicas: None });
                    break;
                }
                NextGroup::End => break,
            }
        }
        let durable = self.durable;
        for found in &mut self.found {
            if let Finding::Group {
                header, recorded, ..
            } = found
            {
                *recorded = header.number <= durable;
            }
        }
        Ok(())
    }

    /// Finds the group `expected`, which should start at `at`, or else the first thing that proves that it was written.
    fn find_next(
        &mut self,
        file: usize,
        at: u64,
        expected: GroupNumber,
    ) -> Result<NextGroup, DiskError> {
        let length = self.files[file].file.length()?;
        let mut may_be_lost = false;
        // In format version 1, a group overwrites the trailer of the one before.
        let from = (at - BLOCK_U64).max(BLOCK_U64);
        for block_at in (from..length).step_by(BLOCK) {
            match self.block(file, block_at)? {
                BlockContent::Block(Block::Group(header)) if header.number >= expected => {
                    return Ok(NextGroup::Group(file, block_at, header));
                }
                BlockContent::Block(Block::Trailer(header)) if header.number >= expected => {
                    return Ok(NextGroup::Trailer(file, block_at, header));
                }
                // The usual end: this incarnation has not written here.
                BlockContent::Block(_) | BlockContent::Unused if block_at == at => break,
                BlockContent::Block(_) | BlockContent::Unused => {}
                BlockContent::Other => may_be_lost |= self.save_copies(file, block_at, expected)?,
                BlockContent::Unreadable => may_be_lost |= block_at == at,
            }
        }
        let next = file + 1;
        Ok(match self.files.get(next) {
            Some(found) if found.header.first >= expected => {
                NextGroup::File(next, found.header.first)
            }
            Some(_) | None if may_be_lost => NextGroup::Unknown,
            Some(_) | None => NextGroup::End,
        })
    }

    /// Takes the second copies that start here, if they belong to a group whose header cannot be read. Returns whether
    /// they do.
    fn save_copies(
        &mut self,
        file: usize,
        at: u64,
        expected: GroupNumber,
    ) -> Result<bool, DiskError> {
        let mut start = [0; 28];
        bad_sectors::read(&self.files[file].file, at, &mut start)?;
        if !SecondCopies::may_start(&start) {
            return Ok(false);
        }
        let mut bytes = vec![0; SecondCopies::length(&start)];
        let length = bad_sectors::read(&self.files[file].file, at, &mut bytes)?;
        let copies = SecondCopies::decode(&bytes[..length], self.seed);
        let copies = copies
            .filter(|copies| copies.incarnation == self.incarnation && copies.number >= expected);
        let is_taken = copies.is_some();
        self.found.extend(copies.map(Finding::SecondCopies));
        Ok(is_taken)
    }

    fn block(&self, file: usize, at: u64) -> Result<BlockContent, DiskError> {
        let Some(block) = read_block(&self.files[file].file, at)? else {
            return Ok(BlockContent::Unreadable);
        };
        Ok(match Block::decode(&block, self.seed) {
            Some(Block::Group(header) | Block::Trailer(header))
                if header.incarnation != self.incarnation =>
            {
                BlockContent::Unused
            }
            Some(block) => BlockContent::Block(block),
            None if block.iter().all(|&byte| byte == 0) => BlockContent::Unused,
            None => BlockContent::Other,
        })
    }
}

/// A block; shorter at the end of the file. `None` if it cannot be read.
fn read_block<F: DiskFile>(file: &F, at: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let mut block = vec![0; BLOCK];
    match bad_sectors::try_read(file, at, &mut block) {
        Ok(length) => block.truncate(length),
        Err(DiskError::Io(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(block))
}
