//! Counter-example 8, second half. The leader's disk hangs while its network goes on beating.
//!
//! Breaks if: a heartbeat says only that the process lives. The leader cannot store anything, its followers trust
//! it, and it leads for as long as the disk hangs.

use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.stall_disk(old, secs(20));
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.leader_other_than(old), secs(6));
    s.produce_acked(&c, 1);
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
