//! A node sleeps through the creation of a topic, and starts where it reaches nobody.
//!
//! Breaks if: clients are let in while its image is as old as its sleep: it would tell them of a cluster of the past.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(11).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let controller = s.controller();
    let sleeper = if controller == 1 { 2 } else { 1 };
    s.trace();
    s.kill(sleeper);
    let admin = s.create_topic_at(controller, "second");
    s.run_until(|s| s.is_created(&admin), secs(15));
    s.cut(sleeper, Rest);
    s.start(sleeper);
    let c = s.ask_about(sleeper, "second");
    for _ in 0..30 {
        s.run_for(millis(100));
        assert!(
            !s.is_connected(&c, sleeper),
            "it knows too little to let anybody in"
        );
    }
    s.heal();
    s.run_until(|s| s.leader_known_to(&c).is_some(), secs(15));
}

#[test]
fn no_client_is_let_in_before_the_node_has_caught_up() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
