//! A partition moves to another node. The copy there has everything on its disk, and loses power before it has noted that it
//! is new no more.
//!
//! Breaks if: the leader has made it a voter by then: it starts again as new, which votes for nobody, and without its vote
//! nobody will ever lead again.

use varve_core::store::Mark;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(4).seed(17).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader_beside_controller();
    let controller = s.controller();
    let others = s.others();
    let new = *others
        .iter()
        .find(|&&node| node != controller)
        .expect("four nodes");
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.syncs_take(millis(20));
    s.reassign(&[new]);
    s.run_until(|s| s.has_replica(new), secs(5));
    s.run_until(|s| s.view(new).durable.end_offset.0 == 1, secs(5));
    s.run_for(millis(10));
    assert_eq!(s.view(new).mark, Mark::New, "that takes another sync");
    s.power_cut(new);
    s.kill(old);
    s.start(new);
    assert_eq!(s.view(new).mark, Mark::New, "nobody has synced otherwise");
    s.start(old);
    s.run_until(|s| !s.has_replica(old), secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn a_learner_is_made_a_voter_once_it_is_no_suspect() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
