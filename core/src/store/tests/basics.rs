//! Appending, committing, reading, and starting again.

use super::*;

#[test]
fn committed_batches_survive_a_restart_byte_for_byte() {
    let disk = formatted();
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.incarnation.0, 1);
    assert!(recovered.replicas.is_empty());
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let mut batches = Vec::new();
    for n in 0..200 {
        let size = if n % 10 == 0 { 5000 } else { 300 };
        let batch = batch(n * 3, 1, 3, size);
        batches.push(batch.clone());
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
        if n % 7 == 0 {
            driver.commit();
            driver.store.maintain().unwrap();
        }
    }
    let done = driver.commit();
    assert_eq!(done.last().unwrap().position, driver.end(replica(0)));
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
    let end = driver.end(replica(0));
    drop(driver);
    disk.power_cut(&mut |_| 1);

    let (store, recovered) = open(&disk);
    assert_eq!(recovered.incarnation.0, 2);
    let found = &recovered.replicas[0];
    assert_eq!(found.end, end);
    assert_eq!(found.mark, Mark::Clean);
    assert_eq!(found.voters, [voter(1), voter(2)]);
    assert_eq!(found.notes.len(), 1);
    assert_eq!(found.headers.len(), 200);
    assert_eq!(found.holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn a_large_append_under_replicated_flush_is_durable_within_its_time_bound() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    driver.commit();
    let large = batch(0, 1, 3, 5000);
    assert!(large.size() >= options().direct_append_bytes_min);
    let entries = vec![Entry::Batch(large.clone())];
    let written = driver
        .append_as(replica(0), entries, Offset(0), Flush::Replicated)
        .unwrap();
    assert_eq!(written.map(|done| done.stage), Some(Stage::Written));
    let due = NOW + options().replicated_flush_max;
    assert_eq!(driver.store.next_flush_deadline(), Some(due));
    assert!(driver.store.is_commit_due(due), "nothing else need happen");
    assert_eq!(driver.commit().len(), 1);
    let end = driver.end(replica(0));
    disk.power_cut(&mut |_| 1);

    let (store, recovered) = LogStore::open(disk.clone(), options(), BootId(8)).unwrap();
    assert_eq!(recovered.replicas[0].end, end);
    assert_eq!(recovered.replicas[0].holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&[large]));
}
