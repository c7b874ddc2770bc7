//! `DescribeConfigs`, key 32: what topics and brokers are configured to do, and why.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;

/// The kind of resource that a topic is.
pub const RESOURCE_TOPIC: i8 = 2;
/// The kind of resource that a broker is.
pub const RESOURCE_BROKER: i8 = 4;
/// The kind of resource that a broker's logger is.
pub const RESOURCE_BROKER_LOGGER: i8 = 8;

/// The value was set for the topic.
pub const SOURCE_TOPIC: i8 = 1;
/// The value was set for the one broker while it ran.
pub const SOURCE_DYNAMIC_BROKER: i8 = 2;
/// The value was set for all brokers while they ran.
pub const SOURCE_DYNAMIC_DEFAULT_BROKER: i8 = 3;
/// The value stands in the broker's configuration file.
pub const SOURCE_STATIC_BROKER: i8 = 4;
/// The value is the one that holds if nobody sets any.
pub const SOURCE_DEFAULT: i8 = 5;

/// A configuration that is true or false.
pub const TYPE_BOOLEAN: i8 = 1;
/// A configuration that is text.
pub const TYPE_STRING: i8 = 2;
/// A configuration that is a 32-bit number.
pub const TYPE_INT: i8 = 3;
/// A configuration that is a 16-bit number.
pub const TYPE_SHORT: i8 = 4;
/// A configuration that is a 64-bit number.
pub const TYPE_LONG: i8 = 5;
/// A configuration that is a fraction.
pub const TYPE_DOUBLE: i8 = 6;
/// A configuration that is a list.
pub const TYPE_LIST: i8 = 7;

message! {
    /// Asks for configurations.
    pub struct DescribeConfigsRequest: versions 1..=4, flexible 4.. {
        /// Whose.
        pub resources: Vec<DescribeConfigsResource>,
        /// Whether to tell the values that would hold if this one were not set.
        pub include_synonyms: bool,
        /// Whether to explain each configuration.
        pub include_documentation: bool [3..],
    }

    /// One topic or broker.
    pub struct DescribeConfigsResource {
        /// Its kind.
        pub resource_type: i8,
        /// Its name; a broker's is its number.
        pub resource_name: Str,
        /// Which configurations, or null for all.
        pub configuration_keys: Option<Vec<Str>>,
    }
}

message! {
    /// The configurations.
    pub struct DescribeConfigsResponse: versions 1..=4, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32,
        /// Whose.
        pub results: Vec<DescribeConfigsResult>,
    }

    /// One topic or broker.
    pub struct DescribeConfigsResult {
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str>,
        /// Its kind.
        pub resource_type: i8,
        /// Its name.
        pub resource_name: Str,
        /// The configurations.
        pub configs: Vec<DescribeConfigsResourceResult>,
    }

    /// One configuration.
    pub struct DescribeConfigsResourceResult {
        /// Its name.
        pub name: Str,
        /// Its value.
        pub value: Option<Str>,
        /// Whether it cannot be changed.
        pub read_only: bool,
        /// Where the value comes from.
        pub config_source: i8 [ignorable] = -1,
        /// Whether the value is a secret, and therefore null.
        pub is_sensitive: bool,
        /// The values that would hold if this one were not set, the next one first.
        pub synonyms: Vec<DescribeConfigsSynonym> [ignorable],
        /// What kind of value it is, or 0.
        pub config_type: i8 [3.., ignorable],
        /// What it does, in words.
        pub documentation: Option<Str> [3.., ignorable],
    }

    /// One value that would hold.
    pub struct DescribeConfigsSynonym {
        /// The configuration's name where it is set.
        pub name: Str,
        /// The value.
        pub value: Option<Str>,
        /// Where the value comes from.
        pub source: i8,
    }
}

impl DescribeConfigsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> DescribeConfigsResponse {
        let result = |asked: &DescribeConfigsResource| DescribeConfigsResult {
            error_code: error.code,
            error_message: error.message.clone(),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
            configs: Vec::new(),
        };
        DescribeConfigsResponse {
            results: self.resources.iter().map(result).collect(),
            ..DescribeConfigsResponse::default()
        }
    }
}
