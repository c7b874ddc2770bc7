//! A and B keep a partition, and B's disk hangs. V is to join them, and then not any more: A releases it, and the word is held
//! up. V is to join them once more, has caught up, and A makes it a voter. Then V is not wanted a second time, and hears the
//! release that it had asked for the first time.
//!
//! Breaks if: V deletes its copy by it: A counts it among its voters, and made anew it has no vote to give.

use varve_scenarios::{Scenario, millis, secs};

use crate::learner_released_and_wanted_again::release_while_catching_up;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(2)
}

pub(crate) fn story(s: &mut Scenario) {
    let [a, b, v, _] = release_while_catching_up(s);
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.view(v).durable.end_offset.0 == 2, secs(1));
    s.run_until(|s| s.view(a).voters.len() == 3, millis(100));
    s.reassign(&[a, b]);
    s.run_for(millis(10));
    s.mend_one_way(a, v);
    s.run_for(millis(50));
    assert!(s.has_replica(v), "it is a voter by the longest log");
    s.trace_ends();
    s.heal();
    s.run_until(|s| !s.has_replica(v), secs(10));
}

#[test]
fn a_release_that_was_asked_for_before_deletes_nothing() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
