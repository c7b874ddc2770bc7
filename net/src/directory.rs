//! Offline operations on log directories: formatting them, and giving up damaged records in them.
//!
//! A directory is formatted once. The operator forms a cluster explicitly; every other directory is formatted to join
//! one, so a node whose disk was lost comes back as a learner of its own cluster and does not form a second one
//! (counter-example 5).

use std::ops::Range;

use varve_core::ids::{BrokerId, ClusterId, DirectoryId, Offset, TopicPartition, Voter};
use varve_core::log::NoteKind;
use varve_core::store::{
    BootId, Disk, DiskError, Identity, LogStore, OpenError, Order, OrderKind, OrderSeq, Recovered,
    StoreFailure, StoreOptions,
};
use varve_core::time::Instant;

/// Formats an empty directory for a node that joins the cluster of its bootstrap addresses.
///
/// # Errors
/// [`OpenError`].
pub fn format_to_join<D: Disk>(
    disk: &D,
    broker: BrokerId,
    directory: DirectoryId,
) -> Result<(), OpenError> {
    LogStore::format(
        disk,
        Identity {
            cluster: None,
            broker,
            directory,
        },
    )
}

/// Formats an empty directory for the first node of a new cluster: its metadata quorum is this node alone.
///
/// The cluster's id is written last, so that an interrupted format is repeated.
///
/// # Errors
/// [`OpenError::AlreadyFormatted`] where the directory belongs to a cluster or is about to join one.
pub fn format_first<D: Disk>(
    disk: &D,
    broker: BrokerId,
    directory: DirectoryId,
    cluster: ClusterId,
    options: StoreOptions,
    boot: BootId,
) -> Result<(), OpenError> {
    match format_to_join(disk, broker, directory) {
        Ok(()) | Err(OpenError::AlreadyFormatted) => {}
        Err(error) => return Err(error),
    }
    let (mut store, recovered) = LogStore::open(disk.clone(), options, boot)?;
    if recovered.cluster.is_some() || recovered.broker != broker {
        return Err(OpenError::AlreadyFormatted);
    }
    let own = Voter {
        broker,
        directory: recovered.directory,
    };
    match recovered.replicas.as_slice() {
        [] => create_metadata_quorum(&mut store, own)?,
        [only] if only.replica == TopicPartition::METADATA && only.voters == [own] => {}
        _ => return Err(OpenError::AlreadyFormatted),
    }
    store.join(cluster).map_err(unusable)
}

fn create_metadata_quorum<D: Disk>(store: &mut LogStore<D>, own: Voter) -> Result<(), OpenError> {
    let order = Order {
        replica: TopicPartition::METADATA,
        seq: OrderSeq(1),
        kind: OrderKind::Create { voters: vec![own] },
    };
    store
        .execute(Instant::default(), &order)
        .map_err(unusable)?;
    commit(store)
}

/// Damage in a log directory that no node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In whose log.
    pub partition: TopicPartition,
    /// The ranges whose records are damaged or missing, ascending.
    pub holes: Vec<Range<Offset>>,
    /// Other voters of the partition, as this directory knows them: they may have the missing records.
    pub others: Vec<Voter>,
}

/// Why a loss cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// The directory cannot be opened or written.
    Open(OpenError),
    /// Nothing is damaged in this partition, or it is not here.
    NotDamaged(TopicPartition),
    /// Other voters may have the missing records: once they are linked, the hole is filled.
    OthersMayHaveIt(Damage),
}

impl From<OpenError> for AcceptError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// The known damage in a directory.
///
/// # Errors
/// [`OpenError`].
pub fn damage<D: Disk>(
    disk: D,
    options: StoreOptions,
    boot: BootId,
) -> Result<Vec<Damage>, OpenError> {
    let (_, recovered) = LogStore::open(disk, options, boot)?;
    Ok(damage_in(&recovered))
}

/// Permanently gives up damaged records of partitions of which this directory has the only replica: reads skip them.
/// Returns what was given up.
///
/// # Errors
/// [`AcceptError`]; then nothing has been given up, unless the disk failed meanwhile.
pub fn accept_loss<D: Disk>(
    disk: D,
    options: StoreOptions,
    boot: BootId,
    partitions: &[TopicPartition],
) -> Result<Vec<Damage>, AcceptError> {
    let (mut store, recovered) = LogStore::open(disk, options, boot)?;
    let all = damage_in(&recovered);
    let mut given_up = Vec::new();
    for &partition in partitions {
        match all.iter().find(|damage| damage.partition == partition) {
            None => return Err(AcceptError::NotDamaged(partition)),
            Some(damage) if !damage.others.is_empty() => {
                return Err(AcceptError::OthersMayHaveIt(damage.clone()));
            }
            Some(damage) => given_up.push(damage.clone()),
        }
    }
    let holes = given_up.iter().flat_map(|damage| {
        let holes = damage.holes.iter();
        holes.map(|hole| (damage.partition, hole.clone()))
    });
    for (seq, (replica, range)) in (1..).zip(holes) {
        let order = Order {
            replica,
            seq: OrderSeq(seq),
            kind: OrderKind::AcceptLoss { range },
        };
        store
            .execute(Instant::default(), &order)
            .map_err(unusable)?;
    }
    commit(&mut store)?;
    Ok(given_up)
}

