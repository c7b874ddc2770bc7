//! A store may keep two files open, and writes to more. Then all lose power.
//!
//! Breaks if: a file is closed before what was written to it is synced. The commit that makes its records durable syncs
//! only what is open, and they are acknowledged and nowhere.

use varve_scenarios::{Scenario, secs};

/// More than a segment holds, and written straight to it.
const MANY: u64 = 5000;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(44).quiet().open_files(2)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    for _ in 0..3 {
        s.produce_acked(&c, MANY);
    }
    s.power_cut_all();
    for node in 1..=3 {
        s.start(node);
    }
    s.run_until_converged(secs(10));
}

#[test]
fn a_file_that_makes_room_for_another_is_synced_first() {
    let mut s = cluster();
    story(&mut s);
    s.judge();
}
