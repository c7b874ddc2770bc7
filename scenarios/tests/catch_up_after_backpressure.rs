//! A follower lags by many times what may wait for its disk, and its disk is fast.
//!
//! Breaks if: nobody tells the leader that what the follower has turned away can be sent again: with each retry it takes as
//! much as may wait, and no more.

use varve_scenarios::{Acks, Rest, Scenario, Shortage, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet().unwritten_max(4 << 10)
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let laggard = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 2);
    s.cut(laggard, Rest);
    for _ in 0..50 {
        s.produce_acked(&c, 2000);
    }
    s.heal();
    s.run_until_converged(secs(1));
}

#[test]
fn a_follower_that_was_full_for_a_moment_catches_up_at_its_disks_pace() {
    let mut s = cluster();
    story(&mut s);
    s.judge();
}

/// Claim: where there is room only since nothing could be stored, leaders do not send it again at once, and again.
#[test]
fn a_follower_without_memory_is_not_sent_all_the_faster_what_it_cannot_store() {
    let mut s = cluster();
    s.elect_leader();
    let [short, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 2);
    s.cut(other, Rest);
    s.run_short(short, Shortage::Memory);
    for _ in 0..4 {
        s.produce(&c, 2000, Acks::All);
    }
    let before = s.cluster().steps();
    s.run_for(secs(10));
    let steps = s.cluster().steps() - before;
    assert!(steps < 5000, "{steps} steps");
    s.heal();
    s.end_shortage(short);
    s.run_until_converged(secs(6));
    s.judge();
}
