//! Three voters, of which two are to leave. The leader has not heard one of them for seconds, and has lost the connection
//! to the other, which has just died, a moment before.
//!
//! Breaks if: the leader takes the one that has died for present, since it was heard within the election timeout, and
//! removes the other: the change waits for a voter that may never come, and without it nobody will ever lead again.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(2).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let [dies, silent] = s.followers()[..] else {
        panic!("two follow");
    };
    assert!(
        ![dies, silent].contains(&controller),
        "it moves the partition"
    );
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.cut(leader, [silent]);
    s.run_for(secs(2));
    s.kill(dies);
    s.reassign(&[leader]);
    s.run_for(secs(2));
    s.heal();
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    s.produce_acked(&c, 1);
}

#[test]
fn whose_link_has_broken_is_not_present() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
