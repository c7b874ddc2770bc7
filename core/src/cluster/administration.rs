//! The requests that only the controller decides, separated once from those that any broker answers.

use crate::wire::{
    AlterPartitionReassignmentsRequest, ApiError, ApiKey, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteTopicsRequest, ErrorCode, Request, RequestMessage as _, Response,
    Str,
};

/// A request of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// Create topics.
    CreateTopics(CreateTopicsRequest),
    /// Delete topics.
    DeleteTopics(DeleteTopicsRequest),
    /// Give topics more partitions.
    CreatePartitions(CreatePartitionsRequest),
    /// Begin reassignments of partitions, or cancel them.
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
}

impl AdminRequest {
    /// Which API it belongs to.
    #[must_use]
    pub const fn api_key(&self) -> ApiKey {
        match self {
            Self::CreateTopics(_) => ApiKey::CreateTopics,
            Self::DeleteTopics(_) => ApiKey::DeleteTopics,
            Self::CreatePartitions(_) => ApiKey::CreatePartitions,
            Self::AlterPartitionReassignments(_) => ApiKey::AlterPartitionReassignments,
        }
    }

    /// Its client's timeout in milliseconds.
    #[must_use]
    pub const fn timeout_ms(&self) -> i32 {
        match self {
            Self::CreateTopics(request) => request.timeout_ms,
            Self::DeleteTopics(request) => request.timeout_ms,
            Self::CreatePartitions(request) => request.timeout_ms,
            Self::AlterPartitionReassignments(request) => request.timeout_ms,
        }
    }
}

impl AdminRequest {
    /// The response with this error for everything in the request.
    #[must_use]
    pub fn error_response(&self, version: i16, error: &ApiError) -> Response {
        match self {
            Self::CreateTopics(request) => request.error_response(version, error).into(),
            Self::DeleteTopics(request) => request.error_response(version, error).into(),
            Self::CreatePartitions(request) => request.error_response(version, error).into(),
            Self::AlterPartitionReassignments(request) => {
                request.error_response(version, error).into()
            }
        }
    }
}

/// Visits the result for each topic in an administrative response, or for each partition where the request is about
/// partitions: the topic's name, if it is known, the error and its message.
pub(crate) fn visit_topics(
    response: &mut Response,
    mut visit: impl FnMut(Option<&Str>, &mut ErrorCode, &mut Option<Str>),
) {
    match response {
        Response::CreateTopics(response) => {
            for topic in &mut response.topics {
                visit(
                    Some(&topic.name),
                    &mut topic.error_code,
                    &mut topic.error_message,
                );
            }
        }
        Response::DeleteTopics(response) => {
            for topic in &mut response.responses {
                visit(
                    topic.name.as_ref(),
                    &mut topic.error_code,
                    &mut topic.error_message,
                );
            }
        }
        Response::CreatePartitions(response) => {
            for topic in &mut response.results {
                visit(
                    Some(&topic.name),
                    &mut topic.error_code,
                    &mut topic.error_message,
                );
            }
        }
        Response::AlterPartitionReassignments(response) => {
            for topic in &mut response.responses {
                for partition in &mut topic.partitions {
                    visit(
                        Some(&topic.name),
                        &mut partition.error_code,
                        &mut partition.error_message,
                    );
                }
            }
        }
        Response::Produce(_)
        | Response::Fetch(_)
        | Response::ListOffsets(_)
        | Response::Metadata(_)
        | Response::FindCoordinator(_)
        | Response::ApiVersions(_)
        | Response::InitProducerId(_)
        | Response::OffsetForLeaderEpoch(_)
        | Response::DescribeConfigs(_)
        | Response::ListPartitionReassignments(_)
        | Response::DescribeCluster(_)
        | Response::DescribeTopicPartitions(_)
        | Response::OffsetCommit(_)
        | Response::OffsetFetch(_)
        | Response::JoinGroup(_)
        | Response::Heartbeat(_)
        | Response::LeaveGroup(_)
        | Response::SyncGroup(_)
        | Response::DescribeGroups(_)
        | Response::ListGroups(_)
        | Response::DeleteGroups(_)
        | Response::OffsetDelete(_)
        | Response::ConsumerGroupHeartbeat(_)
        | Response::ConsumerGroupDescribe(_) => {}
    }
}

impl From<AdminRequest> for Request {
    fn from(request: AdminRequest) -> Self {
        match request {
            AdminRequest::CreateTopics(request) => Self::CreateTopics(request),
            AdminRequest::DeleteTopics(request) => Self::DeleteTopics(request),
            AdminRequest::CreatePartitions(request) => Self::CreatePartitions(request),
            AdminRequest::AlterPartitionReassignments(request) => {
                Self::AlterPartitionReassignments(request)
            }
        }
    }
}

impl TryFrom<Request> for AdminRequest {
    /// The request, which any broker answers.
    type Error = Request;

    fn try_from(request: Request) -> Result<Self, Request> {
        match request {
            Request::CreateTopics(request) => Ok(Self::CreateTopics(request)),
            Request::DeleteTopics(request) => Ok(Self::DeleteTopics(request)),
            Request::CreatePartitions(request) => Ok(Self::CreatePartitions(request)),
            Request::AlterPartitionReassignments(request) => {
                Ok(Self::AlterPartitionReassignments(request))
            }
            other @ (Request::Produce(_)
            | Request::Fetch(_)
            | Request::ListOffsets(_)
            | Request::Metadata(_)
            | Request::FindCoordinator(_)
            | Request::ApiVersions(_)
            | Request::InitProducerId(_)
            | Request::OffsetForLeaderEpoch(_)
            | Request::DescribeConfigs(_)
            | Request::ListPartitionReassignments(_)
            | Request::DescribeCluster(_)
            | Request::DescribeTopicPartitions(_)
            | Request::OffsetCommit(_)
            | Request::OffsetFetch(_)
            | Request::JoinGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::SyncGroup(_)
            | Request::DescribeGroups(_)
            | Request::ListGroups(_)
            | Request::DeleteGroups(_)
            | Request::OffsetDelete(_)
            | Request::ConsumerGroupHeartbeat(_)
            | Request::ConsumerGroupDescribe(_)) => Err(other),
        }
    }
}
