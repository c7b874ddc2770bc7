//! The leader's disk hangs for long in the middle of a sync. A consumer asks for the first record from the time of the last
//! one on, which the leader has not written, and its voters confirm it. Then it gives its leadership up, as its disk hangs.
//!
//! Breaks if: it has been confirmed once for all: nobody tells the consumer that another leads, until the disk goes on or the
//! request times out.

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
    s.stall_disk(leader, secs(20));
    let next = s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.is_acknowledged(&next), millis(100));
    s.query(&reader, OffsetQuery::Time);
    let open = |s: &Scenario| {
        let process = s.cluster().node(leader).process.as_ref();
        process.expect("it runs").broker.waiting_requests()
    };
    s.run_for(millis(100));
    assert_ne!(open(s), 0, "it is asked what it has not written");
    s.run_until(|s| s.leader_other_than(leader), secs(6));
    s.run_for(millis(100));
    s.trace_ends();
    assert_eq!(open(s), 0, "everybody is told to look elsewhere");
}

#[test]
fn a_leader_that_resigns_tells_who_waits_for_a_time() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
