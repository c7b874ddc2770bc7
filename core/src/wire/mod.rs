//! Kafka's wire protocol: the words that clients and brokers say to each other, and their bytes.
//!
//! Every message is declared once, in the file of its API, in a form that can be held against Kafka's published
//! message schema: name and type of each field, the versions that carry it, whether it may be null, its tag,
//! its default, and whether a version that cannot carry it may drop it. `declare.rs` explains the form. From one
//! declaration come the plain struct, its defaults, decoding and encoding at every version. To add an API,
//! declare its two messages in a file of their own and give it one line in [`api`].
//!
//! What this module decides: which bytes are a valid message, and which bytes a message is. What it does not:
//! whether a request makes sense, who may send it, and how frames are cut from a stream (the four length bytes
//! are written here, but read and bounded by whoever owns the socket).
//!
//! **Decoding** takes any bytes and never panics. Strings and records stay slices of the frame; an array
//! reserves room only after its length was compared with the bytes that are left. A length, a flag or a tag
//! that does not fit, a missing byte and a byte too many are all errors. Tagged fields of a number that is not
//! declared are skipped, as KIP-482 asks.
//!
//! **Encoding** yields [`Segments`]: small fields gathered in one buffer, records appended as they are.
//!
//! Sources: the message schemas of Apache Kafka 4.x, KIP-482 (tagged fields and flexible versions),
//! KIP-511 (how ApiVersions negotiates), KIP-516 (topic ids), KIP-951 (leader hints).

#[macro_use]
mod declare;

mod field;
mod read;
mod records;
mod text;
mod write;

pub mod api;
pub mod error_code;
pub mod frame;

pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod consumer_protocol;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_topic_partitions;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

pub use alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
pub use api::{
    ApiKey, ApiVersionRange, Message, Request, RequestMessage, Response, SERVED, served_versions,
};
pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};
pub use consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
pub use consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
pub use create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
pub use create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
pub use delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
pub use describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
pub use error_code::{ApiError, ErrorCode};
pub use fetch::{FetchRequest, FetchResponse};
pub use find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use frame::{
    RequestError, RequestHeader, decode_request, decode_response, encode_request, encode_response,
};
pub use heartbeat::{HeartbeatRequest, HeartbeatResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use join_group::{JoinGroupRequest, JoinGroupResponse};
pub use leave_group::{LeaveGroupRequest, LeaveGroupResponse};
pub use list_groups::{ListGroupsRequest, ListGroupsResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
pub use offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
pub use offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
pub use offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
pub use produce::{ProduceRequest, ProduceResponse};
pub use read::{DecodeError, REQUEST_ELEMENTS_MAX};
pub use records::Records;
pub use sync_group::{SyncGroupRequest, SyncGroupResponse};
pub use text::Str;
pub use write::{EncodeError, Segments};

#[cfg(test)]
mod differential;
#[cfg(test)]
mod error_response;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
