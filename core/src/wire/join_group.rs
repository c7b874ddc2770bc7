//! `JoinGroup`, key 11: how a member enters a generation of a classic group.
//!
//! The answers come when all have joined, and only that to the leader tells what each member said of itself. Version 1
//! has a timeout for rebalances (KIP-62); from version 4 on a new member is first given its id (KIP-394). Version 5
//! knows static members (KIP-345), version 7 says the protocol type (KIP-559), version 8 why the member joins (KIP-800),
//! and version 9 can spare a returning leader the assignment (KIP-814).

use bytes::Bytes;

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

/// The generation of whoever is in none.
pub const NO_GENERATION: i32 = -1;

message! {
    /// Asks to be a member of the next generation.
    pub struct JoinGroupRequest: versions 0..=9, flexible 6.. {
        /// The group.
        pub group_id: Str,
        /// After how long without a heartbeat the member is taken for dead, in milliseconds.
        pub session_timeout_ms: i32,
        /// How long the coordinator waits for the member to join again, in milliseconds; where it is not said,
        /// `session_timeout_ms` stands for it.
        pub rebalance_timeout_ms: i32 [1.., ignorable] = -1,
        /// The member, or empty for a new one.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [5..],
        /// What the group is for: `consumer`, or another word of the clients.
        pub protocol_type: Str,
        /// The protocols that the member speaks, the preferred one first.
        pub protocols: Vec<JoinGroupRequestProtocol>,
        /// Why the member joins, in words.
        pub reason: Option<Str> [8.., ignorable],
    }

    /// One protocol.
    pub struct JoinGroupRequestProtocol {
        /// Its name: for consumers, that of an assignor.
        pub name: Str,
        /// What the member says of itself in it: for consumers, its subscription
        /// ([`consumer_protocol`](super::consumer_protocol)).
        pub metadata: Bytes,
    }
}

message! {
    /// The generation that has begun.
    pub struct JoinGroupResponse: versions 0..=9, flexible 6.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [2.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The generation, or [`NO_GENERATION`].
        pub generation_id: i32 = NO_GENERATION,
        /// What the group is for, or null.
        pub protocol_type: Option<Str> [7.., ignorable],
        /// The protocol that all members speak; empty or, from version 7 on, null if there is none.
        pub protocol_name: Option<Str> [nullable 7..] = Some(Str::EMPTY),
        /// The member that makes the assignment.
        pub leader: Str,
        /// Whether the leader must leave the assignment as it is.
        pub skip_assignment: bool [9..],
        /// The member that is answered.
        pub member_id: Str,
        /// All members, for the leader; nothing for the others.
        pub members: Vec<JoinGroupResponseMember>,
    }

    /// One member.
    pub struct JoinGroupResponseMember {
        /// The member.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [5.., ignorable],
        /// What it says of itself in the protocol.
        pub metadata: Bytes,
    }
}

impl JoinGroupRequest {
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> JoinGroupResponse {
        JoinGroupResponse {
            error_code: error.code,
            protocol_name: (version < 7).then_some(Str::EMPTY),
            ..JoinGroupResponse::default()
        }
    }
}
