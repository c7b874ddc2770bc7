//! The table of APIs: which messages belong to which key, and what we tell clients that we serve.

use bytes::Bytes;

use super::error_code::ApiError;
use super::field::{At, Field};
use super::read::{DecodeError, Reader};
use super::write::{EncodeError, Segments, Writer};
use super::{
    alter_partition_reassignments, api_versions, consumer_group_describe, consumer_group_heartbeat,
    create_partitions, create_topics, delete_groups, delete_topics, describe_cluster,
    describe_configs, describe_groups, describe_topic_partitions, fetch, find_coordinator,
    heartbeat, init_producer_id, join_group, leave_group, list_groups, list_offsets,
    list_partition_reassignments, metadata, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce, sync_group,
};

pub(crate) mod sealed {
    /// Only declared messages are messages.
    pub trait Sealed {}
}

/// The versions of one API that we tell clients about; both ends are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiVersionRange {
    /// The API.
    pub api_key: ApiKey,
    /// The first version.
    pub min_version: i16,
    /// The last version.
    pub max_version: i16,
}

/// A declared message: a request or a response, without its header.
#[expect(
    private_bounds,
    reason = "how a message is read and written is this module's business"
)]
pub trait Message: Field + Default + sealed::Sealed {
    /// Its name in Kafka's schemas.
    const NAME: &'static str;
    /// The first version that we read and write.
    const VERSION_MIN: i16;
    /// The last one.
    const VERSION_MAX: i16;
    /// The first flexible version (KIP-482), or `i16::MAX`.
    const FLEXIBLE_FROM: i16;

    /// Reads the whole of `body`.
    ///
    /// # Errors
    /// If it is not this message at this version, or something follows it.
    fn from_body(body: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = read_message(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Writes the message without any header.
    ///
    /// # Errors
    /// If the message has no such version, or the version cannot carry what it says.
    fn to_body(&self, version: i16) -> Result<Segments, EncodeError> {
        let mut writer = Writer::default();
        write_message(self, &mut writer, version)?;
        Ok(writer.finish())
    }
}

/// A message that a client sends, with the one that answers it.
pub trait RequestMessage: Message + Into<Request> {
    /// Its API.
    const API_KEY: ApiKey;
    /// The answer.
    type Response: Message + TryFrom<Response> + Into<Response>;

    /// The response that says this of all that is asked, in the API's version `version` (Kafka's `getErrorResponse`).
    #[must_use]
    fn error_response(&self, version: i16, error: &ApiError) -> Self::Response;
}

fn at<M: Message>(version: i16) -> Option<At> {
    (M::VERSION_MIN..=M::VERSION_MAX)
        .contains(&version)
        .then_some(At {
            version,
            flexible: version >= M::FLEXIBLE_FROM,
        })
}

pub(super) fn read_message<M: Message>(
    reader: &mut Reader<'_>,
    version: i16,
) -> Result<M, DecodeError> {
    let at = at::<M>(version).ok_or(DecodeError::UnsupportedVersion)?;
    M::decode(reader, at, false)
}

pub(super) fn write_message<M: Message>(
    message: &M,
    writer: &mut Writer,
    version: i16,
) -> Result<(), EncodeError> {
    let at = at::<M>(version).ok_or(EncodeError::UnsupportedVersion {
        message: M::NAME,
        version,
    })?;
    message.encode(writer, at, false)
}

macro_rules! apis {
    ($(
        $(#[$meta:meta])*
        $key:literal $name:ident: $module:ident::$request:ident => $module2:ident::$response:ident
            $(, served $min:literal..=$max:literal)?;
    )*) => {
        /// Which API a request is of. The numbers are those of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$meta])* $name = $key,)*
        }

        impl ApiKey {
            /// Every API that is declared, served or not.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$name => $key,)*
                }
            }

            /// The API of a number, if it is declared.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The first and last version that we can read, both inclusive. Of `Produce` clients are told more.
            #[must_use]
            pub const fn versions(self) -> (i16, i16) {
                match self {
                    $(Self::$name => (
                        <$module::$request as Message>::VERSION_MIN,
                        <$module::$request as Message>::VERSION_MAX,
                    ),)*
                }
            }

            /// Whether requests and responses of this version are flexible (KIP-482).
            #[must_use]
            pub const fn is_flexible(self, version: i16) -> bool {
                version >= match self {
                    $(Self::$name => <$module::$request as Message>::FLEXIBLE_FROM,)*
                }
            }
        }

        /// What `ApiVersions` tells clients.
        ///
        /// `Produce` is told from version 0 although 0 to 2 are refused: librdkafka takes a higher minimum for
        /// a broker that knows no compression (KAFKA-18659).
        pub const SERVED: &[ApiVersionRange] = &[$($(
            ApiVersionRange {
                api_key: ApiKey::$name,
                min_version: $min,
                max_version: $max,
            },
        )?)*];

        /// What `ApiVersions` tells clients of one API; nothing if it is not served.
        #[must_use]
        pub const fn served_versions(api_key: ApiKey) -> Option<ApiVersionRange> {
            match api_key {
                $(ApiKey::$name => {
                    #[allow(unused_mut, unused_assignments)]
                    let mut served = None;
                    $(served = Some(ApiVersionRange {
                        api_key,
                        min_version: $min,
                        max_version: $max,
                    });)?
                    served
                })*
            }
        }

        /// A request of any API, without its header.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request {
            $($(#[$meta])* $name($module::$request),)*
        }

        /// A response of any API, without its header.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Response {
            $($(#[$meta])* $name($module2::$response),)*
        }

        impl Request {
            /// The API.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// Whether it has a response: all but a Produce with `acks=0` have.
            #[must_use]
            pub const fn has_response(&self) -> bool {
                !matches!(self, Self::Produce(produce) if produce.acks == 0)
            }

            /// The same as [`RequestMessage::error_response`].
            #[must_use]
            pub fn error_response(&self, version: i16, error: &ApiError) -> Response {
                match self {
                    $(Self::$name(request) => request.failed(version, error).into(),)*
                }
            }

            pub(crate) fn read(
                reader: &mut Reader<'_>,
                api_key: ApiKey,
                version: i16,
            ) -> Result<Self, DecodeError> {
                match api_key {
                    $(ApiKey::$name => read_message(reader, version).map(Self::$name),)*
                }
            }

            pub(crate) fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(request) => write_message(request, writer, version),)*
                }
            }
        }

