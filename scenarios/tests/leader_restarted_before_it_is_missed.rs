//! Counter-example 8, first half. The leader is killed and is back before anybody has missed a heartbeat.
//!
//! Breaks if: followers trust whoever beats under the leader's name: the broker that came back leads nothing any
//! more, and nobody stands before an election timeout is over.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(8).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.restart(old);
    s.run_until(|s| s.leader_if_any().is_some(), millis(500));
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(3));
}

#[test]
fn a_leader_that_came_back_in_another_incarnation_is_not_trusted() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
