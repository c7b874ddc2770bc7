//! A broker is cut off from the others, and a topic is created without it. A client that reaches no other broker asks it
//! about the topic, of which it has never heard.
//!
//! Breaks if: the broker says that the topic does not exist, which others know to exist: then producers fail their
//! records for good.

use varve_core::hooks::Probe;
use varve_scenarios::{Rest, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let controller = s.controller();
    let lonely = if controller == 1 { 2 } else { 1 };
    s.trace();
    s.cut(lonely, Rest);
    let admin = s.create_topic_at(controller, "second");
    s.run_until(|s| s.is_created(&admin), secs(5));
    let c = s.ask_about(lonely, "second");
    s.run_until(|s| s.reached(Probe::ReadIndexTimedOut), secs(5));
    assert_eq!(s.leader_known_to(&c), None, "nobody can have told it");
    s.heal();
    s.run_until(|s| s.leader_known_to(&c).is_some(), secs(10));
}

#[test]
fn a_broker_that_is_cut_off_denies_no_topic() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