        impl Response {
            /// The API.
            #[must_use]
            pub const fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            pub(crate) fn read(
                reader: &mut Reader<'_>,
                api_key: ApiKey,
                version: i16,
            ) -> Result<Self, DecodeError> {
                match api_key {
                    $(ApiKey::$name => read_message(reader, version).map(Self::$name),)*
                }
            }

            pub(crate) fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(Self::$name(response) => write_message(response, writer, version),)*
                }
            }
        }

        $(
            impl RequestMessage for $module::$request {
                const API_KEY: ApiKey = ApiKey::$name;
                type Response = $module2::$response;

                fn error_response(&self, version: i16, error: &ApiError) -> Self::Response {
                    self.failed(version, error)
                }
            }

            impl From<$module::$request> for Request {
                fn from(request: $module::$request) -> Self {
                    Self::$name(request)
                }
            }

            impl From<$module2::$response> for Response {
                fn from(response: $module2::$response) -> Self {
                    Self::$name(response)
                }
            }

            impl TryFrom<Request> for $module::$request {
                type Error = Request;

                fn try_from(request: Request) -> Result<Self, Request> {
                    if let Request::$name(request) = request {
                        Ok(request)
                    } else {
                        Err(request)
                    }
                }
            }

            impl TryFrom<Response> for $module2::$response {
                type Error = Response;

                fn try_from(response: Response) -> Result<Self, Response> {
                    if let Response::$name(response) = response {
                        Ok(response)
                    } else {
                        Err(response)
                    }
                }
            }
        )*

        #[cfg(test)]
        macro_rules! for_each_api {
            ($callback:ident) => { $($callback!($name, $module, $request, $response);)* };
        }
        #[cfg(test)]
        pub(crate) use for_each_api;
    };
}

