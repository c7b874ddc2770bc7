//! A leader hands over to C. B does not reach C and follows the leader as before. C asks for votes and dies: the former
//! leader has voted and leads no more.
//!
//! Breaks if: B is not told: it goes on trusting the former leader, since it hears its broker in the same start and on the
//! same connection, refuses its vote to everybody, and nobody ever leads.

use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let a = s.elect_leader_beside_controller();
    let c = s.controller();
    let b = 6 - a - c;
    let client = s.client();
    s.produce_acked(&client, 1);
    s.trace();
    s.cut(b, c);
    let leader_epoch = s.view(a).leader_epoch;
    s.reassign(&[c, a, b]);
    s.run_until(|s| s.view(a).leader_epoch > leader_epoch, secs(20));
    s.kill(c);
    s.run_until(|s| s.leader_if_any().is_some(), secs(5));
    s.produce_acked(&client, 1);
}

#[test]
fn a_leader_that_is_deposed_tells_its_voters() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
