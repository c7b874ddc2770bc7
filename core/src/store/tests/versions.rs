//! Directories of other versions of the format.

use super::rot::journal_groups;
use super::*;
use crate::store::codec::Put as _;
use crate::store::journal::{self, Block, SecondCopies, seal};

const VERSION: std::ops::Range<usize> = 8..10;

fn identity_file(disk: &TestDisk) -> Vec<u8> {
    let mut bytes = vec![0; 47];
    let file = disk.open("identity").unwrap();
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The seed of the checksums in a directory.
fn directory_seed(disk: &TestDisk) -> u32 {
    let id = &identity_file(disk)[31..47];
    let id = u128::from_be_bytes(id.try_into().unwrap());
    journal::seed(DirectoryId(id))
}

fn set_version(disk: &TestDisk, version: u16) {
    let mut bytes = identity_file(disk);
    bytes[VERSION].copy_from_slice(&version.to_be_bytes());
    seal(&mut bytes, 0);
    let file = disk.open("identity").unwrap();
    file.write_at(0, &[&bytes]).unwrap();
}

#[test]
fn opening_a_directory_of_an_earlier_version_upgrades_it() {
    let disk = formatted();
    let written = identity_file(&disk);
    for version in [1, 2, 3] {
        set_version(&disk, version);
        drop(open(&disk));
        assert_eq!(identity_file(&disk), written);
    }
}

#[test]
fn a_directory_of_a_later_version_is_refused() {
    let disk = formatted();
    set_version(&disk, 5);
    let opened = LogStore::open(disk, options(), BOOT);
    assert!(matches!(opened, Err(OpenError::Version(5))));
}

/// Moves each group of a journal as in version 1, where it overwrites the trailer of the one before.
fn overwrite_trailers(disk: &TestDisk) -> usize {
    const BLOCK: usize = 4096;
    let mut overwritten = 0;
    let paths = disk.paths().into_iter();
    for path in paths.filter(|path| path.starts_with("journal/")) {
        let bytes = disk.bytes(&path);
        let mut blocks: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
        let is_trailer = |block: &[u8]| block.starts_with(b"VJT1");
        let last = blocks.iter().rposition(|block| is_trailer(block));
        overwritten += blocks.len();
        let mut place = 0;
        blocks.retain(|block| {
            place += 1;
            !is_trailer(block) || Some(place - 1) == last
        });
        overwritten -= blocks.len();
        let mut compact = blocks.concat();
        compact.resize(bytes.len(), 0);
        let file = disk.open(&path).unwrap();
        file.write_at(0, &[&compact]).unwrap();
    }
    overwritten
}

/// Rewrites each group as in version 2, without its number in the records' checksums. Returns how many there were.
fn forget_groups(disk: &TestDisk) -> usize {
    const FRAME: usize = 12;
    let seed = directory_seed(disk);
    let mut forgotten = 0;
    let paths = disk.paths().into_iter();
    for path in paths.filter(|path| path.starts_with("journal/")) {
        let mut bytes = disk.bytes(&path);
        for start in (0..bytes.len()).step_by(4096) {
            let Some(Block::Group(group)) = Block::decode(&bytes[start..], seed) else {
                continue;
            };
            let length = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let mut at = start + group.header_length();
            let end = at + group.records_length as usize;
            while at < end {
                let meta = at + FRAME..at + FRAME + length(&bytes[at..]);
                let body = length(&bytes[at + 4..]);
                let crc = crc32c::crc32c_append(seed, &bytes[at..at + 8]);
                let crc = crc32c::crc32c_append(crc, &bytes[meta.clone()]);
                bytes[at + 8..at + FRAME].copy_from_slice(&crc.to_be_bytes());
                at = meta.end + body;
            }
            let header = &mut bytes[start..start + group.header_length()];
            header[..4].copy_from_slice(b"VJG1");
            seal(header, seed);
            forgotten += 1;
        }
        let file = disk.open(&path).unwrap();
        file.write_at(0, &[&bytes]).unwrap();
    }
    forgotten
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    for version in [1, 2] {
        read_journal_of(version);
    }
}

fn read_journal_of(version: u16) {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let batches: Vec<Batch> = (0..8).map(|n| batch(n, 1, 1, 100)).collect();
    for batch in &batches {
        let entries = vec![Entry::Batch(batch.clone())];
        driver.append(replica(0), entries).unwrap();
        driver.commit();
    }
    drop(driver);
    assert!(forget_groups(&disk) >= 8);
    if version == 1 {
        assert!(overwrite_trailers(&disk) >= 8);
    }
    set_version(&disk, version);
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].mark, Mark::Clean);
    let driver = Driver::new(store);
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
}

/// Rewrites second copies as in version 3, with the votes only. Returns how many there were.
fn forget_voter_changes(disk: &TestDisk) -> usize {
    let seed = directory_seed(disk);
    let mut found = 0;
    let paths = disk.paths().into_iter();
    for path in paths.filter(|path| path.starts_with("journal/")) {
        let bytes = disk.bytes(&path);
        for start in (0..bytes.len()).step_by(4096) {
            let Some(copies) = SecondCopies::decode(&bytes[start..], seed) else {
                continue;
            };
            let mut votes = b"VJV1\0\0\0\0".to_vec();
            votes.u64(copies.incarnation.0);
            votes.u64(copies.number.0);
            votes.count(copies.votes.len());
            for &(replica, vote) in &copies.votes {
                votes.replica(replica);
                votes.vote(vote);
            }
            seal(&mut votes, seed);
            votes.resize(4096, 0);
            let file = disk.open(&path).unwrap();
            file.write_at(start as u64, &[&votes]).unwrap();
            found += 1;
        }
    }
    found
}

#[test]
fn the_second_copy_of_a_vote_of_version_3_is_read() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    driver.commit();
    let vote = Vote {
        leader_epoch: LeaderEpoch(2),
        voted_for: Some(voter(3)),
    };
    driver
        .execute(replica(0), OrderKind::StoreVote(vote))
        .unwrap();
    driver.commit();
    drop(driver);
    assert_eq!(forget_voter_changes(&disk), 1);
    set_version(&disk, 3);
    let groups = journal_groups(&disk);
    let (path, group) = groups.last().unwrap();
    disk.rot(path, group + 90);
    let (_, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!((found.vote, found.mark), (vote, Mark::Suspect));
}
