//! Reassignments that begin, go on, end and are cancelled.

use super::*;
use crate::cluster::controller::reassignments::alter;
use crate::ids::TopicPartition;
use crate::wire::AlterPartitionReassignmentsRequest;
use crate::wire::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};

impl Cluster {
    /// Reassigns to these brokers, or cancels, and returns the result.
    fn reassign(&mut self, topic: &str, partition: i32, replicas: Option<&[i32]>) -> String {
        self.reassign_with(topic, partition, replicas, true)
    }

    fn reassign_with(
        &mut self,
        topic: &str,
        partition_index: i32,
        replicas: Option<&[i32]>,
        allow_replication_factor_change: bool,
    ) -> String {
        let partitions = vec![ReassignablePartition {
            partition_index,
            replicas: replicas.map(<[i32]>::to_vec),
        }];
        let name = topic.into();
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic { name, partitions }],
            allow_replication_factor_change,
            ..AlterPartitionReassignmentsRequest::default()
        };
        let plan = alter(&self.image, &request);
        self.apply(&plan.records);
        let partition = &plan.response.responses[0].partitions[0];
        match &partition.error_message {
            None => format!("{}, {} recorded", partition.error_code, plan.records.len()),
            Some(message) => format!("{} {message}", partition.error_code),
        }
    }

    fn partition(&self) -> TopicPartition {
        let topic = self.image.topic_named("t").expect("it was created").id;
        TopicPartition {
            topic,
            partition: PartitionIndex(0),
        }
    }

    fn original(&self) -> Option<Vec<i32>> {
        let partition = self.image.partition(self.partition());
        let original = partition.expect("it was created").original.as_ref()?;
        Some(original.iter().map(|broker| broker.0).collect())
    }

    /// The leader reports these voters as committed.
    fn report(&mut self, notes: u64, brokers: &[i32]) {
        let report = VoterReport {
            partition: self.partition(),
            leader_epoch: LeaderEpoch(1),
            notes,
            voters: brokers.iter().map(|&broker| self.voter(broker)).collect(),
        };
        let planned = plan_voter_reports(&self.image, &[report]);
        self.apply(&planned.records);
    }
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::of(5);
    let by_hand = CreatableReplicaAssignment {
        partition_index: 0,
        broker_ids: vec![1, 2, 3],
    };
    cluster.create_one(CreatableTopic {
        assignments: vec![by_hand],
        ..topic("t", -1, -1)
    });
    cluster
}

#[test]
fn a_reassignment_is_in_progress_until_its_target_is_reported() {
    let mut cluster = cluster();
    assert_eq!(
        cluster.reassign("t", 0, Some(&[4, 5, 1])),
        "NONE, 1 recorded"
    );
    assert_eq!(cluster.replicas("t"), [[4, 5, 1]]);
    cluster.report(2, &[1, 2, 3, 4]);
    assert_eq!(cluster.original(), Some(vec![1, 2, 3]));
    cluster.report(4, &[1, 4, 5]);
    assert_eq!(cluster.original(), None);
    assert_eq!(
        cluster.reassign("t", 0, None),
        "NO_REASSIGNMENT_IN_PROGRESS, 0 recorded"
    );
}

#[test]
fn who_changes_the_target_once_more_cancels_to_where_it_all_began() {
    let mut cluster = cluster();
    cluster.reassign("t", 0, Some(&[4, 5, 1]));
    cluster.report(2, &[1, 2, 3, 4]);
    cluster.reassign("t", 0, Some(&[4, 5]));
    assert_eq!(cluster.original(), Some(vec![1, 2, 3]));
    let image = ClusterImage::decode(&cluster.image.encode());
    assert_eq!(image.as_ref(), Ok(&cluster.image), "a snapshot has it");
    // Its directory is lost meanwhile: the broker goes back with the new one.
    cluster.register(&registration(2, 0xd2, 1));
    assert_eq!(cluster.reassign("t", 0, None), "NONE, 1 recorded");
    assert_eq!(cluster.original(), None);
    assert_eq!(cluster.replicas("t"), [[1, 2, 3]]);
    let partition = cluster.image.partition(cluster.partition());
    let target = &partition.expect("it was created").target;
    assert_eq!(target[1].directory, DirectoryId(0xd2));
}

#[test]
fn another_order_is_recorded_and_nothing_in_progress() {
    let mut cluster = cluster();
    assert_eq!(
        cluster.reassign("t", 0, Some(&[1, 2, 3])),
        "NONE, 0 recorded"
    );
    assert_eq!(
        cluster.reassign("t", 0, Some(&[3, 1, 2])),
        "NONE, 1 recorded"
    );
    assert_eq!(cluster.replicas("t"), [[3, 1, 2]]);
    assert_eq!(cluster.original(), None);
}

#[test]
fn what_cannot_be_is_refused_with_kafkas_codes() {
    let mut cluster = cluster();
    let before = cluster.image.clone();
    let said = [
        cluster.reassign("x", 0, Some(&[1])),
        cluster.reassign("t", 1, Some(&[1])),
        cluster.reassign("t", -1, None),
        cluster.reassign("t", 0, Some(&[])),
        cluster.reassign("t", 0, Some(&[1, 9])),
        cluster.reassign("t", 0, Some(&[1, -1])),
        cluster.reassign("t", 0, Some(&[1, 1])),
        cluster.reassign_with("t", 0, Some(&[1, 2]), false),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    UNKNOWN_TOPIC_OR_PARTITION Unable to find a topic named x.
    UNKNOWN_TOPIC_OR_PARTITION Unable to find partition t:1.
    UNKNOWN_TOPIC_OR_PARTITION Unable to find partition t:-1.
    INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes an empty replica list.
    INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 9, but no such broker is registered.
    INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker -1, but no such broker is registered.
    INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes the broker 1 more than once.
    INVALID_REPLICATION_FACTOR The replication factor is changed from 3 to 2
    ");
    assert_eq!(cluster.image, before);
}
