//! A and B keep a partition, and B's disk hangs. V is to join them, and then not any more. It asks A to release it, catches up
//! meanwhile and says so. A releases it, is told that V is to join them after all, and hears then that V has caught up. V
//! has not heard that it is wanted again when it hears that it is released.
//!
//! Breaks if: A takes V's word and makes it a voter, and V deletes its copy: made anew it has no vote to give, and where A
//! fails before V has caught up, nobody is ever elected.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet().replicas(2)
}

/// V joins A and B, and is then to leave again: it has asked for its release, cannot hear the answer, and catches up. Returns A,
/// B, V and the controller.
pub(crate) fn release_while_catching_up(s: &mut Scenario) -> [u8; 4] {
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
    [a, b, v, controller]
}

pub(crate) fn story(s: &mut Scenario) {
    let [a, b, v, controller] = release_while_catching_up(s);
    s.cut_one_way(controller, v);
    s.reassign(&[a, b, v]);
    s.run_until(|s| s.view(v).durable.end_offset.0 == 2, secs(1));
    s.run_for(millis(5));
    s.mend_one_way(a, v);
    s.run_until(|s| !s.has_replica(v), millis(500));
    s.heal();
    s.run_until(|s| s.view(a).voters.len() == 3, secs(5));
}

#[test]
fn a_replica_that_is_to_be_deleted_is_made_no_voter() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
