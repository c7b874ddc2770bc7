//! Bits rot under the leader while it serves a consumer that reads from the beginning.
//!
//! Breaks if: a read that meets damage goes on behind it: the consumer is never told that records are missing.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(15).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 4000);
    }
    s.run_until_converged(secs(1));
    // What was just written is read from memory: only who has started since reads its disk.
    for node in 1..=3 {
        s.restart(node);
    }
    s.run_until(|s| s.leader_if_any().is_some(), secs(3));
    s.trace();
    let leader = s.leader();
    s.rot(leader, 5000);
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == 12_000, secs(10));
    let read = s.cluster().history.read_count();
    assert_eq!(read, 12_000, "every record is read");
}

#[test]
fn a_read_waits_until_the_hole_is_filled() {
    let mut s = cluster();
    story(&mut s);
    assert!(s.reached(Probe::HoleFilled));
    s.assert_trace();
}
