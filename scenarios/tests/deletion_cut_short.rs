//! A follower deletes its copy, which is wanted elsewhere now, and loses power before that is on its disk.
//!
//! Breaks if: the copy's files are removed before the deletion is durable: the replica is there again after the start, and
//! what it has acknowledged is not.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(5).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [stays, goes] = s.followers()[..] else {
        panic!("two follow");
    };
    let comes = s.others()[0];
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 400);
    }
    s.trace();
    s.syncs_take(millis(20));
    s.reassign(&[leader, stays, comes]);
    s.run_until(|s| !s.has_replica(goes), secs(10));
    s.run_for(millis(10));
    s.power_cut(goes);
    s.syncs_take(millis(1));
    s.start(goes);
    s.run_until(|s| !s.has_replica(goes), secs(10));
}

#[test]
fn files_are_removed_once_the_deletion_is_durable() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
