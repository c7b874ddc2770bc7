//! Counter-example 13, for a producer and a consumer. A leader hands leadership over. The next one, the interim leader,
//! loses its connections while every machine refuses new ones, so that the others take its process for ended and the first
//! leads again; the interim leader does not hear of that. An idempotent producer, which went on at the first all the time,
//! is told of the interim leader, in an epoch later than the one that it knows, and goes there: its next batch is ahead of
//! the sequence that is known there. A consumer that names no current leader epoch goes there too: its position is beyond
//! the end of that log, and it asks where the epoch ends of which the last record was that it has read.
//!
//! Breaks if: the deposed leader says so. The producer has nothing older on its way, so for it a record is lost for good; the
//! consumer starts anew wherever `auto.offset.reset` says.

use varve_scenarios::{Acks, OffsetQuery, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let [interim, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.idempotent_client();
    let reader = s.consumer_without_epochs();
    s.produce_acked(&c, 2);
    s.run_for(secs(10));
    s.reassign(&[interim, leader, other]);
    s.run_until(|s| s.leader_if_any() == Some(interim), secs(10));
    s.run_for(secs(10));
    s.trace();
    for node in [leader, interim, other] {
        s.refuse_dials(node);
    }
    s.reset(interim, leader);
    s.reset(interim, other);
    s.run_until(|s| s.view(leader).role == "candidate", millis(300));
    s.cut(interim, Rest);
    for node in [leader, interim, other] {
        s.cluster_mut().set_refusing(node, false);
    }
    s.run_until(|s| s.view(leader).role == "leader", millis(300));
    s.produce_acked(&c, 1);
    s.tell_of_leader(&reader, leader);
    s.run_until(|s| s.read_up_to(&reader) == 3, millis(500));
    s.tell_of_leader(&reader, interim);
    s.query(&reader, OffsetQuery::EpochEnd);
    s.tell_of_leader(&c, interim);
    let late = s.produce(&c, 1, Acks::All);
    s.run_for(millis(300));
    assert_eq!(s.view(interim).role, "leader", "it knows of nothing");
    s.run_for(secs(2));
    s.trace_ends();
    s.heal();
    s.run_until(|s| s.is_acknowledged(&late), secs(20));
    s.run_until(|s| s.read_up_to(&reader) == 4, secs(20));
}

#[test]
fn a_deposed_leader_rejects_no_sequence_position_or_epoch() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
