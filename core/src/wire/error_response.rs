//! The response that carries an error says it of everything that was asked, in words that its version has.

use proptest::prelude::*;

use super::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
use super::create_partitions::CreatePartitionsTopic;
use super::create_topics::CreatableTopic;
use super::delete_topics::DeleteTopicState;
use super::describe_configs::DescribeConfigsResource;
use super::describe_topic_partitions::TopicRequest;
use super::fetch::{FetchPartition, FetchTopic};
use super::leave_group::MemberIdentity;
use super::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use super::list_partition_reassignments::ListPartitionReassignmentsTopics;
use super::metadata::MetadataRequestTopic;
use super::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use super::offset_delete::OffsetDeleteRequestTopic;
use super::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use super::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use super::produce::{PartitionProduceData, TopicProduceData};
use super::tests::{all_samples, tape};
use super::*;

fn two<T: Default + Clone>() -> Vec<T> {
    vec![T::default(); 2]
}

/// Requests for two of everything, with a version, and how often their response says what is wrong.
fn requests() -> Vec<(i16, Request, usize)> {
    let produce = ProduceRequest {
        topic_data: vec![
            TopicProduceData {
                partition_data: two::<PartitionProduceData>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let fetch = FetchRequest {
        topics: vec![
            FetchTopic {
                partitions: two::<FetchPartition>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let list_offsets = ListOffsetsRequest {
        topics: vec![
            ListOffsetsTopic {
                partitions: two::<ListOffsetsPartition>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let epochs = OffsetForLeaderEpochRequest {
        topics: vec![
            OffsetForLeaderTopic {
                partitions: two::<OffsetForLeaderPartition>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let metadata = MetadataRequest {
        topics: Some(two::<MetadataRequestTopic>()),
        ..Default::default()
    };
    let coordinators = FindCoordinatorRequest {
        coordinator_keys: two(),
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: two::<CreatableTopic>(),
        ..Default::default()
    };
    let delete = DeleteTopicsRequest {
        topics: two::<DeleteTopicState>(),
        topic_names: two(),
        ..Default::default()
    };
    let grow = CreatePartitionsRequest {
        topics: two::<CreatePartitionsTopic>(),
        ..Default::default()
    };
    let reassign = AlterPartitionReassignmentsRequest {
        topics: vec![
            ReassignableTopic {
                partitions: two::<ReassignablePartition>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let reassigned = ListPartitionReassignmentsRequest {
        topics: Some(two::<ListPartitionReassignmentsTopics>()),
        ..Default::default()
    };
    let configs = DescribeConfigsRequest {
        resources: two::<DescribeConfigsResource>(),
        ..Default::default()
    };
    let partitions = DescribeTopicPartitionsRequest {
        topics: two::<TopicRequest>(),
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        topics: vec![
            OffsetCommitRequestTopic {
                partitions: two::<OffsetCommitRequestPartition>(),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    };
    let committed = OffsetFetchRequest {
        topics: Some(vec![
            OffsetFetchRequestTopic {
                partition_indexes: two(),
                ..Default::default()
            };
            2
        ]),
        groups: two::<OffsetFetchRequestGroup>(),
        ..Default::default()
    };
    let leave = LeaveGroupRequest {
        members: two::<MemberIdentity>(),
        ..Default::default()
    };
    let groups = DescribeGroupsRequest {
        groups: two(),
        ..Default::default()
    };
    let delete_groups = DeleteGroupsRequest {
        groups_names: two(),
    };
    let delete_offsets = OffsetDeleteRequest {
        topics: two::<OffsetDeleteRequestTopic>(),
        ..Default::default()
    };
    let consumer_groups = ConsumerGroupDescribeRequest {
        group_ids: two(),
        ..Default::default()
    };
    vec![
        (12, produce.into(), 4),
        (12, fetch.clone().into(), 1 + 4),
        (13, fetch.into(), 1), // by id: the whole
        (6, list_offsets.into(), 4),
        (4, epochs.into(), 4),
        (13, metadata.into(), 1 + 2),
        (3, coordinators.clone().into(), 1),
        (4, coordinators.into(), 2),
        (7, create.into(), 2),
        (6, delete.into(), 4),
        (3, grow.into(), 2),
        (1, reassign.into(), 1 + 4),
        (0, reassigned.into(), 1),
        (4, configs.into(), 2),
        (0, partitions.into(), 2),
        (0, DescribeClusterRequest::default().into(), 1),
        (5, InitProducerIdRequest::default().into(), 1),
        (5, ApiVersionsRequest::default().into(), 1),
        (10, commit.into(), 4),
        (1, committed.clone().into(), 4),
        (2, committed.clone().into(), 1),
        (7, committed.clone().into(), 1),
        (8, committed.into(), 2),
        (9, JoinGroupRequest::default().into(), 1),
        (4, HeartbeatRequest::default().into(), 1),
        (5, leave.into(), 1), // the whole, not its members
        (5, SyncGroupRequest::default().into(), 1),
        (6, groups.into(), 2),
        (5, ListGroupsRequest::default().into(), 1),
        (3, delete_groups.into(), 2),
        (0, delete_offsets.into(), 1), // the whole
        (1, ConsumerGroupHeartbeatRequest::default().into(), 1),
        (1, consumer_groups.into(), 2),
    ]
}

#[test]
fn an_error_is_said_of_all_that_is_asked() {
    let all = requests();
    for &api_key in ApiKey::ALL {
        assert!(
            all.iter()
                .any(|(_, request, _)| request.api_key() == api_key),
            "{api_key:?}"
        );
    }
    for (version, request, times) in all {
        let response = request.error_response(version, &ErrorCode::NotController.into());
        assert_eq!(response.api_key(), request.api_key());
        let said = format!("{response:?}");
        assert_eq!(said.matches("NotController").count(), times, "{said}");
    }
}

proptest! {
    #[test]
    fn every_version_of_every_request_has_a_response_for_an_error(tape in tape()) {
        let error = ApiError::new(ErrorCode::NotController, "why");
        for (version, request, _) in all_samples(&tape) {
            let response = request.error_response(version, &error);
            prop_assert!(encode_response(7, version, &response).is_ok(), "{version} {response:?}");
        }
    }
}
