//! A topic asks that three replicas have a record before it is acknowledged. One of three is down.
//!
//! Breaks if: a majority is taken for enough.

use varve_scenarios::{Acks, Outcome, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(6)
        .quiet()
        .config("min.insync.replicas", "3")
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let down = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.kill(down);
    let early = s.produce(&c, 1, Acks::All);
    s.run_for(secs(3));
    let late = s.produce(&c, 1, Acks::All);
    s.run_for(secs(3));
    for record in [&early, &late] {
        let outcome = s.outcome(record);
        assert_eq!(outcome, Outcome::NotAcknowledged, "two of three have it");
    }
    s.start(down);
    s.produce_acked(&c, 1);
    s.run_until_converged(secs(5));
}

#[test]
fn min_insync_replicas_is_more_than_a_majority_where_it_says_so() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
