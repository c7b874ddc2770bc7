//! A leader's process is killed, and a client that has lost its connection asks another broker for the leader before that
//! one has seen its own connection break.
//!
//! Breaks if: what is told of leaders rests on what was heard before the question: the client is sent to the former leader,
//! finds nobody there, and asks again a second later.

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
    s.messages_take(millis(20));
    s.kill(old);
    s.messages_take(millis(1));
    let asker = s.ask_about(other, "t");
    s.run_until(|s| s.leader_known_to(&asker).is_some(), millis(100));
    assert_eq!(
        s.leader_known_to(&asker),
        s.leader_if_any().filter(|&leader| leader != old),
        "who asks is told of the successor"
    );
    s.start(old);
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(3));
}

#[test]
fn a_broker_hears_the_leaders_that_it_tells_of_after_the_question() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
