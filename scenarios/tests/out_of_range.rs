//! A consumer's positions in two partitions of one leader are beyond both ends.
//!
//! Breaks if: what has been found of the one partition is looked at again as long as the other is not confirmed. Voters
//! answer one by one, and whatever one of them says lets both begin anew.

use varve_scenarios::{Scenario, millis};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().partitions(2)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    s.lead_all(leader);
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    let reader = s.consumer_beyond(&[0, 1]);
    s.run_until(|s| s.out_of_range_told(&reader) == 2, millis(100));
}

#[test]
fn a_consumer_is_told_of_all_its_positions_beyond_the_end() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
