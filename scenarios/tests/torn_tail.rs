//! A follower loses power in the middle of a write of several sectors. Some are on the disk, some are not.
//!
//! Breaks if: recovery takes the written length for the log's end, or cuts more than the torn tail.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(8).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let follower = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.syncs_take(millis(40));
    s.produce(&c, 400, Acks::All);
    s.run_for(millis(20));
    s.power_cut(follower);
    let torn = s.cluster().node(follower).disk.counts();
    assert!(torn.sectors_lost + torn.sectors_torn > 0, "{torn:?}");
    s.syncs_take(millis(1));
    s.start(follower);
    assert_eq!(s.log_end_offset(follower), 2);
    s.run_until_converged(secs(3));
    assert_eq!(s.log_end_offset(follower), 402);
}

#[test]
fn a_torn_tail_is_cut_and_copied_again() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
