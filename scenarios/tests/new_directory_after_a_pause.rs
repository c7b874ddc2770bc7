//! A node stands still while a peer loses its directory and comes back on an empty one, which is let in, since its former
//! self is silent. When the node goes on it reads that one's last words first, and for a second no other may speak by
//! that name.
//!
//! Breaks if: the session of the new directory lives on: the claims that were refused on it are never told again, and the
//! node's clients are told of a former leader, or of none.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(2).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [one, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let sleeper = s.others()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_until(|s| s.leader_told_by(sleeper) == Some(leader), secs(5));
    s.pause(sleeper);
    s.run_for(millis(300));
    s.wipe(leader);
    s.run_until(|s| s.leader_other_than(leader), secs(5));
    s.start(leader);
    s.run_until(|s| s.in_sync().len() == 3, secs(20));
    s.reassign(&[leader, one, other]);
    s.run_until(|s| s.leader_if_any() == Some(leader), secs(20));
    s.trace_from_here();
    s.resume(sleeper);
    s.run_until(|s| s.leader_told_by(sleeper) == Some(leader), secs(5));
    s.trace_ends();
}

#[test]
fn a_directory_that_came_while_a_node_stood_still_is_heard_after_it() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
