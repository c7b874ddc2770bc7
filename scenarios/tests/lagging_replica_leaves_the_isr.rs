//! A follower's broker is heard as ever, and its disk answers nothing: it has everything but the last record.
//!
//! Breaks if: whoever follows is told to be in sync: an operator would stop another node, whose record would be on one
//! disk then, and a topic that asks for three in sync would take records that two have.

use varve_scenarios::{Acks, Outcome, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(8)
        .quiet()
        .config("min.insync.replicas", "3")
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let slow = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.stall_disk(slow, secs(50));
    let first = s.produce(&c, 1, Acks::All);
    s.run_for(secs(20));
    assert_eq!(s.in_sync(), vec![1, 2, 3], "it may catch up yet");
    s.run_for(secs(20));
    let others: Vec<u8> = (1..=3).filter(|&node| node != slow).collect();
    assert_eq!(s.in_sync(), others, "it lags for too long");
    let second = s.produce(&c, 1, Acks::All);
    s.run_for(secs(1));
    for record in [first, second] {
        assert_eq!(s.outcome(&record), Outcome::NotAcknowledged);
    }
    s.run_until(|s| s.in_sync().len() == 3, secs(20));
    assert_eq!(s.leader(), leader);
}

#[test]
fn who_lags_for_too_long_is_not_in_sync() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
