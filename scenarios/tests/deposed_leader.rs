//! A leader cut off in the middle of an append must not acknowledge, and must drop the record when it comes back.
//!
//! Breaks if: the high watermark advances on the leader's own durability, or truncation stops at the log's end
//! and not where the logs part.

use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut(old, Rest);
    let stuck = s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.leader_other_than(old), secs(3));
    s.run_for(millis(500));
    s.heal();
    s.run_until_converged(secs(5));
    assert_eq!(s.outcome(&stuck), Outcome::NotAcknowledged);
    assert_eq!(s.log_end_offset(old), 2);
}

#[test]
fn deposed_leader_drops_its_unacknowledged_tail() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
