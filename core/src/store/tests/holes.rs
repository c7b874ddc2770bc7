//! Rot is not a torn tail: damage below the durable end is a hole, which is known, never truncated, never served, and
//! filled.

use std::ops::Range;

use super::*;

const LOG: &str = "00000000000000000000.log";

fn log_path() -> String {
    format!("{}/{LOG}", segment::directory(replica(0)))
}

/// A replica with an opening and batches of these sizes, all durable and recorded.
fn with_batches(disk: &TestDisk, sizes: &[usize]) -> (Driver, Vec<Batch>) {
    let (store, _) = open(disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let mut batches = Vec::new();
    for &size in sizes {
        let offset = driver.end(replica(0)).end_offset.0;
        let batch = batch(offset, 1, 2, size);
        batches.push(batch.clone());
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
    }
    driver.commit();
    // The next group says that the one before was durable.
    let vote = Vote {
        leader_epoch: LeaderEpoch(1),
        voted_for: None,
    };
    driver
        .execute(replica(0), OrderKind::StoreVote(vote))
        .unwrap();
    driver.commit();
    (driver, batches)
}

/// Position in the segment of the batch with this index.
fn byte_of(batches: &[Batch], index: usize) -> usize {
    batches[..index].iter().map(Batch::size).sum()
}

#[test]
fn a_damaged_header_does_not_extend_a_hole_beyond_the_log() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 3]);
    checkpoint(&mut driver);
    // Committed, so that its headers are not kept in memory.
    let log = driver.store.replicas.get_mut(&replica(0)).unwrap();
    log.state.tail.clear();
    // The same bit of one batch's `last_offset_delta` and of the next one's base offset, which no CRC covers: the two
    // headers confirm each other.
    disk.rot(&log_path(), byte_of(&batches, 1) + 24);
    disk.rot(&log_path(), byte_of(&batches, 2) + 5);
    let QueryResult::Failed(ReadError::Hole(hole)) = driver.read(replica(0), 2, 100_000) else {
        panic!("the batch is damaged");
    };
    let holes = driver.store.examine(replica(0), hole).unwrap();
    assert_eq!(holes, [Offset(2)..Offset(6)]);
    let batches = batches[1..].to_vec();
    driver
        .execute(replica(0), OrderKind::Fill { batches })
        .unwrap();
    driver.commit();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
}

