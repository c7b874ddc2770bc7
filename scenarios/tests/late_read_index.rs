//! A broker asks where the metadata end, and the answer is long under way. Meanwhile a topic is created, and a second
//! client asks the broker about it.
//!
//! Breaks if: the second client is answered by the round that was begun before it asked: the answer speaks of a time at
//! which the topic did not exist.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let controller = s.controller();
    let slow = if controller == 1 { 2 } else { 1 };
    s.trace();
    s.cut_one_way(controller, slow);
    let first = s.ask_about(slow, "second");
    s.run_for(millis(20));
    let admin = s.create_topic_at(controller, "second");
    s.run_until(|s| s.is_created(&admin), millis(500));
    let second = s.ask_about(slow, "second");
    s.run_for(millis(20));
    s.heal();
    s.run_until(|s| s.leader_known_to(&second).is_some(), secs(5));
    s.run_until(|s| s.leader_known_to(&first).is_some(), secs(5));
}

#[test]
fn an_answer_is_as_late_as_its_request() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
