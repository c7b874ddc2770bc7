//! A sector rots in the last batch that a follower has acknowledged, and the follower loses its power before anything
//! behind it says that it was durable.
//!
//! Breaks if: the start takes what it cannot read for a batch that was torn before anybody was told of it: then the
//! follower votes, without a word, with a log that lacks what it helped to acknowledge.

use varve_core::store::Mark;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let follower = s.followers()[0];
    let c = s.client();
    for _ in 0..2 {
        s.produce_acked(&c, 400);
    }
    s.trace();
    s.rot(follower, 500);
    s.power_cut(follower);
    s.start(follower);
    assert_eq!(s.log_end_offset(follower), 400);
    assert_eq!(s.view(follower).mark, Mark::Suspect);
    s.run_until_converged(secs(5));
    assert_eq!(s.log_end_offset(follower), 800);
}

#[test]
fn a_bad_tail_in_the_last_group_makes_a_suspect() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
