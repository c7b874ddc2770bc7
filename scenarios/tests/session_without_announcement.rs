//! A leader does not hear its followers any more, and resigns; they have heard it until then. The connections break with
//! its farewell on them, and new ones are made at once. The broker is the same, in the same start, and does not lead.
//!
//! Breaks if: a follower goes on trusting whoever led on the connection before: it stands for nobody, and refuses its
//! vote to everybody, the former leader included, for ever.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let followers = s.followers();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    for &follower in &followers {
        s.cut_one_way(follower, leader);
    }
    s.run_for(millis(700));
    for &follower in &followers {
        s.cut_one_way(leader, follower);
    }
    s.run_until(|s| s.view(leader).role != "leader", millis(400));
    for &follower in &followers {
        s.reset(leader, follower);
    }
    s.heal();
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    s.produce_acked(&c, 1);
}

#[test]
fn a_new_session_without_a_renewed_claim_ends_trust() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
