//! The disk of a leader hangs while nobody writes.
//!
//! Breaks if: that is found out only where something is to be stored: the first to write waits until the disk is given up,
//! and a leader whom clients cannot reach leads for ever, since nobody asks it for anything.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(5));
    s.trace();
    s.stall_disk(old, secs(60));
    s.run_until(|s| s.leader_other_than(old), secs(8));
    s.produce_acked(&c, 1);
}

#[test]
fn a_disk_that_hangs_is_found_though_nobody_writes() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
