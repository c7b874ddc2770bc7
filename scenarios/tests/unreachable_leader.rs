//! Counter-example 11. The leader and the controller do not hear each other. The controller fences the leader's
//! broker; its followers follow it as before.
//!
//! Breaks if: clients are told what the controller believes: then there is no leader, while there is one.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(11).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let other = 6 - leader - controller;
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.cut(leader, controller);
    s.run_for(secs(11));
    let d = s.client_of(other);
    assert_eq!(s.leader_known_to(&d), Some(leader));
    let record = s.produce(&c, 1, varve_scenarios::Acks::All);
    s.run_until(|s| s.is_acknowledged(&record), millis(50));
}

#[test]
fn clients_are_told_of_the_leader_that_the_quorum_follows() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
