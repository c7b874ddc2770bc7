//! Bytes rot anywhere in a directory: whatever is served is correct, and every replica that may have lost something is
//! a suspect.

use super::*;

/// What was written, all of it durable and recorded.
struct Written {
    disk: TestDisk,
    batches: Vec<Batch>,
    end: Position,
    vote: Vote,
}

fn written(draws: &mut Draws) -> Written {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    let mut batches = Vec::new();
    let mut vote = Vote::default();
    for _ in 0..20 + draws.below(150) {
        let offset = driver.end(replica(0)).end_offset.0;
        let size = match draws.below(5) {
            0 => draws.below(7000),
            _ => draws.below(500),
        };
        let batch = batch(offset, 1, 1 + draws.below(3) as i32, size as usize);
        batches.push(batch.clone());
        let high_watermark = Offset(draws.below(offset as u64 + 1) as i64);
        driver
            .append_as(
                replica(0),
                vec![Entry::Batch(batch)],
                high_watermark,
                Flush::Commit,
            )
            .unwrap();
        match draws.below(12) {
            0..4 => drop(driver.commit()),
            4 => {
                checkpoint(&mut driver);
            }
            5 => {
                vote.leader_epoch = vote.leader_epoch.next();
                driver
                    .execute(replica(0), OrderKind::StoreVote(vote))
                    .unwrap();
            }
            _ => {}
        }
    }
    driver.commit();
    // A group behind them all, of another replica, records them.
    driver.create(replica(1));
    driver.commit();
    Written {
        disk,
        batches,
        end: driver.end(replica(0)),
        vote,
    }
}

/// Rots bytes in files whose path contains this; in a segment, within the written part.
fn rot(draws: &mut Draws, disk: &TestDisk, kind: &str) {
    // Most of a journal's bytes are old or were never used: rots bytes that matter.
    let is_journal = kind == "journal/";
    let paths: Vec<String> = disk
        .paths()
        .into_iter()
        .filter(|path| path.contains(kind))
        .collect();
    for _ in 0..(1 + draws.below(3)).min(paths.len() as u64) {
        let path = &paths[draws.below(paths.len() as u64) as usize];
        let length = disk.bytes(path).len() as u64;
        if length > 0 {
            let mut at = draws.below(length);
            if is_journal && draws.below(2) == 0 {
                at = at / 4096 * 4096 + draws.below(80);
            }
            disk.rot(path, at.min(length - 1) as usize);
        }
    }
}

