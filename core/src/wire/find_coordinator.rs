//! `FindCoordinator`, key 10: which broker coordinates a group or a transaction.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

/// The key names a consumer group.
pub const KEY_GROUP: i8 = 0;
/// The key names a transactional id.
pub const KEY_TRANSACTION: i8 = 1;
/// The key names a share group's partition (KIP-932).
pub const KEY_SHARE: i8 = 2;

message! {
    /// Asks for the coordinator of one key, from version 4 on of several.
    pub struct FindCoordinatorRequest: versions 0..=6, flexible 3.. {
        /// The key.
        pub key: Str [0..=3],
        /// What kind of key it is.
        pub key_type: i8 [1..],
        /// The keys.
        pub coordinator_keys: Vec<Str> [4..],
    }
}

message! {
    /// The coordinators.
    pub struct FindCoordinatorResponse: versions 0..=6, flexible 3.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode [0..=3],
        /// What went wrong, in words.
        pub error_message: Option<Str> [1..=3, ignorable],
        /// The coordinator, or -1.
        pub node_id: i32 [0..=3],
        /// Its host.
        pub host: Str [0..=3],
        /// Its port.
        pub port: i32 [0..=3],
        /// The coordinators, one a key.
        pub coordinators: Vec<Coordinator> [4..],
    }

    /// One coordinator.
    pub struct Coordinator {
        /// The key.
        pub key: Str [4..],
        /// The coordinator, or -1.
        pub node_id: i32 [4..],
        /// Its host.
        pub host: Str [4..],
        /// Its port.
        pub port: i32 [4..],
        /// What went wrong.
        pub error_code: ErrorCode [4..],
        /// What went wrong, in words.
        pub error_message: Option<Str> [4.., ignorable],
    }
}

impl FindCoordinatorRequest {
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> FindCoordinatorResponse {
        if version < 4 {
            return FindCoordinatorResponse {
                error_code: error.code,
                error_message: error.message.clone(),
                node_id: -1,
                port: -1,
                ..FindCoordinatorResponse::default()
            };
        }
        let coordinator = |key: &Str| Coordinator {
            key: key.clone(),
            node_id: -1,
            port: -1,
            error_code: error.code,
            error_message: error.message.clone(),
            ..Coordinator::default()
        };
        FindCoordinatorResponse {
            coordinators: self.coordinator_keys.iter().map(coordinator).collect(),
            ..FindCoordinatorResponse::default()
        }
    }
}
