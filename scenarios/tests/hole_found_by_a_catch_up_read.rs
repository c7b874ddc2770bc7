//! A batch of the leader rots that a follower which was away lacks, while the third node is down; then one before it. The
//! leader tries again and again to read the one that it lacks: the store looks into that, and comes by the other.
//!
//! Breaks if: the store remembers a hole that the broker was never told of. The scrub passes over what is known, so
//! nobody asks a peer for it until somebody reads there.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(31).quiet().scrubbed_within(secs(20))
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    for _ in 0..2 {
        s.produce_acked(&c, 1);
    }
    s.run_until_converged(secs(1));
    let away = s.followers()[0];
    s.kill(away);
    for _ in 0..2 {
        s.produce_acked(&c, 1);
    }
    // What was just written is read from memory: only who has started since reads its disk.
    for node in (1..=3).filter(|&node| node != away) {
        s.restart(node);
    }
    s.run_until(|s| s.leader_if_any().is_some(), secs(3));
    let leader = s.leader();
    s.trace();
    s.rot(leader, 2);
    s.start(away);
    let other = s.followers().into_iter().find(|&node| node != away);
    let other = other.expect("two follow");
    s.kill(other);
    s.run_until(|s| !s.view(leader).holes.is_empty(), secs(5));
    s.rot(leader, 0);
    s.run_for(secs(2));
    s.start(other);
    s.run_until(|s| s.log_end_offset(away) == 4, secs(5));
    assert_eq!(
        s.view(leader).holes,
        [],
        "what was asked for has been filled"
    );
    s.run_for(secs(25));
    assert!(s.is_whole_on_disk(leader, 0));
}

#[test]
fn the_scrub_tells_of_a_hole_that_the_store_has_come_by() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
