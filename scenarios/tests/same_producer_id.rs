//! The controller is cut off with a producer, which asks for an id. The others elect another controller.
//!
//! Breaks if: the producer is given an id before the block that it is of is committed: the next controller knows nothing
//! of that and gives the same to another producer, and each one's batches are taken for the other's.

use varve_scenarios::{Rest, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(7).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let old = s.controller();
    s.trace_metadata();
    s.cut(old, Rest);
    let producer = s.idempotent_client_of(old);
    s.run_until(|s| s.controller_other_than(old), secs(5));
    assert!(!s.is_identified(&producer), "only one log has the block");
    s.heal();
    s.run_until(|s| s.is_identified(&producer), secs(20));
    s.trace_ends();
}

#[test]
fn a_producer_id_is_given_once_its_block_is_committed() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
