//! A batch is committed, its answer is lost, the leader dies. The producer sends it again, to the next leader.
//!
//! Breaks if: what is known of a producer is in the leader's memory and not in the log.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(13).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let c = s.idempotent_client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut_answers(old, &c);
    let batch = s.produce(&c, 1, Acks::All);
    s.run_for(millis(150));
    s.kill(old);
    s.run_until(|s| s.is_acknowledged(&batch), secs(6));
    assert_eq!(s.outcome(&batch), Outcome::Acknowledged(2));
    assert_eq!(s.log_end_offset(s.leader()), 3);
}

#[test]
fn a_batch_sent_again_to_the_next_leader_is_not_appended_twice() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
