//! A consumer has read a record whose commit the followers have not been told yet. The leader dies. Its successor
//! knows an older high watermark until its own opening is committed, and that takes a while.
//!
//! Breaks if: the successor shows what it knows: the high watermark goes back under the consumer, which may take
//! that for lost data.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(5).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    let reader = s.consumer();
    s.produce_acked(&c, 2);
    s.run_until(|s| s.read_up_to(&reader) == 2, secs(1));
    s.trace();
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.read_up_to(&reader) == 3, millis(50));
    s.kill(old);
    s.run_until(|s| s.leader_if_any().is_some(), secs(3));
    let follower = s.followers()[0];
    s.stall_disk(follower, millis(900));
    s.run_for(millis(700));
    s.produce_acked(&c, 1);
    s.run_until(|s| s.read_up_to(&reader) == 4, secs(3));
}

#[test]
fn a_new_leader_shows_no_high_watermark_before_its_opening_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
