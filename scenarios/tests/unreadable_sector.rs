//! A sector of the leader cannot be read, and what could be has to be read twice, while a consumer reads from the
//! beginning.
//!
//! Breaks if: a directory that still writes and syncs is given up for a read that failed, or a read that fails once is
//! taken for damage.

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
        s.fail_reads_once(node);
        s.restart(node);
    }
    s.run_until(|s| s.leader_if_any().is_some(), secs(3));
    s.trace();
    let leader = s.leader();
    s.fail_reads_once(leader);
    let first = s.consumer();
    s.run_until(|s| s.read_up_to(&first) == 12_000, secs(10));
    assert!(!s.reached(Probe::HoleFound), "what was read twice is whole");
    s.make_unreadable(leader, 5000);
    let second = s.consumer();
    s.run_until(|s| s.read_up_to(&second) == 12_000, secs(10));
    s.produce_acked(&c, 1);
    assert_eq!(s.leader(), leader, "its disk is as good as ever");
}

#[test]
fn what_cannot_be_read_is_a_hole_and_no_end_of_the_directory() {
    let mut s = cluster();
    story(&mut s);
    assert!(s.reached(Probe::HoleFilled));
    s.assert_trace();
}
