//! A follower's disk hangs while records come fast, and its broker answers as ever.
//!
//! Breaks if: the leader counts as done what the follower has taken and not written, and asks it anew again and again:
//! each time another window of records waits in the follower's memory.

use varve_scenarios::{Scenario, millis, secs};

/// More than sixteen batches of this story.
const WINDOW: usize = 2 << 20;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let hung = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 2);
    s.stall_disk(hung, secs(8));
    let mut waited_most = 0;
    for _ in 0..60 {
        s.produce_acked(&c, 4000);
        s.run_for(millis(50));
        waited_most = waited_most.max(s.view(hung).unwritten_bytes);
    }
    assert!(
        waited_most > 0 && waited_most < WINDOW,
        "no more than a window waits"
    );
    s.run_until_converged(secs(10));
    assert_eq!(s.view(hung).unwritten_bytes, 0);
}

#[test]
fn what_waits_for_a_disk_that_hangs_is_bounded_by_the_leaders_window() {
    let mut s = cluster();
    story(&mut s);
    s.judge();
}
