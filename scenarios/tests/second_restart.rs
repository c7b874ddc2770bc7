//! Counter-example 4. Records are acknowledged from memory (`flush=replicated`). One of the two that have a record
//! loses power before it is on disk, comes back, is killed and comes back once more. The third replica never had it.
//!
//! Breaks if: whether something may be missing is known only at the first start, from the boot id: then the
//! second start believes that nothing was lost, votes for the third, and the record is gone.

use varve_core::store::Mark;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3)
        .seed(2)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader();
    let [b, c] = s.followers()[..] else {
        panic!("two follow");
    };
    let client = s.client();
    s.produce_acked(&client, 1);
    s.trace();
    s.connect_only(leader, &[b]);
    s.stall_disk(b, secs(1));
    s.produce_acked(&client, 1);
    s.power_cut(b);
    s.connect_only(c, &[b]);
    s.start(b);
    assert_eq!(s.log_end_offset(b), 1);
    s.restart(b);
    assert_eq!(s.view(b).mark, Mark::Suspect);
    s.run_for(secs(4));
    s.heal();
    s.run_until_converged(secs(10));
    assert_eq!(s.log_end_offset(leader), 2);
}

#[test]
fn a_suspect_stays_one_however_often_it_starts() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
