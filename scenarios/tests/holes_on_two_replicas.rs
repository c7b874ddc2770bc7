//! Counter-example 6. A is damaged in one place, B in another, and C is far behind. Every record exists.
//!
//! Breaks if: a damaged replica counts only up to its damage: then nobody who may lead has everything, and who is
//! elected all the same drops what others have.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(4).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client();
    s.produce_acked(&client, 10);
    s.run_until_converged(secs(5));
    s.trace();
    s.connect_only(a, &[b]);
    for _ in 0..3 {
        s.produce_acked(&client, 400);
    }
    s.kill(c);
    s.run_until(|s| s.log_end_offset(b) == 1210, secs(1));
    s.rot(a, 100);
    s.rot(b, 500);
    s.kill(a);
    s.kill(b);
    s.heal();
    for node in 1..=3 {
        s.start(node);
    }
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == 1210, secs(20));
}

#[test]
fn two_damaged_replicas_repair_each_other_and_lose_nothing() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
