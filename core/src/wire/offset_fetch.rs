//! `OffsetFetch`, key 9: from where a group goes on reading.
//!
//! A null list of topics asks for all of them (version 2, KIP-88). Version 5 tells leader epochs (KIP-320), version 7
//! can wait for open transactions (KIP-447), version 8 asks for several groups at once (KIP-709), version 9 says which
//! member asks, and version 10 names topics by id (both KIP-848).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

/// The offset of a partition for which the group has committed none.
pub const NO_OFFSET: i64 = -1;

message! {
    /// Asks for the offsets of one group, from version 8 on of several.
    pub struct OffsetFetchRequest: versions 1..=10, flexible 6.. {
        /// The group.
        pub group_id: Str [1..=7],
        /// The topics; null asks for all.
        pub topics: Option<Vec<OffsetFetchRequestTopic>> [1..=7, nullable 2..=7] = Some(Vec::new()),
        /// The groups.
        pub groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Whether an offset that an open transaction may replace is an error to wait with.
        pub require_stable: bool [7..],
    }

    /// The partitions of one topic.
    pub struct OffsetFetchRequestTopic {
        /// The topic.
        pub name: Str [1..=7],
        /// The partitions.
        pub partition_indexes: Vec<i32> [1..=7],
    }

    /// One group.
    pub struct OffsetFetchRequestGroup {
        /// The group.
        pub group_id: Str [8..],
        /// The member that asks, or null if it does not speak the consumer rebalance protocol.
        pub member_id: Option<Str> [9.., ignorable],
        /// Its epoch, or -1.
        pub member_epoch: i32 [9.., ignorable] = -1,
        /// The topics; null asks for all.
        pub topics: Option<Vec<OffsetFetchRequestTopics>> [8..] = Some(Vec::new()),
    }

    /// The partitions of one topic.
    pub struct OffsetFetchRequestTopics {
        /// The topic by name.
        pub name: Str [8..=9, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [10.., ignorable],
        /// The partitions.
        pub partition_indexes: Vec<i32> [8..],
    }
}

message! {
    /// The offsets.
    pub struct OffsetFetchResponse: versions 1..=10, flexible 6.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [3.., ignorable],
        /// The topics.
        pub topics: Vec<OffsetFetchResponseTopic> [1..=7],
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode [2..=7, ignorable],
        /// The groups.
        pub groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// The offsets of one topic.
    pub struct OffsetFetchResponseTopic {
        /// The topic.
        pub name: Str [1..=7],
        /// The partitions.
        pub partitions: Vec<OffsetFetchResponsePartition> [1..=7],
    }

    /// The offset of one partition.
    pub struct OffsetFetchResponsePartition {
        /// The partition.
        pub partition_index: i32 [1..=7],
        /// The offset to go on from (exclusive), or [`NO_OFFSET`].
        pub committed_offset: i64 [1..=7],
        /// The leader epoch of the last record that was read, or -1.
        pub committed_leader_epoch: i32 [5..=7, ignorable] = -1,
        /// What the client kept with it.
        pub metadata: Option<Str> [1..=7] = Some(Str::EMPTY),
        /// What went wrong.
        pub error_code: ErrorCode [1..=7],
    }

    /// The offsets of one group.
    pub struct OffsetFetchResponseGroup {
        /// The group.
        pub group_id: Str [8..],
        /// The topics.
        pub topics: Vec<OffsetFetchResponseTopics> [8..],
        /// What went wrong, for the whole group.
        pub error_code: ErrorCode [8..],
    }

    /// The offsets of one topic.
    pub struct OffsetFetchResponseTopics {
        /// The topic by name.
        pub name: Str [8..=9, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [10.., ignorable],
        /// The partitions.
        pub partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    /// The offset of one partition.
    pub struct OffsetFetchResponsePartitions {
        /// The partition.
        pub partition_index: i32 [8..],
        /// The offset to go on from (exclusive), or [`NO_OFFSET`].
        pub committed_offset: i64 [8..],
        /// The leader epoch of the last record that was read, or -1.
        pub committed_leader_epoch: i32 [8.., ignorable] = -1,
        /// What the client kept with it.
        pub metadata: Option<Str> [8..] = Some(Str::EMPTY),
        /// What went wrong.
        pub error_code: ErrorCode [8..],
    }
}

impl OffsetFetchRequest {
    /// Version 1 has room for an error only at partitions, versions 2 to 7 say it once, and later ones of each group.
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> OffsetFetchResponse {
        let partition = |&partition_index: &i32| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: NO_OFFSET,
            error_code: error.code,
            ..OffsetFetchResponsePartition::default()
        };
        let topic = |asked: &OffsetFetchRequestTopic| OffsetFetchResponseTopic {
            name: asked.name.clone(),
            partitions: asked.partition_indexes.iter().map(partition).collect(),
        };
        let group = |asked: &OffsetFetchRequestGroup| OffsetFetchResponseGroup {
            group_id: asked.group_id.clone(),
            error_code: error.code,
            ..OffsetFetchResponseGroup::default()
        };
        match version {
            ..2 => OffsetFetchResponse {
                topics: self.topics.iter().flatten().map(topic).collect(),
                ..OffsetFetchResponse::default()
            },
            2..8 => OffsetFetchResponse {
                error_code: error.code,
                ..OffsetFetchResponse::default()
            },
            8.. => OffsetFetchResponse {
                groups: self.groups.iter().map(group).collect(),
                ..OffsetFetchResponse::default()
            },
        }
    }
}
