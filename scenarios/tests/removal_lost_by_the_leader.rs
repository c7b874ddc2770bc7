//! Two replicas, of which one is to leave. It has the change on its disk; the leader loses power before it has, and counts
//! both again.
//!
//! Breaks if: who is no voter by its own log never stands: the leader of before lacks the change, so the other does not
//! vote for it, and nobody will ever lead again.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(3).quiet().replicas(2)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let leaves = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.stall_disk(leader, millis(1000));
    s.reassign(&[leader]);
    s.run_until(|s| s.view(leaves).voters.len() == 1, secs(1));
    s.run_for(millis(20));
    s.power_cut(leader);
    s.start(leader);
    assert!(s.has_replica(leaves), "nobody has let it go");
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    s.run_until(|s| !s.has_replica(leaves), secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn who_leaves_stands_until_its_removal_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
