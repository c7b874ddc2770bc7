//! A deposed leader has a long batch that nobody else has. It drops it for what the new leader sends, which stands at the
//! same place of the same file, and loses power before its disk has synced the one or the other.
//!
//! Breaks if: the new bytes are written before the truncation is durable: the start finds a log that ends in the old batch,
//! and another batch, or half of one, where it was.

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
    s.produce(&c, 400, Acks::All);
    s.run_until(|s| s.leader_other_than(old), secs(3));
    let new = s.leader();
    let d = s.client_of(new);
    s.produce_acked(&d, 500);
    s.syncs_take(millis(20));
    s.reset(new, old);
    s.heal();
    s.run_until(|s| s.log_end_offset(old) == 502, secs(3));
    s.run_for(millis(10));
    s.power_cut(old);
    s.syncs_take(millis(1));
    s.start(old);
    s.run_until_converged(secs(6));
    assert_eq!(s.log_end_offset(old), 502);
}

#[test]
fn nothing_is_overwritten_before_its_truncation_is_durable() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
