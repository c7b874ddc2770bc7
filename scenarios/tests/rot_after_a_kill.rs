//! Records are acknowledged from memory (`flush=replicated`). A follower is killed before they are on its disk, and a
//! sector of them rots before it starts again.
//!
//! Breaks if: the start takes them for a write that a power cut has torn. Nothing that was written is lost with a
//! process, so they would be cut, with all behind them, where one batch is damaged.

use varve_core::store::Mark;
use varve_scenarios::{Outcome, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(7)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    s.elect_leader();
    let follower = s.followers()[0];
    let c = s.client();
    s.trace();
    for _ in 0..2 {
        s.produce_acked(&c, 400);
    }
    let durable = s.view(follower).durable.end_offset.0;
    assert_eq!(durable, 400, "the second batch is in memory only");
    s.rot(follower, 500);
    s.restart(follower);
    assert_eq!(s.log_end_offset(follower), 800);
    assert_ne!(s.view(follower).mark, Mark::Suspect);
    assert_eq!(s.view(follower).holes.len(), 1, "one batch is damaged");
    s.run_until_converged(secs(5));
}

#[test]
fn what_a_killed_process_has_written_is_damaged_where_it_cannot_be_read_and_never_cut() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}

/// Claim: where there is no other copy, what rotted is not read, and its offsets are not given to other records.
#[test]
fn the_only_copy_goes_on_behind_what_has_rotted() {
    let mut s = Scenario::new(1)
        .seed(7)
        .quiet()
        .config("flush", "replicated");
    let node = s.elect_leader();
    let c = s.client();
    s.produce_acked(&c, 400);
    s.rot(node, 100);
    s.restart(node);
    let more = s.produce_acked(&c, 1);
    assert_eq!(s.outcome(&more), Outcome::Acknowledged(400));
}
