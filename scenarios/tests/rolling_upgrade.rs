//! A cluster is upgraded a node at a time. Whoever has both builds in it serves all requests, a topic is created by a
//! controller of another build than that of the broker which was asked, and what only the later build tells the controller
//! (the client's address) is told where both have it.
//!
//! Breaks if: a link is not spoken in what both ends know: one of them cannot read the other's messages.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(31).quiet().earlier_build()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    let upgrade = |s: &mut Scenario, node, topic| {
        s.upgrade(node);
        s.produce_acked(&c, 1);
        let admin = s.create_topic_at(node, topic);
        s.run_until(|s| s.is_created(&admin), secs(5));
        s.run_for(millis(50));
    };
    upgrade(s, 1, "one");
    s.trace_metadata();
    upgrade(s, 2, "two");
    upgrade(s, 3, "three");
}

#[test]
fn a_cluster_of_two_builds_serves_and_the_later_tells_more_once_both_ends_know_it() {
    let mut s = cluster();
    story(&mut s);
    let trace = s.render();
    assert!(trace.contains("CreateTopics three by c5 at c5.hosts"));
    assert!(
        !trace.contains("c4.hosts"),
        "the controller is of the earlier build"
    );
    s.assert_trace();
}
