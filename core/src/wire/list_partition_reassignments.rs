//! `ListPartitionReassignments`, key 46: the reassignments that are in progress (KIP-455).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for the reassignments of some partitions, or of all.
    pub struct ListPartitionReassignmentsRequest: versions 0..=0, flexible 0.. {
        /// How long to wait, in milliseconds.
        pub timeout_ms: i32 = 60_000,
        /// The topics, or null for all.
        pub topics: Option<Vec<ListPartitionReassignmentsTopics>>,
    }

    /// One topic.
    pub struct ListPartitionReassignmentsTopics {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partition_indexes: Vec<i32>,
    }
}

message! {
    /// The reassignments.
    pub struct ListPartitionReassignmentsResponse: versions 0..=0, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
        /// The topics that have partitions which are being reassigned.
        pub topics: Vec<OngoingTopicReassignment>,
    }

    /// One topic.
    pub struct OngoingTopicReassignment {
        /// The topic.
        pub name: Str,
        /// Its partitions that are being reassigned.
        pub partitions: Vec<OngoingPartitionReassignment>,
    }

    /// One partition.
    pub struct OngoingPartitionReassignment {
        /// The partition.
        pub partition_index: i32,
        /// The brokers that are, or are to be, its replicas.
        pub replicas: Vec<i32>,
        /// Those of them that were not when the reassignment began.
        pub adding_replicas: Vec<i32>,
        /// Those of them that are to be none when it is over.
        pub removing_replicas: Vec<i32>,
    }
}

impl ListPartitionReassignmentsRequest {
    pub(super) fn failed(
        &self,
        _version: i16,
        error: &ApiError,
    ) -> ListPartitionReassignmentsResponse {
        let partition = |&partition_index: &i32| OngoingPartitionReassignment {
            partition_index,
            ..OngoingPartitionReassignment::default()
        };
        let topic = |asked: &ListPartitionReassignmentsTopics| OngoingTopicReassignment {
            name: asked.name.clone(),
            partitions: asked.partition_indexes.iter().map(partition).collect(),
        };
        ListPartitionReassignmentsResponse {
            error_code: error.code,
            error_message: error.message.clone(),
            topics: self.topics.iter().flatten().map(topic).collect(),
            ..ListPartitionReassignmentsResponse::default()
        }
    }
}
