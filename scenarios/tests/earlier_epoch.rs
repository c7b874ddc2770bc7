//! Raft's figure 8. S1 leads, puts a record on S1 and S2, and is cut off. S5 leads a later epoch and puts another
//! record at the same offset on itself only. S1, started again, leads once more and brings its record to S3, but
//! dies before its new epoch's opening is anywhere but on S1 and S2. S5 stands.
//!
//! Breaks if: a majority is enough for an entry of an earlier epoch: the record is on three of five, and S5, whose
//! log ends in a later epoch, overwrites it.

use varve_scenarios::{Acks, Rest, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(1).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let s1 = s.elect_leader();
    let [s2, s3, s4, s5] = s.followers()[..] else {
        panic!("four follow");
    };
    let c = s.client();
    s.produce_acked(&c, 10);
    s.run_until_converged(secs(5));
    s.connect_only(s1, &[s2]);
    s.produce(&c, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(s2) == 11, secs(1));
    s.connect_only(s5, &[s3, s4]);
    s.run_until(|s| s.view(s5).role == "leader", secs(10));
    s.cut(s5, Rest);
    let d = s.client_sure_of(s5);
    s.produce(&d, 1, Acks::All);
    s.run_until(|s| s.log_end_offset(s5) == 11, secs(1));
    s.restart(s1);
    s.connect_only(s1, &[s2, s3]);
    s.run_until(|s| s.view(s1).role == "leader", secs(20));
    s.trace_from_here();
    s.run_until(|s| s.view(s3).durable.end_offset.0 == 11, secs(1));
    s.cut_one_way(s1, Rest);
    s.run_for(millis(5));
    s.kill(s1);
    s.kill(s2);
    s.connect_only(s5, &[s3, s4]);
    s.run_until(|s| s.leader_other_than(s1), secs(10));
    assert_eq!(s.leader(), s5, "its log is the latest");
}

#[test]
fn a_record_of_an_earlier_epoch_is_committed_with_the_opening_or_not_at_all() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
