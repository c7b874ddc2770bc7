//! The only copy of a partition is to move. Its leader makes the new copy a voter, and is cut off before anybody hears of
//! it. Meanwhile the partition is wanted where it was: nothing reported or wanted names the new copy.
//!
//! Breaks if: the broker deletes the new copy because of that. The leader's log names it, half of its voters, and nobody
//! will ever lead again.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let controller = s.elect_leader();
    let [old, new] = s.others()[..] else {
        panic!("two have no replica");
    };
    s.reassign(&[old]);
    s.run_until(|s| !s.has_replica(controller), secs(10));
    assert_eq!(s.controller(), controller);
    let c = s.client();
    s.produce_acked(&c, 2);
    s.cut(old, new);
    s.reassign(&[new]);
    s.run_until(|s| s.has_replica(new), secs(3));
    s.run_for(millis(300));
    s.trace_from_here();
    s.heal();
    s.run_until(|s| s.view(old).voters.len() == 2, secs(3));
    s.cut(old, Rest);
    s.reassign(&[old]);
    s.run_for(secs(3));
    assert!(s.has_replica(new), "a copy that may count is kept");
    s.heal();
    s.run_until(|s| !s.has_replica(new), secs(10));
    assert_eq!(s.view(s.leader()).voters.len(), 1, "it has been let go");
    s.produce_acked(&c, 1);
}

#[test]
fn a_copy_is_kept_until_the_leader_lets_it_go() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
