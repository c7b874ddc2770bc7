//! A full disk, a sync that fails, and what stays possible.

use std::ops::Range;

use super::*;

#[test]
fn a_directory_that_is_offline_waits_for_no_flush() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    driver.commit();
    let late = vec![Entry::Batch(batch(0, 1, 1, 100))];
    driver
        .append_as(replica(0), late, Offset(0), Flush::Replicated)
        .unwrap();
    assert!(driver.store.next_flush_deadline().is_some());
    disk.fail_syncs();
    let ticket = driver.store.begin_commit().unwrap().unwrap();
    let synced = ticket.sync();
    assert!(driver.store.finish_commit(&ticket, synced).is_err());
    driver.store.commits.request_by(Instant(0));
    assert_eq!(driver.store.next_flush_deadline(), None);
}

#[test]
fn deleting_a_replica_during_a_checkpoint_loses_nothing_else() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    for partition in 0..2 {
        driver.create(replica(partition));
        let entries = vec![opening(1, 0), Entry::Batch(batch(0, 1, 1, 300))];
        driver.append(replica(partition), entries).unwrap();
    }
    driver.commit();
    let ticket = driver.store.force_checkpoint().unwrap().unwrap();
    driver.execute(replica(0), OrderKind::Delete).unwrap();
    driver.commit();
    let gone = segment::directory(replica(0));
    assert_eq!(disk.list(&gone), Err(DiskError::NotFound));
    let ran = ticket.run();
    assert_eq!(driver.store.finish_checkpoint(&ticket, ran), Ok(()));
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas.len(), 1);
}

#[test]
fn on_a_full_disk_appends_are_refused_whole_while_votes_truncations_and_deletes_work() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.create(replica(1));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let first = batch(0, 1, 2, 300);
    driver
        .append(replica(0), vec![Entry::Batch(first.clone())])
        .unwrap();
    driver.commit();
    disk.set_free(options().reserve_bytes - 1);
    driver.store.space.forget();
    let end = driver.end(replica(0));
    let refused = driver.append(replica(0), vec![Entry::Batch(batch(2, 1, 1, 9000))]);
    let stage = |done: Result<Option<Completion>, _>| done.unwrap().map(|done| done.stage);
    assert_eq!(stage(refused), Some(Stage::Refused(Refusal::DiskFull)));
    // One that was ordered behind it fails like it.
    let behind = Position {
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(3),
        notes: 1,
    };
    let order = OrderKind::Append {
        after: behind,
        entries: vec![Entry::Batch(batch(3, 1, 1, 100))],
        high_watermark: Offset(0),
        flush: Flush::Commit,
        roll: Roll::default(),
    };
    assert_eq!(
        stage(driver.execute(replica(0), order)),
        Some(Stage::Refused(Refusal::DiskFull))
    );
    // A truncation to a place that was refused has nothing to drop, and what stands behind it is refused still.
    let truncate = OrderKind::Truncate { to: behind };
    assert_eq!(stage(driver.execute(replica(0), truncate)), None);
    let order = OrderKind::Append {
        after: behind,
        entries: vec![opening(2, 3)],
        high_watermark: Offset(0),
        flush: Flush::Commit,
        roll: Roll::default(),
    };
    assert_eq!(
        stage(driver.execute(replica(0), order)),
        Some(Stage::Refused(Refusal::DiskFull))
    );
    assert_eq!(driver.end(replica(0)), end);
    assert_eq!(driver.read_all(replica(0)), bytes_of(&[first]));

    let vote = Vote {
        leader_epoch: LeaderEpoch(4),
        voted_for: Some(voter(2)),
    };
    driver
        .execute(replica(0), OrderKind::StoreVote(vote))
        .unwrap();
    driver.append(replica(0), vec![opening(4, 2)]).unwrap();
    driver.execute(replica(1), OrderKind::Delete).unwrap();
    assert_eq!(driver.commit().len(), 4);
    assert_eq!(driver.store.has_space(), Ok(false));

    disk.set_free(1 << 30);
    assert_eq!(driver.store.has_space(), Ok(true));
    driver
        .append(replica(0), vec![Entry::Batch(batch(2, 4, 1, 9000))])
        .unwrap();
    driver.commit();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas.len(), 1);
    assert_eq!(recovered.replicas[0].vote, vote);
    assert_eq!(recovered.replicas[0].end.end_offset, Offset(3));
}

