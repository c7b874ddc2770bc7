//! Records are acknowledged from memory (`flush=replicated`). A leader appends a record that reaches nobody else, its disk
//! loses it, and of the two others one loses power: a suspect, which may have had the record and acknowledged it.
//!
//! Breaks if: the leader waits at the hole for ever, for what no voter has.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(11)
        .quiet()
        .config("flush", "replicated")
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
    s.power_cut(c);
    s.produce(&client, 1, Acks::All);
    s.run_until(|s| s.view(a).durable.end_offset.0 == 3, secs(1));
    s.rot(a, 2);
    s.stop(a);
    s.start(a);
    s.start(b);
    s.run_until(|s| !s.view(a).holes.is_empty(), secs(10));
    s.run_for(secs(1));
    assert_eq!(s.log_end_offset(a), 3, "the third may have it");
    s.start(c);
    s.run_until(|s| s.reached(Probe::HoleGivenUpWithPossibleLoss), secs(10));
    assert!(
        !s.reached(Probe::HoleGivenUp),
        "no majority can say that it never was"
    );
    let client = s.client();
    s.produce_acked(&client, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn a_leader_gives_up_what_no_voter_has_and_says_that_it_may_be_lost() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
