//! A follower's machine loses its power and is back at once: nobody had time to notice, and nothing has told the leader
//! that its connection leads to a start that is over.
//!
//! Breaks if: the leader goes on speaking into the old connection until its own patience ends, and the follower, which
//! hears nobody, stands for election.

use varve_scenarios::{Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let c = s.client();
    s.produce_acked(&c, 2);
    let follower = s.followers()[0];
    s.trace();
    s.power_cut(follower);
    s.start(follower);
    s.run_until_converged(millis(300));
    let produced = s.produce_acked(&c, 1);
    s.run_for(secs(3));
    assert_eq!(s.outcome(&produced), Outcome::Acknowledged(2));
    assert_eq!(s.leader(), leader, "nobody had a reason to stand");
    assert_eq!(s.view(leader).leader_epoch, s.view(follower).leader_epoch);
}

#[test]
fn a_follower_back_at_once_after_a_power_cut_is_heard_and_led_at_once() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
