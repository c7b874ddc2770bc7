//! A sync of the leader fails. Its bytes may be anywhere or nowhere, and a second sync would prove nothing. Then it
//! loses power.
//!
//! Breaks if: the sync is tried again and its success believed (fsyncgate), or the leader leads on without a disk.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.fail_fsync(old);
    s.produce(&c, 1, Acks::All);
    s.run_for(millis(500));
    let made_way = s.leader_other_than(old);
    if made_way {
        s.produce_acked(&c, 1);
    }
    s.power_cut(old);
    s.start(old);
    assert!(made_way, "a leader without a disk leads no more");
    s.run_until_converged(secs(5));
}

#[test]
fn a_leader_whose_sync_fails_hands_over_and_acknowledges_nothing() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
