//! The only replica's sync fails. Its process is started again and reads in the page cache what the disk does not have.
//! Then the power is cut.
//!
//! Breaks if: the start takes for stored what it reads: a record behind it is acknowledged, and the power cut leaves a
//! hole before that one.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(1).seed(27).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let client = s.client();
    s.produce_acked(&client, 2);
    s.trace();
    s.fail_fsync(a);
    s.produce(&client, 220, Acks::All);
    s.run_for(millis(20));
    s.restart(a);
    s.produce_acked(&client, 1);
    s.power_cut(a);
    s.start(a);
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    let end = s.log_end_offset(a);
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == end, secs(5));
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_not_taken_for_stored() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