#[test]
fn a_checkpoint_without_room_leaves_the_previous_one_and_the_journal() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    let mut logs = Vec::new();
    for partition in 0..40 {
        driver.create(replica(partition));
        driver
            .append(replica(partition), vec![opening(1, 0)])
            .unwrap();
        let batch = batch(0, 1, 2, 300);
        driver
            .append(replica(partition), vec![Entry::Batch(batch.clone())])
            .unwrap();
        logs.push(bytes_of(&[batch]));
    }
    driver.commit();
    disk.set_free(0);
    let ticket = driver.store.force_checkpoint().unwrap().unwrap();
    let ran = ticket.run();
    assert_eq!(
        ran,
        Err(DiskError::NoSpace),
        "it is larger than the one before"
    );
    driver.store.finish_checkpoint(&ticket, ran).unwrap();
    let vote = OrderKind::StoreVote(Vote {
        leader_epoch: LeaderEpoch(7),
        voted_for: None,
    });
    driver.execute(replica(0), vote).unwrap();
    driver.commit();
    disk.set_free(u64::MAX / 2);
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].vote.leader_epoch, LeaderEpoch(7));
    let driver = Driver::new(store);
    for (partition, bytes) in (0..).zip(logs) {
        assert_eq!(driver.read_all(replica(partition)), bytes);
    }
}

#[test]
fn a_journal_without_room_for_another_file_waits_until_there_is_room() {
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    driver.commit();
    // The disk hangs in the midst of a checkpoint, so that no file is free again.
    let ticket = driver.store.force_checkpoint().unwrap().unwrap();
    disk.set_free(0);
    let mut vote = Vote::default();
    while !driver.store.is_short_of_resources() {
        vote.leader_epoch = vote.leader_epoch.next();
        driver
            .execute(replica(0), OrderKind::StoreVote(vote))
            .unwrap();
        driver.commit();
    }
    assert_eq!(driver.commit(), [], "nothing becomes durable");
    let refused = driver.append(replica(0), vec![Entry::Batch(batch(0, 1, 1, 300))]);
    let stage = refused.unwrap().map(|refused| refused.stage);
    assert_eq!(stage, Some(Stage::Refused(Refusal::DiskFull)));
    disk.set_free(1 << 30);
    let ran = ticket.run();
    driver.store.finish_checkpoint(&ticket, ran).unwrap();
    assert_eq!(driver.store.retry(NOW), Ok(Vec::new()));
    assert_eq!(driver.commit().len(), 1);
    assert_eq!(open(&disk).1.replicas[0].vote, vote);
}

#[test]
fn a_failed_sync_takes_the_directory_offline_and_is_never_retried() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    let ticket = driver.store.begin_commit().unwrap().unwrap();
    disk.fail_syncs();
    let synced = ticket.sync();
    assert!(synced.is_err());
    let failure = driver.store.finish_commit(&ticket, synced).unwrap_err();
    assert!(matches!(failure, StoreFailure::Offline(_)));
    assert_eq!(driver.store.begin_commit().unwrap_err(), failure);
    let vote = OrderKind::StoreVote(Vote::default());
    assert_eq!(driver.execute(replica(0), vote).unwrap_err(), failure);
    assert_eq!(
        driver.read(replica(0), 0, 100),
        QueryResult::Failed(ReadError::Unavailable)
    );
}

#[test]
fn after_a_failed_sync_a_directory_opens_only_after_a_reboot() {
    let reopens = |disk: &TestDisk, boot| LogStore::open(disk.clone(), options(), boot).map(|_| ());
    let failed = Err(OpenError::SyncFailed("input/output error".to_owned()));
    let fail: [fn(&TestDisk); 3] = [
        |disk| {
            let (store, _) = open(disk);
            let mut driver = Driver::new(store);
            driver.create(replica(0));
            let ticket = driver.store.begin_commit().unwrap().unwrap();
            disk.fail_syncs();
            let _ = ticket.sync(); // and the process dies before it takes note
        },
        |disk| {
            let (mut store, _) = open(disk);
            let ticket = store.force_checkpoint().unwrap().unwrap();
            disk.fail_syncs();
            let _ = ticket.run();
        },
        |disk| {
            disk.fail_syncs();
            assert!(LogStore::open(disk.clone(), options(), BOOT).is_err());
        },
    ];
    for fail in fail {
        let disk = formatted();
        open(&disk);
        fail(&disk);
        disk.mend_syncs();
        disk.set_free(0);
        assert_eq!(reopens(&disk, BOOT), failed);
        assert_eq!(reopens(&disk, BOOT), failed, "at every start");
        assert_eq!(
            reopens(&disk, BootId::UNKNOWN),
            failed,
            "it may be the same run"
        );
        disk.set_free(u64::MAX / 2);
        assert_eq!(reopens(&disk, BootId(BOOT.0 + 1)), Ok(()));
        assert_eq!(reopens(&disk, BOOT), Ok(()), "it is settled");
    }
}

