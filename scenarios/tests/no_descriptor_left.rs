//! A node has no descriptor and no memory left for a while. What needs any is refused or waits; nothing is wrong with its
//! disk, and it goes on with what it has.
//!
//! Breaks if: the error is taken for one of the disk, which is given up until somebody replaces it; or what was refused, or
//! waits for its sync, is not tried again.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Outcome, Scenario, Shortage, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(41).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let short = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.run_short(short, Shortage::Memory);
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.leader_other_than(short), secs(6));
    let is_given_up = s.reached(Probe::DirectoryOffline);
    assert!(!is_given_up, "nothing is wrong with the disk");
    assert!(s.reached(Probe::OutOfResources));
    s.produce_acked(&c, 2);
    s.end_shortage(short);
    s.run_until_converged(secs(6));
}

#[test]
fn a_leader_without_memory_makes_way_and_catches_up_when_it_has_some() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: what is open is enough to go on with, and connections that are up stay so.
#[test]
fn a_leader_without_descriptors_goes_on_with_what_is_open() {
    let mut s = Scenario::new(3).seed(42).quiet();
    let short = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.run_short(short, Shortage::Descriptors);
    s.produce_acked(&c, 2);
    assert_eq!(s.leader(), short);
    s.end_shortage(short);
    s.run_until_converged(secs(6));
    s.judge();
}

/// Claim: with one copy there is nobody to make way for, and records are taken again as soon as they can be.
#[test]
fn the_only_copy_takes_records_again_when_there_is_memory() {
    let mut s = Scenario::new(1).seed(43).quiet();
    let only = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.run_short(only, Shortage::Memory);
    let refused = s.produce(&c, 1, Acks::All);
    s.run_for(millis(1500));
    assert_ne!(s.outcome(&refused), Outcome::Acknowledged(1));
    s.end_shortage(only);
    s.produce_acked(&c, 2);
    assert!(!s.reached(Probe::DirectoryOffline));
    s.judge();
}

/// Claim: a leader's disk hangs, and refuses what it was ordered when it goes on: a record and, behind it, changes of the
/// voters, all committed meanwhile. They stay in the log, and are ordered once more when there is memory.
#[test]
fn committed_changes_of_voters_that_the_store_refuses_stay_in_the_log() {
    let mut s = Scenario::new(5).seed(44).quiet().replicas(3);
    let short = s.elect_leader_beside_controller();
    let others = s.others();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.stall_disk(short, secs(2));
    s.run_short(short, Shortage::Memory);
    s.produce_acked(&c, 1);
    s.reassign(&[&[short], &others[..]].concat());
    let moved = |s: &Scenario| {
        let voters = s.view(short).voters;
        voters.len() == 3 && others.iter().all(|&node| voters.contains(&s.voter(node)))
    };
    s.run_until(moved, millis(1900));
    s.run_until(|s| s.leader_other_than(short), secs(6));
    assert!(s.reached(Probe::AppendRefused));
    s.end_shortage(short);
    s.run_until_converged(secs(6));
    assert!(moved(&s));
    s.judge();
}
