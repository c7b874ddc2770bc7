//! `ApiVersions`, key 18: which versions of which APIs the broker serves. The first request on a connection.

use super::api::{ApiKey, ApiVersionRange, SERVED};
use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

message! {
    /// Asks for the versions that are served, and says which client asks (KIP-511) and whom it means (KIP-1242).
    pub struct ApiVersionsRequest: versions 0..=5, flexible 3.. {
        /// The name of the client's library.
        pub client_software_name: Str [3.., ignorable],
        /// The version of the client's library.
        pub client_software_version: Str [3.., ignorable],
        /// The cluster that the client means, if it knows one.
        pub cluster_id: Option<Str> [5.., ignorable],
        /// The broker that the client means, if it names its cluster too.
        pub node_id: i32 [5.., ignorable] = -1,
    }
}

message! {
    /// The versions that are served, and the cluster's features (KIP-584).
    pub struct ApiVersionsResponse: versions 0..=5, flexible 3.. {
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode,
        /// The APIs and their versions.
        pub api_keys: Vec<ApiVersion>,
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [1.., ignorable],
        /// The features that this broker supports.
        pub supported_features: Vec<SupportedFeatureKey> [3.., tag 0, ignorable],
        /// Grows with every change of the finalized features; `-1` if they are not known.
        pub finalized_features_epoch: i64 [3.., tag 1, ignorable] = -1,
        /// The features that the cluster has agreed to use.
        pub finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2, ignorable],
        /// A relic of ZooKeeper; always false.
        pub zk_migration_ready: bool [3.., tag 3, ignorable],
    }

    /// The versions of one API; both ends are inclusive.
    pub struct ApiVersion {
        /// The API's number.
        pub api_key: i16,
        /// The first version.
        pub min_version: i16,
        /// The last version.
        pub max_version: i16,
    }

    /// The levels of a feature that the broker supports; both ends are inclusive.
    pub struct SupportedFeatureKey {
        /// The feature.
        pub name: Str [3..],
        /// The lowest level.
        pub min_version: i16 [3..],
        /// The highest level.
        pub max_version: i16 [3..],
    }

    /// The levels of a feature that the cluster has agreed on; both ends are inclusive.
    pub struct FinalizedFeatureKey {
        /// The feature.
        pub name: Str [3..],
        /// The highest level.
        pub max_version_level: i16 [3..],
        /// The lowest level.
        pub min_version_level: i16 [3..],
    }
}

impl ApiVersionsResponse {
    /// The answer with all that [`SERVED`] says, and no features.
    #[must_use]
    pub fn of_all_served() -> Self {
        Self {
            api_keys: SERVED.iter().map(ApiVersion::from).collect(),
            ..Self::default()
        }
    }

    /// The answer to a version that we do not know. It is written in version 0, which every client can read,
    /// and names the versions of `ApiVersions` itself, so that the client can ask again (KIP-511).
    #[must_use]
    pub fn unsupported_version() -> Self {
        let own = SERVED
            .iter()
            .filter(|range| range.api_key == ApiKey::ApiVersions);
        Self {
            error_code: ErrorCode::UnsupportedVersion,
            api_keys: own.map(ApiVersion::from).collect(),
            ..Self::default()
        }
    }
}

impl From<&ApiVersionRange> for ApiVersion {
    fn from(range: &ApiVersionRange) -> Self {
        Self {
            api_key: range.api_key.code(),
            min_version: range.min_version,
            max_version: range.max_version,
        }
    }
}

impl ApiVersionsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ApiVersionsResponse {
        ApiVersionsResponse {
            error_code: error.code,
            ..ApiVersionsResponse::default()
        }
    }
}
