//! The only voter of a partition has made another one a voter, and has appended a record that nobody else has. Bits rot in its
//! journal under the change; the record is still in its segment.
//!
//! Breaks if: the one that lost the change leads, since its log has more records: the change was committed, and the other,
//! which has it, can follow no log that lacks it.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(3).quiet().replicas(1)
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let second = first % 3 + 1;
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.reassign(&[first, second]);
    s.run_until(|s| s.view(first).voters.len() == 2, secs(5));
    s.run_for(millis(200));
    s.cut(first, Rest);
    s.produce(&c, 1, Acks::All);
    s.run_for(millis(50));
    assert!(s.view(first).end.end_offset > s.view(second).end.end_offset);
    s.reset(first, second);
    s.rot_voter_change(first);
    s.kill(first);
    s.start(first);
    s.heal();
    s.run_until(|s| s.leader_if_any() == Some(second), secs(10));
    s.run_until_converged(secs(10));
    s.produce_acked(&c, 1);
}

#[test]
fn a_log_that_has_lost_a_change_of_voters_ranks_behind_one_that_has_it() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
