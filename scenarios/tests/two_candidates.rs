//! Messages take long. The leader dies, and several followers stand at the same time, in the same epoch.
//!
//! Breaks if: a voter says yes to each of them: then two lead one epoch.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.messages_take(millis(150));
    s.kill(old);
    s.run_until(|s| s.leader_other_than(old), secs(20));
    s.produce_acked(&c, 1);
}

#[test]
fn one_vote_an_epoch_makes_one_leader() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
