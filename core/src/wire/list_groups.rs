//! `ListGroups`, key 16: the groups that a broker coordinates.
//!
//! Version 4 tells and selects their states (KIP-518), version 5 their types (KIP-848).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for the groups.
    pub struct ListGroupsRequest: versions 0..=5, flexible 3.. {
        /// The states of those that are wanted; empty asks for all.
        pub states_filter: Vec<Str> [4..],
        /// The types of those that are wanted; empty asks for all.
        pub types_filter: Vec<Str> [5..],
    }
}

message! {
    /// The groups.
    pub struct ListGroupsResponse: versions 0..=5, flexible 3.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The groups.
        pub groups: Vec<ListedGroup>,
    }

    /// One group.
    pub struct ListedGroup {
        /// The group.
        pub group_id: Str,
        /// What it is for.
        pub protocol_type: Str,
        /// The state that it is in.
        pub group_state: Str [4.., ignorable],
        /// Its type: `classic`, `consumer`, and so on.
        pub group_type: Str [5.., ignorable],
    }
}

impl ListGroupsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ListGroupsResponse {
        ListGroupsResponse {
            error_code: error.code,
            ..ListGroupsResponse::default()
        }
    }
}
