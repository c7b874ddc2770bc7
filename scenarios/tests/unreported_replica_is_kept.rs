//! A broker is added to the voters of a partition by one leader, and again by the next, which has not heard yet that it is
//! not wanted any more. Nothing has ever been reported of this partition's voters.
//!
//! Breaks if: no report is taken for one that lets the copy go: the broker deletes it while it counts, and a majority of
//! the voters has one copy less than it takes.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(12).quiet().replicas(3)
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
    s.reassign(&[&[old], &followers[..]].concat());
    s.run_until(|s| s.leader_other_than(old), secs(5));
    s.heal();
    s.run_until(|s| !s.has_replica(added), secs(20));
    assert_eq!(s.view(s.leader()).voters.len(), 3, "it has been let go");
}

#[test]
fn a_copy_that_no_report_lets_go_is_kept() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
