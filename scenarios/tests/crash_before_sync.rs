//! Both followers have a record in memory and lose power before it is on their disks.
//!
//! Breaks if: a follower acknowledges as durable what it has only received: then the leader acknowledges a record
//! that is on one disk, and its majority forgets it.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let followers = s.followers();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    for &follower in &followers {
        s.stall_disk(follower, secs(1));
    }
    let record = s.produce(&c, 1, Acks::All);
    s.run_for(millis(50));
    for &follower in &followers {
        s.power_cut(follower);
    }
    assert_eq!(s.outcome(&record), Outcome::NotAcknowledged);
    for &follower in &followers {
        s.start(follower);
    }
    s.run_until_converged(secs(5));
}

#[test]
fn a_record_on_one_disk_is_not_acknowledged() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
