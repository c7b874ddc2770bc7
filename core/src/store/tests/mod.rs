//! The store over a disk in memory: what it promises, claim by claim.

mod basics;
mod crash;
mod disk;
mod failures;
mod holes;
mod lookups;
mod resources;
mod rot;
mod scrub;
mod starts;
mod versions;

use bytes::Bytes;

use super::*;
use crate::ids::{
    BrokerId, ClusterId, DirectoryId, LeaderEpoch, LogClock, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Timestamp, TopicId, TopicPartition, Voter,
};
use crate::log::{Entry, Note, NoteKind, Position};
use crate::record::{Batch, BatchHeader};
use crate::time::Instant;
use disk::TestDisk;

const NOW: Instant = Instant(1_000_000);
const BOOT: BootId = BootId(7);

/// SplitMix64: a few lines, and the same numbers everywhere.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn replica(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicId(99),
        partition: PartitionIndex(partition),
    }
}

fn voter(broker: i32) -> Voter {
    Voter {
        broker: BrokerId(broker),
        directory: DirectoryId(100 + broker as u128),
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 128 << 10,
        journal_files: 3,
        direct_append_bytes_min: 4000,
        checkpoint_journal_bytes: 64 << 10,
        checkpoint_direct_bytes: 256 << 10,
        reserve_bytes: 1 << 20,
        segment_bytes_max: 40_000,
        index_interval_bytes: 1000,
        open_files_max: 3,
        ..StoreOptions::default()
    }
}

fn formatted() -> TestDisk {
    let disk = TestDisk::new();
    let identity = Identity {
        cluster: None,
        broker: voter(1).broker,
        directory: voter(1).directory,
    };
    LogStore::format(&disk, identity).unwrap();
    disk
}

fn checkpoint(driver: &mut Driver) {
    let ticket = driver.store.force_checkpoint().unwrap().unwrap();
    let ran = ticket.run();
    driver.store.finish_checkpoint(&ticket, ran).unwrap();
}

fn newest_checkpoint(disk: &TestDisk) -> &'static str {
    let generation = |path: &&str| disk.bytes(path)[18..26].to_vec();
    let paths = ["checkpoint.0", "checkpoint.1"].into_iter();
    paths.max_by_key(generation).expect("there are two")
}

fn open(disk: &TestDisk) -> (LogStore<TestDisk>, Recovered) {
    LogStore::open(disk.clone(), options(), BOOT).unwrap()
}

/// A whole batch of `records` records whose body is `size` bytes that follow from offset and epoch.
fn batch(base_offset: i64, leader_epoch: i32, records: i32, size: usize) -> Batch {
    let seed = base_offset as usize * 31 + leader_epoch as usize * 17;
    let body: Vec<u8> = (0..size).map(|at| ((seed + at * 7) % 251) as u8).collect();
    let mut batch = Batch {
        header: BatchHeader {
            base_offset: Offset(base_offset),
            body_length: u32::try_from(size).unwrap(),
            leader_epoch: LeaderEpoch(leader_epoch),
            crc: 0,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: Timestamp(base_offset * 10),
            max_timestamp: Timestamp(base_offset * 10 + 5),
            producer_id: ProducerId(5),
            producer_epoch: ProducerEpoch(0),
            base_sequence: base_offset as i32,
            record_count: records,
        },
        body: Bytes::from(body.clone()),
    };
    batch.seal(crc32c::crc32c(&body));
    batch
}

fn opening(leader_epoch: i32, offset: i64) -> Entry {
    Entry::Note(Note {
        leader_epoch: LeaderEpoch(leader_epoch),
        offset: Offset(offset),
        kind: NoteKind::Opening { leader: voter(1) },
    })
}

fn clock_tick(clock: u64, leader_epoch: i32, offset: i64) -> Entry {
    Entry::Note(Note {
        leader_epoch: LeaderEpoch(leader_epoch),
        offset: Offset(offset),
        kind: NoteKind::ClockTick(LogClock(clock)),
    })
}

fn bytes_of(batches: &[Batch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for batch in batches {
        bytes.extend_from_slice(&batch.header.to_bytes());
        bytes.extend_from_slice(&batch.body);
    }
    bytes
}

/// Gives orders with their numbers and commits them.
struct Driver {
    store: LogStore<TestDisk>,
    seq: u64,
}

impl Driver {
    fn new(store: LogStore<TestDisk>) -> Self {
        Self { store, seq: 0 }
    }

    fn execute(
        &mut self,
        replica: TopicPartition,
        kind: OrderKind,
    ) -> Result<Option<Completion>, StoreFailure> {
        self.seq += 1;
        self.store.execute(
            NOW,
            &Order {
                replica,
                seq: OrderSeq(self.seq),
                kind,
            },
        )
    }

    fn create(&mut self, replica: TopicPartition) {
        let voters = vec![voter(1), voter(2)];
        self.execute(replica, OrderKind::Create { voters }).unwrap();
    }

    fn append(
        &mut self,
        replica: TopicPartition,
        entries: Vec<Entry>,
    ) -> Result<Option<Completion>, StoreFailure> {
        self.append_as(replica, entries, Offset(0), Flush::Commit)
    }

    fn append_as(
        &mut self,
        replica: TopicPartition,
        entries: Vec<Entry>,
        high_watermark: Offset,
        flush: Flush,
    ) -> Result<Option<Completion>, StoreFailure> {
        let after = self.end(replica);
        self.execute(
            replica,
            OrderKind::Append {
                after,
                entries,
                high_watermark,
                flush,
                roll: Roll::default(),
            },
        )
    }

    fn end(&self, replica: TopicPartition) -> Position {
        self.store.replicas[&replica].state.end
    }

    fn commit(&mut self) -> Vec<Completion> {
        let Some(ticket) = self.store.begin_commit().unwrap() else {
            return Vec::new();
        };
        let synced = ticket.sync();
        self.store.finish_commit(&ticket, synced).unwrap()
    }

    fn read(&self, replica: TopicPartition, offset: i64, bytes_max: u32) -> QueryResult {
        self.store.query(&Query {
            id: QueryId(1),
            replica,
            kind: QueryKind::Read {
                offset: Offset(offset),
                end: Offset(i64::MAX),
                bytes_max,
            },
        })
    }

    fn read_all(&self, replica: TopicPartition) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut offset = Offset(0);
        while offset < self.end(replica).end_offset {
            let QueryResult::Records(mut records) = self.read(replica, offset.0, 10_000) else {
                panic!("{:?}", self.read(replica, offset.0, 10_000));
            };
            bytes.extend_from_slice(&records);
            while !records.is_empty() {
                offset = Batch::split_from(&mut records)
                    .unwrap()
                    .header
                    .next_offset();
            }
        }
        bytes
    }
}
