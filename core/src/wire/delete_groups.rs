//! `DeleteGroups`, key 42: groups without members are forgotten, and their offsets with them (KIP-229).
//!
//! Version 3 says in words why a group was not deleted (KIP-1331).

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for groups to be deleted.
    pub struct DeleteGroupsRequest: versions 0..=3, flexible 2.. {
        /// The groups.
        pub groups_names: Vec<Str>,
    }
}

message! {
    /// What became of each group.
    pub struct DeleteGroupsResponse: versions 0..=3, flexible 2.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// The groups.
        pub results: Vec<DeletableGroupResult>,
    }

    /// One group.
    pub struct DeletableGroupResult {
        /// The group.
        pub group_id: Str,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str> [3.., ignorable],
    }
}

impl DeleteGroupsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> DeleteGroupsResponse {
        let result = |group_id: &Str| DeletableGroupResult {
            group_id: group_id.clone(),
            error_code: error.code,
            error_message: error.message.clone(),
        };
        DeleteGroupsResponse {
            results: self.groups_names.iter().map(result).collect(),
            ..DeleteGroupsResponse::default()
        }
    }
}
