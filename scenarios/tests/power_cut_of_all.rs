//! The whole site loses power while records are on their way to disk.
//!
//! Breaks if: anything is acknowledged that is not durable on a majority, or a vote is forgotten.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(6).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    let acked = s.produce_acked(&c, 2);
    s.syncs_take(millis(50));
    let unsynced = s.produce(&c, 2, Acks::All);
    s.run_for(millis(20));
    s.power_cut_all();
    assert_eq!(s.outcome(&acked), Outcome::Acknowledged(2));
    assert_eq!(s.outcome(&unsynced), Outcome::NotAcknowledged);
    s.syncs_take(millis(1));
    for node in 1..=3 {
        s.start(node);
    }
    s.run_until_converged(secs(6));
    assert!(s.log_end_offset(s.leader()) >= 4);
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_of_all() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
