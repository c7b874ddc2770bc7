//! Counter-example 13, for a producer and a consumer. A leader hands leadership over. The next one loses its connections
//! while every machine refuses new ones, so that the others take its process for ended and the first leads again; the
//! one between does not hear of that. An idempotent producer, which went on at the first all the time, is told of the one
//! between, in an epoch later than the one that it knows, and goes there: its next batch is ahead of the sequence that is
//! known there. A consumer that names no leader epoch goes there too: its position is beyond the end of that log.
//!
//! Breaks if: the former leader says so. The producer has nothing older on its way, so for it a record is lost for good; the
//! consumer starts anew wherever `auto.offset.reset` says.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let [between, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.idempotent_client();
    let reader = s.consumer_without_epochs();
    s.produce_acked(&c, 2);
    s.run_for(secs(10));
    s.retarget(&[between, leader, other]);
    s.run_until(|s| s.leader_if_any() == Some(between), secs(10));
    s.run_for(secs(10));
    s.trace();
    for node in [leader, between, other] {
        s.refuse_dials(node);
    }
    s.reset(between, leader);
    s.reset(between, other);
    s.run_until(|s| s.view(leader).role == "candidate", millis(300));
    s.cut(between, Rest);
    for node in [leader, between, other] {
        s.cluster_mut().set_refusing(node, false);
    }
    s.run_until(|s| s.view(leader).role == "leader", millis(300));
    s.produce_acked(&c, 1);
    s.tell_of_leader(&reader, leader);
    s.run_until(|s| s.read_up_to(&reader) == 3, millis(500));
    s.tell_of_leader(&reader, between);
    s.tell_of_leader(&c, between);
    let late = s.produce(&c, 1, Acks::All);
    s.run_for(millis(300));
    assert_eq!(s.view(between).role, "leader", "it knows of nothing");
    s.run_for(secs(2));
    s.trace_ends();
    s.heal();
    s.run_until(|s| s.is_acknowledged(&late), secs(20));
    s.run_until(|s| s.read_up_to(&reader) == 4, secs(20));
}

#[test]
fn a_leader_that_has_been_succeeded_refuses_no_sequence() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
