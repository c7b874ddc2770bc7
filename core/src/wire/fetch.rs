//! `Fetch`, key 1: record batches on their way out of partition logs.

use super::error_code::{ApiError, ErrorCode};
use super::records::Records;
use super::text::Str;
use crate::ids::{DirectoryId, TopicId};

message! {
    /// Asks for record batches, maybe as part of a fetch session (KIP-227).
    pub struct FetchRequest: versions 4..=18, flexible 12.. {
        /// The cluster that a fetching replica takes itself to be in, or null.
        pub cluster_id: Option<Str> [12.., tag 0, ignorable],
        /// The replica that fetches, or -1 for a consumer.
        pub replica_id: i32 [4..=14] = -1,
        /// The replica that fetches, in newer versions.
        pub replica_state: ReplicaState [15.., tag 1],
        /// How long to wait for `min_bytes`, in milliseconds.
        pub max_wait_ms: i32,
        /// How many bytes to wait for.
        pub min_bytes: i32,
        /// How many bytes to answer with at most, but for a first batch that is larger.
        pub max_bytes: i32 [ignorable] = i32::MAX,
        /// 0 reads up to the high watermark, 1 up to the last stable offset.
        pub isolation_level: i8 [ignorable],
        /// The fetch session, or 0 for none.
        pub session_id: i32 [7.., ignorable],
        /// The session's epoch: -1 asks for no session, 0 for a new one.
        pub session_epoch: i32 [7.., ignorable] = -1,
        /// The topics to fetch, in a session those that are new or changed.
        pub topics: Vec<FetchTopic>,
        /// The partitions to take out of the session.
        pub forgotten_topics_data: Vec<ForgottenTopic> [7..],
        /// The consumer's rack, or empty.
        pub rack_id: Str [11.., ignorable],
    }

    /// Which replica fetches.
    pub struct ReplicaState {
        /// The replica, or -1 for a consumer.
        pub replica_id: i32 [15..] = -1,
        /// The epoch of its broker's registration, or -1.
        pub replica_epoch: i64 [15..] = -1,
    }

    /// The partitions of one topic to fetch.
    pub struct FetchTopic {
        /// The topic by name.
        pub topic: Str [4..=12, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [13.., ignorable],
        /// The partitions.
        pub partitions: Vec<FetchPartition>,
    }

    /// One partition to fetch.
    pub struct FetchPartition {
        /// The partition.
        pub partition: i32,
        /// The leader epoch that the client knows, or -1.
        pub current_leader_epoch: i32 [9.., ignorable] = -1,
        /// The offset to read from.
        pub fetch_offset: i64,
        /// The epoch of the last record that a follower has, or -1.
        pub last_fetched_epoch: i32 [12..] = -1,
        /// A follower's first offset, or -1.
        pub log_start_offset: i64 [5.., ignorable] = -1,
        /// How many bytes of this partition to answer with at most, but for a first batch that is larger.
        pub partition_max_bytes: i32,
        /// A follower's log directory, or zero.
        pub replica_directory_id: DirectoryId [17.., tag 0, ignorable],
        /// The high watermark that a follower knows.
        pub high_watermark: i64 [18.., tag 1, ignorable] = i64::MAX,
    }

    /// The partitions of one topic to take out of the session.
    pub struct ForgottenTopic {
        /// The topic by name.
        pub topic: Str [7..=12, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [13.., ignorable],
        /// The partitions.
        pub partitions: Vec<i32> [7..],
    }
}

message! {
    /// The record batches.
    pub struct FetchResponse: versions 4..=18, flexible 12.. {
        /// How long the client is held back, in milliseconds.
        pub throttle_time_ms: i32 [ignorable],
        /// What went wrong, for the whole request.
        pub error_code: ErrorCode [7.., ignorable],
        /// The fetch session, or 0 for none.
        pub session_id: i32 [7..],
        /// The topics.
        pub responses: Vec<FetchableTopicResponse>,
        /// Where to find the leaders that `current_leader` names (KIP-951).
        pub node_endpoints: Vec<NodeEndpoint> [16.., tag 0, hint],
    }

    /// The batches of one topic.
    pub struct FetchableTopicResponse {
        /// The topic by name.
        pub topic: Str [4..=12, ignorable],
        /// The topic by id.
        pub topic_id: TopicId [13.., ignorable],
        /// The partitions.
        pub partitions: Vec<PartitionData>,
    }

    /// The batches of one partition.
    pub struct PartitionData {
        /// The partition.
        pub partition_index: i32,
        /// What went wrong.
        pub error_code: ErrorCode,
        /// The high watermark (exclusive: the first offset that is not committed), or -1.
        pub high_watermark: i64,
        /// The last stable offset (exclusive), or -1.
        pub last_stable_offset: i64 [ignorable] = -1,
        /// The partition's first offset, or -1.
        pub log_start_offset: i64 [5.., ignorable] = -1,
        /// Where the follower's log and ours part ways.
        pub diverging_epoch: EpochEndOffset [12.., tag 0],
        /// Who leads the partition, if it is not this broker (KIP-951).
        pub current_leader: LeaderIdAndEpoch [12.., tag 1, hint],
        /// The snapshot to fetch instead.
        pub snapshot_id: SnapshotId [12.., tag 2],
        /// The transactions among the batches that were aborted; null unless asked for.
        pub aborted_transactions: Option<Vec<AbortedTransaction>> [ignorable],
        /// The replica that the consumer should rather read from, or -1.
        pub preferred_read_replica: i32 [11..] = -1,
        /// The record batches.
        pub records: Option<Records>,
    }

    /// The end of an epoch.
    pub struct EpochEndOffset {
        /// The epoch, or -1.
        pub epoch: i32 [12..] = -1,
        /// Its end (exclusive), or -1.
        pub end_offset: i64 [12..] = -1,
    }

    /// Who leads a partition.
    pub struct LeaderIdAndEpoch {
        /// The leader, or -1 if it is not known.
        pub leader_id: i32 [12..] = -1,
        /// Its leader epoch, or -1.
        pub leader_epoch: i32 [12..] = -1,
    }

    /// A snapshot of the metadata log.
    pub struct SnapshotId {
        /// Its end (exclusive), or -1.
        pub end_offset: i64 = -1,
        /// Its epoch, or -1.
        pub epoch: i32 = -1,
    }

    /// A transaction whose records are to be skipped.
    pub struct AbortedTransaction {
        /// The producer.
        pub producer_id: i64,
        /// The first offset in the transaction.
        pub first_offset: i64,
    }

    /// Where a broker can be reached.
    pub struct NodeEndpoint {
        /// The broker.
        pub node_id: i32 [16..],
        /// Its host.
        pub host: Str [16..],
        /// Its port.
        pub port: i32 [16..],
        /// Its rack, or null.
        pub rack: Option<Str> [16..],
    }
}

impl FetchRequest {
    /// In versions that name topics by id the error stands for the whole, as in Kafka.
    pub(super) fn failed(&self, version: i16, error: &ApiError) -> FetchResponse {
        let partition = |asked: &FetchPartition| PartitionData {
            partition_index: asked.partition,
            error_code: error.code,
            high_watermark: -1,
            records: Some(Records::empty()),
            ..PartitionData::default()
        };
        let topic = |asked: &FetchTopic| FetchableTopicResponse {
            topic: asked.topic.clone(),
            topic_id: asked.topic_id,
            partitions: asked.partitions.iter().map(partition).collect(),
        };
        let named = if version < 13 { &self.topics[..] } else { &[] };
        FetchResponse {
            error_code: error.code,
            session_id: self.session_id,
            responses: named.iter().map(topic).collect(),
            ..FetchResponse::default()
        }
    }
}
