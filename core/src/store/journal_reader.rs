//! Reading the journal after a start: which groups there are, and what is wrong with those that are not.
//!
//! Only headers are read here, so the search is cheap; the records are judged one by one when they are replayed.
//! A group is *recorded* when a later one says that it was durable. What is missing or damaged in a recorded
//! group is rot. In the groups after it, which may never have been synced, it may as well be a torn write, and
//! the two cannot be told apart: whoever such a group touches may have lost something that it acknowledged.

use crate::ids::{DirectoryId, Incarnation, TopicPartition};
use crate::store::journal::{
    self, BLOCK, BLOCK_U64, Block, FileHeader, GroupHeader, GroupNumber, JournalPlace, VoteCopies,
};
use crate::store::{Disk, DiskError, DiskFile, Vote, bad_sectors};

/// A journal file that was found.
#[derive(Debug)]
pub(super) struct FoundFile<F> {
    pub(super) slot: u32,
    pub(super) header: FileHeader,
    pub(super) file: F,
}

/// What the journal says, in order.
#[derive(Debug)]
pub(super) enum Found {
    /// A group whose header can be read.
    Group {
        /// Place in the list of files.
        file: usize,
        /// Its first byte.
        at: u64,
        header: GroupHeader,
        /// Whether a later group says that it was durable.
        recorded: bool,
    },
    /// The second copies of the votes in a group that cannot be found.
    Votes(Vec<(TopicPartition, Vote)>),
    /// Groups that were there and cannot be found.
    Lost {
        /// Whom they touched; `None` where that is lost with them.
        replicas: Option<Vec<TopicPartition>>,
    },
}

/// Everything that was found behind a checkpoint.
#[derive(Debug)]
pub(super) struct FoundJournal<F> {
    /// The files that may hold groups behind it, in order of use.
    pub(super) files: Vec<FoundFile<F>>,
    /// All others, by slot.
    pub(super) free: Vec<(u32, F)>,
    pub(super) found: Vec<Found>,
    /// The greatest incarnation that wrote there.
    pub(super) incarnation: Incarnation,
    /// Use of the next file.
    pub(super) next_use: u64,
}

