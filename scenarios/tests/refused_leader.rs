//! A leader's disk hangs, and is full when it goes on: it refuses a batch that both followers have meanwhile. Then there
//! is room again, and a client produces as much once more.
//!
//! Breaks if: the leader goes on in its epoch: another batch stands where the followers have the first, and they say,
//! of the same position, that they have it.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

/// More than a store writes before it asks its disk again how much is free.
const MANY: u64 = 5000;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(17).quiet().reserve(256 << 10)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let followers = s.followers();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.stall_disk(leader, millis(50));
    s.fill_disk(leader);
    for &follower in &followers {
        s.stall_disk(follower, millis(650));
    }
    let refused = s.produce(&c, MANY, Acks::All);
    s.run_for(millis(20));
    // What the followers say from here on does not arrive, so nobody can take over.
    for &follower in &followers {
        s.cut_one_way(follower, leader);
        s.reset(leader, follower);
    }
    s.run_for(millis(100));
    s.free_disk(leader);
    s.run_for(millis(500));
    let second = s.produce(&c, MANY, Acks::All);
    s.run_for(millis(20));
    s.heal();
    s.run_for(secs(1));
    for lost in [refused, second] {
        assert_eq!(s.outcome(&lost), Outcome::NotAcknowledged);
    }
    s.produce_acked(&c, 1);
}

#[test]
fn a_leader_whose_disk_has_refused_what_it_sent_leads_no_more() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
