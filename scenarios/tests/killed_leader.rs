//! A leader's process is killed, on a machine that stays up. Its followers need not wait until it has been silent for the
//! election timeout: their connections break, and its machine refuses new ones.
//!
//! Who asks for the leader right after the kill is not told of the one that is gone, but waits for its successor.
//!
//! Breaks if: nobody looks why a connection has broken, and every deployment costs a second; or clients are told of a
//! leader whose connection has just broken, and come back a second later.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    let other = s.followers()[0];
    s.kill(old);
    let asker = s.ask_about(other, "t");
    s.run_until(|s| s.leader_other_than(old), millis(150));
    assert!(s.reached(Probe::LeaderProcessGone));
    s.run_until(|s| s.leader_known_to(&asker).is_some(), millis(100));
    assert_eq!(
        s.leader_known_to(&asker),
        Some(s.leader()),
        "who asks is told of the successor"
    );
    s.produce_acked(&c, 1);
    s.start(old);
    s.run_until_converged(secs(3));
}

#[test]
fn a_killed_leader_is_replaced_without_an_election_timeout() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: whoever stands because the leader's process has ended is right although its broker is back by then on an empty
/// directory, which counts its starts anew.
#[test]
fn a_leader_that_is_back_on_an_empty_directory_is_known_to_have_ended() {
    let mut s = Scenario::new(4).seed(5).quiet().replicas(3);
    s.elect_leader();
    // Of the four it is the one that did not found the cluster, so its first start is the first on its directory.
    s.reassign(&[4, 1, 2]);
    s.run_until(|s| s.leader_if_any() == Some(4), secs(20));
    s.run_until(|s| s.followers() == [1, 2], secs(5));
    s.run_until_converged(secs(5));
    let [first, _second] = s.followers()[..] else {
        panic!("two follow");
    };
    s.cut(4, first); // so the second, whose turn is later, is the first to see it
    s.wipe(4);
    s.run_for(millis(30));
    s.start(4);
    s.run_until(|s| s.leader_other_than(4), secs(2));
    assert!(s.reached(Probe::LeaderProcessGone));
    s.judge();
}
