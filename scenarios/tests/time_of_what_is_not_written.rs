//! The leader's disk hangs in the middle of a sync. The followers have the next record on theirs, so it is acknowledged
//! before the leader has written it. A consumer asks for the first record from the time of that one on.
//!
//! Breaks if: the leader's store is asked at once: it has not got the record yet, and the consumer is told that there is none,
//! which clients take for the end of the log.

use varve_scenarios::{Acks, OffsetQuery, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    let reader = s.consumer();
    s.produce_acked(&c, 1);
    s.run_until(|s| s.read_up_to(&reader) == 1, secs(1));
    s.syncs_take(millis(5));
    s.trace();
    s.produce(&c, 1, Acks::All);
    s.run_for(millis(3));
    s.stall_disk(leader, millis(300));
    let next = s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.is_acknowledged(&next), millis(100));
    s.query(&reader, OffsetQuery::Time);
    s.run_for(secs(1));
    s.trace_ends();
    assert_eq!(s.leader(), leader, "it leads all the while");
}

#[test]
fn a_time_is_looked_up_where_all_committed_records_are_written() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
