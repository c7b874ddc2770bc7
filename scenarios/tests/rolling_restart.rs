//! All nodes are stopped in good order and started again, one after the other.
//!
//! Breaks if: a leader that stops leaves its followers to find out by an election timeout.

use varve_core::hooks::Probe;
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

#[test]
fn leadership_is_not_handed_over_where_controlled_shutdown_is_off() {
    for (enable, hands_over) in [("true", true), ("false", false)] {
        let mut s = cluster().setting("controlled.shutdown.enable", enable);
        let old = s.elect_leader();
        s.stop(old);
        s.run_until(|s| s.leader_other_than(old), secs(5));
        assert_eq!(s.reached(Probe::LeadershipTransferred), hands_over);
    }
}
