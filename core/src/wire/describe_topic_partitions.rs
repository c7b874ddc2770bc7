//! `DescribeTopicPartitions`, key 75: topics a page at a time, with all that is known of their replicas (KIP-966).

use super::error_code::{ApiError, ErrorCode};
use super::metadata::OPERATIONS_UNKNOWN;
use super::text::Str;
use crate::ids::TopicId;

message! {
    /// Asks for a page of some topics, or of all.
    pub struct DescribeTopicPartitionsRequest: versions 0..=0, flexible 0.. {
        /// The topics; empty asks for all.
        pub topics: Vec<TopicRequest>,
        /// How many partitions to answer with at most.
        pub response_partition_limit: i32 = 2_000,
        /// Where the page starts, or null for the first.
        pub cursor: Option<Cursor>,
    }

    /// One topic.
    pub struct TopicRequest {
        /// The topic.
        pub name: Str,
    }

    /// A place between pages, in requests and responses.
    pub struct Cursor {
        /// The topic of the first partition of the page.
        pub topic_name: Str,
        /// The first partition of the page.
        pub partition_index: i32,
    }
}

message! {
    /// A page of topics.
    pub struct DescribeTopicPartitionsResponse: versions 0..=0, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// The topics, by name in ascending order.
        pub topics: Vec<DescribeTopicPartitionsResponseTopic>,
        /// Where the next page starts, or null if there is none.
        pub next_cursor: Option<Cursor>,
    }

    /// One topic.
    pub struct DescribeTopicPartitionsResponseTopic {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The topic by name.
        pub name: Option<Str>,
        /// The topic by id.
        pub topic_id: TopicId [ignorable],
        /// Whether the topic belongs to the cluster itself.
        pub is_internal: bool [ignorable],
        /// The partitions.
        pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
        /// What the client may do to the topic, one bit an operation.
        pub topic_authorized_operations: i32 = OPERATIONS_UNKNOWN,
    }

    /// One partition.
    pub struct DescribeTopicPartitionsResponsePartition {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The partition.
        pub partition_index: i32,
        /// The broker that leads it, or -1.
        pub leader_id: i32,
        /// Its leader epoch, or -1.
        pub leader_epoch: i32 [ignorable] = -1,
        /// The brokers that have a replica, the preferred leader first.
        pub replica_nodes: Vec<i32>,
        /// Those whose replica is in sync.
        pub isr_nodes: Vec<i32>,
        /// Those out of sync that may still be elected, or null.
        pub eligible_leader_replicas: Option<Vec<i32>>,
        /// Those that were eligible last, or null.
        pub last_known_elr: Option<Vec<i32>>,
        /// Those whose replica is offline.
        pub offline_replicas: Vec<i32> [ignorable],
    }
}

impl DescribeTopicPartitionsRequest {
    pub(super) fn failed(
        &self,
        _version: i16,
        error: &ApiError,
    ) -> DescribeTopicPartitionsResponse {
        let topic = |asked: &TopicRequest| DescribeTopicPartitionsResponseTopic {
            error_code: error.code,
            name: Some(asked.name.clone()),
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        DescribeTopicPartitionsResponse {
            topics: self.topics.iter().map(topic).collect(),
            ..DescribeTopicPartitionsResponse::default()
        }
    }
}
