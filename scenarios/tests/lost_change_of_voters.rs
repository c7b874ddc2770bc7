//! The only voter of a partition has made another one a voter. Bits rot in its journal under that change, and it is started
//! again where it reaches nobody.
//!
//! Breaks if: the change stands once: the first takes itself for the only voter still, and leads alone beside those that
//! know better.

use varve_scenarios::{Rest, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let second = first % 3 + 1;
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.reassign(&[first, second]);
    s.run_until(|s| s.view(first).voters.len() == 2, secs(5));
    s.produce_acked(&c, 2);
    s.rot_voter_change(first);
    s.kill(first);
    s.cut(first, Rest);
    s.start(first);
    s.run_for(secs(5));
    assert_ne!(s.leader_if_any(), Some(first), "one of two is no majority");
    s.heal();
    s.run_until_converged(secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn who_has_lost_a_change_of_voters_does_not_lead_by_those_before() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
