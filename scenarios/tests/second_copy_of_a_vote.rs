//! A follower has voted for the new leader. Bits rot in its journal under that vote, and it is started again.
//!
//! Breaks if: a vote stands once: the follower would vote for another in the same epoch.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 3);
    s.trace();
    s.kill(old);
    s.run_until(|s| s.leader_other_than(old), secs(3));
    let leader = s.leader();
    let voter = 6 - old - leader;
    let vote = (s.view(voter).leader_epoch, s.view(voter).voted_for);
    assert_eq!(vote.1, Some(s.voter(leader)));
    s.rot_vote(voter);
    s.restart(voter);
    assert_eq!((s.view(voter).leader_epoch, s.view(voter).voted_for), vote);
    s.start(old);
    s.run_until_converged(secs(5));
}

#[test]
fn a_vote_outlives_the_rot_of_one_of_its_copies() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
