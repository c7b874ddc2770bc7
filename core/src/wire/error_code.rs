//! Kafka's error codes.

use std::fmt;

use super::text::Str;

macro_rules! error_codes {
    ($($(#[$meta:meta])* $code:literal $variant:ident $name:literal $($retriable:ident)?;)*) => {
        /// How a broker says what went wrong; the numbers are those of the protocol.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$meta])* $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The code of a number, if it is one.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether Kafka's clients try again by themselves, maybe after fetching metadata.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(Self::$variant => error_codes!(@ $($retriable)?),)*
                }
            }
        }
    };
    (@) => { false };
    (@ retriable) => { true };
}

error_codes! {
    /// The server failed in a way that it has no other word for.
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR";
    /// Nothing went wrong.
    #[default]
    0 None "NONE";
    /// The offset is before the log start or past the log end.
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE";
    /// A batch's checksum, size, key or layout is wrong.
    2 CorruptMessage "CORRUPT_MESSAGE" retriable;
    /// This broker has no such topic or partition.
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" retriable;
    /// The fetch asks for a size that makes no sense.
    4 InvalidFetchSize "INVALID_FETCH_SIZE";
    /// The partition has no leader for the moment.
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" retriable;
    /// This broker is not the partition's leader, nor a replica where a replica would do.
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" retriable;
    /// The request's own time limit passed first.
    7 RequestTimedOut "REQUEST_TIMED_OUT" retriable;
    /// The broker is not available.
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE";
    /// The replica is not available.
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" retriable;
    /// A batch is larger than the topic allows.
    10 MessageTooLarge "MESSAGE_TOO_LARGE";
    /// The request comes from a controller that has been replaced.
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH";
    /// The metadata beside a committed offset is too long.
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE";
    /// The connection ended before the answer came.
    13 NetworkException "NETWORK_EXCEPTION" retriable;
    /// The coordinator is still reading its log.
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" retriable;
    /// There is no coordinator for the moment.
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" retriable;
    /// This broker does not coordinate that group or transaction.
    16 NotCoordinator "NOT_COORDINATOR" retriable;
    /// The topic name is not a legal one, or not one that a client may write to.
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION";
    /// The batches together are larger than a segment may be.
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE";
    /// Fewer replicas are in sync than the topic asks for; nothing was appended.
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" retriable;
    /// The batch was appended, but fewer replicas are in sync than the topic asks for.
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" retriable;
    /// Acks is none of -1, 0 and 1.
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS";
    /// The member speaks of a generation that is over.
    22 IllegalGeneration "ILLEGAL_GENERATION";
    /// The member has no protocol in common with its group.
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL";
    /// The group id is not a legal one.
    24 InvalidGroupId "INVALID_GROUP_ID";
    /// The coordinator knows no such member.
    25 UnknownMemberId "UNKNOWN_MEMBER_ID";
    /// The session timeout is outside the range that the broker allows.
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT";
    /// The group is rebalancing; the member must join again.
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS";
    /// The committed offsets are too large to store.
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE";
    /// The principal may not do this to the topic.
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED";
    /// The principal may not do this to the group.
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED";
    /// The principal may not do this to the cluster.
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED";
    /// A record's timestamp is outside the range that the topic allows.
    32 InvalidTimestamp "INVALID_TIMESTAMP";
    /// The broker does not offer this SASL mechanism.
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM";
    /// The request does not belong to this stage of authentication.
    34 IllegalSaslState "ILLEGAL_SASL_STATE";
    /// The broker does not serve this version of the API.
    35 UnsupportedVersion "UNSUPPORTED_VERSION";
    /// A topic of this name exists already.
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS";
    /// The number of partitions is not possible.
    37 InvalidPartitions "INVALID_PARTITIONS";
    /// The replication factor is below 1 or above the number of brokers.
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR";
    /// The wished placement of replicas is not possible.
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT";
    /// A configuration is unknown or its value not allowed.
    40 InvalidConfig "INVALID_CONFIG";
    /// This broker is not the active controller.
    41 NotController "NOT_CONTROLLER" retriable;
    /// The request contradicts itself or the protocol.
    42 InvalidRequest "INVALID_REQUEST";
    /// The log's message format cannot answer the request.
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    /// A policy of the cluster forbids this.
    44 PolicyViolation "POLICY_VIOLATION";
    /// A batch of the producer is missing before this one.
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// A batch with this sequence was appended already.
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER";
    /// The producer has been replaced by one with a newer epoch.
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH";
    /// The transaction is in a state that does not allow this.
    48 InvalidTxnState "INVALID_TXN_STATE";
    /// The producer id is not the one of this transactional id.
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING";
    /// The transaction timeout is above what the broker allows.
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT";
    /// The previous operation on this transaction is still under way.
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" retriable;
    /// The transaction coordinator that asks has been replaced.
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED";
    /// The principal may not use this transactional id.
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED";
    /// No authorizer is configured.
    54 SecurityDisabled "SECURITY_DISABLED";
    /// Nothing was done, because another part of the request failed.
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED";
    /// A disk of the broker failed.
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" retriable;
    /// The broker has no such log directory.
    57 LogDirNotFound "LOG_DIR_NOT_FOUND";
    /// The client could not prove who it is.
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED";
    /// The broker no longer knows the producer id.
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID";
    /// The partition is being reassigned.
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS";
    /// Delegation tokens are not enabled.
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED";
    /// There is no such delegation token.
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND";
    /// The token belongs to somebody else.
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH";
    /// Delegation tokens cannot be asked for over this connection.
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED";
    /// The principal may not do this to the token.
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED";
    /// The token has expired.
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED";
    /// The principal is of a type that is not supported.
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE";
    /// The group still has members.
    68 NonEmptyGroup "NON_EMPTY_GROUP";
    /// There is no such group.
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND";
    /// The fetch session is not, or no longer, known.
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" retriable;
    /// The fetch session's epoch is not the expected one.
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" retriable;
    /// The leader has no listener of the name that the request came in by.
    72 ListenerNotFound "LISTENER_NOT_FOUND" retriable;
    /// Deleting topics is disabled.
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED";
    /// The leader epoch in the request is older than the broker's.
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" retriable;
    /// The leader epoch in the request is newer than the broker's.
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" retriable;
    /// The client's version cannot read the partition's compression codec.
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE";
    /// The broker's registration has been replaced.
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH";
    /// The new leader does not know yet how far the log is committed.
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" retriable;
    /// The member must join again with the id that it was just given.
    79 MemberIdRequired "MEMBER_ID_REQUIRED";
    /// The preferred leader is not available.
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" retriable;
    /// The group is full.
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED";
    /// Another member has taken over this static instance id.
    82 FencedInstanceId "FENCED_INSTANCE_ID";
    /// No eligible leader is available.
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" retriable;
    /// The partition has the leader that was asked for.
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" retriable;
    /// No reassignment of the partition is under way.
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS";
    /// The group is subscribed to the topic whose offsets were to be deleted.
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC";
    /// A record is refused by the checks of the topic.
    87 InvalidRecord "INVALID_RECORD";
    /// Offsets of an open transaction are still to be decided.
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" retriable;
    /// The client is over its quota.
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" retriable;
    /// A newer producer has the same transactional id.
    90 ProducerFenced "PRODUCER_FENCED";
    /// The request names something that does not exist.
    91 ResourceNotFound "RESOURCE_NOT_FOUND";
    /// The request names the same thing twice.
    92 DuplicateResource "DUPLICATE_RESOURCE";
    /// The credential does not meet the rules.
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL";
    /// Sender and receiver do not agree on who votes.
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET";
    /// The version to update to is not possible.
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION";
    /// The features could not be updated.
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED";
    /// A forwarded request's principal could not be read.
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE";
    /// There is no such snapshot.
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND";
    /// The position is outside the snapshot.
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE";
    /// This broker has no topic of this id.
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" retriable;
    /// Another broker has this id.
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION";
    /// No broker of this id is registered.
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED";
    /// The topic id is not the one that the log belongs to.
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" retriable;
    /// The request is meant for another cluster.
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID";
    /// There is no such transactional id.
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND";
    /// The fetch session mixes topic names and topic ids.
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" retriable;
    /// A replica of the new ISR may not be in it.
    107 IneligibleReplica "INELIGIBLE_REPLICA";
    /// The change was made, and with it the leader changed.
    108 NewLeaderElected "NEW_LEADER_ELECTED";
    /// The offset is in remote storage only.
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE";
    /// The member's epoch is over; it must give up its partitions and join again.
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH";
    /// Another member still holds the static instance id.
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID";
    /// The group offers no such assignor.
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR";
    /// The member's epoch is older than the coordinator's.
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH";
    /// The request was sent to a broker where a controller was meant, or the reverse.
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE";
    /// This kind of endpoint is not supported.
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE";
    /// There is no controller of this id.
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID";
    /// The telemetry subscription is unknown or out of date.
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID";
    /// The telemetry is larger than the broker accepts.
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE";
    /// The controller refuses the registration.
    119 InvalidRegistration "INVALID_REGISTRATION";
    /// The transaction must be aborted, after which the producer can go on.
    120 TransactionAbortable "TRANSACTION_ABORTABLE";
    /// The record is not in a state that can be acknowledged so.
    121 InvalidRecordState "INVALID_RECORD_STATE";
    /// The share session is not, or no longer, known.
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" retriable;
    /// The share session's epoch is not the expected one.
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" retriable;
    /// The share group's state has a newer epoch.
    124 FencedStateEpoch "FENCED_STATE_EPOCH";
    /// The voter's directory id is not that of the receiver.
    125 InvalidVoterKey "INVALID_VOTER_KEY";
    /// The voter is one already.
    126 DuplicateVoter "DUPLICATE_VOTER";
    /// There is no such voter.
    127 VoterNotFound "VOTER_NOT_FOUND";
    /// The regular expression is not valid.
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION";
    /// The client's metadata is too old; it must start from its bootstrap servers.
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED";
    /// The topology is not valid.
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY";
    /// The topology's epoch is not valid.
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH";
    /// The topology has been replaced by a newer one.
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED";
    /// There are as many share sessions as the broker allows.
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" retriable;
    /// A group could not be deleted, for the reason that is given.
    134 GroupDeletionFailed "GROUP_DELETION_FAILED";
    /// The description of the topology could not be updated.
    135 StreamsTopologyDescriptionUpdateFailed "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED";
    /// No controller of this id is registered.
    136 ControllerIdNotRegistered "CONTROLLER_ID_NOT_REGISTERED";
}

impl ErrorCode {
    /// Whether nothing went wrong.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, Self::None)
    }
}

/// What went wrong, for a whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// In words, where the response has room for them.
    pub message: Option<Str>,
}

impl ApiError {
    /// An error in these words.
    pub fn new(code: ErrorCode, message: impl Into<Str>) -> Self {
        let message = Some(message.into());
        Self { code, message }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
        }
    }
}

impl fmt::Display for ErrorCode {
    /// Kafka's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for ErrorCode {}
