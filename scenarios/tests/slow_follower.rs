//! A follower's disk answers nothing for a while. The other follower is majority enough.
//!
//! Breaks if: the leader waits for every follower, or the slow one acknowledges as durable what is not.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(2).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let slow = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.stall_disk(slow, millis(1500));
    for _ in 0..3 {
        let batch = s.produce(&c, 2, Acks::All);
        s.run_until(|s| s.is_acknowledged(&batch), millis(20));
    }
    assert_eq!(s.view(slow).durable.end_offset.0, 1);
    s.run_until_converged(secs(3));
}

#[test]
fn a_slow_follower_holds_up_no_acknowledgement() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
