//! An operator wants another leader, whose disk hangs. It has everything that was written, and nobody writes.
//!
//! Breaks if: it is asked to take over because nothing is missing on its disk: it cannot store its own vote, and the leader
//! takes no records while it waits, again and again.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let controller = s.controller();
    let target = s.followers().into_iter().find(|&node| node != controller);
    let target = target.expect("two follow");
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(10));
    s.trace();
    s.stall_disk(target, secs(60));
    s.run_for(secs(7));
    s.reassign(&[target, leader, 6 - target - leader]);
    assert!(!s.reached(Probe::LeadershipTransferred), "it is preferred");
    s.run_for(secs(12));
    assert!(!s.reached(Probe::LeadershipTransferred), "it is left alone");
    s.produce_acked(&c, 1);
    assert_eq!(s.leader(), leader);
}

#[test]
fn nobody_whose_disk_hangs_is_asked_to_take_over() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
