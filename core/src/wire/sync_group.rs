//! `SyncGroup`, key 14: the leader of a classic group hands in the assignment, and every member fetches its part.
//!
//! Version 3 knows static members (KIP-345), version 5 names the protocol, so that members of different ones are told
//! apart (KIP-559).

use bytes::Bytes;

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for the member's part of the assignment.
    pub struct SyncGroupRequest: versions 0..=5, flexible 4.. {
        /// The group.
        pub group_id: Str,
        /// The generation that the member is in.
        pub generation_id: i32,
        /// The member.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [3..],
        /// What the group is for, or null.
        pub protocol_type: Option<Str> [5.., ignorable],
        /// The protocol of the generation, or null.
        pub protocol_name: Option<Str> [5.., ignorable],
        /// The parts of all members, from the leader; nothing from the others.
        pub assignments: Vec<SyncGroupRequestAssignment>,
    }

    /// The part of one member.
    pub struct SyncGroupRequestAssignment {
        /// The member.
        pub member_id: Str,
        /// Its part: for consumers, an assignment of the embedded protocol
        /// ([`consumer_protocol`](super::consumer_protocol)).
        pub assignment: Bytes,
    }
}

message! {
    /// The member's part of the assignment.
    pub struct SyncGroupResponse: versions 0..=5, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What the group is for, or null.
        pub protocol_type: Option<Str> [5.., ignorable],
        /// The protocol of the generation, or null.
        pub protocol_name: Option<Str> [5.., ignorable],
        /// The part, as the leader wrote it.
        pub assignment: Bytes,
    }
}

impl SyncGroupRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> SyncGroupResponse {
        SyncGroupResponse {
            error_code: error.code,
            ..SyncGroupResponse::default()
        }
    }
}
