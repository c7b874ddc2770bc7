//! The scrub reads everything within its interval, finds rot that nobody else reads, and reports only what it has
//! examined.

use super::*;
use crate::store::scrub::{Findings, Scrubbed};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(1000);
const BODY: usize = 3000;
const RECORDS: i64 = 2;

/// A store whose replicas hold this many batches each, all on disk.
fn with_replicas(batches: &[i64]) -> (TestDisk, Driver) {
    let disk = formatted();
    let mut driver = started(&disk);
    for (partition, &count) in (0..).zip(batches) {
        driver.create(replica(partition));
        driver
            .append(replica(partition), vec![opening(1, 0)])
            .unwrap();
        for n in 0..count {
            let batch = batch(n * RECORDS, 1, RECORDS as i32, BODY);
            driver
                .append(replica(partition), vec![Entry::Batch(batch)])
                .unwrap();
        }
    }
    driver.commit();
    let ticket = driver.store.force_checkpoint().unwrap().unwrap();
    let ran = ticket.run();
    driver.store.finish_checkpoint(&ticket, ran).unwrap();
    (disk, driver)
}

fn started(disk: &TestDisk) -> Driver {
    let options = StoreOptions {
        scrub_interval: INTERVAL,
        segment_bytes_max: 1 << 20,
        ..options()
    };
    Driver::new(LogStore::open(disk.clone(), options, BOOT).unwrap().0)
}

fn path(partition: i32, kind: segment::FileKind) -> String {
    segment::path(replica(partition), Offset(0), kind)
}

/// The middle of the batch with this index.
fn within(index: usize) -> usize {
    index * (BODY + 61) + BODY / 2
}

fn offsets(from: usize, to: usize) -> Range<Offset> {
    Offset(from as i64 * RECORDS)..Offset(to as i64 * RECORDS)
}

/// Runs the next step when it is due. Returns that time.
fn step(driver: &mut Driver) -> (Instant, TopicPartition, Scrubbed, Findings) {
    let due = driver.store.next_scrub_deadline().unwrap();
    if due > Instant::default() {
        let early = Instant(due.0 - 1);
        assert!(
            driver.store.begin_scrub(early).is_none(),
            "not before its time"
        );
    }
    let ticket = driver.store.begin_scrub(due).unwrap();
    assert!(
        driver.store.begin_scrub(due).is_none(),
        "one step at a time"
    );
    let scrubbed = ticket.run();
    let findings = driver.store.finish_scrub(due, &ticket, &scrubbed).unwrap();
    (due, findings.replica, scrubbed, findings)
}

/// Takes steps until `INTERVAL` has passed, and a little more since the log has grown or the round is the second one.
/// Returns what they have come to, once where it is told twice in succession.
fn round(driver: &mut Driver) -> Vec<Findings> {
    let mut findings = Vec::new();
    let (start, _, _, first) = step(driver);
    findings.push(first);
    while driver.store.next_scrub_deadline().unwrap() <= start + INTERVAL {
        findings.push(step(driver).3);
    }
    findings.retain(|it| !it.holes.is_empty() || !it.rewritten.is_empty());
    findings.dedup();
    findings
}

#[test]
fn the_scrub_reads_everything_once_within_its_interval_in_small_steps() {
    let (_, mut driver) = with_replicas(&[250, 0, 3, 120]);
    let mut read = 0;
    let mut steps = Vec::new();
    let mut replicas = BTreeSet::new();
    let start = driver.store.next_scrub_deadline().unwrap();
    while driver.store.next_scrub_deadline().unwrap() < start + INTERVAL {
        let (due, replica, scrubbed, _) = step(&mut driver);
        steps.push(due);
        replicas.insert(replica);
        assert!(scrubbed.bytes() < (256 << 10) + BODY as u64 + 61, "small");
        read += scrubbed.bytes();
    }
    assert_eq!(replicas.len(), 4);
    let all = (250 + 3 + 120) * (BODY as u64 + 61);
    assert!(read >= all, "{read} bytes of {all}");
    assert!(read < all + all / 2, "{read} bytes of {all}, and no more");
    let longest = steps.windows(2).map(|it| it[1].since(it[0])).max();
    assert!(longest < Some(INTERVAL / 3), "spread evenly: {steps:?}");
}

#[test]
fn the_scrub_of_a_node_that_restarts_often_begins_at_different_places() {
    let (disk, driver) = with_replicas(&[20; 8]);
    drop(driver);
    let mut begun = BTreeSet::new();
    for _ in 0..14 {
        let mut driver = started(&disk);
        begun.insert(step(&mut driver).1);
    }
    assert_eq!(begun.len(), 8);
}

