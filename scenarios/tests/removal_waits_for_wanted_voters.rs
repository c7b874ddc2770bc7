//! A partition has four replicas and is to keep three of them, one of which has just died. Records are taken where three
//! have them.
//!
//! Breaks if: the leader removes the fourth because the metadata want it no more, and a majority would be left: two are
//! too few, and the partition takes nothing until the third is back.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4)
        .seed(3)
        .quiet()
        .replicas(4)
        .config("min.insync.replicas", "3")
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let mut followers = s.followers();
    followers.sort_by_key(|&node| node == controller);
    let [leaves, dies, stays] = followers[..] else {
        panic!("three follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.kill(dies);
    s.run_for(millis(100));
    s.reassign(&[leader, dies, stays]);
    s.run_for(secs(3));
    assert_eq!(s.view(leader).voters.len(), 4, "one stands in");
    s.produce_acked(&c, 1);
    s.start(dies);
    s.run_until(|s| !s.has_replica(leaves), secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn a_voter_stays_until_those_that_are_wanted_are_in_sync() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
