//! Counter-example 4, second half. Records are acknowledged from memory (`flush=replicated`), and the whole site loses
//! power. Every replica is a suspect.
//!
//! Breaks if: suspects are never enough: then nobody can ever lead again.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(6)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.power_cut_all();
    for node in 1..=3 {
        s.start(node);
    }
    s.run_until(|s| s.leader_if_any().is_some(), secs(10));
    assert!(s.reached(Probe::WonByAllVoters), "possible loss is said");
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(10));
}

#[test]
fn a_site_that_lost_power_comes_back_by_the_votes_of_all() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
