//! `OffsetForLeaderEpoch`, key 23: where an epoch ended, by which a reader finds out that its log was truncated.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks where epochs ended (KIP-320).
    pub struct OffsetForLeaderEpochRequest: versions 2..=4, flexible 4.. {
        /// The replica that asks, -1 for a client, or -2 for a debugging client.
        pub replica_id: i32 [3.., ignorable] = -2,
        /// The topics.
        pub topics: Vec<OffsetForLeaderTopic>,
    }

    /// One topic.
    pub struct OffsetForLeaderTopic {
        /// The topic.
        pub topic: Str,
        /// The partitions.
        pub partitions: Vec<OffsetForLeaderPartition>,
    }

    /// One partition.
    pub struct OffsetForLeaderPartition {
        /// The partition.
        pub partition: i32,
        /// The leader epoch that the client knows, or -1.
        pub current_leader_epoch: i32 [ignorable] = -1,
        /// The epoch whose end is asked for.
        pub leader_epoch: i32,
    }
}

message! {
    /// Where the epochs ended.
    pub struct OffsetForLeaderEpochResponse: versions 2..=4, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// The topics.
        pub topics: Vec<OffsetForLeaderTopicResult>,
    }

    /// One topic.
    pub struct OffsetForLeaderTopicResult {
        /// The topic.
        pub topic: Str,
        /// The partitions.
        pub partitions: Vec<EpochEndOffset>,
    }

    /// One partition.
    pub struct EpochEndOffset {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The partition.
        pub partition: i32,
        /// The last epoch that is not above the one asked for, or -1.
        pub leader_epoch: i32 [ignorable] = -1,
        /// Its end (exclusive), or -1.
        pub end_offset: i64 = -1,
    }
}

impl OffsetForLeaderEpochRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> OffsetForLeaderEpochResponse {
        let partition = |asked: &OffsetForLeaderPartition| EpochEndOffset {
            error_code: error.code,
            partition: asked.partition,
            ..EpochEndOffset::default()
        };
        let topic = |asked: &OffsetForLeaderTopic| OffsetForLeaderTopicResult {
            topic: asked.topic.clone(),
            partitions: asked.partitions.iter().map(partition).collect(),
        };
        OffsetForLeaderEpochResponse {
            topics: self.topics.iter().map(topic).collect(),
            ..OffsetForLeaderEpochResponse::default()
        }
    }
}
