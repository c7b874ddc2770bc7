//! Counter-example 14, Raft's bug of 2015. S1 leads four voters, adds X as a fifth and is cut off together with X: that
//! change is on nobody else. The target changes: Y shall be the fifth, and X not. S2 is elected by S3 and S4, and S4
//! is cut off before the opening reaches it. Then S1 is connected with X and S4, three of the five voters that it knows.
//!
//! Breaks if: S2 adds Y at once. With S2, S3 and Y, three of five, that is committed; S1's three of five do not meet
//! them, and S1 overwrites it. S2's opening needs three of four, and S1 could not win afterwards.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(6).seed(14).quiet().replicas(4)
}

pub(crate) fn story(s: &mut Scenario) {
    let s1 = s.elect_leader_beside_controller();
    let [x, y] = s.others()[..] else {
        panic!("two have no replica");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    let followers = s.followers();
    let mut target = [&[s1], &followers[..], &[x]].concat();
    s.cut(s1, x);
    s.reassign(&target);
    s.run_until(|s| s.has_replica(x), secs(3));
    s.run_for(millis(300));
    s.trace_from_here();
    s.heal();
    s.cut(s1, &followers[..]);
    s.run_until(|s| s.view(s1).voters.len() == 5, secs(2));
    s.cut([s1, x], Rest);
    target[4] = y;
    s.reassign(&target);
    s.run_until(
        |s| followers.iter().any(|&node| s.view(node).role == "leader"),
        secs(10),
    );
    let s2 = s.leader();
    let s4 = followers
        .into_iter()
        .rfind(|&node| node != s2)
        .expect("three followed");
    s.cut(s4, Rest);
    s.run_for(millis(500));
    s.connect_only(s1, &[x, s4]);
    s.run_until(|s| s.view(s1).role == "leader", secs(20));
    s.trace_ends();
    s.heal();
    s.run_until(
        |s| s.view(s.leader()).voters.contains(&s.voter(y)),
        secs(20),
    );
}

#[test]
fn a_leader_changes_no_voters_before_its_opening_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
