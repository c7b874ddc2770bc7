//! A and B keep a partition, and B's disk hangs. V is to join them, and then not any more: it asks A to release it, and has
//! the last record on its disk, which B has not, before it hears that A does. Its copy is deleted, but its word for the
//! record is still on the way when V is to join them after all. A hears it, and makes V a voter.
//!
//! Breaks if: what V had as a learner counts as that of a voter: A and V are a majority of three, and a record is
//! committed that nobody but A has.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

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
    let produced = s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(v) == 2, millis(10));
    s.run_for(millis(400));
    s.messages_take(millis(100));
    s.run_for(millis(100));
    s.reassign(&[a, b]);
    s.run_until(|s| s.view(v).durable.end_offset.0 == 2, secs(1));
    s.run_for(millis(60));
    s.cut_one_way(v, a);
    s.run_until(|s| !s.has_replica(v), millis(500));
    s.messages_take(millis(1));
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.has_replica(v), millis(700));
    s.run_for(millis(5));
    s.heal();
    s.run_until(|s| s.view(a).voters.len() == 3, millis(10));
    s.run_for(millis(10));
    assert_eq!(s.outcome(&produced), Outcome::NotAcknowledged);
    s.trace_ends();
    s.run_until(|s| s.view(a).committed.end_offset.0 == 2, secs(5));
}

#[test]
fn a_voter_counts_from_the_note_that_made_it_one() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
