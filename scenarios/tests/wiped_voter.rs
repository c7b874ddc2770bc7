//! Counter-example 5. A and B have acknowledged a record, C lags. B's disk is lost and B starts on an empty one.
//! A dies.
//!
//! Breaks if: a voter is known by its broker id: then the empty B votes for C, and the record is gone. It would take
//! two mistakes: the empty B starts as a suspect besides, and a vote that is marked makes no majority.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(14).quiet().replicas(3)
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client();
    s.produce_acked(&client, 1);
    s.trace();
    s.cut(a, c);
    let record = s.produce_acked(&client, 1);
    s.kill(a);
    s.wipe(b);
    s.start(b);
    s.run_for(secs(6));
    assert_eq!(s.leader_if_any(), None);
    s.start(a);
    s.heal();
    s.run_until_converged(secs(20));
    assert!(s.is_acknowledged(&record));
    assert_eq!(s.log_end_offset(b), 2);
}

#[test]
fn a_wiped_voter_is_another_voter() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
