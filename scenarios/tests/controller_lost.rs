//! The controller dies. The partitions have leaders of their own and go on.
//!
//! Breaks if: acknowledging, or electing a partition's leader, needs the controller.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(14).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.kill(controller);
    let batch = s.produce(&c, 2, Acks::All);
    s.run_until(|s| s.is_acknowledged(&batch), millis(50));
    assert_eq!(s.leader(), leader);
    s.run_for(secs(2));
    assert_ne!(s.controller(), controller);
    s.start(controller);
    s.run_until_converged(secs(3));
}

#[test]
fn partitions_go_on_without_a_controller() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