#[test]
fn a_rotten_index_entry_that_points_to_a_copy_of_its_batch_makes_no_hole() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[60; 40]);
    checkpoint(&mut driver);
    drop(driver);
    let index = segment::path(replica(0), Offset(0), segment::FileKind::OffsetIndex);
    let entries = disk.bytes(&index);
    let middle = entries.len() / 16 * 8;
    let word = |at: usize| u32::from_be_bytes(entries[at..at + 4].try_into().unwrap());
    let (last_offset, position) = (i64::from(word(middle)), word(middle + 4));
    let indexed = batches
        .iter()
        .position(|batch| batch.header.last_offset().0 == last_offset)
        .unwrap();
    assert_eq!(byte_of(&batches, indexed), position as usize);
    // A misdirected write of the batch has also overwritten a later batch.
    let over = indexed + 10;
    let astray = byte_of(&batches, over);
    let file = disk.open(&log_path()).unwrap();
    let copy = batches[indexed].to_bytes();
    assert_eq!(copy.len(), batches[over].size());
    file.write_at(astray as u64, &[&copy]).unwrap();
    let rotted = u32::try_from(astray).unwrap().to_be_bytes();
    let file = disk.open(&index).unwrap();
    file.write_at(middle as u64 + 4, &[&rotted]).unwrap();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    let log = driver.store.replicas.get_mut(&replica(0)).unwrap();
    log.state.tail.clear();
    let next = &batches[indexed + 1];
    assert_eq!(
        driver.read(replica(0), next.header.base_offset.0, 1),
        QueryResult::Records(next.to_bytes())
    );
    let behind = next.header.base_offset..Offset(80);
    let holes = driver.store.examine(replica(0), behind).unwrap();
    let begins = batches[over].header.base_offset;
    assert_eq!(holes.first().map(|hole| hole.start), Some(begins));
    let fill = OrderKind::Fill {
        batches: batches[over..].to_vec(),
    };
    driver.execute(replica(0), fill).unwrap();
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn a_hole_begins_at_the_damaged_batch_even_if_found_by_a_read_after_it() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[60; 40]);
    checkpoint(&mut driver);
    let log = driver.store.replicas.get_mut(&replica(0)).unwrap();
    log.state.tail.clear();
    // A bit of a batch's length: a reader that follows it arrives at a place where no batch starts.
    disk.rot(&log_path(), byte_of(&batches, 2) + 11);
    let QueryResult::Failed(ReadError::Hole(hole)) = driver.read(replica(0), 8, 100_000) else {
        panic!("the way there is damaged");
    };
    let holes = driver.store.examine(replica(0), hole).unwrap();
    assert_eq!(holes.first().map(|hole| hole.start), Some(Offset(4)));
    let fill = OrderKind::Fill {
        batches: batches[2..].to_vec(),
    };
    driver.execute(replica(0), fill).unwrap();
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn a_fill_replaces_the_wrong_batch_before_the_hole() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300, 300, 320, 290, 300, 300]);
    checkpoint(&mut driver);
    let log = driver.store.replicas.get_mut(&replica(0)).unwrap();
    log.state.tail.clear();
    // A misdirected write: after the base offset, which no CRC covers, there are a shorter batch and the bytes that
    // followed it.
    let astray = [batches[3].to_bytes(), batches[4].to_bytes()].concat();
    let file = disk.open(&log_path()).unwrap();
    let at = byte_of(&batches, 2) as u64 + 8;
    file.write_at(at, &[&astray[8..400]]).unwrap();
    let forged = driver.read(replica(0), 4, 1);
    assert!(
        matches!(forged, QueryResult::Records(_)),
        "nothing tells it by itself"
    );
    let holes = driver
        .store
        .examine(replica(0), Offset(6)..Offset(8))
        .unwrap();
    assert_eq!(holes, [Offset(6)..Offset(12)]);
    let mut fill = |batches: &[Batch]| {
        let batches = batches.to_vec();
        let completion = driver.execute(replica(0), OrderKind::Fill { batches });
        completion.unwrap().map(|it| it.stage)
    };
    // These are fewer bytes than are missing, and belong after the place where the hole seems to start.
    assert_eq!(fill(&batches[3..]), Some(Stage::Unfilled));
    // With a batch before them that is no longer than the one found there, they are still too few.
    let no_longer = [&[batch(4, 1, 2, 290)], &batches[3..]].concat();
    assert_eq!(fill(&no_longer), Some(Stage::Unfilled));
    assert_eq!(fill(&batches[2..]), None);
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn two_damaged_headers_that_agree_do_not_widen_a_hole() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 60]);
    checkpoint(&mut driver);
    let log = driver.store.replicas.get_mut(&replica(0)).unwrap();
    log.state.tail.clear();
    // As above, with more log behind them.
    disk.rot(&log_path(), byte_of(&batches, 3) + 26);
    disk.rot(&log_path(), byte_of(&batches, 4) + 7);
    for at in 0..60 {
        let read = driver.read(replica(0), at * 2, 1);
        if let QueryResult::Failed(ReadError::Hole(hole)) = read {
            driver.store.examine(replica(0), hole).unwrap();
        }
    }
    let filled = driver.execute(
        replica(0),
        OrderKind::Fill {
            batches: batches.clone(),
        },
    );
    assert_eq!(filled, Ok(None), "all that is missing fits");
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn rot_found_by_a_read_is_journalled_survives_a_restart_and_is_filled_from_a_peer() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 20]);
    checkpoint(&mut driver);
    disk.rot(&log_path(), byte_of(&batches, 5) + 100);

    // What stands before the damage is served; the damage is not.
    let QueryResult::Records(records) = driver.read(replica(0), 0, 100_000) else {
        panic!("the batches before the hole are whole");
    };
    assert_eq!(records, bytes_of(&batches[..5]));
    let hole = Offset(10)..Offset(12);
    assert_eq!(
        driver.read(replica(0), 11, 1000),
        QueryResult::Failed(ReadError::Hole(hole.clone()))
    );
    assert_eq!(
        driver.store.examine(replica(0), hole.clone()),
        Ok(vec![hole.clone()])
    );
    assert_eq!(
        driver.read(replica(0), 12, 100_000),
        QueryResult::Records(bytes_of(&batches[6..]).into())
    );
    driver.commit();
    let end = driver.end(replica(0));

    let (store, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!((found.end, found.mark), (end, Mark::Clean));
    assert_eq!(found.holes, std::slice::from_ref(&hole));

    let mut driver = Driver::new(store);
    let fill = |batch: Batch| OrderKind::Fill {
        batches: vec![batch],
    };
    // Another batch, or one of another epoch, does not fit.
    for wrong in [batch(10, 1, 2, 301), batch(10, 2, 2, 300)] {
        let filled = driver.execute(replica(0), fill(wrong)).unwrap();
        assert_eq!(filled.map(|it| it.stage), Some(Stage::Unfilled));
    }
    assert_eq!(
        driver.read(replica(0), 10, 1000),
        QueryResult::Failed(ReadError::Hole(hole))
    );
    driver
        .execute(replica(0), fill(batches[5].clone()))
        .unwrap();
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
}

