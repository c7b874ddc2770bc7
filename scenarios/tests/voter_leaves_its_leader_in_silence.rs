//! A leader asks another to take over, and from that moment does not reach it. The third voter reaches both: it votes for
//! the other, and its broker goes on hearing the former leader as before. Nobody writes.
//!
//! Breaks if: the voter leaves the former leader in silence: for the heartbeats of two brokers of three it leads on, and
//! whoever reads there is told that nothing new has come.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [target, other] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.run_for(secs(10));
    s.trace();
    s.reassign(&[target, leader, other]);
    s.run_until(|s| s.reached(Probe::LeadershipTransferred), secs(10));
    s.run_until(|s| s.view(target).role == "candidate", millis(5));
    s.cut(leader, [target]);
    s.run_until(|s| s.view(target).role == "leader", millis(20));
    s.run_until(|s| s.view(leader).role != "leader", millis(100));
    s.trace_ends();
    s.heal();
    s.run_until_converged(secs(5));
}

#[test]
fn a_voter_tells_the_leader_that_it_leaves() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
