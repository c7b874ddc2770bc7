//! `OffsetCommit`, key 8: up to where a group has read, put on record by its coordinator.
//!
//! Retention is the broker's business from version 5 on (KIP-211). Version 6 says the leader epoch of what was read
//! (KIP-320), and version 7 knows static members (KIP-345). Version 9 knows members of the consumer rebalance protocol,
//! and version 10 names topics by id (both KIP-848).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

message! {
    /// Asks to store the offsets of a group.
    pub struct OffsetCommitRequest: versions 2..=10, flexible 8.. {
        /// The group.
        pub group_id: Str,
        /// The generation in the classic protocol, the member's epoch in the consumer rebalance protocol, or -1 for
        /// whoever is in no group.
        pub generation_id_or_member_epoch: i32 [ignorable] = -1,
        /// The member, or empty for whoever is in no group.
        pub member_id: Str [ignorable],
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [7..],
        /// How long to keep the offsets, in milliseconds; -1 leaves it to the broker.
        pub retention_time_ms: i64 [2..=4, ignorable] = -1,
        /// The topics.
        pub topics: Vec<OffsetCommitRequestTopic>,
    }

    /// The offsets of one topic.
    pub struct OffsetCommitRequestTopic {
        /// The topic by name.
        pub name: Str [2..=9, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [10.., ignorable],
        /// The partitions.
        pub partitions: Vec<OffsetCommitRequestPartition>,
    }

    /// The offset of one partition.
    pub struct OffsetCommitRequestPartition {
        /// The partition.
        pub partition_index: i32,
        /// The offset to go on from: exclusive, the first one that is not read.
        pub committed_offset: i64,
        /// The leader epoch of the last record that was read, or -1.
        pub committed_leader_epoch: i32 [6.., ignorable] = -1,
        /// Whatever the client wants to keep with it.
        pub committed_metadata: Option<Str> = Some(Str::EMPTY),
    }
}

message! {
    /// What became of each offset.
    pub struct OffsetCommitResponse: versions 2..=10, flexible 8.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [3.., ignorable],
        /// The topics.
        pub topics: Vec<OffsetCommitResponseTopic>,
    }

    /// The partitions of one topic.
    pub struct OffsetCommitResponseTopic {
        /// The topic by name.
        pub name: Str [2..=9, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [10.., ignorable],
        /// The partitions.
        pub partitions: Vec<OffsetCommitResponsePartition>,
    }

    /// One partition.
    pub struct OffsetCommitResponsePartition {
        /// The partition.
        pub partition_index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
    }
}

impl OffsetCommitRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> OffsetCommitResponse {
        let partition = |asked: &OffsetCommitRequestPartition| OffsetCommitResponsePartition {
            partition_index: asked.partition_index,
            error_code: error.code,
        };
        let topic = |asked: &OffsetCommitRequestTopic| OffsetCommitResponseTopic {
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            partitions: asked.partitions.iter().map(partition).collect(),
        };
        OffsetCommitResponse {
            topics: self.topics.iter().map(topic).collect(),
            ..OffsetCommitResponse::default()
        }
    }
}