apis! {
    /// Appends record batches.
    0 Produce: produce::ProduceRequest => produce::ProduceResponse, served 0..=13;
    /// Reads record batches.
    1 Fetch: fetch::FetchRequest => fetch::FetchResponse, served 4..=18;
    /// Finds offsets by time.
    2 ListOffsets: list_offsets::ListOffsetsRequest => list_offsets::ListOffsetsResponse, served 1..=11;
    /// Tells the brokers, the topics and who leads what.
    3 Metadata: metadata::MetadataRequest => metadata::MetadataResponse, served 0..=13;
    /// Stores up to where a group has read.
    8 OffsetCommit: offset_commit::OffsetCommitRequest => offset_commit::OffsetCommitResponse;
    /// Tells from where a group goes on reading.
    9 OffsetFetch: offset_fetch::OffsetFetchRequest => offset_fetch::OffsetFetchResponse;
    /// Tells which broker coordinates a group or a transaction. No broker does yet, and that is the answer; it is
    /// served because librdkafka compresses with lz4 only where it is.
    10 FindCoordinator: find_coordinator::FindCoordinatorRequest => find_coordinator::FindCoordinatorResponse, served 0..=6;
    /// Makes a client a member of a classic group.
    11 JoinGroup: join_group::JoinGroupRequest => join_group::JoinGroupResponse;
    /// Keeps a member of a classic group alive.
    12 Heartbeat: heartbeat::HeartbeatRequest => heartbeat::HeartbeatResponse;
    /// Takes members out of a classic group.
    13 LeaveGroup: leave_group::LeaveGroupRequest => leave_group::LeaveGroupResponse;
    /// Hands out the assignment of a classic group.
    14 SyncGroup: sync_group::SyncGroupRequest => sync_group::SyncGroupResponse;
    /// Tells classic groups and their members.
    15 DescribeGroups: describe_groups::DescribeGroupsRequest => describe_groups::DescribeGroupsResponse;
    /// Tells which groups the broker coordinates.
    16 ListGroups: list_groups::ListGroupsRequest => list_groups::ListGroupsResponse;
    /// Tells which versions of which APIs are served.
    18 ApiVersions: api_versions::ApiVersionsRequest => api_versions::ApiVersionsResponse, served 0..=5;
    /// Creates topics.
    19 CreateTopics: create_topics::CreateTopicsRequest => create_topics::CreateTopicsResponse, served 2..=7;
    /// Deletes topics.
    20 DeleteTopics: delete_topics::DeleteTopicsRequest => delete_topics::DeleteTopicsResponse, served 1..=6;
    /// Gives a producer its id and epoch.
    22 InitProducerId: init_producer_id::InitProducerIdRequest => init_producer_id::InitProducerIdResponse, served 0..=5;
    /// Tells where epochs ended.
    23 OffsetForLeaderEpoch: offset_for_leader_epoch::OffsetForLeaderEpochRequest => offset_for_leader_epoch::OffsetForLeaderEpochResponse, served 2..=4;
    /// Tells how topics and brokers are configured.
    32 DescribeConfigs: describe_configs::DescribeConfigsRequest => describe_configs::DescribeConfigsResponse, served 1..=4;
    /// Adds partitions to topics.
    37 CreatePartitions: create_partitions::CreatePartitionsRequest => create_partitions::CreatePartitionsResponse, served 0..=3;
    /// Deletes groups that have no members.
    42 DeleteGroups: delete_groups::DeleteGroupsRequest => delete_groups::DeleteGroupsResponse;
    /// Begins and cancels reassignments of partitions.
    45 AlterPartitionReassignments: alter_partition_reassignments::AlterPartitionReassignmentsRequest => alter_partition_reassignments::AlterPartitionReassignmentsResponse, served 0..=1;
    /// Tells the reassignments that are in progress.
    46 ListPartitionReassignments: list_partition_reassignments::ListPartitionReassignmentsRequest => list_partition_reassignments::ListPartitionReassignmentsResponse, served 0..=0;
    /// Deletes offsets of a group.
    47 OffsetDelete: offset_delete::OffsetDeleteRequest => offset_delete::OffsetDeleteResponse;
    /// Tells the brokers, for administrators.
    60 DescribeCluster: describe_cluster::DescribeClusterRequest => describe_cluster::DescribeClusterResponse, served 0..=2;
    /// Keeps a member of the consumer rebalance protocol, and tells it what to read.
    68 ConsumerGroupHeartbeat: consumer_group_heartbeat::ConsumerGroupHeartbeatRequest => consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
    /// Tells groups of the consumer rebalance protocol and their members.
    69 ConsumerGroupDescribe: consumer_group_describe::ConsumerGroupDescribeRequest => consumer_group_describe::ConsumerGroupDescribeResponse;
    /// Tells topics a page at a time.
    75 DescribeTopicPartitions: describe_topic_partitions::DescribeTopicPartitionsRequest => describe_topic_partitions::DescribeTopicPartitionsResponse, served 0..=0;
}
