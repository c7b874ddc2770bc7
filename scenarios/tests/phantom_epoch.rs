//! Counter-example 2. A deposed leader truncates its tail, appends what the new leader sent in its place, and
//! loses power between one and the other, or behind both.
//!
//! Breaks if: the epochs of a log stand in a table of their own, written at another time than the log: then the
//! table says that the new record is of the old epoch. Here openings are entries of the log, and one journal
//! orders them with truncations; a checker compares what every restart finds with what was ordered.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(2).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut(old, Rest);
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.leader_other_than(old), secs(3));
    let d = s.client_of(s.leader());
    s.produce_acked(&d, 1);
    s.syncs_take(millis(20));
    s.heal();
    s.run_until(
        |s| s.view(old).end.leader_epoch == s.view(s.leader()).end.leader_epoch,
        secs(3),
    );
    s.run_for(millis(47));
    s.power_cut(old);
    s.syncs_take(millis(1));
    s.start(old);
    s.run_until_converged(secs(6));
    assert_eq!(s.log_end_offset(old), 3);
}

#[test]
fn a_crash_between_truncation_and_append_leaves_no_epoch_that_never_was() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
