//! A broker has been silent for so long that the controller has fenced it. A topic is created.
//!
//! Breaks if: the new partition is placed on it all the same: one of its three copies is missing from the start, though
//! there are three brokers to hold them.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(5).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let silent = s.others()[0];
    s.kill(silent);
    s.run_for(secs(11));
    s.trace_metadata();
    let admin = s.create_topic("second");
    s.run_until(|s| s.is_created(&admin), secs(5));
    let controller = s.cluster().node(s.controller()).process.as_ref();
    let image = controller.expect("it runs").broker.image();
    let topic = image.topic_named("second").expect("it has been created");
    let (_, partition) = topic.partitions().next().expect("it has one");
    assert!(!partition.target.contains(&s.voter(silent)));
    s.trace_ends();
}

#[test]
fn a_fenced_broker_is_given_nothing() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
