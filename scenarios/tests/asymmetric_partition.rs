//! A leader is heard by everybody and hears nobody. It must not lead on.
//!
//! Breaks if: followers trust a leader because they hear it, and it never asks whether anybody hears *it* or
//! answers: then nothing is ever acknowledged again, and nobody stands.

use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(5).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.cut_one_way(Rest, old);
    s.run_for(millis(2100));
    let late = s.produce(&c, 1, Acks::All);
    s.run_for(millis(5));
    assert!(s.leader_other_than(old));
    assert_eq!(s.outcome(&late), Outcome::NotAcknowledged);
    s.trace_ends();
    s.produce_acked(&c, 1);
    s.heal();
    s.run_until_converged(secs(3));
}

#[test]
fn a_leader_that_hears_nobody_resigns_so_that_another_can_lead() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
