//! P leads, appends a record that nobody else has, and is cut off; the others elect a leader, which commits another
//! record at the same offset. Bits rot under that one on A. It starts again, and reaches P alone.
//!
//! Breaks if: a hole is filled with whatever a voter has at its offsets: P has something there, of an epoch that A's log
//! does not have.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(6).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let p = s.elect_leader();
    let others = s.followers();
    let client = s.client();
    s.produce_acked(&client, 2);
    s.run_until_converged(secs(5));
    s.cut(p, Rest);
    s.produce(&client, 400, Acks::All);
    s.run_until(|s| s.log_end_offset(p) == 402, secs(1));
    s.run_until(|s| s.leader_other_than(p), secs(5));
    let b = s.leader();
    let a = others
        .into_iter()
        .find(|&node| node != b)
        .expect("two followed");
    let d = s.client_of(b);
    for _ in 0..3 {
        s.produce_acked(&d, 400);
    }
    s.run_until(|s| s.view(a).durable.end_offset.0 == 1202, secs(1));
    s.trace_from_here();
    s.rot(a, 100);
    s.kill(a);
    s.connect_only(a, &[p]);
    s.start(a);
    s.run_for(millis(600));
    assert!(!s.view(a).holes.is_empty(), "nobody whom it reaches has it");
    s.heal();
    s.run_until_converged(secs(5));
    assert!(s.reached(Probe::HoleFilled));
}

#[test]
fn a_hole_is_filled_by_what_stood_there() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
