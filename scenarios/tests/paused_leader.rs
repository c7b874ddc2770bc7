//! Counter-example 13. A leader is paused in its tracks while a request is on its way to it. When it goes on, others
//! have long led without it, and the request is the first thing that it sees.
//!
//! Breaks if: what has arrived is done before what is due: then the sleeper still leads for one request.
//! Here that costs a record that nobody was promised; what it can cost a reader is told in `stale_latest`.

use varve_core::hooks::Probe;
use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(13).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let sleeper = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.run_for(millis(20));
    s.pause(sleeper);
    let late = s.produce(&c, 1, Acks::Leader);
    s.run_until(
        |s| {
            s.followers()
                .iter()
                .any(|&node| s.view(node).role == "leader")
        },
        secs(3),
    );
    s.run_for(secs(1));
    s.resume(sleeper);
    s.run_until_converged(secs(5));
    assert_eq!(s.outcome(&late), Outcome::NotAcknowledged);
    assert!(
        !s.reached(Probe::TruncatedDivergentTail),
        "the sleeper has appended nothing"
    );
}

#[test]
fn a_leader_that_slept_finds_out_before_it_answers() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
