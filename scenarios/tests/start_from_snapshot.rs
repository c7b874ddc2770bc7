//! A node starts from a snapshot of the metadata; another has slept while the snapshot was made.
//!
//! Breaks if: a snapshot says something else than the metadata before it, or a node that has a snapshot does not apply
//! what stands behind it.

use varve_core::hooks::Probe;
use varve_scenarios::{Scenario, secs};

pub(crate) fn cluster() -> Scenario {
    Scenario::new(3).seed(21).quiet().snapshots_every(4)
}

pub(crate) fn story(s: &mut Scenario) {
    let leader = s.elect_leader_beside_controller();
    let controller = s.controller();
    let sleeper = 6 - leader - controller;
    let c = s.client();
    s.produce_acked(&c, 1);
    s.trace();
    s.kill(sleeper);
    let slept_at = s.metadata_offset(controller);
    s.restart(leader);
    // The others register anew, which is metadata that the sleeper does not know.
    s.run_until(|s| s.metadata_offset(controller) >= slept_at + 2, secs(15));
    s.run_until(|s| s.reached(Probe::SnapshotSaved), secs(5));

    s.restart(leader);
    assert!(s.reached(Probe::SnapshotRecovered));
    let begins_at = s.metadata_offset(leader);
    assert!(
        begins_at >= 4,
        "it starts behind the snapshot, at {begins_at}"
    );
    s.start(sleeper);
    s.run_until_converged(secs(15));
    s.run_until(
        |s| {
            let ends = [1, 2, 3].map(|node| s.metadata_offset(node));
            ends.iter().all(|end| *end == ends[0])
        },
        secs(5),
    );
    let image = |node| s.cluster().broker(node).expect("it runs").image();
    assert_eq!(image(leader), image(controller), "it has all metadata");
    assert_eq!(
        image(sleeper),
        image(controller),
        "it has what it has slept through"
    );
}

#[test]
fn a_node_that_starts_from_a_snapshot_has_the_metadata_that_the_others_have() {
    let mut s = cluster();
    story(&mut s);
    s.assert_trace();
}
