//! `OffsetDelete`, key 47: offsets of topics that a group no longer reads are forgotten (KIP-496).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for offsets of a group to be deleted.
    pub struct OffsetDeleteRequest: versions 0..=0, flexible none {
        /// The group.
        pub group_id: Str,
        /// The topics.
        pub topics: Vec<OffsetDeleteRequestTopic>,
    }

    /// The partitions of one topic.
    pub struct OffsetDeleteRequestTopic {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<OffsetDeleteRequestPartition>,
    }

    /// One partition.
    pub struct OffsetDeleteRequestPartition {
        /// The partition.
        pub partition_index: i32,
    }
}

message! {
    /// What became of each offset.
    pub struct OffsetDeleteResponse: versions 0..=0, flexible none {
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode,
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// The topics.
        pub topics: Vec<OffsetDeleteResponseTopic>,
    }

    /// The partitions of one topic.
    pub struct OffsetDeleteResponseTopic {
        /// The topic.
        pub name: Str,
        /// The partitions.
        pub partitions: Vec<OffsetDeleteResponsePartition>,
    }

    /// One partition.
    pub struct OffsetDeleteResponsePartition {
        /// The partition.
        pub partition_index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
    }
}

impl OffsetDeleteRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> OffsetDeleteResponse {
        OffsetDeleteResponse {
            error_code: error.code,
            ..OffsetDeleteResponse::default()
        }
    }
}
