//! `Produce`, key 0: record batches on their way into partition logs.

use super::error_code::{ApiError, ErrorCode};
use super::records::Records;
use super::text::Str;
use crate::ids::TopicId;

message! {
    /// Asks to append record batches to partitions that the broker leads.
    pub struct ProduceRequest: versions 3..=13, flexible 9.. {
        /// The transaction that the batches belong to, or null.
        pub transactional_id: Option<Str>,
        /// What to wait for: 0 no answer at all, 1 the leader, -1 the in-sync replicas.
        pub acks: i16,
        /// How long to wait for it, in milliseconds.
        pub timeout_ms: i32,
        /// The topics.
        pub topic_data: Vec<TopicProduceData>,
    }

    /// The batches for one topic.
    pub struct TopicProduceData {
        /// The topic by name.
        pub name: Str [3..=12, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [13.., ignorable],
        /// The partitions.
        pub partition_data: Vec<PartitionProduceData>,
    }

    /// The batches for one partition.
    pub struct PartitionProduceData {
        /// The partition.
        pub index: i32,
        /// The record batches.
        pub records: Option<Records>,
    }
}

message! {
    /// Where the batches were appended, or why they were not.
    pub struct ProduceResponse: versions 3..=13, flexible 9.. {
        /// The topics.
        pub responses: Vec<TopicProduceResponse>,
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// Where to find the leaders that `current_leader` names (KIP-951).
        pub node_endpoints: Vec<NodeEndpoint> [10.., tag 0, hint],
    }

    /// What happened to one topic.
    pub struct TopicProduceResponse {
        /// The topic by name.
        pub name: Str [3..=12, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [13.., ignorable],
        /// The partitions.
        pub partition_responses: Vec<PartitionProduceResponse>,
    }

    /// What happened to one partition.
    pub struct PartitionProduceResponse {
        /// The partition.
        pub index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The offset of the first record, or -1.
        pub base_offset: i64,
        /// The broker's time of the append in milliseconds since the Unix epoch if the topic stamps its
        /// records with it, otherwise -1.
        pub log_append_time_ms: i64 [ignorable] = -1,
        /// The partition's first offset, or -1.
        pub log_start_offset: i64 [5.., ignorable] = -1,
        /// The records because of which the batch was refused.
        pub record_errors: Vec<BatchIndexAndErrorMessage> [8.., ignorable],
        /// Why the batch was refused, in words.
        pub error_message: Option<Str> [8.., ignorable],
        /// Who leads the partition, if it is not this broker (KIP-951).
        pub current_leader: LeaderIdAndEpoch [10.., tag 0, hint],
    }

    /// One record that was refused.
    pub struct BatchIndexAndErrorMessage {
        /// Its place in the batch, from 0.
        pub batch_index: i32 [8..],
        /// Why, in words.
        pub batch_index_error_message: Option<Str> [8..],
    }

    /// Who leads a partition.
    pub struct LeaderIdAndEpoch {
        /// The leader, or -1 if it is not known.
        pub leader_id: i32 [10..] = -1,
        /// Its leader epoch, or -1.
        pub leader_epoch: i32 [10..] = -1,
    }

    /// Where a broker can be reached.
    pub struct NodeEndpoint {
        /// The broker.
        pub node_id: i32 [10..],
        /// Its host.
        pub host: Str [10..],
        /// Its port.
        pub port: i32 [10..],
        /// Its rack, or null.
        pub rack: Option<Str> [10..],
    }
}

impl ProduceRequest {
    pub(super) fn failed(&self, _version: i16, error: &ApiError) -> ProduceResponse {
        let partition = |asked: &PartitionProduceData| PartitionProduceResponse {
            index: asked.index,
            error_code: error.code,
            base_offset: -1,
            error_message: error.message.clone(),
            ..PartitionProduceResponse::default()
        };
        let topic = |asked: &TopicProduceData| TopicProduceResponse {
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            partition_responses: asked.partition_data.iter().map(partition).collect(),
        };
        ProduceResponse {
            responses: self.topic_data.iter().map(topic).collect(),
            ..ProduceResponse::default()
        }
    }
}
