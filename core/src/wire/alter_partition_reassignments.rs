//! `AlterPartitionReassignments`, key 45: other brokers for the replicas of partitions, or an end to such a move (KIP-455).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for reassignments to begin, or to be cancelled.
    pub struct AlterPartitionReassignmentsRequest: versions 0..=1, flexible 0.. {
        /// How long to wait, in milliseconds.
        pub timeout_ms: i32 = 60_000,
        /// Whether a partition may get another number of replicas than it has (KIP-860).
        pub allow_replication_factor_change: bool [1..] = true,
        /// The topics.
        pub topics: Vec<ReassignableTopic>,
    }

    /// One topic.
    pub struct ReassignableTopic {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<ReassignablePartition>,
    }

    /// One partition.
    pub struct ReassignablePartition {
        /// The partition.
        pub partition_index: i32,
        /// The brokers that its replicas are to be on, the preferred leader first; null cancels the reassignment that is in
        /// progress.
        pub replicas: Option<Vec<i32>>,
    }
}

message! {
    /// What became of each partition.
    pub struct AlterPartitionReassignmentsResponse: versions 0..=1, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// What the request said.
        pub allow_replication_factor_change: bool [1.., ignorable] = true,
        /// What went wrong with the whole.
        pub error_code: ErrorCode,
        /// What went wrong with the whole, in words.
        pub error_message: Option<Str>,
        /// The topics.
        pub responses: Vec<ReassignableTopicResponse>,
    }

    /// One topic.
    pub struct ReassignableTopicResponse {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<ReassignablePartitionResponse>,
    }

    /// One partition.
    pub struct ReassignablePartitionResponse {
        /// The partition.
        pub partition_index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
    }
}

impl AlterPartitionReassignmentsRequest {
    pub(super) fn failed(
        &self,
        _version: i16,
        error: &ApiError,
    ) -> AlterPartitionReassignmentsResponse {
        let partition = |asked: &ReassignablePartition| ReassignablePartitionResponse {
            partition_index: asked.partition_index,
            error_code: error.code,
            error_message: error.message.clone(),
        };
        let topic = |asked: &ReassignableTopic| ReassignableTopicResponse {
            name: asked.name.clone(),
            partitions: asked.partitions.iter().map(partition).collect(),
        };
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: self.allow_replication_factor_change,
            error_code: error.code,
            error_message: error.message.clone(),
            responses: self.topics.iter().map(topic).collect(),
            ..AlterPartitionReassignmentsResponse::default()
        }
    }
}
