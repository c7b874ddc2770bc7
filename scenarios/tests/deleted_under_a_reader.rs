//! A consumer reads from a leader whose disk hangs. The partition moves away from it and its copy is deleted; then the disk
//! goes on, and has read what was asked for.
//!
//! Breaks if: the consumer is given records of a replica that is not there any more.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 3);
    s.power_cut_all();
    (1..=5).for_each(|node| s.start(node));
    s.run_until(|s| s.leader_if_any().is_some(), secs(10));
    s.run_for(secs(3));
    let old = s.leader();
    let [one, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let new = s.others()[0];
    s.trace();
    s.stall_disk(old, millis(3800));
    let reader = s.consumer();
    s.run_for(secs(1));
    s.reassign(&[one, other, new]);
    s.run_until(|s| !s.has_replica(old), secs(10));
    assert_eq!(s.read_up_to(&reader), 0, "its disk has not answered");
    s.run_until(|s| s.read_up_to(&reader) == 3, secs(20));
}

#[test]
fn a_deleted_replica_serves_nobody() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
