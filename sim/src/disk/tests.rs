//! What the disk forgets and what it keeps.

use varve_core::ids::{Offset, Timestamp};
use varve_core::record::BatchBuilder;
use varve_core::store::{Disk, DiskFile};

use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Draws::new(seed), 1, 1 << 20)
}

fn contents(disk: &SimDisk, path: &str) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(path)?;
    let mut bytes = vec![0; usize::try_from(file.length()?).unwrap()];
    let read = file.read_at(0, &mut bytes)?;
    assert_eq!(read, bytes.len());
    Ok(bytes)
}

fn durable_file(disk: &SimDisk, path: &str, bytes: &[u8]) -> SimFile {
    let file = disk.create(path).unwrap();
    file.write_at(0, &[bytes]).unwrap();
    file.sync().unwrap();
    disk.sync_directory("").unwrap();
    file
}

#[test]
fn a_killed_process_leaves_what_it_wrote() {
    let disk = disk(1);
    disk.create("a")
        .unwrap()
        .write_at(3, &[b"xy", b"z"])
        .unwrap();
    disk.kill();
    assert_eq!(contents(&disk, "a").unwrap(), b"\0\0\0xyz");
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..100 {
        let disk = disk(seed);
        disk.create_directory("d").unwrap();
        disk.sync_directory("").unwrap();
        let file = disk.create("d/a").unwrap();
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        file.write_at(0, &[&bytes]).unwrap();
        file.sync().unwrap();
        disk.sync_directory("d").unwrap();
        assert!(disk.is_all_durable());
        file.write_at(20_000, &[b"unsynced, and behind what was synced"])
            .unwrap();
        disk.create("d/b").unwrap();
        disk.power_cut();
        assert_eq!(&contents(&disk, "d/a").unwrap()[..10_000], &bytes[..]);
    }
}

#[test]
fn any_subset_of_unsynced_sectors_survives_a_power_cut_and_some_are_torn() {
    let mut survivors = BTreeSet::new();
    let mut torn = false;
    for seed in 0..200 {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[1; 3 * SECTOR_SIZE]);
        file.write_at(0, &[&[2; 3 * SECTOR_SIZE]]).unwrap();
        disk.power_cut();
        let bytes = contents(&disk, "a").unwrap();
        assert_eq!(bytes.len(), 3 * SECTOR_SIZE, "the length did not change");
        let sectors: Vec<Option<u8>> = bytes
            .chunks(SECTOR_SIZE)
            .map(|sector| {
                let first = sector[0];
                sector.iter().all(|&byte| byte == first).then_some(first)
            })
            .collect();
        torn |= sectors.contains(&None);
        survivors.insert(sectors);
    }
    assert!(torn);
    for sectors in [
        [1, 1, 1],
        [1, 1, 2],
        [1, 2, 1],
        [2, 1, 1],
        [2, 2, 1],
        [1, 2, 2],
        [2, 2, 2],
    ] {
        assert!(survivors.contains(&sectors.map(Some)[..]), "{sectors:?}");
    }
}

#[test]
fn a_torn_sector_keeps_the_bytes_that_nobody_wrote() {
    for seed in 0..200 {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[1; SECTOR_SIZE]);
        file.write_at(100, &[&[2; 50]]).unwrap();
        disk.power_cut();
        let bytes = contents(&disk, "a").unwrap();
        assert!(
            bytes[..100]
                .iter()
                .chain(&bytes[150..])
                .all(|&byte| byte == 1)
        );
    }
}

#[test]
fn unsynced_names_and_lengths_are_lost_or_kept() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        durable_file(&disk, "old", b"old");
        durable_file(&disk, "cut", b"long enough");
        disk.rename("old", "new").unwrap();
        disk.create("made").unwrap().sync().unwrap();
        disk.open("cut").unwrap().truncate(4).unwrap();
        disk.power_cut();
        let names = disk.list("").unwrap();
        assert_ne!(
            names.contains(&"old".to_owned()),
            names.contains(&"new".to_owned()),
            "a rename is atomic"
        );
        let cut = contents(&disk, "cut").unwrap();
        assert!(cut.len() >= 4 && cut.len() <= 11);
        outcomes.insert((
            names.contains(&"new".to_owned()),
            names.contains(&"made".to_owned()),
            cut.len() == 4,
        ));
    }
    assert_eq!(outcomes.len(), 8, "every combination happens: {outcomes:?}");
}

#[test]
fn a_replaced_file_comes_back_whole_or_is_replaced_whole() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk(seed);
        durable_file(&disk, "table", b"one");
        let next = disk.create("table.next").unwrap();
        next.write_at(0, &[b"two"]).unwrap();
        next.sync().unwrap();
        disk.rename("table.next", "table").unwrap();
        disk.power_cut();
        seen.insert(contents(&disk, "table").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([b"one".to_vec(), b"two".to_vec()]));
}