fn damage_in(recovered: &Recovered) -> Vec<Damage> {
    let own = Voter {
        broker: recovered.broker,
        directory: recovered.directory,
    };
    let damaged = recovered.replicas.iter().filter(|it| !it.holes.is_empty());
    damaged
        .map(|replica| {
            let changes = replica
                .notes
                .iter()
                .rev()
                .find_map(|note| match &note.kind {
                    NoteKind::Voters(voters) => Some(voters),
                    NoteKind::Opening { .. } | NoteKind::LogStart(_) | NoteKind::ClockTick(_) => {
                        None
                    }
                });
            let voters = changes.unwrap_or(&replica.voters).iter();
            Damage {
                partition: replica.replica,
                holes: replica.holes.clone(),
                others: voters.copied().filter(|&voter| voter != own).collect(),
            }
        })
        .collect()
}

fn commit<D: Disk>(store: &mut LogStore<D>) -> Result<(), OpenError> {
    if let Some(ticket) = store.begin_commit().map_err(unusable)? {
        store
            .finish_commit(&ticket, ticket.sync())
            .map_err(unusable)?;
    }
    Ok(())
}

fn unusable(failure: StoreFailure) -> OpenError {
    let StoreFailure::Offline(reason) = failure;
    OpenError::Disk(DiskError::Io(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::RealDisk;
    use std::path::Path;
    use varve_core::ids::{LeaderEpoch, PartitionIndex, Timestamp, TopicId};
    use varve_core::log::{Entry, Note, Position};
    use varve_core::record::{Batch, BatchBuilder, Compression};
    use varve_core::store::{Flush, Query, QueryId, QueryKind, QueryResult, ReadError, Roll, Vote};

    const BOOT: BootId = BootId(1);

    fn voter(broker: i32) -> Voter {
        Voter {
            broker: BrokerId(broker),
            directory: DirectoryId(5),
        }
    }

    fn small() -> StoreOptions {
        StoreOptions {
            journal_file_bytes: 1 << 20,
            journal_files: 1,
            // Straight to the segment: the journal cannot repair the damage.
            direct_append_bytes_min: 1,
            reserve_bytes: 0,
            ..StoreOptions::default()
        }
    }

    fn open(path: &Path) -> RealDisk {
        RealDisk::open(path).unwrap()
    }

    fn batch(offset: i64) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push(Timestamp(1), None, Some(&[7; 500]), &[])
            .unwrap();
        let mut batch = builder.build();
        batch.stamp(Offset(offset), LeaderEpoch(1));
        batch
    }

    /// A directory with a partition of three batches, one of them damaged.
    fn damaged(path: &Path, partition: TopicPartition, voters: Vec<Voter>) {
        let disk = open(path);
        let me = voter(1);
        format_to_join(&disk, me.broker, me.directory).unwrap();
        let (mut store, _) = LogStore::open(disk, small(), BOOT).unwrap();
        let opening = Note {
            leader_epoch: LeaderEpoch(1),
            offset: Offset(0),
            kind: NoteKind::Opening { leader: me },
        };
        let mut entries = vec![Entry::Note(opening)];
        entries.extend((0..3).map(|offset| Entry::Batch(batch(offset))));
        let append = OrderKind::Append {
            after: Position::default(),
            entries,
            high_watermark: Offset(3),
            flush: Flush::Commit,
            roll: Roll::default(),
        };
        // The group commit behind the append proves that it was durable: the damage is not a torn tail.
        let vote = OrderKind::StoreVote(Vote::default());
        for (seq, kind) in (1..).zip([OrderKind::Create { voters }, append, vote]) {
            let order = Order {
                replica: partition,
                seq: OrderSeq(seq),
                kind,
            };
            store.execute(Instant::default(), &order).unwrap();
            commit(&mut store).unwrap();
        }
        drop(store);
        let name = format!("{}-{}/{:020}.log", partition.topic, partition.partition, 0);
        let segment = path.join(name);
        let mut bytes = std::fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }

    fn partition() -> TopicPartition {
        TopicPartition {
            topic: TopicId(99),
            partition: PartitionIndex(0),
        }
    }

    fn read(store: &LogStore<RealDisk>, offset: i64) -> QueryResult {
        store.query(&Query {
            id: QueryId(1),
            replica: partition(),
            kind: QueryKind::Read {
                offset: Offset(offset),
                end: Offset(3),
                bytes_max: 10_000,
            },
        })
    }

    #[test]
    fn what_the_only_copy_has_lost_can_be_given_up_and_is_then_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        damaged(path, partition(), vec![voter(1)]);
        let lost = Damage {
            partition: partition(),
            holes: vec![Offset(1)..Offset(2)],
            others: Vec::new(),
        };
        assert_eq!(damage(open(path), small(), BOOT), Ok(vec![lost.clone()]));
        let (store, _) = LogStore::open(open(path), small(), BOOT).unwrap();
        let hole = ReadError::Hole(Offset(1)..Offset(2));
        assert_eq!(read(&store, 1), QueryResult::Failed(hole));
        drop(store);
        let given_up = accept_loss(open(path), small(), BOOT, &[partition()]);
        assert_eq!(given_up, Ok(vec![lost]));
        assert_eq!(damage(open(path), small(), BOOT), Ok(Vec::new()));
        let (store, _) = LogStore::open(open(path), small(), BOOT).unwrap();
        assert_eq!(read(&store, 1), QueryResult::Records(batch(2).to_bytes()));
        drop(store);
        let again = accept_loss(open(path), small(), BOOT, &[partition()]);
        assert_eq!(again, Err(AcceptError::NotDamaged(partition())));
    }

    #[test]
    fn nothing_is_given_up_that_another_copy_may_have() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        damaged(path, partition(), vec![voter(1), voter(2)]);
        let refused = accept_loss(open(path), small(), BOOT, &[partition()]);
        assert!(matches!(
            refused,
            Err(AcceptError::OthersMayHaveIt(damage)) if damage.others == [voter(2)]
        ));
        assert_eq!(damage(open(path), small(), BOOT).unwrap().len(), 1);
    }
}
