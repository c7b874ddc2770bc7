//! Counter-example 13, wide awake. A leader asks another to take over and is cut off in the same moment. The other leads,
//! and acknowledges a record, while all that the former leader has heard of its voters is as fresh as ever. Consumers
//! ask it how far the partition goes, which record is the first from the time of the last one on, and which is the latest.
//!
//! Breaks if: the former leader answers because a majority has lately heard it: it was elected away by its own word, so
//! nobody had to lose it out of hearing first.

use varve_scenarios::{OffsetQuery, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let [target, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    let reader = s.consumer();
    let by_time = s.consumer();
    s.produce_acked(&c, 2);
    s.run_until(|s| s.read_up_to(&reader) == 2, secs(1));
    s.run_until(|s| s.read_up_to(&by_time) == 2, secs(1));
    s.run_for(secs(10));
    s.trace();
    s.reassign(&[target, leader, other]);
    s.run_until(|s| s.view(target).role == "candidate", secs(10));
    s.cut(leader, Rest);
    s.run_until(|s| s.leader_other_than(leader), millis(20));
    let d = s.client_of(target);
    s.produce_acked(&d, 1);
    assert_eq!(s.view(leader).role, "leader", "it knows of nothing");
    s.query(&reader, OffsetQuery::Latest);
    s.query(&by_time, OffsetQuery::Time);
    s.query(&by_time, OffsetQuery::MaxTimestamp);
    s.run_for(secs(2));
    s.trace_ends();
    s.heal();
    s.run_until(|s| s.read_up_to(&reader) == 3, secs(10));
}

#[test]
fn a_leader_that_has_handed_over_tells_no_latest_offset_or_time() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