/// Reads the headers of all groups from `from` on, which `incarnation` was writing.
pub(super) fn read<D: Disk>(
    disk: &D,
    directory: DirectoryId,
    incarnation: Incarnation,
    from: JournalPlace,
) -> Result<FoundJournal<D::File>, DiskError> {
    let mut journal = FoundJournal {
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
            Some(header) => journal.files.push(FoundFile { slot, header, file }),
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
        // The checkpoint stands within a file of which nothing can be read.
        journal.found.push(Found::Lost { replicas: None });
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

/// The header of a file. Where that is damaged, its groups say whose file it is.
fn file_header<F: DiskFile>(
    file: &F,
    directory: DirectoryId,
) -> Result<Option<FileHeader>, DiskError> {
    let block = read_block(file, 0)?;
    if let Some(header) = FileHeader::decode(&block, directory) {
        return Ok(Some(header));
    }
    if !block.is_empty() && block.iter().all(|&byte| byte == 0) {
        return Ok(None); // never used
    }
    let mut found: Option<FileHeader> = None;
    for at in (BLOCK_U64..file.length()?).step_by(BLOCK) {
        let block = read_block(file, at)?;
        // A file that is used again still holds groups of its earlier use, further back.
        if let Some(Block::Group(group)) = Block::decode(&block, journal::seed(directory))
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

/// Reads what one incarnation wrote.
struct RunReader<'a, F> {
    files: &'a [FoundFile<F>],
    first_file: usize,
    seed: u32,
    incarnation: Incarnation,
    /// The greatest group that any header says was durable.
    durable: GroupNumber,
    found: Vec<Found>,
}

/// What comes next.
enum Next {
    /// The group that is expected, or one behind it.
    Group(usize, u64, GroupHeader),
    /// The trailer of the group that is expected, or of one behind it: the group itself cannot be found.
    Trailer(usize, u64, GroupHeader),
    /// A file begins with the group that is expected, or one behind it.
    File(usize, GroupNumber),
    /// Nothing was ever written behind.
    End,
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
            // The file before it is gone.
            self.found.push(Found::Lost { replicas: None });
            expected = first.first;
        }
        loop {
            match self.next(file, at, expected)? {
                Next::Group(in_file, start, header) => {
                    if header.number > expected {
                        self.found.push(Found::Lost { replicas: None });
                    }
                    self.durable = self.durable.max(header.durable);
                    (file, at) = (in_file, start + header.length());
                    expected = header.number.next();
                    self.found.push(Found::Group {
                        file: self.first_file + file,
                        at: start,
                        header,
                        recorded: false,
                    });
                }
                Next::Trailer(in_file, start, header) => {
                    let known = header.number == expected;
                    self.durable = self.durable.max(header.durable);
                    (file, at) = (in_file, start);
                    expected = header.number.next();
                    self.found.push(Found::Lost {
                        replicas: known.then_some(header.replicas),
                    });
                }
                Next::File(in_file, number) => {
                    if number > expected {
                        self.found.push(Found::Lost { replicas: None });
                        expected = number;
                    }
                    (file, at) = (in_file, BLOCK_U64);
                }
                Next::End => break,
            }
        }
        let durable = self.durable;
        for found in &mut self.found {
            if let Found::Group {
                header, recorded, ..
            } = found
            {
                *recorded = header.number <= durable;
            }
        }
        Ok(())
    }

    /// Finds the group `expected`, which would stand at `at`, or else the first thing that proves it was written.
    fn next(&mut self, file: usize, at: u64, expected: GroupNumber) -> Result<Next, DiskError> {
        let length = self.files[file].file.length()?;
        let mut block_at = at;
        while block_at < length {
            match self.block(file, block_at)? {
                Some(Block::Group(header)) if header.number >= expected => {
                    return Ok(Next::Group(file, block_at, header));
                }
                Some(Block::Trailer(header)) if header.number >= expected => {
                    return Ok(Next::Trailer(file, block_at, header));
                }
                // The usual end of a file: the trailer of the group before stands where the next would.
                Some(Block::Trailer(header))
                    if block_at == at && header.number.next() == expected =>
                {
                    break;
                }
                Some(_) => block_at += BLOCK_U64,
                None => {
                    self.save_votes(file, block_at, expected)?;
                    block_at += BLOCK_U64;
                }
            }
        }
        let next = file + 1;
        Ok(match self.files.get(next) {
            Some(found) if found.header.first >= expected => Next::File(next, found.header.first),
            Some(_) | None => Next::End,
        })
    }

    /// Takes the votes that stand here, if they are of a group whose header could not be read.
    fn save_votes(&mut self, file: usize, at: u64, expected: GroupNumber) -> Result<(), DiskError> {
        let mut start = [0; 4];
        bad_sectors::read(&self.files[file].file, at, &mut start)?;
        if !VoteCopies::may_start(&start) {
            return Ok(());
        }
        let mut bytes = vec![0; VoteCopies::LENGTH_MAX];
        let length = bad_sectors::read(&self.files[file].file, at, &mut bytes)?;
        let copies = VoteCopies::decode(&bytes[..length], self.seed);
        if let Some(copies) = copies
            && copies.incarnation == self.incarnation
            && copies.number >= expected
        {
            self.found.push(Found::Votes(copies.votes));
        }
        Ok(())
    }

    fn block(&self, file: usize, at: u64) -> Result<Option<Block>, DiskError> {
        let block = read_block(&self.files[file].file, at)?;
        Ok(Block::decode(&block, self.seed).filter(|found| {
            let (Block::Group(header) | Block::Trailer(header)) = found;
            header.incarnation == self.incarnation
        }))
    }
}

/// A block; shorter at the end of the file.
fn read_block<F: DiskFile>(file: &F, at: u64) -> Result<Vec<u8>, DiskError> {
    let mut block = vec![0; BLOCK];
    let length = bad_sectors::read(file, at, &mut block)?;
    block.truncate(length);
    Ok(block)
}
