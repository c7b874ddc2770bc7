//! `Metadata`, key 3: the brokers, the topics and who leads what.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

/// Authorized operations that were not asked for, or are not known.
pub const OPERATIONS_UNKNOWN: i32 = i32::MIN;

message! {
    /// Asks for some topics, or for all, and for the brokers.
    pub struct MetadataRequest: versions 0..=13, flexible 9.. {
        /// The topics; null asks for all. In version 0, which has no null, an empty list does.
        pub topics: Option<Vec<MetadataRequestTopic>> [nullable 1..],
        /// Whether a topic that does not exist may be created.
        pub allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the client may do to the cluster.
        pub include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the client may do to each topic.
        pub include_topic_authorized_operations: bool [8..],
    }

    /// One topic.
    pub struct MetadataRequestTopic {
        /// The topic by id, or zero.
        pub topic_id: TopicId [10.., ignorable],
        /// The topic by name, or null if it is asked for by id.
        pub name: Option<Str> [nullable 10..],
    }
}

message! {
    /// The cluster as this broker knows it.
    pub struct MetadataResponse: versions 0..=13, flexible 9.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [3.., ignorable],
        /// The brokers that are alive.
        pub brokers: Vec<MetadataResponseBroker>,
        /// The cluster's id, or null.
        pub cluster_id: Option<Str> [2.., nullable 2.., ignorable],
        /// A broker that takes requests for the controller, or -1.
        pub controller_id: i32 [1.., ignorable] = -1,
        /// The topics.
        pub topics: Vec<MetadataResponseTopic>,
        /// What the client may do to the cluster, one bit an operation.
        pub cluster_authorized_operations: i32 [8..=10] = OPERATIONS_UNKNOWN,
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode [13.., ignorable],
    }

    /// One broker.
    pub struct MetadataResponseBroker {
        /// The broker.
        pub node_id: i32,
        /// Its host.
        pub host: Str,
        /// Its port.
        pub port: i32,
        /// Its rack, or null.
        pub rack: Option<Str> [1.., nullable 1.., ignorable],
    }

    /// One topic.
    pub struct MetadataResponseTopic {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The topic by name; null if it was asked for by an id that is not known.
        pub name: Option<Str> [nullable 12..],
        /// The topic by id, or zero.
        pub topic_id: TopicId [10.., ignorable],
        /// Whether the topic belongs to the cluster itself.
        pub is_internal: bool [1.., ignorable],
        /// The partitions.
        pub partitions: Vec<MetadataResponsePartition>,
        /// What the client may do to the topic, one bit an operation.
        pub topic_authorized_operations: i32 [8..] = OPERATIONS_UNKNOWN,
    }

    /// One partition.
    pub struct MetadataResponsePartition {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The partition.
        pub partition_index: i32,
        /// The broker that leads it, or -1.
        pub leader_id: i32,
        /// Its leader epoch, or -1.
        pub leader_epoch: i32 [7.., ignorable] = -1,
        /// The brokers that have a replica, the preferred leader first.
        pub replica_nodes: Vec<i32>,
        /// Those whose replica is in sync.
        pub isr_nodes: Vec<i32>,
        /// Those whose replica is offline.
        pub offline_replicas: Vec<i32> [5.., ignorable],
    }
}

impl MetadataRequest {
    /// A version before 13 that asks for all topics has no place for the error.
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> MetadataResponse {
        let topic = |asked: &MetadataRequestTopic| MetadataResponseTopic {
            error_code: error.code,
            // Null is allowed from version 12 on.
            name: (asked.name.clone()).or_else(|| (version < 12).then_some(Str::EMPTY)),
            topic_id: asked.topic_id,
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            topics: self.topics.iter().flatten().map(topic).collect(),
            error_code: error.code,
            ..MetadataResponse::default()
        }
    }
}
