//! The disks of all three nodes lose the same record, while all their page caches have it. Then the site loses its
//! power.
//!
//! Breaks if: the scrub reads what the page cache has, which is not what a power cut leaves.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(32).quiet().scrubbed_within(secs(20))
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 400);
    }
    s.trace();
    for node in 1..=3 {
        s.rot_under_cache(node, 500);
    }
    s.run_until(
        |s| (1..=3).all(|node| s.is_whole_on_disk(node, 500)),
        secs(25),
    );
    s.run_for(millis(5)); // the sync
    s.power_cut_all();
    for node in 1..=3 {
        s.start(node);
    }
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == 1200, secs(10));
}

#[test]
fn what_only_the_page_cache_has_is_written_again_before_the_power_fails() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
