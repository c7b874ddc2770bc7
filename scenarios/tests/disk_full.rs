//! Disks are full: records have no room, but votes, notes and what is read need none.
//!
//! Breaks if: a refused append keeps back the orders behind it, a vote among them; a leader goes on in its epoch with
//! something else in the place of what it has sent; or a follower counts as durable what its disk has refused.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

/// More than a store writes before it asks its disk again how much is free.
const MANY: u64 = 5000;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(17).quiet().reserve(256 << 10)
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    for node in 1..=3 {
        s.fill_disk(node);
    }
    let given_up = s.produce(&c, MANY, Acks::All);
    s.run_until(|s| s.leader_other_than(first), secs(4));
    assert!(s.reached(Probe::AppendRefused));
    let second = s.leader();
    s.run_until(|s| s.leader_known_to(&c) == Some(second), secs(4));
    let refused = s.produce(&c, 1, Acks::All);
    s.run_for(millis(50));
    s.kill(second);
    s.run_until(|s| s.leader_other_than(second), secs(6));
    for node in 1..=3 {
        s.free_disk(node);
    }
    s.start(second);
    s.produce_acked(&c, 2);
    s.run_until_converged(secs(6));
    for lost in [given_up, refused] {
        assert_eq!(s.outcome(&lost), Outcome::NotAcknowledged);
    }
}

#[test]
fn on_full_disks_produce_is_refused_and_leaders_are_elected_until_there_is_room() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: records go where there is room, and what the full disk has missed comes once it has room again.
#[test]
fn a_leader_whose_disk_is_full_makes_way_for_one_that_has_room() {
    let mut s = Scenario::new(3).seed(18).quiet().reserve(256 << 10);
    let full = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.fill_disk(full);
    s.produce_acked(&c, MANY);
    assert_ne!(s.leader(), full);
    s.produce_acked(&c, MANY);
    assert!(s.log_end_offset(full) < s.log_end_offset(s.leader()));
    s.free_disk(full);
    s.run_until_converged(secs(6));
    s.judge();
}
