//! The controller is cut off with an administrator, who asks it for a topic. The others elect another controller.
//!
//! Breaks if: the administrator is told that the topic has been created, or the controller makes its copy or saves a
//! snapshot that has it, while the topic is in one log only: the next controller has never heard of it.

use varve_core::hooks::Probe;
use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let old = s.controller();
    s.trace_metadata();
    s.cut(old, Rest);
    let admin = s.create_topic_at(old, "second");
    s.run_until(|s| s.controller_other_than(old), secs(5));
    assert!(!s.is_created(&admin), "only one log has it");
    s.heal();
    // The deposed controller passes on at once what it was asked.
    s.run_until(|s| s.is_created(&admin), millis(500));
    assert!(s.reached(Probe::TruncatedDivergentTail), "it was made anew");
    s.trace_ends();
}

#[test]
fn what_is_not_committed_is_not_told_to_administrators() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