/// A store with a hole that has been filled, with nothing of that synced.
fn with_unsynced_fill() -> (TestDisk, Driver, Vec<Batch>, Range<Offset>) {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 20]);
    checkpoint(&mut driver);
    disk.rot(&log_path(), byte_of(&batches, 5) + 100);
    let hole = Offset(10)..Offset(12);
    driver.store.examine(replica(0), hole.clone()).unwrap();
    driver.commit();
    let batches_of_fill = vec![batches[5].clone()];
    let fill = OrderKind::Fill {
        batches: batches_of_fill,
    };
    driver.execute(replica(0), fill).unwrap();
    // It is written when a commit begins.
    drop(driver.store.begin_commit().unwrap());
    (disk, driver, batches, hole)
}

#[test]
fn a_fill_is_synced_by_the_start_after_a_kill() {
    let (disk, driver, batches, _) = with_unsynced_fill();
    drop(driver);
    disk.kill();
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
    drop(store);
    // The power cut loses everything that was not synced.
    disk.power_cut(&mut |_| 1);
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn a_hole_is_open_again_if_a_power_cut_loses_its_fill() {
    let (mut filled, mut open_again) = (0, 0);
    for seed in 0..64 {
        let (disk, driver, batches, hole) = with_unsynced_fill();
        drop(driver);
        let mut draws = Draws(seed);
        disk.power_cut(&mut |below| draws.below(below));
        let (store, recovered) = open(&disk);
        let holes = &recovered.replicas[0].holes;
        if holes.is_empty() {
            filled += 1;
            assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
        } else {
            open_again += 1;
            assert_eq!(holes, std::slice::from_ref(&hole));
        }
    }
    assert!(filled > 0 && open_again > 0, "{filled} of 64 are filled");
}

#[test]
fn rot_since_the_checkpoint_is_repaired_from_the_journal_or_found_at_the_start() {
    let disk = formatted();
    let sizes = [300, 300, 5000, 300, 5000, 300];
    let (driver, batches) = with_batches(&disk, &sizes);
    let end = driver.end(replica(0));
    drop(driver);
    // One batch that the journal has too, one that went straight to its segment.
    disk.rot(&log_path(), byte_of(&batches, 1) + 90);
    disk.rot(&log_path(), byte_of(&batches, 4) + 4000);
    let (store, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!((found.end, found.mark), (end, Mark::Clean));
    assert_eq!(found.holes, [Offset(8)..Offset(10)]);
    let driver = Driver::new(store);
    assert_eq!(
        driver.read(replica(0), 0, 100_000),
        QueryResult::Records(bytes_of(&batches[..4]).into())
    );
    assert_eq!(
        driver.read(replica(0), 10, 100_000),
        QueryResult::Records(bytes_of(&batches[5..]).into())
    );
}

#[test]
fn damaged_headers_and_offsets_that_no_crc_covers_are_found() {
    // Base offset, length, leader epoch, magic, record count: byte by byte of the header.
    for at in 0..61 {
        let disk = formatted();
        let (mut driver, batches) = with_batches(&disk, &[300; 8]);
        checkpoint(&mut driver);
        disk.rot(&log_path(), byte_of(&batches, 3) + at);
        let QueryResult::Failed(ReadError::Hole(hole)) = driver.read(replica(0), 6, 1000) else {
            panic!("byte {at} of a header rots unseen");
        };
        assert!(
            hole.contains(&Offset(6)) && hole.contains(&Offset(7)),
            "byte {at}"
        );
        let holes = driver.store.examine(replica(0), hole.clone()).unwrap();
        assert_eq!(holes, std::slice::from_ref(&hole));
        // Batches that are known one by one bound the hole.
        assert_eq!(hole, Offset(6)..Offset(8), "byte {at}");
    }
}

#[test]
fn a_lost_segment_is_a_hole_and_nothing_is_truncated() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 8]);
    let high_watermark = driver.end(replica(0)).end_offset;
    driver
        .append_as(replica(0), vec![], high_watermark, Flush::Commit)
        .unwrap();
    checkpoint(&mut driver);
    let end = driver.end(replica(0));
    drop(driver);
    disk.drop_file(&log_path());
    let (mut store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].end, end);
    let all = Offset(0)..end.end_offset;
    assert_eq!(
        store.examine(replica(0), all.clone()),
        Ok(vec![all.clone()])
    );
    let mut driver = Driver::new(store);
    driver
        .execute(
            replica(0),
            OrderKind::Fill {
                batches: batches.clone(),
            },
        )
        .unwrap();
    driver.commit();
    assert_eq!(driver.read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn reads_pass_over_an_accepted_loss() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 6]);
    checkpoint(&mut driver);
    disk.rot(&log_path(), byte_of(&batches, 2) + 100);
    let hole = Offset(4)..Offset(6);
    driver.store.examine(replica(0), hole.clone()).unwrap();
    driver
        .execute(replica(0), OrderKind::AcceptLoss { range: hole })
        .unwrap();
    driver.commit();
    let (store, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].holes, []);
    assert_eq!(
        Driver::new(store).read(replica(0), 4, 100_000),
        QueryResult::Records(bytes_of(&batches[3..]).into())
    );
}

