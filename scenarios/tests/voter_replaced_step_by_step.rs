//! Counter-example 3, first half. One of three voters loses its disk and comes back as another: the leader replaces the
//! lost one step by step.
//!
//! Breaks if: a leader takes its second step before the first is committed: two majorities need not meet any more.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(14).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let [lost, _] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.wipe(lost);
    s.start(lost);
    s.run_until(
        |s| s.view(s.leader()).voters.contains(&s.voter(lost)),
        secs(20),
    );
    s.run_until_converged(secs(10));
    assert_eq!(s.view(s.leader()).voters.len(), 3);
}

#[test]
fn voters_change_one_after_the_other() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
