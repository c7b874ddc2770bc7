//! `DescribeGroups`, key 15: classic groups and their members, for administrators.
//!
//! Version 3 tells what the client may do (KIP-430), version 4 which members are static (KIP-345), and version 6 says
//! `GROUP_ID_NOT_FOUND` of a group that is not there (KIP-1043), where older ones call it dead.

use bytes::Bytes;

use super::error_code::{ApiError, ErrorCode};
use super::metadata::OPERATIONS_UNKNOWN;
use super::text::Str;

message! {
    /// Asks for some groups.
    pub struct DescribeGroupsRequest: versions 0..=6, flexible 5.. {
        /// The groups.
        pub groups: Vec<Str>,
        /// Whether to tell what the client may do to each group.
        pub include_authorized_operations: bool [3..],
    }
}

message! {
    /// The groups.
    pub struct DescribeGroupsResponse: versions 0..=6, flexible 5.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// The groups.
        pub groups: Vec<DescribedGroup>,
    }

    /// One group.
    pub struct DescribedGroup {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str> [6..],
        /// The group.
        pub group_id: Str,
        /// The state that it is in, or empty.
        pub group_state: Str,
        /// What it is for, or empty.
        pub protocol_type: Str,
        /// The protocol of its generation, or empty.
        pub protocol_data: Str,
        /// The members.
        pub members: Vec<DescribedGroupMember>,
        /// What the client may do to it, a bit each, or [`OPERATIONS_UNKNOWN`].
        pub authorized_operations: i32 [3..] = OPERATIONS_UNKNOWN,
    }

    /// One member.
    pub struct DescribedGroupMember {
        /// The member.
        pub member_id: Str,
        /// The static member's instance id, or null.
        pub group_instance_id: Option<Str> [4.., ignorable],
        /// The client's name for itself.
        pub client_id: Str,
        /// The client's host.
        pub client_host: Str,
        /// What it says of itself in the protocol; empty unless the group is stable.
        pub member_metadata: Bytes,
        /// Its part of the assignment; empty unless the group is stable.
        pub member_assignment: Bytes,
    }
}

impl DescribeGroupsRequest {
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> DescribeGroupsResponse {
        let group = |group_id: &Str| DescribedGroup {
            error_code: error.code,
            error_message: error.message.clone().filter(|_| version >= 6),
            group_id: group_id.clone(),
            ..DescribedGroup::default()
        };
        DescribeGroupsResponse {
            groups: self.groups.iter().map(group).collect(),
            ..DescribeGroupsResponse::default()
        }
    }
}
