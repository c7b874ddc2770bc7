//! Making log directories.
//!
//! A directory is formatted once. Founding a cluster is explicit, by whoever sets it up; every other directory is
//! made to join one, so a node whose disk was lost comes back as a learner of its own cluster and founds no second
//! one (counter-example 5).

use varve_core::ids::{BrokerId, ClusterId, DirectoryId, TopicPartition, Voter};
use varve_core::store::{
    BootId, Disk, DiskError, Identity, LogStore, OpenError, Order, OrderKind, OrderSeq,
    StoreFailure, StoreOptions,
};
use varve_core::time::Instant;

/// Makes an empty directory one that a node can start on, and that joins the cluster which the node finds through
/// its bootstrap addresses.
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

/// Makes an empty directory that of the first node of a new cluster: its metadata quorum is this node alone.
///
/// The cluster's id is written last, so that a format which was cut short is done again.
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
