//! A follower has a record on its disk and says so. While its word is under way it loses its power, and rot in the last
//! group of its journal takes the record: it starts as a suspect, and without it.
//!
//! Breaks if: a checker takes the word for a lie, because the record is not there any more when the leader hears of it. It
//! was true: the leader commits, and whoever lost the record does not vote as if it had it.

use varve_core::store::Mark;
use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [follower, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 400);
    s.trace();
    s.cut(other, [leader, follower]);
    s.messages_take(millis(100));
    let record = s.produce(&c, 400, Acks::All);
    s.run_until(
        |s| s.view(follower).durable.end_offset.0 == 800,
        millis(300),
    );
    s.rot(follower, 500);
    s.power_cut(follower);
    s.start(follower);
    assert_eq!(s.log_end_offset(follower), 400);
    assert_eq!(s.view(follower).mark, Mark::Suspect);
    assert_eq!(s.view(leader).committed.end_offset.0, 400);
    s.run_until(|s| s.is_acknowledged(&record), millis(300));
    s.heal();
    s.run_until_converged(secs(5));
    assert_eq!(s.log_end_offset(follower), 800);
}

#[test]
fn a_word_that_was_true_when_it_was_given_counts() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
