//! A replica that stands is paused before the votes of the others have come. Meanwhile another is elected in a later epoch,
//! and commits. Then the first takes its votes in, and leads for a moment, in an epoch that is over.
//!
//! Breaks if: what was committed in a later epoch is demanded of a leader (the checker of leader completeness did), or it
//! leads on though nobody follows it.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [target, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(10));
    s.trace();
    s.reassign(&[target, leader, other]);
    s.run_until(|s| s.view(target).role == "candidate", secs(2));
    let epoch = s.view(target).leader_epoch;
    s.run_for(millis(1));
    s.pause(target);
    s.run_until(|s| s.leader_if_any().is_some(), secs(2));
    s.run_until(|s| s.view(s.leader()).high_watermark.is_some(), secs(1));
    s.resume(target);
    s.run_for(millis(5));
    assert_ne!(s.view(target).role, "leader", "its epoch is over");
    assert!(s.view(target).leader_epoch > epoch);
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn a_leader_whose_epoch_is_over_when_it_is_elected_need_not_have_what_was_committed_since() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
