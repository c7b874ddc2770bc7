//! Counter-example 1. S1 leads, puts a record on S1 and S2, and is cut off. S5 leads a later epoch and puts another
//! record at the same offset on itself only. S1 leads again: S2 and S3 take its record and its empty opening, and
//! the record is committed. S1 and S2 die, S3 restarts, and S5 stands.
//!
//! Breaks if: S3 forgets the opening, which stands at the very end of its log and takes no offset, or votes by
//! offsets alone: then S5 wins with S3 and S4 and overwrites a committed record.

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
    s.trace_from_here();
    s.connect_only(s1, &[s2, s3]);
    s.run_until(
        |s| s.view(s3).durable.leader_epoch > s.view(s5).leader_epoch && s.log_end_offset(s3) == 11,
        secs(20),
    );
    s.run_until(|s| s.view(s1).high_watermark.is_some(), secs(1));
    s.kill(s1);
    s.kill(s2);
    s.connect_only(s5, &[s3, s4]);
    s.restart(s3);
    s.run_for(millis(2200));
    s.trace_ends();
    s.heal();
    s.run_until(|s| s.leader_if_any().is_some_and(|n| n != s1), secs(10));
    assert_eq!(s.leader(), s3, "nobody else has the record");
}

#[test]
fn an_empty_opening_at_the_end_of_a_log_decides_an_election() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
