//! A leader is to make way for another, which has everything and sleeps when it is asked to stand.
//!
//! Breaks if: the leader goes on taking records, which its successor does not have and stands without; or it waits for it
//! for ever, and the partition takes nothing while all is well but for one node.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [target, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(10));
    s.trace();
    s.reassign(&[target, leader, other]);
    assert!(!s.reached(Probe::LeadershipTransferred), "it is preferred");
    s.run_until(|s| s.reached(Probe::LeadershipTransferred), secs(10));
    s.pause(target);
    let early = s.produce(&c, 1, Acks::All);
    s.run_for(millis(20));
    assert_eq!(s.outcome(&early), Outcome::NotAcknowledged);
    assert_eq!(s.log_end_offset(leader), 1, "it takes no more records");
    s.run_for(millis(2100));
    let late = s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.is_acknowledged(&late), millis(20));
    s.trace_ends();
}

#[test]
fn a_leader_takes_nothing_while_it_hands_over_and_leads_on_where_that_fails() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