#[test]
fn a_volatile_replica_is_suspect_after_a_power_cut_and_for_every_start_after_that() {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    for partition in 0..2 {
        driver.create(replica(partition));
    }
    driver
        .execute(replica(0), OrderKind::SetMark(Mark::Volatile))
        .unwrap();
    driver.commit();
    let marks = |boot| {
        let (_, recovered) = LogStore::open(disk.clone(), options(), boot).unwrap();
        let marks = recovered.replicas.iter().map(|found| found.mark);
        marks.collect::<Vec<_>>()
    };
    assert_eq!(marks(BOOT), [Mark::Volatile, Mark::Clean]);
    assert_eq!(marks(BootId(8)), [Mark::Suspect, Mark::Clean]);
    // The second restart (counter-example 4): the boot id matches, and it is suspect all the same.
    assert_eq!(marks(BootId(8)), [Mark::Suspect, Mark::Clean]);
}

#[test]
fn a_volatile_replica_is_suspect_if_the_boot_id_is_unknown() {
    let disk = formatted();
    let (store, _) = LogStore::open(disk.clone(), options(), BootId::UNKNOWN).unwrap();
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver
        .execute(replica(0), OrderKind::SetMark(Mark::Volatile))
        .unwrap();
    driver.commit();
    let (_, recovered) = LogStore::open(disk.clone(), options(), BootId::UNKNOWN).unwrap();
    assert_eq!(recovered.replicas[0].mark, Mark::Suspect);
}

#[test]
fn a_directory_is_formatted_once_and_opens_only_if_formatted() {
    let disk = TestDisk::new();
    let opened = LogStore::open(disk, options(), BOOT);
    assert_eq!(opened.err(), Some(OpenError::NotFormatted));
    let disk = formatted();
    let identity = Identity {
        cluster: None,
        broker: BrokerId(2),
        directory: DirectoryId(1),
    };
    assert_eq!(
        LogStore::format(&disk, identity),
        Err(OpenError::AlreadyFormatted)
    );
    let (mut store, _) = open(&disk);
    store.join(ClusterId(5)).unwrap();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.cluster, Some(ClusterId(5)));
    assert_eq!(recovered.broker, BrokerId(1));
    disk.rot("identity", 30);
    let opened = LogStore::open(disk, options(), BOOT);
    assert!(matches!(opened.err(), Some(OpenError::Damaged(_))));
}

/// A log of twelve batches in several segments, with indexes, of which some bytes cannot be read.
fn unreadable(file: &str, bytes: Range<u64>, times: Option<u32>) -> (TestDisk, Vec<Batch>) {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let batches: Vec<Batch> = (0..12).map(|n| batch(n, 1, 1, 9000)).collect();
    for batch in &batches {
        let entries = vec![Entry::Batch(batch.clone())];
        driver.append(replica(0), entries).unwrap();
        driver.commit();
    }
    drop(driver);
    open(&disk); // its checkpoint has it all
    let path = disk.paths().into_iter().find(|it| it.contains(file));
    disk.fail_reads(&path.expect("it is there"), bytes, times);
    (disk, batches)
}

const FILES: [&str; 5] = [
    "00000.log",
    "00000.index",
    "00000.timeindex",
    "journal/",
    "checkpoint.",
];

#[test]
fn a_failed_read_is_retried_and_loses_nothing() {
    for file in FILES {
        let (disk, batches) = unreadable(file, 0..100_000, Some(2));
        let (store, recovered) = open(&disk);
        assert_eq!(recovered.replicas[0].mark, Mark::Clean, "{file}");
        assert_eq!(recovered.replicas[0].end.end_offset, Offset(12), "{file}");
        let driver = Driver::new(store);
        assert_eq!(driver.read_all(replica(0)), bytes_of(&batches), "{file}");
    }
}

