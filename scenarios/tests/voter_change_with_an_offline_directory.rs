//! The directory of a voter is offline, and its broker says so in every heartbeat. The metadata want this one and the leader
//! alone, and the third voter is cut off.
//!
//! Breaks if: the leader removes the third because it hears a majority of those that are left: one of the two stores nothing,
//! so the change never commits, and the partition takes nothing when the third is back.

use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let mut followers = s.followers();
    followers.sort_by_key(|&node| node != controller);
    let [offline, silent] = followers[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.fail_fsync(offline);
    s.produce(&c, 1, Acks::All);
    s.run_for(secs(1));
    s.reassign(&[leader, offline]);
    s.run_for(secs(2));
    s.cut(leader, silent);
    s.run_for(secs(3));
    let voter = s.voter(silent);
    assert!(s.view(leader).voters.contains(&voter), "it is needed");
    s.heal();
    s.produce_acked(&c, 1);
}

#[test]
fn a_voter_that_is_heard_and_stores_nothing_carries_no_change() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
