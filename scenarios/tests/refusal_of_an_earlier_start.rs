//! A node is killed, and another that dials it is refused. It comes back, reaches the other and leads again, while the
//! other has no descriptor left for a connection to it. Then their one connection breaks.
//!
//! Breaks if: the other takes what was refused before for the end of the process that runs: it stands at once against a
//! leader that is well.

use varve_core::ids::BrokerId;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let other = 6 - leader - controller;
    let c = s.client();
    s.produce_acked(&c, 1);
    s.kill(leader);
    s.run_until(|s| s.leader_other_than(leader), secs(3));
    s.reassign(&[controller, leader, other]);
    s.run_until(|s| s.leader_if_any() == Some(controller), secs(20));
    s.start(leader);
    s.run_until(|s| reaches(s, leader, other), secs(1));
    assert!(!reaches(s, other, leader), "it dials only now and then");
    s.cluster_mut().refuse_connections(other);
    s.reassign(&[leader, controller, other]);
    s.run_until(|s| s.leader_if_any() == Some(leader), secs(20));
    s.run_until(|s| s.view(other).leader == Some(s.voter(leader)), secs(1));
    s.trace();
    s.reset(leader, other);
    s.run_for(millis(500));
    assert_eq!(s.view(other).role, "follower");
    s.end_shortage(other);
    s.run_until_converged(secs(5));
    assert_eq!(s.leader(), leader);
}

/// Whether a node's link to another is up.
fn reaches(s: &Scenario, from: u8, to: u8) -> bool {
    let process = s.cluster().node(from).process.as_ref();
    let peer = BrokerId(i32::from(to));
    process.is_some_and(|process| {
        process
            .links
            .get(&peer)
            .is_some_and(|link| link.up.is_some())
    })
}

#[test]
fn a_refusal_says_nothing_of_a_process_that_speaks_after_it() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
