//! `DescribeCluster`, key 60: the brokers, for administrators (KIP-700).

use super::error_code::{ApiError, ErrorCode};
use super::metadata::OPERATIONS_UNKNOWN;
use super::text::Str;

/// The endpoints asked for are those of brokers.
pub const ENDPOINT_BROKERS: i8 = 1;
/// The endpoints asked for are those of controllers.
pub const ENDPOINT_CONTROLLERS: i8 = 2;

message! {
    /// Asks for the brokers or the controllers.
    pub struct DescribeClusterRequest: versions 0..=2, flexible 0.. {
        /// Whether to tell what the client may do to the cluster.
        pub include_cluster_authorized_operations: bool,
        /// Which endpoints to tell.
        pub endpoint_type: i8 [1..] = ENDPOINT_BROKERS,
        /// Whether to tell brokers that are fenced, too (KIP-1073).
        pub include_fenced_brokers: bool [2..],
    }
}

message! {
    /// The brokers or the controllers.
    pub struct DescribeClusterResponse: versions 0..=2, flexible 0.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
        /// Which endpoints these are.
        pub endpoint_type: i8 [1..] = ENDPOINT_BROKERS,
        /// The cluster's id.
        pub cluster_id: Str,
        /// A broker that takes requests for the controller, or -1.
        pub controller_id: i32 = -1,
        /// The brokers.
        pub brokers: Vec<DescribeClusterBroker>,
        /// What the client may do to the cluster, one bit an operation.
        pub cluster_authorized_operations: i32 = OPERATIONS_UNKNOWN,
    }

    /// One broker.
    pub struct DescribeClusterBroker {
        /// The broker.
        pub broker_id: i32,
        /// Its host.
        pub host: Str,
        /// Its port.
        pub port: i32,
        /// Its rack, or null.
        pub rack: Option<Str>,
        /// Whether it is fenced.
        pub is_fenced: bool [2..],
    }
}

impl DescribeClusterRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> DescribeClusterResponse {
        DescribeClusterResponse {
            error_code: error.code,
            error_message: error.message.clone(),
            ..DescribeClusterResponse::default()
        }
    }
}
