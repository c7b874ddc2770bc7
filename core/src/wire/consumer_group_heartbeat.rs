//! `ConsumerGroupHeartbeat`, key 68: the consumer rebalance protocol in one exchange (KIP-848).
//!
//! A member joins, stays, changes its subscription and leaves by one request, whose fields are null where nothing has
//! changed since the last one. Version 1 subscribes by a regular expression, and its members make their ids themselves
//! (KIP-1082).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

/// The epoch by which a member joins.
pub const MEMBER_EPOCH_JOIN: i32 = 0;
/// The epoch by which a member leaves for good.
pub const MEMBER_EPOCH_LEAVE: i32 = -1;
/// The epoch by which a static member leaves in order to return.
pub const MEMBER_EPOCH_LEAVE_TO_RETURN: i32 = -2;

message! {
    /// Says that a member is alive, and what has changed about it.
    pub struct ConsumerGroupHeartbeatRequest: versions 0..=1, flexible 0.. {
        /// The group.
        pub group_id: Str,
        /// The member; in version 0 empty for a new one.
        pub member_id: Str,
        /// The member's epoch, or one of [`MEMBER_EPOCH_JOIN`], [`MEMBER_EPOCH_LEAVE`] and [`MEMBER_EPOCH_LEAVE_TO_RETURN`].
        pub member_epoch: i32,
        /// The static member's instance id; null if there is none or it is as before.
        pub instance_id: Option<Str>,
        /// The member's rack; null if there is none or it is as before.
        pub rack_id: Option<Str>,
        /// How long the coordinator waits for the member to give up partitions, in milliseconds; -1 if it is as before.
        pub rebalance_timeout_ms: i32 = -1,
        /// The topics that it subscribes to by name; null if they are as before.
        pub subscribed_topic_names: Option<Vec<Str>>,
        /// The topics that it subscribes to by a regular expression; null if it is as before.
        pub subscribed_topic_regex: Option<Str> [1..],
        /// The coordinator's assignor that it wishes; null if it wishes none or it is as before.
        pub server_assignor: Option<Str>,
        /// The partitions that it owns; null if they are as before.
        pub topic_partitions: Option<Vec<TopicPartitions>>,
    }

    /// Partitions of one topic, in the request and in the response.
    pub struct TopicPartitions {
        /// The topic.
        pub topic_id: TopicId,
        /// The partitions.
        pub partitions: Vec<i32>,
    }
}

message! {
    /// What the member is to do.
    pub struct ConsumerGroupHeartbeatResponse: versions 0..=1, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
        /// The member, or null.
        pub member_id: Option<Str>,
        /// The member's epoch.
        pub member_epoch: i32,
        /// How long to wait before the next heartbeat, in milliseconds.
        pub heartbeat_interval_ms: i32,
        /// What is assigned to the member; null if it is as before.
        pub assignment: Option<Assignment>,
    }

    /// What is assigned to a member.
    pub struct Assignment {
        /// The partitions that it may read at once.
        pub topic_partitions: Vec<TopicPartitions>,
    }
}

impl ConsumerGroupHeartbeatRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse {
            error_code: error.code,
            error_message: error.message.clone(),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}
