//! Many producers have written and not heard of it when the leader's clock jumps by a year. Another producer writes on,
//! its records stamped with the time of then, and each of the others sends its batch again.
//!
//! Breaks if: producers age by the timestamps of records, or by the wall clock: they are a year old at once, forgotten,
//! and what they send again is stored twice.

use varve_scenarios::{Acks, Outcome, Scenario, millis, secs};

const YEAR_MS: i64 = 365 * 86_400_000;
const PRODUCERS: i64 = 70;

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(14)
        .config("message.timestamp.type", "LogAppendTime")
        .quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let mut written = Vec::new();
    for place in 0..PRODUCERS {
        let producer = s.idempotent_client();
        s.produce_acked(&producer, 1);
        s.cut_answers(leader, &producer);
        let batch = s.produce(&producer, 1, Acks::All);
        s.run_until(|s| s.log_end_offset(leader) == 2 * place + 2, millis(100));
        s.cut_client_off(&producer);
        written.push((producer, batch));
    }
    let other = s.idempotent_client();
    s.trace();
    s.jump_wall_clock(leader, YEAR_MS);
    for _ in 0..3 {
        s.produce_acked(&other, 1);
    }
    s.trace_ends();
    for (producer, _) in &written {
        s.reset_client(producer, leader);
    }
    s.heal();
    for (place, (_, batch)) in (0..).zip(&written) {
        s.run_until(|s| s.is_acknowledged(batch), secs(20));
        assert_eq!(s.outcome(batch), Outcome::Acknowledged(2 * place + 1));
    }
    assert_eq!(s.log_end_offset(s.leader()), 2 * PRODUCERS + 3);
}

#[test]
fn a_jump_in_time_makes_nobody_forgotten() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
