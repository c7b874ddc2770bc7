//! A leads and is cut off. The others elect B, and the partition moves from A and C to D and E: C has deleted its copy.
//! A record is committed. A, which knows nothing of all that, reaches C and asks for its vote.
//!
//! Breaks if: a message for a replica that a broker does not have makes one. It is empty, and the vote that it gives is
//! by the name of a voter that knew better: A and C are a majority of A's voters, and A leads without the record.

use varve_scenarios::{Rest, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(2).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader_beside_controller();
    let before = s.followers();
    let [d, e] = s.others()[..] else {
        panic!("two have no replica");
    };
    let client = s.client();
    s.produce_acked(&client, 1);
    s.run_until_converged(secs(5));
    s.cut(a, Rest);
    s.run_until(|s| s.leader_other_than(a), secs(5));
    let b = s.leader();
    let c = before
        .into_iter()
        .find(|&node| node != b)
        .expect("two followed");
    s.reassign(&[b, d, e]);
    s.run_until(|s| !s.has_replica(c), secs(20));
    let other_client = s.client_of(b);
    s.produce_acked(&other_client, 1);
    s.trace_from_here();
    s.connect_only(a, &[c]);
    s.run_for(secs(3));
    assert_ne!(s.view(a).role, "leader");
    s.trace_ends();
    s.heal();
    s.run_until(|s| !s.has_replica(a), secs(20));
    s.reassign(&[b, c, d]);
    s.run_until(|s| !s.has_replica(e), secs(20));
    assert!(
        s.has_replica(c),
        "it is wanted again, and comes as a learner"
    );
}

#[test]
fn a_copy_that_was_deleted_stays_so_whoever_counts_on_it() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
