//! The metadata have three voters and two learners. The disks of the two voters that follow hang for a while.
//!
//! Breaks if: the controller counts whoever has a record: with the learners it is on three disks of five, and on one of
//! the three that vote, which is all that a later election asks.

use varve_core::ids::TopicPartition;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(10).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let controller = s.controller();
    let view = |s: &Scenario| {
        s.cluster()
            .view(controller, TopicPartition::METADATA)
            .expect("it runs")
    };
    s.trace_metadata();
    let voters = view(s).voters;
    assert_eq!(voters.len(), 3);
    for voter in voters {
        let node = u8::try_from(voter.broker.0).expect("a node");
        if node != controller {
            s.stall_disk(node, millis(1500));
        }
    }
    let committed = view(s).committed;
    let target = [&s.others()[..1], &s.followers()[..], &[s.leader()]].concat();
    s.reassign(&target);
    s.run_until(|s| view(s).end > committed, secs(1));
    s.run_for(millis(500));
    assert_eq!(view(s).committed, committed, "one voter has it");
    s.run_until(|s| view(s).committed > committed, secs(2));
    s.trace_ends();
}

#[test]
fn a_learner_is_no_part_of_a_majority() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