#[test]
fn a_failed_sync_marks_pages_clean_and_later_success_proves_nothing() {
    let mut lost = false;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable_file(&disk, "a", &[1; SECTOR_SIZE]);
        file.write_at(0, &[&[2; SECTOR_SIZE]]).unwrap();
        disk.arm("a", Fault::SyncFails);
        assert_eq!(file.sync(), Err(sync_failed()));
        assert_eq!(file.sync(), Ok(()), "the fault strikes once");
        assert_eq!(
            contents(&disk, "a").unwrap()[0],
            2,
            "the cache still has it"
        );
        disk.power_cut();
        lost |= contents(&disk, "a").unwrap()[0] == 1;
    }
    assert!(lost);
    let disk = disk(0);
    let file = durable_file(&disk, "a", b"a");
    disk.arm("", Fault::SyncsFail);
    assert!(file.sync().is_err() && file.sync().is_err() && disk.sync_directory("").is_err());
}

#[test]
fn lost_and_misdirected_writes_are_reported_done() {
    let disk = disk(3);
    let file = durable_file(&disk, "a", &[1; 4 * SECTOR_SIZE]);
    file.write_at(0, &[&[2; SECTOR_SIZE]]).unwrap();
    disk.arm("a", Fault::LostWrite);
    assert_eq!(file.sync(), Ok(()));
    assert_eq!(contents(&disk, "a").unwrap(), [1; 4 * SECTOR_SIZE]);
    file.write_at(0, &[&[3; SECTOR_SIZE]]).unwrap();
    disk.arm("a", Fault::MisdirectedWrite);
    assert_eq!(file.sync(), Ok(()));
    let sectors: Vec<u8> = contents(&disk, "a")
        .unwrap()
        .chunks(SECTOR_SIZE)
        .map(|s| s[0])
        .collect();
    assert_eq!(
        sectors.iter().filter(|&&byte| byte == 3).count(),
        1,
        "{sectors:?}"
    );
}

/// Batches of one record from offset 0 on, one to each sector, whose headers begin this many bytes in front of one.
fn batches_across_sectors(in_front: [usize; 3]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * SECTOR_SIZE];
    for (number, in_front) in in_front.into_iter().enumerate() {
        let mut builder = BatchBuilder::default();
        let value = [u8::try_from(number).unwrap(); 300];
        builder.push(Timestamp(0), None, Some(&value), &[]).unwrap();
        let mut batch = builder.build();
        batch.header.base_offset = Offset(i64::try_from(number).unwrap());
        let at = (number + 1) * SECTOR_SIZE - in_front;
        bytes[at..at + batch.size()].copy_from_slice(&batch.to_bytes());
    }
    bytes
}

#[test]
fn no_write_goes_astray_so_that_a_whole_batch_stands_under_anothers_offset() {
    // All begin as far in front of a sector, and that is among what their CRC does not cover; or not.
    for (in_front, is_unseen) in [([8; 3], true), ([8, 9, 10], false), ([30; 3], false)] {
        let bytes = batches_across_sectors(in_front);
        let mut passed = 0;
        for seed in 0..100 {
            let disk = disk(seed);
            let file = durable_file(&disk, "a", &bytes);
            file.write_at(512, &[&bytes[512..1024]]).unwrap();
            disk.arm("a", Fault::MisdirectedWrite);
            file.sync().unwrap();
            let found = contents(&disk, "a").unwrap();
            let places = [2, 3].into_iter();
            let strayed = places.filter(|at| found[at * 512..][..512] == bytes[512..1024]);
            passed += strayed.count();
        }
        assert_eq!(passed == 0, is_unseen, "{in_front:?}: {passed}");
    }
}

#[test]
fn reads_fail_rot_and_lie_when_told_to() {
    let disk = disk(4);
    let file = durable_file(&disk, "a", &[1; 2 * SECTOR_SIZE]);
    disk.arm("a", Fault::ReadFails);
    assert!(file.read_at(0, &mut [0; 8]).is_err());
    assert!(disk.make_unreadable("a", 600));
    let read = |file: &SimFile, at| file.read_at(at, &mut [0; 8]);
    assert!(read(&file, 0).is_err(), "nothing of its page can be read");
    let uncached = disk.open_uncached("a").unwrap();
    assert!(read(&uncached, 0).is_err(), "nor past the cache");
    let sector = [2; SECTOR_SIZE];
    let refused = file.write_at(512, &[&sector]);
    assert!(refused.is_err(), "the rest of the page is needed");
    file.discard(0, 4096).unwrap();
    file.write_at(0, &[&[1; SECTOR_SIZE], &sector]).unwrap();
    file.sync().unwrap();
    assert!(read(&file, 508).is_ok(), "given up, it can be written");
    assert!(disk.rot("a", 3, 0) && !disk.rot("a", 2000, 0));
    disk.power_cut();
    assert_eq!(contents(&disk, "a").unwrap()[3], 0);
    file.write_at(0, &[&[9; SECTOR_SIZE]]).unwrap();
    file.sync().unwrap();
    disk.arm("a", Fault::StaleRead);
    let mut bytes = [0; 1];
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1]);
    file.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [9]);
}

