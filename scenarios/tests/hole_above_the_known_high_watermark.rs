//! A record is committed by A and C, and A dies before it can tell C. C's disk loses the record, and C leads with B, which
//! never had it: the hole is above the high watermark that C knows.
//!
//! Breaks if: C takes B's word for that of a majority, and gives up what A has and has acknowledged.

use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(12).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client_of(a);
    s.produce_acked(&client, 2);
    s.run_until_converged(secs(1));
    s.trace();
    s.kill(b);
    let third = s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.is_acknowledged(&third), secs(1));
    s.kill(a);
    assert_eq!(s.view(c).committed.end_offset.0, 2, "C has not been told");
    s.rot(c, 2);
    s.stop(c);
    s.start(c);
    s.start(b);
    s.run_until(|s| !s.view(c).holes.is_empty(), secs(10));
    s.run_for(secs(1));
    s.start(a);
    s.run_until(|s| s.view(c).holes.is_empty(), secs(5));
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == 3, secs(10));
}

#[test]
fn what_one_voter_never_had_may_be_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
