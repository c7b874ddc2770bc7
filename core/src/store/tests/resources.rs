//! A process that has few descriptors, or none for the moment.

use super::*;

/// What a store has open besides three times as many files as it keeps: its journal, the note of a failed sync, and what
/// is opened for a moment.
const OTHERS_MAX: usize = 12;

fn append_to_all(driver: &mut Driver, partitions: i32, offset: i64, size: usize) {
    for partition in 0..partitions {
        let entry = Entry::Batch(batch(offset, 1, 1, size));
        let taken = driver.append(replica(partition), vec![entry]);
        assert_eq!(taken, Ok(None));
    }
}

#[test]
fn more_partitions_than_descriptors_lose_nothing() {
    const PARTITIONS: i32 = 150;
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    for partition in 0..PARTITIONS {
        driver.create(replica(partition));
        let opened = driver.append(replica(partition), vec![opening(1, 0)]);
        assert_eq!(opened, Ok(None));
    }
    // Through the journal, and straight to the segments.
    append_to_all(&mut driver, PARTITIONS, 0, 300);
    append_to_all(&mut driver, PARTITIONS, 1, 5000);
    let commit = driver.store.begin_commit().unwrap().unwrap();
    append_to_all(&mut driver, PARTITIONS, 2, 5000);
    let checkpoint = driver.store.force_checkpoint().unwrap().unwrap();
    append_to_all(&mut driver, PARTITIONS, 3, 5000);
    let synced = commit.sync();
    driver.store.finish_commit(&commit, synced).unwrap();
    let ran = checkpoint.run();
    driver.store.finish_checkpoint(&checkpoint, ran).unwrap();
    driver.commit();
    assert_eq!(disk.closed_unsynced(), 0);
    let most = 3 * options().open_files_max + OTHERS_MAX;
    assert!(disk.most_open() <= most, "{} are open", disk.most_open());

    drop((driver, commit, checkpoint));
    disk.power_cut(&mut |_| 1);
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas.len(), 150);
    let driver = Driver::new(store);
    let sizes = [300, 5000, 5000, 5000];
    let batches: Vec<Batch> = (0..)
        .zip(sizes)
        .map(|(offset, size)| batch(offset, 1, 1, size))
        .collect();
    for partition in 0..PARTITIONS {
        assert_eq!(driver.read_all(replica(partition)), bytes_of(&batches));
    }
    assert!(disk.most_open() <= most, "{} are open", disk.most_open());
}

#[test]
fn an_append_without_a_descriptor_is_refused_alone_and_succeeds_later() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    for partition in 0..2 {
        driver.create(replica(partition));
        driver
            .append(replica(partition), vec![opening(1, 0)])
            .unwrap();
    }
    append_to_all(&mut driver, 1, 0, 300);
    driver.commit();
    let end = driver.end(replica(1));
    let first = || vec![Entry::Batch(batch(0, 1, 1, 300))];
    disk.set_shortage(7);
    let refused = driver.append(replica(1), first()).unwrap().unwrap();
    assert_eq!(refused.stage, Stage::Refused(Refusal::OutOfResources));
    assert_eq!(driver.end(replica(1)), end);
    // What needs no file is executed, and what cannot be committed stays.
    let vote = OrderKind::StoreVote(Vote::default());
    assert_eq!(driver.execute(replica(1), vote), Ok(None));
    assert_eq!(driver.commit(), []);
    assert!(driver.store.is_short_of_resources());
    disk.set_shortage(0);
    assert_eq!(driver.store.retry(NOW), Ok(Vec::new()));
    assert_eq!(driver.commit().len(), 1);
    assert_eq!(driver.append(replica(1), first()), Ok(None));
    assert_eq!(driver.commit().len(), 1);
    assert_eq!(
        driver.read_all(replica(1)),
        bytes_of(&[batch(0, 1, 1, 300)])
    );
}

#[test]
fn a_replica_is_created_again_once_its_predecessors_files_are_removed() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    append_to_all(&mut driver, 1, 0, 300);
    driver.commit();
    driver.execute(replica(0), OrderKind::Delete).unwrap();
    disk.set_shortage(7);
    driver.create(replica(0));
    assert!(driver.store.replicas.is_empty());
    // What follows it waits behind it.
    let vote = OrderKind::StoreVote(Vote::default());
    assert_eq!(driver.execute(replica(0), vote), Ok(None));
    disk.set_shortage(0);
    driver.commit();
    assert_eq!(driver.store.retry(NOW), Ok(Vec::new()));
    assert!(!disk.paths().iter().any(|path| path.ends_with(".log")));
    assert_eq!(driver.commit().len(), 2);
    assert_eq!(driver.end(replica(0)), Position::default());
}

#[test]
fn joining_a_cluster_without_a_descriptor_is_stored_later() {
    let disk = formatted();
    let (mut store, _) = open(&disk);
    disk.set_shortage(7);
    assert_eq!(store.join(ClusterId(5)), Ok(()));
    assert!(store.is_short_of_resources());
    disk.set_shortage(0);
    assert_eq!(store.retry(NOW), Ok(Vec::new()));
    drop(store);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.cluster, Some(ClusterId(5)));
}

#[test]
fn a_failed_sync_is_recorded_even_without_a_descriptor() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    let ticket = driver.store.begin_commit().unwrap().unwrap();
    disk.fail_syncs();
    // A descriptor is missing, while memory for a write is there.
    disk.forbid_opening(true);
    let synced = ticket.sync();
    assert!(driver.store.finish_commit(&ticket, synced).is_err());
    drop((driver, ticket));
    disk.mend_syncs();
    disk.forbid_opening(false);
    let reopened = LogStore::open(disk, options(), BOOT);
    assert!(matches!(reopened.err(), Some(OpenError::SyncFailed(_))));
}
