//! A leader stamps records with LogAppendTime: one after the other, then one that reached it while it was paused, then
//! one behind a jump of its wall clock.
//!
//! Breaks if: the leader stamps with a time that it read before the request was there. Whoever looks for the first record
//! since a moment then misses those that were written right after it.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(5)
        .config("message.timestamp.type", "LogAppendTime")
        .quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    s.trace();
    for offset in 0..3 {
        let before = s.wall_clock(leader);
        s.produce_acked(&c, 1);
        let stamp = s.timestamp_at(leader, offset);
        assert!((before..=s.wall_clock(leader)).contains(&stamp));
        s.run_for(millis(30));
    }
    s.pause(leader);
    let paused = s.produce(&c, 1, Acks::All);
    s.run_for(millis(200));
    let resumed = s.wall_clock(leader);
    s.resume(leader);
    s.run_until(|s| s.is_acknowledged(&paused), secs(1));
    assert!((resumed..=s.wall_clock(leader)).contains(&s.timestamp_at(leader, 3)));
    s.jump_wall_clock(leader, -5000);
    let back = s.wall_clock(leader);
    s.produce_acked(&c, 1);
    assert!((back..=s.wall_clock(leader)).contains(&s.timestamp_at(leader, 4)));
}

#[test]
fn a_stamp_is_from_between_a_request_and_its_answer() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