#[test]
fn rot_that_the_scrub_finds_is_a_hole_that_survives_a_restart() {
    let (disk, mut driver) = with_replicas(&[40, 40]);
    let log = path(1, segment::FileKind::Log);
    disk.rot(&log, within(7));
    disk.rot(&log, 30 * (BODY + 61) + 4);
    let holes = [offsets(7, 8), offsets(30, 31)];
    let found = round(&mut driver);
    assert_eq!(
        found,
        [Findings {
            replica: replica(1),
            holes: holes.to_vec(),
            rewritten: Vec::new(),
        }]
    );
    driver.commit();
    // What is known is told again, for as long as it is damaged.
    assert_eq!(round(&mut driver), found);
    driver.commit();
    let (_, recovered) = open(&disk);
    let of_second = &recovered.replicas[1];
    assert_eq!(of_second.holes, holes);
}

#[test]
fn the_scrub_finds_a_missing_segment_as_a_hole() {
    let (disk, mut driver) = with_replicas(&[10]);
    drop(driver);
    disk.drop_file(&path(0, segment::FileKind::Log));
    driver = started(&disk);
    let holes: Vec<_> = round(&mut driver)
        .into_iter()
        .flat_map(|it| it.holes)
        .collect();
    assert_eq!(holes, [offsets(0, 10)]);
}

#[test]
fn rot_under_an_intact_page_cache_is_rewritten() {
    let (disk, mut driver) = with_replicas(&[40]);
    let log = path(0, segment::FileKind::Log);
    let before = driver.read_all(replica(0));
    disk.rot_under_cache(&log, within(7));
    disk.rot_under_cache(&log, within(8));
    // The last offset delta in a header, which names more offsets than the log has, or than the batch.
    disk.rot_under_cache(&log, 20 * (BODY + 61) + 23);
    disk.rot_under_cache(&log, 3 * (BODY + 61) + 26);
    assert_eq!(driver.read_all(replica(0)), before, "no read notices");
    let found = round(&mut driver);
    let rewritten: Vec<_> = found.into_iter().flat_map(|it| it.rewritten).collect();
    assert_eq!(rewritten, [offsets(3, 4), offsets(7, 9), offsets(20, 21)]);
    assert!(driver.store.is_commit_due(NOW), "a sync is asked for");
    driver.commit();
    drop(driver);
    disk.power_cut(&mut |_| 1);
    assert_eq!(started(&disk).read_all(replica(0)), before);
    assert_eq!(round(&mut started(&disk)), []);
}

#[test]
fn a_damaged_index_is_rewritten() {
    for kind in [segment::FileKind::OffsetIndex, segment::FileKind::TimeIndex] {
        let (disk, mut driver) = with_replicas(&[60]);
        let path = path(0, kind);
        let before = disk.bytes(&path);
        assert!(before.len() > 100);
        // In the middle, and at the end.
        for at in [before.len() / 2, before.len() - 1] {
            disk.rot(&path, at / 4 * 4);
            disk.rot(&path, at);
            assert_eq!(round(&mut driver), []);
            assert_eq!(disk.bytes(&path), before, "{path}");
        }
    }
}

#[test]
fn changes_during_a_scrub_step_are_not_taken_for_damage() {
    let (disk, mut driver) = with_replicas(&[10]);
    let due = driver.store.next_scrub_deadline().unwrap();
    // Truncated and written anew, in another epoch and in other sizes.
    let ticket = driver.store.begin_scrub(due).unwrap();
    let to = Position {
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(8),
        notes: 1,
    };
    driver
        .execute(replica(0), OrderKind::Truncate { to })
        .unwrap();
    driver.append(replica(0), vec![opening(2, 8)]).unwrap();
    for offset in [8, 9, 10] {
        let entry = Entry::Batch(batch(offset, 2, 1, 700));
        driver.append(replica(0), vec![entry]).unwrap();
    }
    let scrubbed = ticket.run();
    assert!(
        scrubbed.suspects_something(),
        "it reads what is not its own"
    );
    let whole = driver.read_all(replica(0));
    let findings = driver.store.finish_scrub(due, &ticket, &scrubbed).unwrap();
    assert_eq!(findings.holes, []);
    assert_eq!(driver.read_all(replica(0)), whole);
    driver.commit();
    // Deleted.
    let due = driver.store.next_scrub_deadline().unwrap();
    let ticket = driver.store.begin_scrub(due).unwrap();
    driver.execute(replica(0), OrderKind::Delete).unwrap();
    driver.commit();
    let scrubbed = ticket.run();
    let findings = driver.store.finish_scrub(due, &ticket, &scrubbed).unwrap();
    assert_eq!(findings.holes, []);
    drop(driver);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas, []);
}

#[test]
fn a_store_without_scrub_interval_or_offline_scrubs_nothing() {
    let disk = formatted();
    let options = StoreOptions {
        scrub_interval: Duration::ZERO,
        ..options()
    };
    let (mut store, _) = LogStore::open(disk.clone(), options, BOOT).unwrap();
    assert_eq!(store.next_scrub_deadline(), None);
    assert!(store.begin_scrub(NOW).is_none());
    drop(store);
    let (_, mut driver) = with_replicas(&[1]);
    driver.store.fail("the test says so".to_owned());
    assert_eq!(driver.store.next_scrub_deadline(), None);
    assert!(driver.store.begin_scrub(NOW).is_none());
}
