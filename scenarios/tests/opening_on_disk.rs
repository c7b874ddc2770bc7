//! Records are acknowledged from memory (`flush=replicated`). The leader dies, and its successor takes a record while
//! its own opening is on its way to the disks.
//!
//! Breaks if: notes count in memory as records do: the record is acknowledged in an epoch that a power cut undoes.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(5)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.kill(old);
    s.run_until(|s| s.leader_if_any().is_some(), secs(3));
    s.syncs_take(millis(60));
    for node in (1..=3).filter(|&node| node != old) {
        s.stall_disk(node, millis(20));
    }
    let d = s.client_of(s.leader());
    let record = s.produce(&d, 1, Acks::All);
    s.run_for(millis(50));
    let outcome = s.outcome(&record);
    assert_eq!(
        outcome,
        Outcome::NotAcknowledged,
        "the opening is on no disk"
    );
    s.run_until(|s| s.is_acknowledged(&record), secs(1));
    s.syncs_take(millis(1));
}

#[test]
fn an_opening_counts_when_it_is_on_disk_and_no_record_before_it() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
