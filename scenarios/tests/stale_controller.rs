//! The controller stops and hands over, and hears nothing any more: it does not learn that another has taken over, and
//! takes itself for the controller as long as it trusts in what it last heard. The other creates a topic.
//!
//! Breaks if: what the former controller has committed is taken for all there is, because it leads as far as it knows:
//! then it says that the topic does not exist.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet().replicas(2)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let former = s.controller();
    s.trace_metadata();
    let c = s.ask_about(former, "second");
    s.run_for(millis(50));
    s.begin_stop(former);
    let stands = |s: &Scenario, node| s.view_of_metadata(node).role == "candidate";
    s.run_until(|s| (1..=3).any(|node| stands(s, node)), millis(100));
    s.cut_one_way(Rest, former);
    s.run_until(|s| s.controller_other_than(former), millis(100));
    let controller = s.controller();
    let admin = s.create_topic_at(controller, "second");
    s.run_until(|s| s.is_created(&admin), millis(500));
    s.trace_ends();
    let view = s.view_of_metadata(former);
    assert_eq!(view.role, "leader", "as far as it knows");
    s.run_for(secs(2));
    assert_eq!(s.leader_known_to(&c), None, "nobody can have told it");
    s.heal();
}

#[test]
fn a_controller_that_has_been_succeeded_denies_no_topic() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
