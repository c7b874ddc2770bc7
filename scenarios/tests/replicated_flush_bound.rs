//! Records are acknowledged from memory (`flush=replicated`), a few in one batch and many in another, and nothing else
//! happens. A moment later the whole site loses power.
//!
//! Breaks if: what is in memory stays there until something else is synced: on a quiet topic for ever.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(6)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let c = s.client();
    s.trace();
    s.produce_acked(&c, 2);
    s.produce_acked(&c, 400);
    s.run_for(millis(150));
    for node in 1..=3 {
        let durable = s.view(node).durable.end_offset.0;
        assert_eq!(durable, 402, "on every disk by now");
    }
    s.power_cut_all();
    for node in 1..=3 {
        s.start(node);
        assert_eq!(s.log_end_offset(node), 402);
    }
    s.run_until_converged(secs(10));
}

#[test]
fn what_is_acknowledged_from_memory_is_on_disk_within_the_bound() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
