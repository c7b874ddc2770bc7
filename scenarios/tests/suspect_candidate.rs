//! Records are acknowledged from memory (`flush=replicated`). A replica loses power and is asked by nobody but stands
//! itself: it is the only one that reaches the others.
//!
//! Breaks if: a replica that may have lost what it acknowledged counts itself as one of a majority, and leads as if
//! nothing could have been lost. With everybody's vote it may, and says so.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(3)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client();
    s.produce_acked(&client, 2);
    s.trace();
    s.kill(a);
    s.power_cut(b);
    s.connect_only(b, &[a, c]);
    s.start(a);
    s.start(b);
    s.run_until(|s| s.leader_if_any() == Some(b), secs(20));
    assert!(s.reached(Probe::WonByAllVoters), "possible loss is said");
    s.heal();
    s.produce_acked(&client, 1);
}

#[test]
fn a_suspect_leads_by_everybodys_vote_or_not_at_all() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
