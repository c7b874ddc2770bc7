//! Bits rot in the metadata of a node without a vote in them, which has just stood still and trusts its leader no more. The
//! controller has nothing to send it.
//!
//! Breaks if: whoever has no leader asks the voters that it knows of. Those of the creation stand in no log, so such a
//! learner knows none, and the hole stays until the metadata go on.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5)
        .seed(10)
        .quiet()
        .replicas(3)
        .scrubbed_within(secs(5))
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let learner = (1..=5).find(|&node| s.view_of_metadata(node).voters.is_empty());
    let learner = learner.expect("two of five have no vote in the metadata");
    let end = s.view_of_metadata(learner).end;
    s.trace_metadata();
    s.pause(learner);
    s.run_for(millis(1500));
    s.resume(learner);
    s.rot_metadata(learner, 3);
    s.run_until(|s| !s.view_of_metadata(learner).holes.is_empty(), secs(6));
    assert_eq!(s.view_of_metadata(learner).leader, None);
    s.run_until(|s| s.view_of_metadata(learner).holes.is_empty(), secs(1));
    assert_eq!(s.view_of_metadata(learner).end, end, "nothing was appended");
}

#[test]
fn a_learner_without_a_leader_asks_the_last_one() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
