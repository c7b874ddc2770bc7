//! Both followers' directories go offline, and their brokers go on. A consumer reads one partition of the leader, and is
//! beyond the end of another.
//!
//! Breaks if: the fetch waits for the voters to confirm the leader, as long as it would for a disk: nobody stores anything,
//! so nobody says anything, and the consumer gets none of the records that are there.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().partitions(2)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    s.lead_all(leader);
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(1));
    s.trace();
    for follower in s.followers() {
        s.fail_fsync(follower);
    }
    s.produce(&c, 1, Acks::All);
    s.run_for(millis(200));
    let reader = s.consumer_beyond(&[1]);
    s.tell_of_leader(&reader, leader);
    s.run_until(|s| s.read_up_to(&reader) == 1, secs(1));
    assert_eq!(s.out_of_range_told(&reader), 0, "it may have been deposed");
}

#[test]
fn a_position_that_cannot_be_confirmed_holds_no_records_back_for_long() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
