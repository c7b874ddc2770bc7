//! A leader is heard by everybody and hears nobody. It must not lead on.
//!
//! Breaks if: followers trust a leader because they hear it, and it never asks whether anybody hears *it* or
//! answers: then nothing is ever acknowledged again, and nobody stands.

use varve_core::hooks::Mutant;
use varve_scenarios::{Rest, Scenario, secs};

fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.cut_one_way(Rest, old);
    s.run_until(|s| s.leader_other_than(old), secs(4));
    s.produce_acked(&c, 1);
    s.heal();
    s.run_until_converged(secs(3));
}

#[test]
fn a_leader_that_hears_nobody_resigns_so_that_another_can_lead() {
    let mut s = Scenario::new(3).seed(5).quiet();
    story(&mut s);
    s.assert_trace();
}

#[test]
fn without_check_quorum_nobody_else_ever_leads() {
    let s = Scenario::new(3).seed(5).quiet();
    let what = s.mutant(Mutant::NeverChecksQuorum).caught(story);
    assert!(what.contains("does not happen within 4000ms"), "{what}");
}
