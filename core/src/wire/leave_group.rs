//! `LeaveGroup`, key 13: members go, or are sent away by an administrator.
//!
//! From version 3 on several leave at once, static ones by their instance ids (KIP-345); version 5 says why (KIP-800).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks to take members out of a group.
    pub struct LeaveGroupRequest: versions 0..=5, flexible 4.. {
        /// The group.
        pub group_id: Str,
        /// The member.
        pub member_id: Str [0..=2],
        /// The members.
        pub members: Vec<MemberIdentity> [3..],
    }

    /// One member.
    pub struct MemberIdentity {
        /// The member, or empty where the instance id says which.
        pub member_id: Str [3..],
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [3..],
        /// Why it leaves, in words.
        pub reason: Option<Str> [5.., ignorable],
    }
}

message! {
    /// What became of each member.
    pub struct LeaveGroupResponse: versions 0..=5, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode,
        /// The members.
        pub members: Vec<MemberResponse> [3..],
    }

    /// One member.
    pub struct MemberResponse {
        /// The member.
        pub member_id: Str [3..],
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [3..] = Some(Str::EMPTY),
        /// What went wrong.
        pub error_code: ErrorCode [3..],
    }
}

impl LeaveGroupRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> LeaveGroupResponse {
        LeaveGroupResponse {
            error_code: error.code,
            ..LeaveGroupResponse::default()
        }
    }
}
