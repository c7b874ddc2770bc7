//! `CreatePartitions`, key 37: more partitions for topics that exist.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for more partitions.
    pub struct CreatePartitionsRequest: versions 0..=3, flexible 2.. {
        /// The topics.
        pub topics: Vec<CreatePartitionsTopic>,
        /// How long to wait for them, in milliseconds.
        pub timeout_ms: i32,
        /// Whether to check the request only, and create nothing.
        pub validate_only: bool,
    }

    /// One topic.
    pub struct CreatePartitionsTopic {
        /// The topic.
        pub name: Str,
        /// How many partitions it shall have in all.
        pub count: i32,
        /// Where the replicas of the new partitions go, or null to leave it to the cluster.
        pub assignments: Option<Vec<CreatePartitionsAssignment>>,
    }

    /// Where the replicas of one new partition go.
    pub struct CreatePartitionsAssignment {
        /// The brokers, the preferred leader first.
        pub broker_ids: Vec<i32>,
    }
}

message! {
    /// What became of each topic.
    pub struct CreatePartitionsResponse: versions 0..=3, flexible 2.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// The topics.
        pub results: Vec<CreatePartitionsTopicResult>,
    }

    /// One topic.
    pub struct CreatePartitionsTopicResult {
        /// The topic.
        pub name: Str,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
    }
}

impl CreatePartitionsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> CreatePartitionsResponse {
        let result = |asked: &CreatePartitionsTopic| CreatePartitionsTopicResult {
            name: asked.name.clone(),
            error_code: error.code,
            error_message: error.message.clone(),
        };
        CreatePartitionsResponse {
            results: self.topics.iter().map(result).collect(),
            ..CreatePartitionsResponse::default()
        }
    }
}
