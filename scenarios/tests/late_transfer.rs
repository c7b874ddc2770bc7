//! A leader is to make way for another, whose disk hangs for almost as long as the leader waits. Then it has everything, is
//! asked to stand, and sleeps for a moment.
//!
//! Breaks if: the leader leads on at once, since the time that it waits has begun when it was told to make way: it takes
//! records that its successor does not have and stands without.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

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
    s.run_for(millis(5));
    for follower in [target, other] {
        s.stall_disk(follower, millis(1200));
    }
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.reached(Probe::LeadershipTransferred), secs(2));
    s.pause(target);
    s.run_for(millis(5));
    s.reset(leader, target); // it is not asked once more
    s.run_for(millis(300));
    let early = s.produce(&c, 1, Acks::All);
    s.run_for(millis(20));
    assert_eq!(s.outcome(&early), Outcome::NotAcknowledged);
    s.resume(target);
    s.run_until(|s| s.leader_if_any() == Some(target), millis(100));
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn a_successor_that_catches_up_late_has_its_time_to_be_elected() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
