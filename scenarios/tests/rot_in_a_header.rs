//! Bits rot in the base offset of a batch. Kafka's checksum does not cover it, so the batch looks whole, and at another
//! place of the log than its own.
//!
//! Breaks if: the start believes what stands in the segment: the damage is found by whoever reads there, if anybody does
//! before the other copies are damaged too.

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
    s.rot_header(follower, 400);
    s.restart(follower);
    assert_eq!(s.view(follower).holes.len(), 1, "found by the start");
    s.run_until_converged(secs(5));
    assert!(s.reached(Probe::HoleFilled));
}

#[test]
fn the_journal_bears_out_what_a_batch_does_not() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
