//! A partition is moved to two replicas and back to the one that leads. The other has its removal on its disk and is started
//! again; the leader loses power before it has that, and counts both.
//!
//! Breaks if: who is started again and knows of no committed change stands for nothing: before the first change it was no
//! voter, by the last one it is none any more, and the leader of before needs its vote and does not get it.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(3).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let leaves = (1..=4).find(|&node| node != leader && node != controller);
    let leaves = leaves.expect("there are four");
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.reassign(&[leader, leaves]);
    s.run_until(|s| s.view(leader).voters.len() == 2, secs(5));
    s.run_for(millis(1500));
    s.stall_disk(leader, millis(1000));
    s.reassign(&[leader]);
    s.run_until(|s| s.view(leaves).voters.len() == 1, secs(2));
    s.run_for(millis(20));
    s.power_cut(leader);
    s.restart(leaves);
    s.start(leader);
    assert!(s.has_replica(leaves), "nobody has let it go");
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    s.run_until(|s| !s.has_replica(leaves), secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn who_leaves_stands_though_it_has_forgotten_what_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
