//! The controller is paused for longer than a broker may be silent before it is fenced. When it goes on, others have long
//! been elected, and all that was due meanwhile is due at once.
//!
//! Breaks if: it looks after the cluster before it looks whom it still hears: it fences everybody whom it has not heard,
//! which is everybody, since it slept.

use varve_core::ids::TopicPartition;
use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(14).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    s.run_for(secs(2));
    s.trace();
    let controller = s.controller();
    let end = |s: &Scenario| {
        let view = s.cluster().view(controller, TopicPartition::METADATA);
        view.expect("every broker has the metadata").end
    };
    let before = end(s);
    s.cut(controller, Rest);
    s.pause(controller);
    s.run_for(secs(15));
    s.resume(controller);
    s.run_for(millis(5));
    assert_eq!(end(s), before, "it has written nothing");
    s.heal();
    s.run_until_converged(secs(5));
}

#[test]
fn a_controller_that_slept_finds_out_before_it_fences_anybody() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
