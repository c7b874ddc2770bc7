//! A leader adds a voter and is cut off with it: the change is on nobody else. The others elect a leader, which drops it
//! from the former one's log.
//!
//! Breaks if: the former leader goes on counting the voter that it has added: its majorities and the others' need not
//! meet any more.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(14).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader_beside_controller();
    let added = s.others()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    let followers = s.followers();
    s.cut(old, added);
    s.reassign(&[&[old], &followers[..], &[added]].concat());
    s.run_until(|s| s.has_replica(added), secs(3));
    s.run_for(millis(300));
    s.trace_from_here();
    s.heal();
    s.cut(old, &followers[..]);
    s.run_until(|s| s.view(old).voters.len() == 4, secs(2));
    s.cut([old, added], Rest);
    s.run_until(|s| s.leader_other_than(old), secs(5));
    let new = s.leader();
    s.heal();
    s.cut(new, added);
    s.run_until(|s| s.view(old).end == s.view(new).end, secs(5));
    assert_eq!(s.view(old).voters, s.view(new).voters);
    assert_eq!(s.view(old).voters.len(), 3, "the change is undone");
    s.heal();
    s.run_until(|s| s.view(new).voters.len() == 4, secs(20));
}

#[test]
fn a_change_of_voters_goes_with_its_note() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
