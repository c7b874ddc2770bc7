//! A leader is stopped in good order. Both followers have everything; the one that the placement prefers has a hole in its
//! log, and a disk that hangs before it can fill it.
//!
//! Breaks if: damage does not count where somebody is to take over: what is lost cannot be read from the new leader, while
//! there is one who has it.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(5).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [damaged, whole] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 400);
    }
    s.reassign(&[leader, damaged, whole]);
    s.run_for(secs(1));
    s.trace();
    s.rot(damaged, 100);
    s.restart(damaged);
    assert_eq!(s.view(damaged).holes.len(), 1);
    s.stall_disk(damaged, millis(600));
    s.run_for(millis(200));
    assert_eq!(s.view(damaged).end, s.view(whole).end);
    s.stop(leader);
    s.run_until(|s| s.leader_if_any().is_some(), millis(10));
    assert_eq!(s.leader(), whole, "it has everything");
    s.start(leader);
    s.run_until_converged(secs(5));
}

#[test]
fn of_equals_an_undamaged_one_takes_over() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: the leader hears of a hole that is filled, though nothing is appended meanwhile.
#[test]
fn who_has_filled_its_hole_is_as_good_as_any() {
    let mut s = cluster();
    let leader = s.elect_leader();
    let [damaged, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    for _ in 0..3 {
        s.produce_acked(&c, 400);
    }
    s.reassign(&[leader, damaged, other]);
    s.run_for(secs(1));
    s.rot(damaged, 100);
    s.restart(damaged);
    assert_eq!(s.view(damaged).holes.len(), 1);
    s.stall_disk(damaged, millis(200));
    s.run_until_converged(secs(5));
    s.run_for(millis(200));
    s.stop(leader);
    s.run_until(|s| s.leader_if_any().is_some(), millis(10));
    assert_eq!(s.leader(), damaged, "it is preferred");
    s.judge();
}

#[test]
fn of_equals_an_undamaged_one_stands_first() {
    for seed in 0..12 {
        let mut s = cluster().seed(seed);
        let leader = s.elect_leader();
        let [damaged, whole] = s.followers()[..] else {
            panic!("two follow");
        };
        let c = s.client();
        s.produce_acked(&c, 400);
        s.produce_acked(&c, 400);
        s.rot(damaged, 100);
        s.restart(damaged);
        // The hole is known and cannot be filled for now.
        s.stall_disk(damaged, millis(100));
        s.kill(leader);
        s.run_until(|s| s.leader_if_any().is_some(), secs(5));
        assert_eq!(s.leader_if_any(), Some(whole), "seed {seed}");
        s.start(leader);
        s.judge();
    }
}
