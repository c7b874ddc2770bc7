//! A leader's machine loses its power; a follower that has the whole log takes its place.
//!
//! Breaks if: a candidate is elected by a vote that was not durable, or a leader serves before its own opening is
//! committed.

use varve_scenarios::{Outcome, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 3);
    s.trace();
    s.power_cut(old);
    s.run_until(|s| s.leader_other_than(old), secs(2));
    let after = s.produce_acked(&c, 1);
    s.start(old);
    s.run_until_converged(secs(3));
    assert_eq!(s.outcome(&after), Outcome::Acknowledged(3));
}

#[test]
fn a_leader_without_power_is_replaced_within_two_election_timeouts() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
