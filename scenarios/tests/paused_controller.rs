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
    sleeps(s, controller);
    s.heal();
    s.run_until_converged(secs(5));
}

/// The controller sleeps where nobody can wake it.
fn sleeps(s: &mut Scenario, controller: u8) {
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
}

#[test]
fn a_controller_that_slept_finds_out_before_it_fences_anybody() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: the same of one that was elected by a voter just started, which has echoed no heartbeat yet: there is no silence
/// of that voter to be noticed, but that its vote counts no more.
#[test]
fn a_controller_that_slept_since_its_election_finds_out_as_well() {
    let mut s = Scenario::new(3).seed(14).quiet();
    s.elect_leader();
    s.run_for(secs(2));
    let former = s.controller();
    let [one, other] = [1, 2, 3]
        .into_iter()
        .filter(|&node| node != former)
        .collect::<Vec<_>>()[..]
    else {
        panic!("there are three");
    };
    s.kill(former);
    s.kill(other);
    s.run_for(secs(3));
    s.start(other);
    s.run_until(|s| s.controller_other_than(former), secs(3));
    let controller = s.controller();
    assert_eq!(controller, one, "it has waited for a voter");
    s.run_for(millis(20));
    sleeps(&mut s, controller);
    s.heal();
    s.start(former);
    s.run_until_converged(secs(5));
    s.judge();
}
