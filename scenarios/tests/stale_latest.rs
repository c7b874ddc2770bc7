//! Counter-example 13, for a reader. A leader is cut off from the others and paused. They elect another, which
//! acknowledges a record. A consumer that has heard of none of this asks the sleeper how far the partition goes.
//!
//! Breaks if: the sleeper answers from what it knew when it fell asleep: the offset that it tells is long superseded.

use varve_scenarios::{OffsetQuery, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(13).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let sleeper = s.elect_leader();
    let c = s.client();
    let reader = s.consumer();
    s.produce_acked(&c, 2);
    s.run_until(|s| s.read_up_to(&reader) == 2, secs(1));
    s.trace();
    s.cut(sleeper, Rest);
    s.pause(sleeper);
    s.run_until(
        |s| {
            s.followers()
                .iter()
                .any(|&node| s.view(node).role == "leader")
        },
        secs(3),
    );
    let d = s.client_of(s.leader());
    s.produce_acked(&d, 1);
    s.query(&reader, OffsetQuery::Latest);
    s.run_for(millis(20));
    s.resume(sleeper);
    s.run_for(millis(2));
    s.trace_ends();
    s.heal();
    s.run_until(|s| s.read_up_to(&reader) == 3, secs(10));
}

#[test]
fn the_latest_offset_is_told_by_the_present_leader_alone() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
