//! `ListOffsets`, key 2: offsets by time, and by the names that some special times have.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

/// The special time that asks for the high watermark, or the last stable offset for read-committed readers.
pub const LATEST_TIMESTAMP: i64 = -1;
/// The special time that asks for the log start.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// The special time that asks for the record with the greatest timestamp (version 7, KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// The special time that asks for the first offset on local disk (version 8, KIP-405).
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// The special time that asks for the last offset in remote storage (version 9, KIP-1005).
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
/// The special time that asks for the first offset not yet in remote storage (version 11, KIP-1023).
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;

message! {
    /// Asks for the first offset at or after a time in each of some partitions.
    pub struct ListOffsetsRequest: versions 1..=11, flexible 6.. {
        /// The replica that asks, or -1 for a client.
        pub replica_id: i32 = -1,
        /// 0 ends at the high watermark, 1 at the last stable offset.
        pub isolation_level: i8 [2..],
        /// The topics.
        pub topics: Vec<ListOffsetsTopic>,
        /// How long to wait for remote storage, in milliseconds.
        pub timeout_ms: i32 [10.., ignorable],
    }

    /// One topic.
    pub struct ListOffsetsTopic {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<ListOffsetsPartition>,
    }

    /// One partition.
    pub struct ListOffsetsPartition {
        /// The partition.
        pub partition_index: i32,
        /// The leader epoch that the client knows, or -1.
        pub current_leader_epoch: i32 [4.., ignorable] = -1,
        /// Milliseconds since the Unix epoch, or one of the special times.
        pub timestamp: i64,
    }
}

message! {
    /// The offsets.
    pub struct ListOffsetsResponse: versions 1..=11, flexible 6.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [2.., ignorable],
        /// The topics.
        pub topics: Vec<ListOffsetsTopicResponse>,
    }

    /// One topic.
    pub struct ListOffsetsTopicResponse {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<ListOffsetsPartitionResponse>,
    }

    /// One partition.
    pub struct ListOffsetsPartitionResponse {
        /// The partition.
        pub partition_index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The timestamp of the record found, or -1.
        pub timestamp: i64 = -1,
        /// The offset found, or -1.
        pub offset: i64 = -1,
        /// The leader epoch of the record found, or -1.
        pub leader_epoch: i32 [4.., hint] = -1,
    }
}

impl ListOffsetsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ListOffsetsResponse {
        let partition = |asked: &ListOffsetsPartition| ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: error.code,
            ..ListOffsetsPartitionResponse::default()
        };
        let topic = |asked: &ListOffsetsTopic| ListOffsetsTopicResponse {
            name: asked.name.clone(),
            partitions: asked.partitions.iter().map(partition).collect(),
        };
        ListOffsetsResponse {
            topics: self.topics.iter().map(topic).collect(),
            ..ListOffsetsResponse::default()
        }
    }
}