#[test]
fn a_full_disk_refuses_and_takes_writes_again_when_space_returns() {
    let disk = SimDisk::new(Draws::new(1), 1, 2048);
    let file = disk.create("a").unwrap();
    file.allocate(1024).unwrap();
    assert_eq!(disk.free_bytes(), Ok(1024));
    let other = disk.create("b").unwrap();
    assert_eq!(other.write_at(0, &[&[1; 1025]]), Err(DiskError::NoSpace));
    assert_eq!(other.write_at(0, &[&[1; 1024]]), Ok(()));
    assert_eq!(file.write_at(1000, &[&[1; 24]]), Ok(()), "reserved before");
    assert_eq!(disk.create("c").err(), Some(DiskError::NoSpace));
    disk.remove("b").unwrap();
    assert_eq!(file.write_at(1024, &[&[1; 1024]]), Ok(()));
    file.truncate(0).unwrap();
    assert_eq!(disk.free_bytes(), Ok(2048));
}

#[test]
fn names_in_a_directory_whose_own_name_was_lost_are_lost() {
    let mut lost = false;
    for seed in 0..20 {
        let disk = disk(seed);
        disk.create_directory("d").unwrap();
        let file = disk.create("d/a").unwrap();
        file.sync().unwrap();
        disk.sync_directory("d").unwrap();
        disk.power_cut();
        lost |= disk.open("d/a").is_err();
        assert_eq!(disk.open("d/a").is_err(), disk.list("d").is_err());
    }
    assert!(lost);
}

#[test]
fn without_descriptors_what_is_open_can_be_used_and_nothing_can_be_opened() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"kept");
    disk.run_short(Shortage::Descriptors, 1_000_000);
    let is_refused = |error| matches!(error, DiskError::OutOfResources(_));
    assert!(is_refused(disk.open("a").unwrap_err()));
    assert!(is_refused(disk.create("b").unwrap_err()));
    assert!(is_refused(disk.list("").unwrap_err()));
    assert!(is_refused(disk.sync_directory("").unwrap_err()));
    file.write_at(4, &[b" whole"]).unwrap();
    file.sync().unwrap();
    disk.end_shortage();
    disk.power_cut();
    assert_eq!(contents(&disk, "a").unwrap(), b"kept whole");
    assert_eq!(disk.counts().refused_short, 4);
}

#[test]
fn without_memory_what_was_written_can_be_synced_and_no_more() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"kept");
    file.write_at(4, &[b" whole"]).unwrap();
    disk.run_short(Shortage::Memory, 1_000_000);
    let refused = file.write_at(0, &[b"lost"]);
    assert!(matches!(refused, Err(DiskError::OutOfResources(_))));
    assert!(file.read_at(0, &mut [0; 4]).is_err());
    file.sync().unwrap();
    disk.end_shortage();
    assert_eq!(&contents(&disk, "a").unwrap()[4..], b" whole");
}

#[test]
fn descriptors_are_counted_once_for_all_clones_of_a_file() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", b"kept");
    let clone = file.clone();
    let second = disk.open("a").unwrap();
    assert_eq!(disk.descriptors(), 2);
    drop((file, second));
    assert_eq!(disk.descriptors(), 1);
    drop(clone);
    assert_eq!(disk.descriptors(), 0);
}

#[test]
fn a_cut_needs_the_page_that_it_ends_in_and_no_other() {
    let disk = disk(1);
    let file = durable_file(&disk, "a", &[7; 10_000]);
    assert!(
        disk.make_unreadable("a", 9_000),
        "in the last page, which is not full"
    );
    assert!(file.truncate(9_500).is_err());
    file.truncate(5_000).unwrap();
    file.write_at(5_000, &[&[8; 5_000]]).unwrap();
    assert_eq!(contents(&disk, "a").unwrap()[4_999..5_001], [7, 8]);
    assert!(disk.make_unreadable("a", 100));
    file.truncate(0).unwrap();
    file.write_at(0, &[b"anew"]).unwrap();
    assert_eq!(contents(&disk, "a").unwrap(), b"anew");
}
