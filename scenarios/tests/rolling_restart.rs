//! All nodes are stopped in good order and started again, one after the other.
//!
//! Breaks if: a leader that stops leaves its followers to find out by an election timeout.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(12).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    for node in 1..=3 {
        s.stop(node);
        let before = s.cluster().now();
        s.produce_acked(&c, 1);
        assert!(s.cluster().now().since(before) < millis(500));
        s.start(node);
        s.run_until_converged(secs(5));
    }
}

#[test]
fn a_rolling_restart_never_stops_acknowledgements_for_an_election_timeout() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
