//! A follower's disk hangs in the middle of a sync. The partition moves away from it and its copy is deleted; the partition
//! is wanted there again, and a new copy is created: for the disk, behind all that the first one has ordered. Then
//! the disk goes on, and reports the first of it.
//!
//! Breaks if: the new copy numbers its orders as the first one did: it takes the report for that of an append of its own,
//! and acknowledges as durable what is not.

use std::time::Duration;

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader_beside_controller();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let d = s.others()[0];
    let client = s.client();
    s.produce_acked(&client, 1);
    s.restart(c);
    s.run_until_converged(secs(5));
    for _ in 0..3 {
        s.produce_acked(&client, 1);
    }
    s.trace();
    s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(c) == 5, millis(10));
    s.run_for(Duration::from_micros(100));
    s.stall_disk(c, millis(2500));
    s.reassign(&[a, b, d]);
    s.run_until(|s| !s.has_replica(c), secs(1));
    s.reassign(&[a, b, c]);
    s.run_until(|s| s.has_replica(c), secs(1));
    s.run_until(|s| s.log_end_offset(c) == 5, millis(600));
    assert_eq!(s.view(c).durable.notes, 0, "its disk hangs");
    s.run_until(|s| s.view(c).role == "follower", secs(3));
    s.trace_ends();
    s.run_until(|s| !s.has_replica(d), secs(5));
    s.run_until_converged(secs(5));
}

#[test]
fn a_completion_counts_for_the_copy_that_gave_the_order() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
