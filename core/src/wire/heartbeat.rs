//! `Heartbeat`, key 12: a member of a classic group says that it is alive, and learns of rebalances.
//!
//! Version 3 knows static members (KIP-345).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Says that a member is alive.
    pub struct HeartbeatRequest: versions 0..=4, flexible 4.. {
        /// The group.
        pub group_id: Str,
        /// The generation that the member is in.
        pub generation_id: i32,
        /// The member.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [3..],
    }
}

message! {
    /// Whether the generation goes on.
    pub struct HeartbeatResponse: versions 0..=4, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// What went wrong; `REBALANCE_IN_PROGRESS` asks the member to join again.
        pub error_code: ErrorCode,
    }
}

impl HeartbeatRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> HeartbeatResponse {
        HeartbeatResponse {
            error_code: error.code,
            ..HeartbeatResponse::default()
        }
    }
}
