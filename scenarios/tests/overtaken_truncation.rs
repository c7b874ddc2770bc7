//! A controller does not hear that a topic is committed, and is cut off with another that nobody else hears of, and dies. The others elect another one, which makes
//! another topic. The first one comes back on a slow disk.
//!
//! Breaks if: it reads the metadata from its disk while the truncation is on its way there: it takes the topic that
//! never was for one that is, since by their offsets the records are committed.

use varve_scenarios::{Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(34).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let old = s.controller();
    s.trace_metadata();
    // The others have this one; it does not hear so.
    s.cut_one_way(Rest, old);
    s.create_topic_at(old, "first");
    s.run_for(millis(50));
    s.cut(old, Rest);
    s.create_topic_at(old, "never");
    s.run_for(millis(50));
    s.power_cut(old);
    s.run_until(|s| s.controller_other_than(old), secs(5));
    let admin = s.create_topic_at(s.controller(), "second");
    s.run_until(|s| s.is_created(&admin), secs(5));
    s.heal();
    s.syncs_take(millis(100));
    s.start(old);
    s.run_until_converged(secs(15));
    s.trace_ends();
}

#[test]
fn the_disk_is_not_asked_for_what_is_being_truncated() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
