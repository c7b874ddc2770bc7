//! Counter-example 3, second half. The metadata say that a partition has moved away from two of its three voters. Its
//! leader does not reach the new ones, so nothing has changed in the partition's own log. Then the leader dies.
//!
//! Breaks if: a broker deletes its copy because the metadata do not want it there any more: the copy still counts in
//! the quorum, and what it had acknowledged is gone.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader_beside_controller();
    let followers = s.followers();
    let [d, e] = s.others()[..] else {
        panic!("two have no replica");
    };
    let client = s.client();
    s.produce_acked(&client, 3);
    s.trace();
    s.cut(a, [d, e]);
    s.reassign(&[a, d, e]);
    s.run_for(secs(2));
    for &node in &followers {
        assert!(s.has_replica(node), "a copy that still counts is kept");
    }
    s.kill(a);
    s.run_until(|s| s.leader_other_than(a), secs(3));
    s.produce_acked(&client, 1);
    s.heal();
    s.start(a);
    s.run_until(
        |s| followers.iter().all(|&node| !s.has_replica(node)),
        secs(30),
    );
    assert_eq!(s.view(s.leader()).voters.len(), 3);
}

#[test]
fn a_copy_is_deleted_when_the_quorum_has_let_it_go() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
