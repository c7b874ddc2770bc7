//! Counter-example 9. A leader appends a record, and its disk takes long. Deposed, it drops the record and takes
//! the next leader's at the same offset. Then the first append is reported done.
//!
//! Breaks if: the completion is taken by its offset: then the follower acknowledges as durable what is not.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(10).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut(old, Rest);
    s.syncs_take(millis(2500));
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(old) == 3, millis(10));
    s.run_for(millis(1));
    s.syncs_take(millis(1));
    s.run_until(|s| s.leader_other_than(old), secs(2));
    let d = s.client_of(s.leader());
    s.produce_acked(&d, 1);
    s.heal();
    s.run_until(|s| s.view(old).end == s.view(s.leader()).end, secs(1));
    s.run_until_converged(secs(5));
}

#[test]
fn a_completion_counts_for_the_append_that_it_names() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
