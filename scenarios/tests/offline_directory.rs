//! A sync of a follower fails: its directory is offline, and its broker goes on. Then the leader dies.
//!
//! Breaks if: the leader finds out by the follower's lag alone, and says for half a minute that all copies are there;
//! the next leader begins that half minute anew; or the follower goes on taking what it will never write.

use varve_scenarios::{Acks, Scenario, millis, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(5).seed(8).quiet().replicas(5)
}

pub(crate) fn story(s: &mut Scenario) {
    let old = s.elect_leader();
    let broken = s.followers()[0];
    let c = s.client();
    s.produce_acked(&c, 2);
    s.trace();
    s.fail_fsync(broken);
    s.produce(&c, 1, Acks::All);
    s.run_for(millis(20));
    let others = |s: &Scenario| -> Vec<u8> {
        (1..=5)
            .filter(|&node| node != broken && s.cluster().node(node).process.is_some())
            .collect()
    };
    assert_eq!(s.in_sync(), others(s), "its broker has said so");
    s.produce_acked(&c, 1);
    s.kill(old);
    s.run_until(|s| s.leader_other_than(old), secs(5));
    s.produce_acked(&c, 1);
    assert_eq!(s.in_sync(), others(s), "its broker has said so");
    s.power_cut(broken);
    s.start(broken);
    s.start(old);
    s.run_until(|s| s.in_sync().len() == 5, secs(10));
}

#[test]
fn who_says_that_its_directory_is_offline_is_in_sync_no_more() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
