//! The only voter of a partition makes another one a voter, is cut off before anybody hears of that, and bits rot in its
//! journal under the change.
//!
//! Breaks if: who has lost a change of voters is never elected by those of the change: they do not know that they are
//! voters, so nobody else stands either.

use varve_core::hooks::Probe;
use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let second = first % 3 + 1;
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.reassign(&[first, second]);
    s.run_until(|s| s.view(first).voters.len() == 2, secs(5));
    s.cut(first, Rest);
    s.run_for(millis(50));
    assert_eq!(s.view(second).voters.len(), 1, "it has not heard of it");
    s.rot_voter_change(first);
    s.kill(first);
    s.start(first);
    s.run_for(secs(5));
    assert_eq!(s.leader_if_any(), None, "one of two is no majority");
    s.heal();
    s.run_until(|s| s.leader_if_any() == Some(first), secs(10));
    assert!(s.reached(Probe::WonByAllVoters), "possible loss is said");
    s.run_until_converged(secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn who_has_lost_a_change_of_voters_is_elected_by_those_of_the_change() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
