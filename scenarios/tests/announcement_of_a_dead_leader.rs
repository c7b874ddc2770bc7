//! The only copy of a partition dies with its node, and later comes back.
//!
//! Breaks if: what a broker once said of itself counts for ever: clients are sent to a leader that is gone, and never
//! hear that there is none.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(33).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    let others: Vec<u8> = (1..=3).filter(|&node| node != leader).collect();
    let told = |s: &Scenario, whom| others.iter().all(|&node| s.leader_told_by(node) == whom);
    assert!(told(s, Some(leader)));
    s.trace();
    s.kill(leader);
    s.run_until(|s| told(s, None), secs(15));
    s.start(leader);
    s.run_until(|s| told(s, Some(leader)), secs(5));
}

#[test]
fn nobody_is_sent_to_a_leader_that_is_gone() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
