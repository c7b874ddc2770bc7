//! `DeleteTopics`, key 20.

use super::error_code::{ApiError, ErrorCode};
use super::text::Str;
use crate::ids::TopicId;

message! {
    /// Asks for topics to be deleted.
    pub struct DeleteTopicsRequest: versions 1..=6, flexible 4.. {
        /// The topics, each by name or by id.
        pub topics: Vec<DeleteTopicState> [6..],
        /// The topics by name, in older versions.
        pub topic_names: Vec<Str> [1..=5, ignorable],
        /// How long to wait, in milliseconds.
        pub timeout_ms: i32,
    }

    /// One topic.
    pub struct DeleteTopicState {
        /// The topic by name, or null.
        pub name: Option<Str> [6..],
        /// The topic by id, or zero.
        pub topic_id: TopicId [6..],
    }
}

message! {
    /// What became of each topic.
    pub struct DeleteTopicsResponse: versions 1..=6, flexible 4.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// The topics.
        pub responses: Vec<DeletableTopicResult>,
    }

    /// One topic.
    pub struct DeletableTopicResult {
        /// The topic by name; null if it was asked for by an id that is not known.
        pub name: Option<Str> [nullable 6..],
        /// The topic by id, or zero.
        pub topic_id: TopicId [6.., ignorable],
        /// What went wrong.
        pub error_code: ErrorCode,
        /// What went wrong, in words.
        pub error_message: Option<Str> [5.., nullable 5.., ignorable],
    }
}

impl DeleteTopicsRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> DeleteTopicsResponse {
        let by_name = self.topic_names.iter();
        let by_name = by_name.map(|name| (Some(name.clone()), TopicId::ZERO));
        let by_either = self.topics.iter();
        let by_either = by_either.map(|topic| (topic.name.clone(), topic.topic_id));
        let result = |(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: error.code,
            error_message: error.message.clone(),
        };
        DeleteTopicsResponse {
            responses: by_name.chain(by_either).map(result).collect(),
            ..DeleteTopicsResponse::default()
        }
    }
}
