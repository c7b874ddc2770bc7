//! Counter-example 7. A sector rots in the middle of what a follower has acknowledged. The follower restarts.
//!
//! Breaks if: recovery takes the first batch that does not check for a torn tail: then it cuts there, and votes
//! with a log that lacks what it helped to acknowledge.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let follower = s.followers()[0];
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 400);
    }
    s.trace();
    s.rot(follower, 500);
    s.restart(follower);
    let end = s.log_end_offset(follower);
    assert_eq!(end, 1200, "the end stays where it was");
    s.run_until_converged(secs(5));
    assert!(s.reached(Probe::HoleFilled));
}

#[test]
fn rot_below_the_durable_end_is_a_hole_and_not_the_end() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
