//! Bits rot on a follower, in what nobody reads. Nothing else happens, for a long time.
//!
//! Breaks if: damage is found by readers and restarts alone: it waits there until the other copies are damaged too.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(31).quiet().scrubbed_within(secs(20))
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
    s.run_until(|s| s.reached(Probe::HoleFilled), secs(25));
    assert!(s.is_whole_on_disk(follower, 500));
}

#[test]
fn the_scrub_finds_what_nobody_reads_and_a_peer_fills_it() {
    let mut s = cluster();
    story(&mut s);
    assert!(s.reached(Probe::HoleScrubbed));
    s.assert_trace();
}
