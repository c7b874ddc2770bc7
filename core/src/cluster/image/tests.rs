//! What records make of the image, and what it says of replicas.

use proptest::prelude::*;

use super::super::record::tests::record;
use super::*;

const TOPIC: TopicId = TopicId(42);
const P0: TopicPartition = TopicPartition {
    topic: TOPIC,
    partition: PartitionIndex(0),
};

fn image(records: &[MetadataRecord]) -> ClusterImage {
    let mut image = ClusterImage::default();
    for record in records {
        image.apply(record);
    }
    image
}

fn one_partition(voters: &[i32]) -> ClusterImage {
    let voters: Vec<_> = voters.iter().copied().map(voter).collect();
    image(&[
        MetadataRecord::Topic {
            name: "flights".to_owned(),
            id: TOPIC,
        },
        MetadataRecord::Partition {
            partition: P0,
            voters: voters.clone(),
            target: voters,
        },
    ])
}

fn aim(image: &mut ClusterImage, target: &[i32]) {
    image.apply(&MetadataRecord::PartitionTarget {
        partition: P0,
        target: target.iter().copied().map(voter).collect(),
    });
}

fn report(image: &mut ClusterImage, leader_epoch: i32, notes: u64, voters: &[i32]) {
    image.apply(&MetadataRecord::PartitionVoters {
        report: VoterReport {
            partition: P0,
            leader_epoch: LeaderEpoch(leader_epoch),
            notes,
            voters: voters.iter().copied().map(voter).collect(),
        },
    });
}

fn kind(image: &ClusterImage, broker: i32) -> Option<AssignmentKind> {
    image
        .assignment(P0, voter(broker))
        .map(|assignment| assignment.kind)
}

proptest! {
    #[test]
    fn a_snapshot_says_what_the_log_said(
        records in prop::collection::vec(record(), 0..60)
    ) {
        let image = image(&records);
        prop_assert_eq!(ClusterImage::decode(&image.encode()), Ok(image.clone()));
        // It stands for the log: what comes after has the same effect on both.
        let mut from_snapshot = ClusterImage::decode(&image.encode()).expect("just encoded");
        let mut from_log = image;
        for record in &records {
            from_snapshot.apply(record);
            from_log.apply(record);
        }
        prop_assert_eq!(from_snapshot, from_log);
    }

    #[test]
    fn the_image_is_the_fold_of_the_records_wherever_the_log_is_cut(
        records in prop::collection::vec(record(), 0..60), at in any::<prop::sample::Index>()
    ) {
        let cut = at.index(records.len() + 1);
        let mut prefix = image(&records[..cut]);
        let kept = prefix.clone();
        for record in &records[cut..] {
            prefix.apply(record);
        }
        prop_assert_eq!(&prefix, &image(&records));
        prop_assert_eq!(kept, image(&records[..cut]), "a clone is untouched by its original");
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        records in prop::collection::vec(record(), 0..20),
        at in any::<prop::sample::Index>(), damage in 1..=255_u8
    ) {
        let mut bytes = image(&records).encode();
        let at = at.index(bytes.len());
        bytes[at] ^= damage;
        prop_assert!(ClusterImage::decode(&bytes).is_err());
        prop_assert!(ClusterImage::decode(&bytes[..at]).is_err());
    }

    #[test]
    fn names_and_ids_name_the_same_topics(records in prop::collection::vec(record(), 0..60)) {
        let image = image(&records);
        for topic in image.topics() {
            prop_assert_eq!(image.topic_named(&topic.name), Some(topic));
            prop_assert_eq!(image.topic(topic.id), Some(topic));
        }
        prop_assert_eq!(image.topics().count(), image.topics.len());
    }
}

#[test]
fn a_voter_of_the_creation_starts_clean_until_a_report_is_without_it() {
    let mut image = one_partition(&[1, 2, 3]);
    assert_eq!(kind(&image, 1), Some(AssignmentKind::InitialVoter));
    assert_eq!(kind(&image, 4), None);
    report(&mut image, 1, 0, &[1, 2, 3]);
    assert_eq!(kind(&image, 3), Some(AssignmentKind::InitialVoter));
    aim(&mut image, &[1, 2, 4]);
    assert_eq!(kind(&image, 4), Some(AssignmentKind::Learner));
    report(&mut image, 1, 2, &[1, 2, 3, 4]);
    assert_eq!(kind(&image, 3), Some(AssignmentKind::InitialVoter));
    assert_eq!(kind(&image, 4), Some(AssignmentKind::Voter));
    report(&mut image, 1, 3, &[1, 2, 4]);
    assert_eq!(kind(&image, 3), None);
    report(&mut image, 2, 4, &[1, 2, 3, 4]);
    let snapshot = ClusterImage::decode(&image.encode()).expect("just encoded");
    for image in [image, snapshot] {
        assert_eq!(kind(&image, 2), Some(AssignmentKind::InitialVoter));
        assert_eq!(
            kind(&image, 3),
            Some(AssignmentKind::Voter),
            "it may have been let go"
        );
    }
}

