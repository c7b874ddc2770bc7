//! One of two voters is stopped in good order: it hands over, gives its vote, and is gone.
//!
//! Breaks if: the new leader looks only once whether it is heard, while the vote still proves that: then it leads for
//! ever alone.

use varve_scenarios::{Scenario, millis};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(2).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    let second = s.followers()[0];
    s.stop(first);
    s.run_until(|s| s.view(second).role == "leader", millis(10));
    s.run_for(millis(1200));
    assert_ne!(s.view(second).role, "leader", "nobody hears it");
}

#[test]
fn a_leader_whose_voter_is_gone_behind_its_vote_resigns() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
