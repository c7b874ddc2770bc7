//! A leader is stopped in good order while the disks of both followers hang for a moment: neither has the last record.
//!
//! Breaks if: the leader asks its successor to stand at once: whoever has more refuses it, the leader is deposed by the
//! attempt, and clients wait for an election after all.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(5).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let followers = s.followers();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    for &follower in &followers {
        s.stall_disk(follower, millis(200));
    }
    let last = s.produce(&c, 1, Acks::All);
    s.run_for(millis(5));
    s.stop(leader);
    assert!(
        s.is_acknowledged(&last),
        "it was committed before the leader left"
    );
    s.run_until(|s| s.leader_other_than(leader), millis(50));
    s.start(leader);
    s.run_until_converged(secs(5));
}

#[test]
fn a_successor_has_everything_before_it_is_asked_to_stand() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
