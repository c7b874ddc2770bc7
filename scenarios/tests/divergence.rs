//! Two leaders, one after the other, each append a tail that nobody else ever sees. A third drops both.
//!
//! Breaks if: a follower looks for the common part by offset and not by position: the two tails have the same offsets.

use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.cut(first, Rest);
    let one = s.produce(&c, 2, Acks::All);
    s.run_until(|s| s.leader_other_than(first), secs(3));
    let second = s.leader();
    let d = s.client_of(second);
    s.trace_from_here();
    s.cut(second, Rest);
    let other = s.produce(&d, 1, Acks::All);
    s.run_until(
        |s| s.leader_other_than(first) && s.leader_other_than(second),
        secs(3),
    );
    let third = s.leader();
    let e = s.client_of(third);
    s.produce_acked(&e, 3);
    s.run_for(millis(200));
    s.heal();
    s.run_until_converged(secs(5));
    assert_eq!(s.outcome(&one), Outcome::NotAcknowledged);
    assert_eq!(s.outcome(&other), Outcome::NotAcknowledged);
    assert_eq!(s.log_end_offset(first), 5);
}

#[test]
fn tails_of_two_deposed_leaders_are_both_dropped() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
