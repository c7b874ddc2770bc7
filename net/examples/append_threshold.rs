//! From which size on should an append go straight to its segment? Measures group commits of one append to each of
//! many partitions, through the journal and past it, checkpoints included. The figures are kept in
//! `docs/format.md`, and [`varve_core::store::StoreOptions::direct_append_bytes_min`] follows from them.
//!
//! `cargo run --release -p varve-net --example append_threshold -- DIR`, where DIR is on the disk to measure.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use varve_core::ids::{
    BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition,
};
use varve_core::log::{Entry, Position};
use varve_core::record::{Batch, BatchBuilder, Compression};
use varve_core::store::{
    BootId, Flush, Identity, LogStore, Order, OrderKind, OrderSeq, Roll, StoreOptions,
};
use varve_net::files::RealDisk;

const SIZES: [usize; 8] = [1, 4, 16, 32, 64, 128, 256, 1024];
const PARTITIONS: [i32; 3] = [1, 12, 100];
/// Bytes of each measurement, at most, and its group commits.
const BYTES: usize = 512 << 20;
const COMMITS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("which directory?")?;
    println!("append KiB | partitions | journal ms a commit, MB/s | direct ms a commit, MB/s");
    for partitions in PARTITIONS {
        for kib in SIZES {
            let size = kib << 10;
            let commits = (BYTES / size / usize::try_from(partitions)?).clamp(5, COMMITS);
            let mut line = format!("{kib:10} | {partitions:10}");
            for direct in [false, true] {
                let path = Path::new(&directory).join("append_threshold");
                let seconds = measure(&path, partitions, size, commits, direct)?;
                std::fs::remove_dir_all(&path)?;
                #[expect(clippy::cast_precision_loss, reason = "for people to read")]
                let (commits, bytes) = (commits as f64, (commits * size) as f64);
                line += &format!(
                    " | {:8.2} {:7.0}",
                    seconds * 1000.0 / commits,
                    bytes * f64::from(partitions) / seconds / 1e6
                );
            }
            println!("{line}");
        }
    }
    Ok(())
}

/// Seconds for so many group commits, each of one append of `size` bytes to each partition.
fn measure(
    path: &Path,
    partitions: i32,
    size: usize,
    commits: usize,
    direct: bool,
) -> Result<f64, Box<dyn Error>> {
    let disk = RealDisk::open(path)?;
    let identity = Identity {
        cluster: None,
        broker: BrokerId(1),
        directory: DirectoryId(1),
    };
    LogStore::format(&disk, identity)?;
    let options = StoreOptions {
        direct_append_bytes_min: if direct { 0 } else { usize::MAX },
        open_files_max: 8192,
        ..StoreOptions::default()
    };
    let (mut store, _) = LogStore::open(disk, options, BootId(1))?;
    let now = varve_core::time::Instant(0);
    let mut seq = 0;
    let mut execute = |store: &mut LogStore<RealDisk>, partition, kind| {
        seq += 1;
        let order = Order {
            replica: TopicPartition {
                topic: TopicId(7),
                partition: PartitionIndex(partition),
            },
            seq: OrderSeq(seq),
            kind,
        };
        store.execute(now, &order).expect("the disk has room");
    };
    for partition in 0..partitions {
        let voters = Vec::new();
        execute(&mut store, partition, OrderKind::Create { voters });
    }
    commit(&mut store)?;
    let body = batch(size)?;
    let start = Instant::now();
    let mut after = Position::default();
    for _ in 0..commits {
        let mut batch = body.clone();
        batch.stamp(after.end_offset, LeaderEpoch(1));
        let entry = Entry::Batch(batch);
        for partition in 0..partitions {
            let append = OrderKind::Append {
                after,
                entries: vec![entry.clone()],
                high_watermark: after.end_offset,
                flush: Flush::Commit,
                roll: Roll::default(),
            };
            execute(&mut store, partition, append);
        }
        after = entry.position_after(after);
        commit(&mut store)?;
        store.maintain().map_err(|failure| format!("{failure:?}"))?;
    }
    if let Some(ticket) = store
        .force_checkpoint()
        .map_err(|failure| format!("{failure:?}"))?
    {
        ticket.run()?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn commit(store: &mut LogStore<RealDisk>) -> Result<(), Box<dyn Error>> {
    if let Some(ticket) = store
        .begin_commit()
        .map_err(|failure| format!("{failure:?}"))?
    {
        let synced = ticket.sync();
        store
            .finish_commit(&ticket, synced)
            .map_err(|failure| format!("{failure:?}"))?;
    }
    Ok(())
}

/// A batch of `size` bytes or a little more.
fn batch(size: usize) -> Result<Batch, Box<dyn Error>> {
    let value = Bytes::from(vec![b'v'; size - 80]);
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push(Timestamp(1), None, Some(&value), &[])
        .map_err(|_| "the batch is full")?;
    let batch = builder.build();
    assert_eq!(batch.header.base_offset, Offset(0), "stamped later");
    Ok(batch)
}