#[test]
fn a_replica_that_comes_back_does_not_take_itself_for_a_voter_of_the_creation() {
    let mut image = one_partition(&[1, 2, 3]);
    report(&mut image, 1, 2, &[1]);
    aim(&mut image, &[1, 2, 3]);
    let assignment = image.assignment(P0, voter(2)).expect("in the target");
    assert_eq!(assignment.kind, AssignmentKind::Learner);
    assert_eq!(assignment.create_with, [voter(1), voter(3)]);
}

#[test]
fn another_directory_of_the_same_broker_is_another_replica() {
    let image = one_partition(&[1, 2, 3]);
    let wiped = Voter {
        broker: BrokerId(1),
        directory: crate::ids::DirectoryId(77),
    };
    assert_eq!(image.assignment(P0, wiped), None);
}

#[test]
fn a_replica_is_assigned_until_report_and_target_both_lack_it() {
    let mut image = one_partition(&[1, 2, 3]);
    let is_assigned = |image: &ClusterImage| image.assignment(P0, voter(3)).is_some();
    assert!(is_assigned(&image));
    aim(&mut image, &[1, 2]);
    assert!(is_assigned(&image), "still a voter");
    report(&mut image, 2, 2, &[1, 2]);
    assert!(!is_assigned(&image));
    aim(&mut image, &[1, 2, 3]);
    assert!(is_assigned(&image), "desired again");
}

#[test]
fn of_two_reports_the_one_of_the_higher_epoch_and_later_note_holds() {
    let mut image = one_partition(&[1, 2, 3]);
    report(&mut image, 3, 5, &[1, 2]);
    report(&mut image, 2, 9, &[1, 2, 3]);
    report(&mut image, 3, 4, &[1, 3]);
    report(&mut image, 3, 5, &[2, 3]);
    let partition = image.partition(P0).expect("it exists");
    assert_eq!(partition.voters(), [voter(1), voter(2)]);
    report(&mut image, 4, 5, &[1, 2]);
    let reported = image.partition(P0).and_then(|p| p.reported.as_ref());
    assert_eq!(reported.map(|r| r.leader_epoch), Some(LeaderEpoch(4)));
}

#[test]
fn clients_are_told_the_target_first_and_then_what_is_still_a_voter() {
    let mut image = one_partition(&[1, 2, 3]);
    aim(&mut image, &[4, 2]);
    let partition = image.partition(P0).expect("it exists");
    let brokers = partition.replica_brokers();
    assert_eq!(brokers, [4, 2, 1, 3].map(BrokerId));
}

#[test]
fn a_topic_created_again_inherits_nothing() {
    let mut image = one_partition(&[1]);
    image.apply(&MetadataRecord::Config {
        resource: ConfigResource::Topic(TOPIC),
        key: "retention.ms".to_owned(),
        value: Some("1".to_owned()),
    });
    image.apply(&MetadataRecord::RemoveTopic { id: TOPIC });
    assert_eq!(image, ClusterImage::default());
}

#[test]
fn fencing_concerns_the_start_that_it_names() {
    let registration = BrokerRegistration {
        broker: BrokerId(1),
        directory: crate::ids::DirectoryId(9),
        incarnation: Incarnation(2),
        rack: None,
        listeners: Vec::new(),
        peer_address: "a:1".to_owned(),
    };
    let mut image = image(&[MetadataRecord::RegisterBroker { registration }]);
    let unfence = |incarnation| MetadataRecord::UnfenceBroker {
        broker: BrokerId(1),
        incarnation: Incarnation(incarnation),
    };
    image.apply(&unfence(1));
    assert_eq!(image.active_brokers().count(), 0);
    image.apply(&unfence(2));
    assert_eq!(image.active_brokers().count(), 1);
    assert_eq!(
        image.peer_addresses(),
        BTreeMap::from([(BrokerId(1), "a:1".to_owned())])
    );
}