#[test]
fn unreadable_bytes_are_a_hole_and_the_directory_stays_online() {
    for file in FILES {
        // In the second batch of the segment; everywhere in the others.
        let bytes = if file == "00000.log" {
            12_300..12_512
        } else {
            0..512
        };
        let (disk, batches) = unreadable(file, bytes, None);
        let (store, recovered) = open(&disk);
        let found = &recovered.replicas[0];
        assert_eq!(found.end.end_offset, Offset(12), "{file}");
        let mut driver = Driver::new(store);
        let found = driver.store.examine(replica(0), Offset(0)..Offset(12));
        if file == "00000.log" {
            assert_eq!(found, Ok(vec![Offset(1)..Offset(2)]), "the batch alone");
            let fill = OrderKind::Fill {
                batches: vec![batches[1].clone()],
            };
            driver.execute(replica(0), fill).unwrap();
        } else {
            assert_eq!(found, Ok(vec![]), "{file}");
        }
        assert_eq!(driver.read_all(replica(0)), bytes_of(&batches), "{file}");
        let more = vec![Entry::Batch(batch(12, 1, 1, 100))];
        driver.append(replica(0), more).unwrap();
        driver.commit();
    }
}

#[test]
fn a_missing_segment_is_a_hole_to_its_readers() {
    let (disk, batches) = unreadable("00000.log", 0..0, None);
    let path = disk
        .paths()
        .into_iter()
        .find(|it| it.ends_with("00000.log"));
    let (store, _) = open(&disk);
    disk.drop_file(&path.unwrap());
    let mut driver = Driver::new(store);
    let QueryResult::Failed(ReadError::Hole(hole)) = driver.read(replica(0), 2, 100) else {
        panic!("nothing is there");
    };
    assert_eq!(
        driver.store.examine(replica(0), hole.clone()),
        Ok(vec![hole])
    );
    assert_eq!(
        driver.read(replica(0), 11, 100),
        QueryResult::Records(bytes_of(&batches[11..]).into())
    );
}

#[test]
fn a_log_whose_last_page_is_unreadable_continues_in_a_new_segment() {
    let (disk, batches) = unreadable("00000.log", 0..0, None);
    let logs = || -> Vec<String> {
        let paths = disk.paths().into_iter();
        paths.filter(|path| path.ends_with(".log")).collect()
    };
    let before = logs();
    let last = before.last().unwrap();
    let end = disk.bytes(last).len() as u64;
    disk.fail_reads(last, end - 1..end, None);
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    let more = batch(12, 1, 1, 100);
    let entries = vec![Entry::Batch(more.clone())];
    driver.append(replica(0), entries).unwrap();
    driver.commit();
    assert_eq!(logs().len(), before.len() + 1);
    // The batch before is a hole, and a fill gives the page up.
    let hole = driver.store.examine(replica(0), Offset(11)..Offset(12));
    assert_eq!(hole, Ok(vec![Offset(11)..Offset(12)]));
    let fill = OrderKind::Fill {
        batches: vec![batches[11].clone()],
    };
    driver.execute(replica(0), fill).unwrap();
    driver.commit();
    let (store, _) = open(&disk);
    let all = [&batches[..], &[more]].concat();
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&all));
}

#[test]
fn a_truncation_within_an_unreadable_page_still_takes_effect() {
    // The file ends in that page, and behind it.
    for size in [500, 3000] {
        let disk = formatted();
        let mut driver = Driver::new(open(&disk).0);
        driver.create(replica(0));
        driver.append(replica(0), vec![opening(1, 0)]).unwrap();
        for offset in [0, 1] {
            let entry = Entry::Batch(batch(offset, 1, 1, size));
            driver.append(replica(0), vec![entry]).unwrap();
        }
        driver.commit();
        let log = disk.paths().into_iter().find(|it| it.ends_with(".log"));
        let behind_first = size as u64 + 61;
        disk.fail_reads(&log.unwrap(), behind_first..behind_first + 100, None);
        let to = Position {
            leader_epoch: LeaderEpoch(1),
            end_offset: Offset(1),
            notes: 1,
        };
        driver
            .execute(replica(0), OrderKind::Truncate { to })
            .unwrap();
        driver.append(replica(0), vec![opening(2, 1)]).unwrap();
        let entry = Entry::Batch(batch(1, 2, 1, size));
        driver.append(replica(0), vec![entry]).unwrap();
        driver.commit();
        let end = driver.end(replica(0));
        assert_eq!(end.end_offset, Offset(2), "it is taken");
        drop(driver);
        assert_eq!(open(&disk).1.replicas[0].end, end);
    }
}
