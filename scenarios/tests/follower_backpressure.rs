//! As many records wait for a follower's disk, which hangs, as may.
//!
//! Breaks if: a follower takes whatever leaders send: with many of them its memory is full before a disk that hangs is
//! given up.

use varve_scenarios::{Acks, Produced, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet().unwritten_max(4 << 10)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let hung = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.stall_disk(hung, secs(2));
    let batches: Vec<Produced> = (0..4).map(|_| s.produce(&c, 1000, Acks::All)).collect();
    for batch in &batches {
        s.run_until(|s| s.is_acknowledged(batch), secs(1));
    }
    s.run_until_converged(secs(5));
}

#[test]
fn a_follower_takes_no_more_while_as_much_waits_for_its_disk_as_may() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
