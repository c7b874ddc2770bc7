//! All connections between a leader and its followers break, and its machine refuses one of the followers for a while. The
//! leader's process runs all the time, and dials its followers again at once.
//!
//! Breaks if: a broken connection is taken for the end of the process: two followers that have lost theirs at the same time
//! elect another leader, though nothing is wrong with the old one.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    let leader_epoch = s.view(leader).leader_epoch;
    for follower in s.followers() {
        s.reset(leader, follower);
    }
    s.run_for(secs(1));
    s.refuse_dials(leader);
    let follower = s.followers()[0];
    s.reset(leader, follower);
    s.run_for(secs(2));
    let found = (s.leader(), s.view(leader).leader_epoch);
    assert_eq!(found, (leader, leader_epoch), "the leader is left in peace");
    s.heal();
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn broken_connections_move_no_leader() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