#[test]
fn a_damaged_last_group_makes_its_replicas_suspect_and_its_votes_survive() {
    // In the group's header, or in the first copy of the vote.
    check_damaged_last_group(10);
    check_damaged_last_group(52 + 20 + 20);
}

fn check_damaged_last_group(at: usize) {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    for partition in 0..3 {
        driver.create(replica(partition));
    }
    driver.commit();
    let vote = Vote {
        leader_epoch: LeaderEpoch(7),
        voted_for: Some(voter(3)),
    };
    driver
        .execute(replica(1), OrderKind::StoreVote(vote))
        .unwrap();
    driver.commit();
    drop(driver);
    // The last group is not recorded as durable by any other; its first copy of the vote rots.
    let last_group = |path: &String| {
        let bytes = disk.bytes(path);
        let mut blocks = (0..bytes.len()).step_by(4096);
        blocks.rfind(|&at| bytes[at..].starts_with(b"VJG2"))
    };
    let mut journals = disk.paths().into_iter();
    let found = journals.find_map(|path| last_group(&path).map(|group| (path, group)));
    let (path, group) = found.unwrap();
    disk.rot(&path, group + at);
    let (_, recovered) = open(&disk);
    let marks: Vec<_> = recovered.replicas.iter().map(|found| found.mark).collect();
    assert_eq!(marks, [Mark::Clean, Mark::Suspect, Mark::Clean]);
    assert_eq!(recovered.replicas[1].vote, vote);
    // The decision is durable: it holds at the next start without the damage being found again.
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas[1].mark, Mark::Suspect);
    assert_eq!(recovered.replicas[1].vote, vote);
}

#[test]
fn a_rotten_checkpoint_is_replaced_by_the_previous_one_and_the_journal() {
    let disk = formatted();
    let (mut driver, mut batches) = with_batches(&disk, &[300; 8]);
    checkpoint(&mut driver);
    for n in 0..8 {
        let batch = batch(16 + n * 2, 1, 2, if n == 3 { 5000 } else { 200 });
        batches.push(batch.clone());
        driver
            .append(replica(0), vec![Entry::Batch(batch)])
            .unwrap();
        driver.commit();
    }
    checkpoint(&mut driver);
    let end = driver.end(replica(0));
    drop(driver);
    disk.rot(newest_checkpoint(&disk), 40);
    let (store, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!((found.end, found.mark), (end, Mark::Clean));
    assert_eq!(found.holes, []);
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&batches));
}

#[test]
fn a_fill_of_no_hole_is_reported_durable() {
    let disk = formatted();
    let (mut driver, batches) = with_batches(&disk, &[300; 3]);
    driver.commit();
    driver
        .execute(replica(0), OrderKind::Fill { batches })
        .unwrap();
    assert_eq!(driver.commit().len(), 1);
    assert_eq!(driver.commit(), []);
}
