//! The leader's disk hangs for a moment. A producer wants the leader's word alone (`acks=1`).
//!
//! Breaks if: the leader gives it when it has the record in memory only: it loses power, and what it has said with it,
//! although its topic's records are to be on disk.

use varve_scenarios::{Acks, Outcome, Scenario, millis};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.stall_disk(leader, millis(200));
    let record = s.produce(&c, 1, Acks::Leader);
    s.run_for(millis(100));
    assert_eq!(s.outcome(&record), Outcome::NotAcknowledged);
    s.run_until(|s| s.is_acknowledged(&record), millis(120));
}

#[test]
fn the_leader_gives_its_word_when_its_disk_has_the_record() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
