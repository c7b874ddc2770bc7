//! A partition of three is to keep two of its replicas, and one of these two is down.
//!
//! Breaks if: the leader removes the third, which is there: the change needs the one that is down, and until it is back
//! nothing is committed, and nobody else can be elected.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let mut followers = s.followers();
    followers.sort_by_key(|&node| node == controller);
    let [kept, leaves] = followers[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.kill(kept);
    s.run_for(millis(1500));
    s.reassign(&[leader, kept]);
    s.run_for(secs(2));
    s.produce_acked(&c, 1);
    assert_eq!(s.view(leader).voters.len(), 3, "it is needed");
    s.start(kept);
    s.run_until(|s| !s.has_replica(leaves), secs(10));
    assert_eq!(s.view(leader).voters.len(), 2);
    s.produce_acked(&c, 1);
}

#[test]
fn a_voter_stays_while_those_that_are_kept_are_no_majority() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
