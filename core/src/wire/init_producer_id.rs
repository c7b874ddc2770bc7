//! `InitProducerId`, key 22: how an idempotent producer gets its number.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for a producer id, or for the next epoch of one.
    pub struct InitProducerIdRequest: versions 0..=5, flexible 2.. {
        /// The transactional id, or null for a producer that is idempotent only.
        pub transactional_id: Option<Str>,
        /// After how long the coordinator aborts an idle transaction, in milliseconds.
        pub transaction_timeout_ms: i32,
        /// The producer id that the producer has already, or -1 (KIP-360).
        pub producer_id: i64 [3..] = -1,
        /// The producer epoch that it has already, or -1.
        pub producer_epoch: i16 [3..] = -1,
    }
}

message! {
    /// The producer id.
    pub struct InitProducerIdResponse: versions 0..=5, flexible 2.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The producer id, or -1.
        pub producer_id: i64 = -1,
        /// The producer epoch.
        pub producer_epoch: i16,
    }
}

impl InitProducerIdRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> InitProducerIdResponse {
        InitProducerIdResponse {
            error_code: error.code,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        }
    }
}