/// Reads every batch: each is the right one, or in a hole, which is then examined. Returns how many are damaged.
fn check_batches(driver: &mut Driver, batches: &[Batch], seed: u64) -> usize {
    let mut damaged = 0;
    for batch in batches {
        let offset = batch.header.base_offset;
        match driver.read(replica(0), offset.0, 1) {
            QueryResult::Records(records) => {
                assert_eq!(
                    records,
                    bytes_of(std::slice::from_ref(batch)),
                    "seed {seed}"
                );
            }
            QueryResult::Failed(ReadError::Hole(hole)) => {
                assert!(hole.contains(&offset), "seed {seed}");
                let holes = driver.store.examine(replica(0), hole).unwrap();
                assert!(
                    holes.iter().any(|hole| hole.contains(&offset)),
                    "seed {seed}"
                );
                damaged += 1;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    damaged
}

#[test]
fn rotten_segments_are_holes_that_a_peer_can_fill_and_nothing_is_truncated() {
    let mut damaged = 0;
    for seed in 0..20 {
        let mut draws = Draws(seed);
        let written = written(&mut draws);
        rot(&mut draws, &written.disk, ".log");
        let (store, recovered) = open(&written.disk);
        let found = &recovered.replicas[0];
        assert_eq!(
            (found.end, found.mark),
            (written.end, Mark::Clean),
            "seed {seed}"
        );
        let mut driver = Driver::new(store);
        damaged += check_batches(&mut driver, &written.batches, seed);
        driver.commit();
        let (store, recovered) = open(&written.disk);
        let mut driver = Driver::new(store);
        for hole in &recovered.replicas[0].holes {
            let of_peer = written.batches.iter();
            let batches = of_peer.filter(|batch| hole.contains(&batch.header.base_offset));
            let batches = batches.cloned().collect();
            driver
                .execute(replica(0), OrderKind::Fill { batches })
                .unwrap();
        }
        driver.commit();
        assert_eq!(
            driver.read_all(replica(0)),
            bytes_of(&written.batches),
            "seed {seed}"
        );
        let (_, recovered) = open(&written.disk);
        assert_eq!(recovered.replicas[0].holes, [], "seed {seed}");
    }
    assert!(damaged > 5, "rot strikes what no journal makes good");
}

/// Where the groups of the journal stand, in order.
pub(super) fn journal_groups(disk: &TestDisk) -> Vec<(String, usize)> {
    let journals = disk.paths().into_iter();
    journals
        .filter(|path| path.starts_with("journal/"))
        .flat_map(|path| {
            let bytes = disk.bytes(&path);
            let starts = (0..bytes.len()).step_by(4096);
            let groups = starts.filter(|&at| bytes[at..].starts_with(b"VJG2"));
            groups.map(|at| (path.clone(), at)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn a_rotten_journal_group_makes_a_suspect_that_keeps_what_its_segments_hold() {
    let write = || {
        let disk = formatted();
        let (store, _) = open(&disk);
        let mut driver = Driver::new(store);
        driver.create(replica(0));
        driver.append(replica(0), vec![opening(1, 0)]).unwrap();
        driver.commit();
        let mut batches = Vec::new();
        for n in 0..12 {
            // Some through the journal, some past it, and more than one segment.
            let batch = batch(n * 2, 1, 2, if n % 3 == 0 { 9000 } else { 700 });
            batches.push(batch.clone());
            driver
                .append(replica(0), vec![Entry::Batch(batch)])
                .unwrap();
            driver.commit();
        }
        (disk, batches)
    };
    let (disk, _) = write();
    let groups = journal_groups(&disk);
    for (path, group) in &groups[groups.len() - 12..] {
        // The group's header, and its first record.
        for within in [30, 90] {
            let (disk, batches) = write();
            disk.rot(path, group + within);
            let (store, recovered) = open(&disk);
            let found = &recovered.replicas[0];
            let what = (found.end.end_offset, found.mark);
            assert_eq!(what, (Offset(24), Mark::Suspect), "{path} {group}");
            let mut driver = Driver::new(store);
            assert_eq!(check_batches(&mut driver, &batches, 0), 0);
        }
    }
}

#[test]
fn a_replica_whose_creation_record_rots_keeps_its_vote_and_is_suspect() {
    let vote = Vote {
        leader_epoch: LeaderEpoch(1),
        voted_for: None,
    };
    let write = |apart: bool| {
        let disk = formatted();
        let (store, _) = open(&disk);
        let mut driver = Driver::new(store);
        driver.create(replica(0));
        if apart {
            driver.commit();
        }
        driver
            .execute(replica(0), OrderKind::StoreVote(vote))
            .unwrap();
        driver.append(replica(0), vec![opening(1, 0)]).unwrap();
        driver.commit();
        // A group behind it, which says that it was durable.
        driver.create(replica(1));
        driver.commit();
        disk
    };
    for apart in [false, true] {
        // The group's header, and its first record.
        for within in [30, 90] {
            let disk = write(apart);
            let groups = journal_groups(&disk);
            let (path, group) = &groups[groups.len() - if apart { 3 } else { 2 }];
            disk.rot(path, group + within);
            let (_, recovered) = open(&disk);
            let mut replicas = recovered.replicas.iter();
            let found = replicas.find(|found| found.replica == replica(0));
            let found = found.expect("it is there");
            assert_eq!((found.vote, found.mark), (vote, Mark::Suspect));
        }
    }
}

#[test]
fn a_rotten_voter_change_is_known_until_the_suspect_is_cleared() {
    let voters = vec![voter(1), voter(2)];
    let note = Entry::Note(Note {
        leader_epoch: LeaderEpoch(1),
        offset: Offset(0),
        kind: NoteKind::Voters(voters.clone()),
    });
    let change = VoterChange {
        leader_epoch: LeaderEpoch(1),
        notes: 2,
        voters,
    };
    // The group's header, and its first record.
    for within in [30, 90] {
        let disk = formatted();
        let (store, _) = open(&disk);
        let mut driver = Driver::new(store);
        driver.create(replica(0));
        driver.append(replica(0), vec![opening(1, 0)]).unwrap();
        driver.commit();
        driver.append(replica(0), vec![note.clone()]).unwrap();
        driver.commit();
        drop(driver);
        let groups = journal_groups(&disk);
        let (path, group) = groups.last().unwrap();
        disk.rot(path, group + within);
        // The first start finds it, the second is told by the first.
        for _ in 0..2 {
            let (_, recovered) = open(&disk);
            let found = &recovered.replicas[0];
            assert_eq!((found.end.notes, found.mark), (1, Mark::Suspect));
            assert_eq!(found.lost_voter_changes, std::slice::from_ref(&change));
        }
        let (store, _) = open(&disk);
        let mut driver = Driver::new(store);
        driver
            .execute(replica(0), OrderKind::SetMark(Mark::Clean))
            .unwrap();
        driver.commit();
        drop(driver);
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.replicas[0].lost_voter_changes, []);
    }
}

#[test]
fn a_replica_that_lost_something_to_rot_is_never_clean() {
    let mut suspects = 0;
    for seed in 0..80 {
        let mut draws = Draws(seed);
        let written = written(&mut draws);
        let kind = ["journal/", "checkpoint.", "index"][draws.below(3) as usize];
        rot(&mut draws, &written.disk, kind);
        let (store, recovered) = match LogStore::open(written.disk.clone(), options(), BOOT) {
            Ok(opened) => opened,
            Err(OpenError::Damaged(_)) if kind == "checkpoint." => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let found = &recovered.replicas[0];
        let mut driver = Driver::new(store);
        if found.mark == Mark::Clean {
            assert_eq!(
                (found.end, found.vote),
                (written.end, written.vote),
                "seed {seed}"
            );
            let damaged = check_batches(&mut driver, &written.batches, seed);
            assert_eq!(damaged, 0, "seed {seed}: no segment rots");
        } else {
            suspects += 1;
            let kept = written.batches.iter();
            let kept = kept.filter(|batch| batch.header.next_offset() <= found.end.end_offset);
            let kept: Vec<Batch> = kept.cloned().collect();
            check_batches(&mut driver, &kept, seed);
        }
    }
    assert!(suspects > 0, "rot strikes the journal where it matters");
}

#[test]
fn a_new_copy_is_marked_new_even_if_its_mark_rots() {
    // Nothing, the record of the mark, and that of the creation.
    let names = [Mark::New, Mark::New, Mark::Suspect];
    for (within, mark) in [
        None,
        Some(52 + 20 + 12 + 5 + 44 + 13),
        Some(52 + 20 + 12 + 5),
    ]
    .into_iter()
    .zip(names)
    {
        let disk = formatted();
        let mut driver = Driver::new(open(&disk).0);
        let voters = vec![voter(2), voter(3)];
        driver
            .execute(replica(0), OrderKind::Create { voters })
            .unwrap();
        driver
            .execute(replica(0), OrderKind::SetMark(Mark::New))
            .unwrap();
        driver.commit();
        drop(driver);
        let (path, group) = journal_groups(&disk).pop().unwrap();
        if let Some(within) = within {
            disk.rot(&path, group + within);
        }
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.replicas[0].mark, mark, "{within:?}");
    }
}

/// A store whose last group cannot be found by its trailer. Returns where its header stands.
fn with_rotten_trailer(kind: OrderKind) -> (TestDisk, String, u64) {
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    for partition in 0..2 {
        driver.create(replica(partition));
        driver
            .append(replica(partition), vec![opening(1, 0)])
            .unwrap();
    }
    driver.commit();
    driver.execute(replica(0), kind).unwrap();
    driver.commit();
    let (path, group) = journal_groups(&disk).pop().unwrap();
    let bytes = disk.bytes(&path);
    let mut blocks = (group..bytes.len()).step_by(4096);
    let trailer = blocks.find(|&at| bytes[at..].starts_with(b"VJT1"));
    disk.rot(&path, trailer.unwrap() + 30);
    (disk, path, group as u64)
}

fn append_of(offset: i64) -> OrderKind {
    OrderKind::Append {
        after: Position {
            leader_epoch: LeaderEpoch(1),
            end_offset: Offset(offset),
            notes: 1,
        },
        entries: vec![Entry::Batch(batch(offset, 1, 1, 100))],
        high_watermark: Offset(0),
        flush: Flush::Commit,
        roll: Roll::default(),
    }
}

#[test]
fn a_group_with_a_rotten_header_makes_its_replicas_suspect_anywhere_in_the_journal() {
    for behind in 0..3 {
        let disk = formatted();
        let mut driver = Driver::new(open(&disk).0);
        for partition in 0..3 {
            driver.create(replica(partition));
            let opening = vec![opening(1, 0)];
            driver.append(replica(partition), opening).unwrap();
        }
        driver.commit();
        driver.execute(replica(0), append_of(0)).unwrap();
        driver.commit();
        let (path, group) = journal_groups(&disk).pop().unwrap();
        for offset in 0..behind {
            driver.execute(replica(1), append_of(offset)).unwrap();
            driver.commit();
        }
        drop(driver);
        disk.rot(&path, group + 30);
        if behind == 1 {
            // The write of the group behind it was torn.
            disk.rot(&path, group + 2 * 4096 + 30);
            disk.rot(&path, group + 3 * 4096 + 30);
        }
        let (_, recovered) = open(&disk);
        let marks = recovered.replicas.iter().map(|found| found.mark);
        let expected = [Mark::Suspect, Mark::Clean, Mark::Clean];
        assert_eq!(marks.collect::<Vec<_>>(), expected, "{behind}");
    }
}

#[test]
fn entries_that_one_start_did_not_find_stay_out_at_the_next_start() {
    for appends_again in [false, true] {
        let disk = formatted();
        let mut driver = Driver::new(open(&disk).0);
        driver.create(replica(0));
        driver.append(replica(0), vec![opening(1, 0)]).unwrap();
        driver.execute(replica(0), append_of(0)).unwrap();
        driver.commit();
        checkpoint(&mut driver);
        driver.execute(replica(0), append_of(1)).unwrap();
        driver.commit();
        let (path, lost) = journal_groups(&disk).pop().unwrap();
        let batch_2 = Entry::Batch(batch(2, 1, 1, 100));
        driver
            .append_as(replica(0), vec![batch_2], Offset(3), Flush::Commit)
            .unwrap();
        driver.commit();
        drop(driver);
        disk.rot(&path, lost + 30);
        let segment = segment::path(replica(0), Offset(0), segment::FileKind::Log);
        let second_batch = 61 + 100;
        disk.rot(&segment, second_batch + 80);

        let (store, recovered) = open(&disk);
        let found = &recovered.replicas[0];
        assert_eq!(
            (found.end.end_offset, found.mark),
            (Offset(1), Mark::Suspect)
        );
        let mut driver = Driver::new(store);
        if appends_again {
            driver.execute(replica(0), append_of(1)).unwrap();
            driver.commit();
        } else {
            disk.rot(&segment, second_batch + 80); // it was read wrongly, and is whole
        }
        let end = driver.end(replica(0));
        drop(driver);

        disk.rot(newest_checkpoint(&disk), 40);
        let (_, recovered) = open(&disk);
        let found = &recovered.replicas[0];
        assert_eq!((found.end, found.mark), (end, Mark::Suspect));
        assert!(found.high_watermark <= end.end_offset);
    }
}

#[test]
fn an_unreadable_last_group_makes_all_replicas_suspect() {
    let marks = |disk: &TestDisk| {
        let (_, recovered) = open(disk);
        let replicas = recovered.replicas.into_iter();
        replicas.map(|found| found.mark).collect::<Vec<_>>()
    };
    let (disk, path, group) = with_rotten_trailer(append_of(0));
    assert_eq!(marks(&disk), [Mark::Clean; 2], "its header can be read");
    let (disk, ..) = with_rotten_trailer(append_of(0));
    disk.fail_reads(&path, group..group + 512, Some(2));
    assert_eq!(marks(&disk), [Mark::Clean; 2], "the read is tried again");
    let (disk, ..) = with_rotten_trailer(append_of(0));
    disk.fail_reads(&path, group..group + 512, None);
    assert_eq!(marks(&disk), [Mark::Suspect; 2]);
    assert_eq!(
        marks(&disk),
        [Mark::Suspect; 2],
        "for every start after that"
    );
}

#[test]
fn a_group_with_only_its_votes_left_makes_all_replicas_suspect() {
    let vote = Vote {
        leader_epoch: LeaderEpoch(7),
        voted_for: Some(voter(3)),
    };
    let (disk, path, group) = with_rotten_trailer(OrderKind::StoreVote(vote));
    disk.rot(&path, usize::try_from(group).unwrap() + 30);
    let (_, recovered) = open(&disk);
    let found = recovered
        .replicas
        .iter()
        .map(|found| (found.vote, found.mark));
    let other = (Vote::default(), Mark::Suspect);
    assert_eq!(found.collect::<Vec<_>>(), [(vote, Mark::Suspect), other]);
}

#[test]
fn a_journal_file_without_header_and_first_group_is_identified_by_a_trailer() {
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    driver.create(replica(0));
    driver.commit();
    drop(driver);
    let (path, group) = journal_groups(&disk).pop().unwrap();
    disk.fail_reads(&path, 0..group as u64 + 512, None);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.replicas[0].mark, Mark::Suspect);
}

/// A store in which a replica is deleted by a group of its own, and that group is unreadable. The replica's batches are
/// in the journal, or before a checkpoint.
fn with_lost_deletion(is_behind_checkpoint: bool) -> (TestDisk, Driver, Position) {
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    for offset in 0..4 {
        let entry = Entry::Batch(batch(offset, 1, 1, 2000));
        driver.append(replica(0), vec![entry]).unwrap();
    }
    driver.commit();
    if is_behind_checkpoint {
        checkpoint(&mut driver);
        checkpoint(&mut driver);
    }
    let end = driver.end(replica(0));
    let journal = |disk: &TestDisk| {
        let paths = disk.paths().into_iter();
        let paths = paths.filter(|path| path.starts_with("journal/"));
        paths
            .map(|path| (disk.bytes(&path), path))
            .collect::<Vec<_>>()
    };
    let before = journal(&disk);
    driver.execute(replica(0), OrderKind::Delete).unwrap();
    driver.commit();
    let (path, at) = before
        .into_iter()
        .find_map(|(bytes, path)| {
            let after = disk.bytes(&path);
            let mut both = bytes.iter().zip(&after);
            Some((path, both.position(|(one, other)| one != other)?))
        })
        .unwrap();
    disk.rot(&path, at);
    (disk, driver, end)
}

#[test]
fn a_replica_whose_deletion_is_lost_comes_back_suspect() {
    for is_behind_checkpoint in [false, true] {
        let (disk, driver, end) = with_lost_deletion(is_behind_checkpoint);
        drop(driver);
        let (_, recovered) = open(&disk);
        let [found] = &recovered.replicas[..] else {
            panic!("{:?}", recovered.replicas);
        };
        assert_eq!((found.end, found.mark), (end, Mark::Suspect));
        // Its segments are removed by then, and only the journal can give them back.
        let holes: &[_] = if is_behind_checkpoint {
            &[Offset(0)..end.end_offset]
        } else {
            &[]
        };
        assert_eq!(found.holes, holes);
    }
}

#[test]
fn a_replica_created_again_has_nothing_of_a_predecessor_whose_deletion_is_lost() {
    let (disk, mut driver, _) = with_lost_deletion(false);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(2, 0)]).unwrap();
    let direct = batch(0, 2, 1, 7000);
    let entry = Entry::Batch(direct.clone());
    driver.append(replica(0), vec![entry]).unwrap();
    driver.commit();
    let end = driver.end(replica(0));
    drop(driver);
    let (store, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    assert_eq!((found.end, found.mark), (end, Mark::Clean));
    assert_eq!(Driver::new(store).read_all(replica(0)), bytes_of(&[direct]));
}

#[test]
fn a_replica_whose_creation_after_a_deletion_is_lost_is_suspect() {
    // The group's trailer is intact, or damaged as well.
    for is_named in [true, false] {
        let (disk, path, group) = with_group_behind_deletion(0);
        disk.rot(&path, group + 30);
        if !is_named {
            disk.rot(&path, group + 4096 + 30);
            disk.fail_reads(&path, group as u64..group as u64 + 512, None);
        }
        let (_, recovered) = open(&disk);
        let [found] = &recovered.replicas[..] else {
            panic!("{is_named}: {:?}", recovered.replicas);
        };
        assert_eq!((found.replica, found.mark), (replica(0), Mark::Suspect));
        assert_eq!(found.voters, []);
    }
}

#[test]
fn a_deleted_replica_stays_deleted_if_another_group_is_lost() {
    let (disk, path, group) = with_group_behind_deletion(1);
    disk.rot(&path, group + 4096 + 30);
    disk.fail_reads(&path, group as u64..group as u64 + 512, None);
    let (_, recovered) = open(&disk);
    let found = recovered.replicas.iter().map(|found| found.replica);
    assert_eq!(found.collect::<Vec<_>>(), [replica(1)]);
}

#[test]
fn a_torn_group_never_takes_records_that_an_earlier_group_left_in_its_blocks() {
    let vote = |epoch| Vote {
        leader_epoch: LeaderEpoch(epoch),
        voted_for: None,
    };
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    driver.create(replica(0));
    driver.commit();
    for epoch in [1, 2] {
        let order = OrderKind::StoreVote(vote(epoch));
        driver.execute(replica(0), order).unwrap();
        driver.commit();
    }
    drop(driver);
    let groups = journal_groups(&disk);
    let [(path, earlier), (_, torn)] = &groups[groups.len() - 2..] else {
        unreachable!("a slice of two");
    };
    let record = 52 + 20..52 + 20 + 22;
    let bytes = disk.bytes(path);
    let left = &bytes[earlier + record.start..earlier + record.end];
    assert_ne!(left, &bytes[torn + record.start..torn + record.end]);
    let file = disk.open(path).unwrap();
    let at = u64::try_from(torn + record.start).unwrap();
    file.write_at(at, &[left]).unwrap();
    let (_, recovered) = open(&disk);
    let found = &recovered.replicas[0];
    // Its second copy is there.
    assert_eq!((found.vote, found.mark), (vote(2), Mark::Suspect));
}

/// A store that has deleted a replica and then created this one, in a last group at the returned place.
fn with_group_behind_deletion(partition: i32) -> (TestDisk, String, usize) {
    let disk = formatted();
    let mut driver = Driver::new(open(&disk).0);
    driver.create(replica(0));
    driver.append(replica(0), vec![opening(1, 0)]).unwrap();
    driver.commit();
    driver.execute(replica(0), OrderKind::Delete).unwrap();
    driver.commit();
    driver.create(replica(partition));
    driver.commit();
    drop(driver);
    let (path, group) = journal_groups(&disk).pop().unwrap();
    (disk, path, group)
}
