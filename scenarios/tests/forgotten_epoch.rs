//! Records are acknowledged from memory (`flush=replicated`). Leadership is handed from D to L, and D does not hear of
//! the new epoch. F, whose disk hangs, hears of it and takes a record in it, which L and X have too. F loses power and
//! with it the epoch: it comes back in the old one, where D clears it of suspicion. L and X are cut off, and Y stands,
//! which never had the record.
//!
//! Breaks if: F acknowledges the record while the epoch that it belongs to is still on its way to the disk. D cannot
//! know what was acknowledged in an epoch after its own, and F votes for Y as if nothing was lost.

use varve_core::store::Mark;
use varve_scenarios::{Acks, Outcome, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5)
        .seed(6)
        .quiet()
        .config("flush", "replicated")
}

pub(crate) fn story(s: &mut Scenario) {
    let d = s.elect_leader();
    let [l, x, y, f] = s.followers()[..] else {
        panic!("four follow");
    };
    let client = s.client();
    s.produce_acked(&client, 1);
    s.run_until_converged(secs(5));
    s.reassign(&[l, d, x, y, f]);
    s.run_until(|s| s.view(l).role == "candidate", secs(20));
    s.trace_from_here();
    s.cut_one_way([l, x, y, f], d);
    s.stall_disk(f, millis(20));
    s.run_until(|s| s.leader_other_than(d), millis(20));
    s.cut(l, y);
    s.syncs_take(millis(50));
    let client = s.client_sure_of(l);
    let record = s.produce(&client, 1, Acks::All);
    s.run_for(millis(30));
    assert_eq!(s.log_end_offset(f), 2);
    s.power_cut(f);
    s.syncs_take(millis(1));
    s.heal();
    s.cut([l, x], Rest);
    s.cut_one_way(y, d);
    s.start(f);
    s.run_until(|s| s.view(f).mark != Mark::Suspect, millis(500));
    assert_eq!(s.view(d).role, "leader", "D has cleared F");
    s.connect_only(y, &[d, f]);
    s.run_until(|s| s.leader_if_any() == Some(y), secs(5));
    assert_eq!(s.outcome(&record), Outcome::NotAcknowledged);
    s.trace_ends();
    s.heal();
    s.produce_acked(&client, 1);
}

#[test]
fn nothing_is_acknowledged_from_memory_before_its_epoch_is_on_disk() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
