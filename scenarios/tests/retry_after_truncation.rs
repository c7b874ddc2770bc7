//! An idempotent producer's batch is on a leader that is cut off, and goes with its tail when it comes back. That
//! replica leads again, and only then the producer sends the batch once more.
//!
//! Breaks if: the replica remembers the batch that it has dropped: it answers "I have that already", and where it is
//! said to be stands another record.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(13).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let first = s.elect_leader();
    let followers = s.followers();
    let c = s.idempotent_client();
    s.produce_acked(&c, 2);
    s.trace();
    s.cut(first, Rest);
    let batch = s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(first) == 3, millis(50));
    s.connect_only(followers[0], &[followers[1]]);
    s.cut_client_off(&c);
    s.run_until(|s| s.leader_other_than(first), secs(3));
    let second = s.leader();
    let third = 6 - first - second;
    s.connect_only(second, &[first, third]);
    s.cut_client_off(&c);
    s.run_until(|s| s.view(first).end == s.view(second).end, secs(3));
    s.run_for(millis(50));
    s.stop(second);
    s.run_until(|s| s.leader_other_than(second), secs(3));
    assert_eq!(s.leader(), first);
    s.heal();
    s.cut_client_off(&c);
    let d = s.client_of(first);
    s.produce_acked(&d, 1);
    s.heal();
    s.run_until(|s| s.is_acknowledged(&batch), secs(10));
}

#[test]
fn a_dropped_batch_is_no_duplicate() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
