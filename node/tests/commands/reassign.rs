//! `varve topic reassign` on three brokers: a partition goes elsewhere with its records, and what cannot be is refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;

fn partition(cluster: &Cluster) -> Value {
    let told = cluster
        .run(&["topic", "describe", "t", "--json"], b"")
        .text();
    let told: Value = serde_json::from_str(&told).unwrap();
    told["partitions"][0].clone()
}

/// Waits until the partition is on these brokers, led by the first of them.
fn wait_until_on(cluster: &Cluster, brokers: &[i32]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let partition = partition(cluster);
        let (replicas, leader) = (&partition["replicas"], &partition["leader"]);
        if *replicas == json!(brokers) && *leader == json!(brokers[0]) {
            return;
        }
        assert!(Instant::now() < deadline, "it is still on {partition}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_partition_goes_to_other_brokers_with_its_records() {
    let cluster = Cluster::of(3, &[]);
    let create = ["topic", "create", "t", "--replication-factor", "1"];
    cluster.run(&create, b"").ok();
    cluster.run(&["produce", "t"], b"one\ntwo\n").ok();
    let first = i32::try_from(partition(&cluster)["leader"].as_i64().unwrap()).unwrap();
    let other = first % 3 + 1;
    let (one, both) = (other.to_string(), format!("{other},{first}"));
    for (brokers, list) in [(&both, vec![other, first]), (&one, vec![other])] {
        let reassign = [
            "topic",
            "reassign",
            "t",
            "--partition",
            "0",
            "--replicas",
            brokers,
        ];
        let said = cluster.run(&reassign, b"").text();
        assert!(
            said.contains("partition 0 of t is being reassigned to brokers"),
            "{said}"
        );
        wait_until_on(&cluster, &list);
    }
    assert_eq!(cluster.run(&["consume", "t"], b"").ok(), b"one\ntwo\n");

    let shown = cluster.run(&["topic", "reassign", "t", "--json"], b"");
    assert_eq!(
        (shown.status, shown.out.as_slice()),
        (0, b"[]\n".as_slice())
    );
    assert!(shown.err.contains("no partition of t is being reassigned"));
    let none = cluster
        .run(&["topic", "reassign", "t", "--cancel"], b"")
        .text();
    assert_eq!(none, "cancelled 0 reassignments of t\n");
    let calls: [(&[&str], &str); 3] = [
        (
            &["--partition", "0", "--cancel"],
            "NO_REASSIGNMENT_IN_PROGRESS",
        ),
        (
            &["--partition", "0", "--replicas", "1,9"],
            "no such broker is registered",
        ),
        (
            &["--partition", "5", "--replicas", "1"],
            "Unable to find partition t:5",
        ),
    ];
    for (call, why) in calls {
        let ended = cluster.run(&[&["topic", "reassign", "t"], call].concat(), b"");
        assert!(ended.status == 1 && ended.err.contains(why), "{ended:?}");
    }
}
