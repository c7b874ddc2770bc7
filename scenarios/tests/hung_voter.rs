//! Of three voters one is down, and the disk of the leader hangs. It gives up what it leads; until the third is back nobody
//! can be elected, since a vote counts only once it is on a disk.
//!
//! Breaks if: the one whose disk hangs asks to be elected, or says that it would vote: the other two enter epoch after
//! epoch that nobody can lead, and when the third is back its elections are cut short by more of them.

use varve_scenarios::{Acks, Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(9).quiet()
}

pub(crate) fn story(s: &mut Scenario) {
    let hangs = s.elect_leader();
    let [stays, dies] = s.followers()[..] else {
        panic!("two follow");
    };
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    let epoch = s.view(hangs).leader_epoch;
    s.stall_disk(hangs, secs(60));
    s.produce(&c, 1, Acks::All);
    s.kill(dies);
    s.run_for(secs(12));
    for node in [hangs, stays] {
        assert_eq!(s.view(node).leader_epoch, epoch, "no epoch is entered");
    }
    s.start(dies);
    s.run_until(|s| s.leader_other_than(hangs), secs(4));
    s.produce_acked(&c, 1);
}

#[test]
fn whose_disk_hangs_takes_no_part_in_elections() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
