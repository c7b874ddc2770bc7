//! `ConsumerGroupDescribe`, key 69: groups of the consumer rebalance protocol and their members, for administrators
//! (KIP-848).
//!
//! Version 1 tells which members still speak the classic protocol (KIP-1099).

use super::error_code::{ApiError, ErrorCode};
use super::metadata::OPERATIONS_UNKNOWN;
use super::text::Str;
use crate::ids::TopicId;

/// Which protocol the member speaks is not known.
pub const MEMBER_UNKNOWN: i8 = -1;
/// The member speaks the classic protocol.
pub const MEMBER_CLASSIC: i8 = 0;
/// The member speaks the consumer rebalance protocol.
pub const MEMBER_CONSUMER: i8 = 1;

message! {
    /// Asks for some groups.
    pub struct ConsumerGroupDescribeRequest: versions 0..=1, flexible 0.. {
        /// The groups.
        pub group_ids: Vec<Str>,
        /// Whether to tell what the client may do to each group.
        pub include_authorized_operations: bool,
    }
}

message! {
    /// The groups.
    pub struct ConsumerGroupDescribeResponse: versions 0..=1, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// The groups.
        pub groups: Vec<DescribedGroup>,
    }

    /// One group.
    pub struct DescribedGroup {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
        /// The group.
        pub group_id: Str,
        /// The state that it is in, or empty.
        pub group_state: Str,
        /// Grows with every change of what the group is to read, and who reads it.
        pub group_epoch: i32,
        /// The group epoch that the target assignment was made for.
        pub assignment_epoch: i32,
        /// The assignor that made it.
        pub assignor_name: Str,
        /// The members.
        pub members: Vec<Member>,
        /// What the client may do to it, a bit each, or [`OPERATIONS_UNKNOWN`].
        pub authorized_operations: i32 = OPERATIONS_UNKNOWN,
    }

    /// One member.
    pub struct Member {
        /// The member.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub instance_id: Option<Str>,
        /// Its rack, or null.
        pub rack_id: Option<Str>,
        /// The assignment epoch that it has come to.
        pub member_epoch: i32,
        /// The client's name for itself.
        pub client_id: Str,
        /// The client's host.
        pub client_host: Str,
        /// The topics that it subscribes to by name.
        pub subscribed_topic_names: Vec<Str>,
        /// The topics that it subscribes to by a regular expression, or null.
        pub subscribed_topic_regex: Option<Str>,
        /// What it reads.
        pub assignment: Assignment,
        /// What it is to read.
        pub target_assignment: Assignment,
        /// Which protocol it speaks: [`MEMBER_CLASSIC`], [`MEMBER_CONSUMER`] or [`MEMBER_UNKNOWN`].
        pub member_type: i8 [1.., ignorable] = MEMBER_UNKNOWN,
    }

    /// What is assigned to a member.
    pub struct Assignment {
        /// The partitions.
        pub topic_partitions: Vec<TopicPartitions>,
    }

    /// Partitions of one topic.
    pub struct TopicPartitions {
        /// The topic by id.
        pub topic_id: TopicId,
        /// The topic by name.
        pub topic_name: Str,
        /// The partitions.
        pub partitions: Vec<i32>,
    }
}

impl ConsumerGroupDescribeRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ConsumerGroupDescribeResponse {
        let group = |group_id: &Str| DescribedGroup {
            error_code: error.code,
            error_message: error.message.clone(),
            group_id: group_id.clone(),
            ..DescribedGroup::default()
        };
        ConsumerGroupDescribeResponse {
            groups: self.group_ids.iter().map(group).collect(),
            ..ConsumerGroupDescribeResponse::default()
        }
    }
}
