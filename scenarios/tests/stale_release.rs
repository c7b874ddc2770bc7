//! A and B keep a partition, and B's disk hangs. V is to join them, and then not any more: A releases it, and the word is held
//! up. V is to join them once more, has caught up, and A makes it a voter. Then V is not wanted a second time, and hears the
//! release that it had asked for the first time.
//!
//! Breaks if: V deletes its copy by it: A counts it among its voters, and made anew it has no vote to give.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(2)
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader_beside_controller();
    let b = s.followers()[0];
    let controller = s.controller();
    let mut others = s.others().into_iter().rev();
    let v = others
        .find(|&node| node != controller)
        .expect("three have no replica");
    let client = s.client_of(a);
    s.produce_acked(&client, 1);
    // Once before, so that the metadata have a report of this epoch already.
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.view(a).voters.len() == 3, secs(5));
    s.reassign(&[a, b]);
    s.run_until(|s| !s.has_replica(v), secs(5));
    s.run_for(secs(5));
    s.trace();
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.has_replica(v), secs(1));
    s.stall_disk(v, millis(858));
    s.stall_disk(b, millis(2500));
    s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(v) == 2, millis(10));
    s.run_for(millis(400));
    s.cut_one_way(a, v);
    s.reassign(&[a, b]);
    s.run_for(millis(10));
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.view(v).durable.end_offset.0 == 2, secs(1));
    s.run_until(|s| s.view(a).voters.len() == 3, millis(100));
    s.reassign(&[a, b]);
    s.run_for(millis(10));
    s.mend_one_way(a, v);
    s.run_for(millis(50));
    assert!(s.has_replica(v), "it is a voter by the longest log");
    s.trace_ends();
    s.heal();
    s.run_until(|s| !s.has_replica(v), secs(10));
}

#[test]
fn a_release_that_was_asked_for_before_deletes_nothing() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
