//! A leader's process is killed, on a machine that stays up. Its followers need not wait until it has been silent for the
//! election timeout: their connections break, and its machine refuses new ones.
//!
//! Breaks if: nobody looks why a connection has broken, and every deployment costs a second.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.kill(old);
    s.run_until(|s| s.leader_other_than(old), millis(150));
    assert!(s.reached(Probe::LeaderProcessGone));
    s.produce_acked(&c, 1);
    s.start(old);
    s.run_until_converged(secs(3));
}

#[test]
fn a_killed_leader_is_replaced_without_an_election_timeout() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
