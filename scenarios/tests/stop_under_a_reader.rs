//! A node that has the only copy is stopped while a consumer waits there for the next record.
//!
//! Breaks if: the node stops without a word to whoever waits: a client takes a connection that ends for a broker that has
//! died, or for a mistake of its own.

use varve_scenarios::{Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(5).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 1);
    let reader = s.consumer();
    s.run_until(|s| s.read_up_to(&reader) == 1, secs(5));
    s.run_for(millis(20));
    s.trace();
    s.stop(leader);
    s.start(leader);
    s.run_until(|s| s.leader_if_any() == Some(leader), secs(5));
}

#[test]
fn who_waits_at_a_node_that_stops_is_answered() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
