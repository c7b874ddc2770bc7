//! Starts that are cut short: what a start acts on is durable before it acts, and the next start finds everything that
//! was durable.

use super::*;

/// A process is killed with a truncation and a deletion in the page cache only. The next start cuts and removes because
/// of them, and loses power in the middle of that; the one after it does not find them unless they were durable first.
#[test]
fn a_start_makes_durable_what_it_found_before_it_acts_on_it() {
    let is_cut_short = |operations: &u64| {
        let mut fates = (0..8).map(|seed| check_start_without_power(*operations, Draws(seed)));
        fates.any(|is_cut_short| is_cut_short)
    };
    let cut_short = (0..).take_while(is_cut_short).count();
    assert!(
        cut_short > 8,
        "a start changes more than {cut_short} things"
    );
}

/// Whether the first start was cut short by the disk, which fails after so many operations.
fn check_start_without_power(operations: u64, mut draws: Draws) -> bool {
    let disk = formatted();
    let (store, _) = open(&disk);
    let mut driver = Driver::new(store);
    let [cut, deleted] = [replica(0), replica(1)];
    let batches = [batch(0, 1, 1, 300), batch(1, 1, 1, 6000)];
    for replica in [cut, deleted] {
        driver.create(replica);
        let entries = batches.clone().map(Entry::Batch);
        let entries = std::iter::once(opening(1, 0)).chain(entries).collect();
        driver.append(replica, entries).unwrap();
    }
    assert_eq!(driver.commit().len(), 4);
    // A later group says that the one before it was durable.
    let vote = OrderKind::StoreVote(Vote::default());
    driver.execute(cut, vote).unwrap();
    assert_eq!(driver.commit().len(), 1);
    let to = Position {
        leader_epoch: LeaderEpoch(1),
        end_offset: Offset(1),
        notes: 1,
    };
    driver.execute(cut, OrderKind::Truncate { to }).unwrap();
    driver.execute(deleted, OrderKind::Delete).unwrap();
    driver
        .store
        .begin_commit()
        .unwrap()
        .expect("both are written and wait for their sync");
    disk.fail_after(operations);
    let is_cut_short = LogStore::open(disk.clone(), options(), BOOT).is_err();
    disk.power_cut(&mut |bound| draws.below(bound));
    let (store, recovered) = LogStore::open(disk, options(), BootId(8)).unwrap();
    let driver = Driver { store, seq: 0 };
    for found in &recovered.replicas {
        let is_cut = found.replica == cut && found.end == to;
        let kept = &batches[..if is_cut { 1 } else { 2 }];
        assert_eq!(found.holes, [], "after {operations} changes");
        let is_whole = driver.read_all(found.replica) == bytes_of(kept);
        assert!(is_whole, "{} after {operations} changes", found.end);
    }
    assert_eq!(recovered.replicas[0].replica, cut);
    is_cut_short
}

/// A process is killed when its checkpoint is written and not synced. The next start writes its own over the one before,
/// and loses power in the middle of that.
#[test]
fn a_start_overwrites_no_checkpoint_before_the_other_one_is_durable() {
    let kept = [batch(0, 1, 1, 300)];
    let mut both_cut_short = 0;
    for (first, second) in (0..12).flat_map(|first| (0..12).map(move |second| (first, second))) {
        for seed in 0..3 {
            let mut draws = Draws(seed);
            let disk = formatted();
            let mut driver = Driver::new(open(&disk).0);
            driver.create(replica(0));
            let entries = kept.clone().map(Entry::Batch);
            let entries = std::iter::once(opening(1, 0)).chain(entries).collect();
            driver.append(replica(0), entries).unwrap();
            assert_eq!(driver.commit().len(), 2);
            let mut starts_cut_short = 0;
            for operations in [first, second] {
                disk.kill();
                disk.fail_after(operations);
                let started = LogStore::open(disk.clone(), options(), BOOT);
                starts_cut_short += usize::from(started.is_err());
            }
            both_cut_short += usize::from(starts_cut_short == 2);
            disk.power_cut(&mut |bound| draws.below(bound));
            let found = LogStore::open(disk, options(), BootId(8));
            let (store, _) = found.unwrap_or_else(|error| panic!("{first}, {second}: {error}"));
            let driver = Driver { store, seq: 0 };
            assert_eq!(driver.read_all(replica(0)), bytes_of(&kept));
        }
    }
    assert!(
        both_cut_short > 200,
        "only {both_cut_short} runs tell anything"
    );
}
