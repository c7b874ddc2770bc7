//! Counter-examples 3 and 14, as far as they can be brought about without moving replicas by hand. One of three
//! voters loses its disk, another is cut off: the leader replaces the lost one step by step.
//!
//! Breaks if: a leader takes its second step before the first is committed: two majorities need not meet any more.
//! (That a leader changes voters before its opening is committed, `ChangesVotersBeforeOpening`, needs a target
//! that changes between an election and its opening; no verb brings that about yet.)

use varve_core::hooks::Mutant;
use varve_scenarios::{Scenario, secs};

fn cluster() -> Scenario {
    Scenario::new(5).seed(14).quiet().replicas(3)
}

fn story(s: &mut Scenario) {
    s.elect_leader();
    let [lost, _] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.wipe(lost);
    s.start(lost);
    s.run_until(
        |s| s.view(s.leader()).voters.contains(&s.voter(lost)),
        secs(20),
    );
    s.run_until_converged(secs(10));
    assert_eq!(s.view(s.leader()).voters.len(), 3);
}

#[test]
fn voters_change_one_after_the_other() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

#[test]
fn two_changes_at_once_are_noticed() {
    let what = cluster()
        .mutant(Mutant::ChangesVotersTwiceAtOnce)
        .caught(story);
    assert!(what.starts_with("VotersChangeOneByOne"), "{what}");
}
