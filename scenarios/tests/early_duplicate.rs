//! Counter-example 12. A batch is on a leader that is cut off. Its connection breaks, and the producer sends it again.
//!
//! Breaks if: "I have that already, it is at offset 2" is answered at once: the leader is deposed, and offset 2
//! never was.

use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(12).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.idempotent_client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut(old, Rest);
    let batch = s.produce(&c, 1, Acks::All);
    s.run_for(millis(100));
    s.reset_client(&c, old);
    s.run_for(millis(300));
    assert_eq!(s.outcome(&batch), Outcome::NotAcknowledged);
    s.run_until(|s| s.leader_other_than(old), secs(3));
    s.heal();
    s.run_until(|s| s.is_acknowledged(&batch), secs(10));
}

#[test]
fn a_duplicate_is_answered_when_its_original_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
