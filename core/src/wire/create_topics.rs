//! `CreateTopics`, key 19.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

message! {
    /// Asks for new topics.
    pub struct CreateTopicsRequest: versions 2..=7, flexible 5.. {
        /// The topics.
        pub topics: Vec<CreatableTopic>,
        /// How long to wait for them, in milliseconds.
        pub timeout_ms: i32 = 60_000,
        /// Whether to check the request only, and create nothing.
        pub validate_only: bool,
    }

    /// One topic.
    pub struct CreatableTopic {
        /// The topic.
        pub name: Str,
        /// How many partitions; -1 for the cluster's default, or where `assignments` says it.
        pub num_partitions: i32,
        /// How many replicas each has; -1 for the cluster's default, or where `assignments` says it.
        pub replication_factor: i16,
        /// Which brokers get which replicas, or nothing to leave it to the cluster.
        pub assignments: Vec<CreatableReplicaAssignment>,
        /// The topic's own configuration.
        pub configs: Vec<CreatableTopicConfig>,
    }

    /// Where the replicas of one partition go.
    pub struct CreatableReplicaAssignment {
        /// The partition.
        pub partition_index: i32,
        /// The brokers, the preferred leader first.
        pub broker_ids: Vec<i32>,
    }

    /// One configuration.
    pub struct CreatableTopicConfig {
        /// Its name.
        pub name: Str,
        /// Its value.
        pub value: Option<Str>,
    }
}

message! {
    /// What became of each topic.
    pub struct CreateTopicsResponse: versions 2..=7, flexible 5.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// The topics.
        pub topics: Vec<CreatableTopicResult>,
    }

    /// One topic.
    pub struct CreatableTopicResult {
        /// The topic.
        pub name: Str,
        /// Its new id.
        pub topic_id: TopicId [7.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str> [ignorable],
        /// Why `configs` is null.
        pub topic_config_error_code: ErrorCode [5.., tag 0, ignorable],
        /// How many partitions it has, or -1.
        pub num_partitions: i32 [5.., ignorable] = -1,
        /// How many replicas each has, or -1.
        pub replication_factor: i16 [5.., ignorable] = -1,
        /// Its configuration, defaults included; null if the client may not see it.
        pub configs: Option<Vec<CreatableTopicConfigs>> [5.., nullable 5.., ignorable] = Some(Vec::new()),
    }

    /// One configuration.
    pub struct CreatableTopicConfigs {
        /// Its name.
        pub name: Str [5..],
        /// Its value.
        pub value: Option<Str> [5..],
        /// Whether it cannot be changed.
        pub read_only: bool [5..],
        /// Where the value comes from; see [`describe_configs`](super::describe_configs).
        pub config_source: i8 [5.., ignorable] = -1,
        /// Whether the value is a secret, and therefore null.
        pub is_sensitive: bool [5..],
    }
}

impl CreateTopicsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> CreateTopicsResponse {
        let topic = |asked: &CreatableTopic| CreatableTopicResult {
            name: asked.name.clone(),
            error_code: error.code,
            error_message: error.message.clone(),
            ..CreatableTopicResult::default()
        };
        CreateTopicsResponse {
            topics: self.topics.iter().map(topic).collect(),
            ..CreateTopicsResponse::default()
        }
    }
}
