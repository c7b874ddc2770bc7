//! A follower does not hear its leader. The leader hears the follower, and the other follower hears both.
//!
//! Breaks if: who hears no leader deposes it: the follower is told by the other that there is a leader, or is not
//! asked, and one broken direction of one link stops a healthy partition again and again.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let deaf = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    let leader_epoch = s.view(leader).leader_epoch;
    s.cut_one_way(leader, deaf);
    s.run_for(secs(4));
    let found = (s.leader(), s.view(leader).leader_epoch);
    assert_eq!(found, (leader, leader_epoch), "the leader is left in peace");
    s.produce_acked(&c, 1);
    s.heal();
    s.run_until_converged(secs(5));
}

#[test]
fn a_follower_that_hears_nothing_disturbs_nobody() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
