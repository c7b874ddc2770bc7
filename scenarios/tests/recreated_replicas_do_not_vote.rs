//! A partition is moved away from its voters while one of them is cut off, which goes on counting the other two. Then both
//! are to have a copy once more, and reach nobody but the one that was cut off.
//!
//! Breaks if: a copy that was made again votes: with the votes of all voters that it knows the third leads, in an epoch in
//! which another leads already, and both are right by their own logs.

use varve_scenarios::{Rest, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(6).seed(14).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader_beside_controller();
    let controller = s.controller();
    let (moved, behind): (Vec<u8>, Vec<u8>) = s
        .followers()
        .into_iter()
        .partition(|&node| node == controller);
    let ([moved], [behind]) = (&moved[..], &behind[..]) else {
        panic!("the controller follows");
    };
    let (moved, behind) = (*moved, *behind);
    let others = s.others();
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace_from_here();
    s.cut(behind, Rest);
    for other in (1..=6).filter(|&node| node != behind) {
        s.reset(behind, other);
    }
    s.reassign(&others);
    s.run_until(|s| !s.has_replica(old) && !s.has_replica(moved), secs(20));
    let new = s.leader();
    s.produce_acked(&c, 1);
    s.cut(new, [old, moved]);
    s.reassign(&[&others[..], &[old, moved]].concat());
    s.run_until(|s| s.has_replica(old) && s.has_replica(moved), secs(20));
    s.heal();
    s.cut([old, moved, behind], Rest);
    s.run_for(secs(3));
    assert_ne!(s.view(behind).role, "leader", "it has been left behind");
    s.heal();
    s.run_until_converged(secs(20));
}

#[test]
fn copies_that_were_made_again_elect_nobody() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
