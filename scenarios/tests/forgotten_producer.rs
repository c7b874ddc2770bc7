//! One producer falls silent, another writes on, and leadership changes meanwhile. The silent one is known for the
//! expiration, and forgotten some time after it, by every replica.
//!
//! Breaks if: the log's clock does not tick, and what a partition knows of producers grows for ever; or each replica
//! counts for itself.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(15)
        .setting("producer.id.expiration.ms", "4000")
        .quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let silent = s.idempotent_client();
    let other = s.idempotent_client();
    s.produce_acked(&silent, 1);
    s.trace();
    s.produce_acked(&other, 1);
    for _ in 0..3 {
        s.run_for(millis(1100));
        s.produce_acked(&other, 1);
    }
    s.run_until_converged(secs(1));
    assert_eq!(known(s), [2; 3], "it has written within the expiration");
    s.stop(first);
    s.start(first);
    s.run_until(|s| s.leader_other_than(first), secs(3));
    for _ in 0..3 {
        s.run_for(millis(1100));
        s.produce_acked(&other, 1);
    }
    s.run_until_converged(secs(5));
    assert_eq!(known(s), [1; 3], "a silent producer is forgotten");
}

fn known(s: &Scenario) -> [usize; 3] {
    [1, 2, 3].map(|node| s.producers_known(node))
}

#[test]
fn a_silent_producer_is_forgotten_by_all_replicas_alike_and_not_too_early() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
