//! A leader loses its connections while every machine refuses new ones, so that the others take its process for ended and
//! elect another. That one moves the partition to other nodes, and then one of the former voters is to have a copy once
//! more: all that within the time for which the deposed leader trusts its voters. The copy that was made again reaches the
//! deposed leader, and nobody else.
//!
//! Breaks if: it follows the deposed leader, and counts there as the voter that it was: the two are a majority by that
//! leader's log, and acknowledge what the others never hear of.

use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(6).seed(1).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let deposed = s.elect_leader_beside_controller();
    let others = s.others();
    let followers = s.followers();
    let c = s.client_sure_of(deposed);
    s.produce_acked(&c, 1);
    s.run_for(millis(10_310));
    s.trace_from_here();
    for &node in [&[deposed], &followers[..]].concat().iter() {
        s.refuse_dials(node);
    }
    for &node in &followers {
        s.reset(deposed, node);
    }
    let stands = |s: &Scenario, node: &u8| s.view(*node).role == "candidate";
    s.run_until(
        |s| followers.iter().any(|node| stands(s, node)),
        millis(300),
    );
    s.cut(deposed, Rest);
    s.run_until(|s| s.leader_other_than(deposed), millis(300));
    let target = s.leader();
    for node in 1..=6 {
        s.cluster_mut().set_refusing(node, false);
    }
    let again = followers.iter().find(|node| **node != target);
    let again = *again.expect("one voter has not been elected");
    s.reassign(&[target, others[0], others[1]]);
    s.run_until(|s| !s.has_replica(again), millis(900));
    s.cut(target, again);
    s.reassign(&[target, others[0], again]);
    s.run_until(|s| s.has_replica(again), millis(900));
    s.heal();
    s.cut([deposed, again], Rest);
    let lost = s.produce(&c, 1, Acks::All);
    s.run_for(secs(3));
    assert_ne!(
        s.outcome(&lost),
        Outcome::Acknowledged(1),
        "it is nowhere else"
    );
    s.heal();
    s.run_until_converged(secs(20));
}

#[test]
fn a_copy_made_again_follows_no_deposed_leader() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
