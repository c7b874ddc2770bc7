//! The disk of a voter is lost. Its broker, on a new one, and a fourth are to join the partition, and the voter that the
//! disk had is to leave. As soon as one of the two has joined, another voter dies.
//!
//! Breaks if: others come before who is lost has left: it still counts, as one of four, and with the one that has died
//! no majority of them is left.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let mut followers = s.followers();
    followers.sort_by_key(|&node| node == controller);
    let [dies, lost] = followers[..] else {
        panic!("two follow");
    };
    let joins = s.others()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.wipe(lost);
    s.cut(leader, lost);
    s.start(lost);
    s.run_for(secs(3));
    s.reassign(&[leader, dies, lost, joins]);
    let joining = s.voter(joins);
    s.run_until(|s| s.view(leader).voters.contains(&joining), secs(5));
    s.run_for(millis(10));
    s.kill(dies);
    s.produce_acked(&c, 1);
    s.heal();
    s.start(dies);
    s.run_until(|s| s.view(leader).voters.len() == 4, secs(5));
}

#[test]
fn a_voter_that_is_lost_leaves_before_others_come() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
