//! Dispatches the requests of clients, and wakes those that wait.
//!
//! Every request gets one response, except a produce with `acks=0`, which gets none. Requests that cannot be answered
//! at once wait in the `purgatory`.
//!
//! Requests that wait for a partition are indexed by it, so a change of one partition costs nothing to requests that
//! wait for others. The driver orders the responses of a connection.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::AdminRequest;
use crate::effect::{Effect, Effects, RequestId};
use crate::ids::TopicPartition;
use crate::input::{ClientRequest, ConnectionId};
use crate::wire::find_coordinator::KEY_GROUP;
use crate::wire::{ErrorCode, FindCoordinatorRequest, Request, RequestMessage as _};

use super::admin::ControllerRequests;
use super::disconnected_leaders::DisconnectedLeaders;
use super::fetch_session::Sessions;
use super::listing::{ImageRequest, ImageRequestBody};
use super::produce::OpenBatches;
use super::producer_ids::ProducerIds;
use super::purgatory::{Purgatory, Waiters};
use super::read_index::{ReadIndexes, Unconfirmed};
use super::{Broker, Timer};

/// All state on behalf of clients.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) purgatory: Purgatory,
    /// Produced batches that are neither acknowledged nor refused.
    pub(super) open_batches: BTreeMap<TopicPartition, OpenBatches>,
    /// Produce requests with rejections whose leadership confirmation has not begun.
    pub(super) held_rejections: BTreeSet<RequestId>,
    /// Fetches that wait for records of a partition, with its index in the request.
    pub(super) readers: Waiters,
    /// ListOffsets and OffsetForLeaderEpoch requests that wait for a partition, with its index in the request.
    pub(super) offsets: Waiters,
    pub(super) sessions: Sessions,
    pub(super) producer_ids: ProducerIds,
    pub(super) controller_requests: ControllerRequests,
    pub(super) read_indexes: ReadIndexes,
    pub(super) disconnected_leaders: DisconnectedLeaders,
    /// `fetch.max.bytes`, cached until the image advances.
    pub(super) fetch_bytes_max: Option<i32>,
}

impl Requests {
    /// Every index entry belongs to a waiting request.
    pub(super) fn assert_invariants(&self) {
        self.purgatory.assert_invariants();
        self.controller_requests.assert_invariants();
        let nobody_is_looked_for =
            self.readers.is_empty() && self.offsets.is_empty() && self.held_rejections.is_empty();
        assert!(
            self.purgatory.len() > 0 || nobody_is_looked_for,
            "whoever is looked for by partition waits"
        );
    }
}

impl Broker {
    /// Dispatches a client's request.
    pub(super) fn on_request(&mut self, request: ClientRequest, fx: &mut Effects) {
        let ClientRequest {
            context,
            body,
            examined,
        } = request;
        let read_image = |broker: &mut Self, context, body, fx: &mut Effects| {
            let request = ImageRequest { context, body };
            broker.await_read_index(Unconfirmed::Request(request), fx);
        };
        match body {
            Request::Produce(body) => self.on_produce(context, body, examined, fx),
            Request::Fetch(body) => self.on_fetch(context, body, fx),
            Request::ListOffsets(body) => self.on_list_offsets(context, body, fx),
            Request::OffsetForLeaderEpoch(body) => {
                self.on_offset_for_leader_epoch(context, body, fx);
            }
            Request::InitProducerId(body) => self.on_init_producer_id(context, &body, fx),
            Request::ApiVersions(body) => self.on_api_versions(&context, &body, fx),
            Request::Metadata(body) => {
                read_image(self, context, ImageRequestBody::Metadata(body), fx);
            }
            Request::DescribeCluster(body) => {
                read_image(self, context, ImageRequestBody::DescribeCluster(body), fx);
            }
            Request::DescribeTopicPartitions(body) => {
                let body = ImageRequestBody::DescribeTopicPartitions(body);
                read_image(self, context, body, fx);
            }
            Request::DescribeConfigs(body) => {
                read_image(self, context, ImageRequestBody::DescribeConfigs(body), fx);
            }
            Request::ListPartitionReassignments(body) => {
                let body = ImageRequestBody::ListPartitionReassignments(body);
                read_image(self, context, body, fx);
            }
            Request::CreateTopics(body) => {
                self.on_admin(context, AdminRequest::CreateTopics(body), fx);
            }
            Request::DeleteTopics(body) => {
                self.on_admin(context, AdminRequest::DeleteTopics(body), fx);
            }
            Request::CreatePartitions(body) => {
                self.on_admin(context, AdminRequest::CreatePartitions(body), fx);
            }
            Request::AlterPartitionReassignments(body) => {
                let body = AdminRequest::AlterPartitionReassignments(body);
                self.on_admin(context, body, fx);
            }
            Request::FindCoordinator(body) => {
                let error = no_coordinator(&body).into();
                fx.respond(context.id, body.error_response(context.api_version, &error));
            }
            Request::OffsetCommit(_)
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
            | Request::ConsumerGroupDescribe(_) => {
                unreachable!("a request is of an API that is served")
            }
        }
    }

    /// A connection is closed: its waiting requests are dropped. Fetch sessions outlive connections, as in Kafka.
    pub(super) fn on_disconnected(&mut self, connection: ConnectionId) {
        self.forget_requests_of(connection);
    }

    /// Closes a client's connection, and drops its other waiting requests.
    pub(super) fn close(&mut self, connection: ConnectionId, fx: &mut Effects) {
        self.forget_requests_of(connection);
        fx.push(Effect::Close(connection));
    }

    /// A partition has changed: its high watermark, its leader, its ISR or what its disk has.
    pub(super) fn wake_requests(&mut self, partition: TopicPartition, fx: &mut Effects) {
        self.wake_produces(partition, fx);
        self.wake_fetches(partition, fx);
        self.wake_offsets(partition, fx);
    }

    /// Arms the timer for the next deadline or retry of a waiting request.
    pub(super) fn arm_requests(&mut self) {
        let requests = &self.requests;
        let due = [
            requests.purgatory.next_deadline(),
            requests.controller_requests.next_deadline(),
            requests.read_indexes.next_deadline(),
        ];
        self.arm(Timer::Requests, due.into_iter().flatten().min());
    }

    /// Handles due deadlines and retries of waiting requests.
    pub(super) fn expire_requests(&mut self, fx: &mut Effects) {
        self.expire_delayed(fx);
        self.retry_controller_requests(fx);
        self.retry_read_index(fx);
    }
}

/// The error for FindCoordinator: there are no coordinators. Consumers that join no group look for a group coordinator
/// too, and retry, so for groups the error is retriable; for anything else it is final.
const fn no_coordinator(request: &FindCoordinatorRequest) -> ErrorCode {
    match request.key_type {
        KEY_GROUP => ErrorCode::CoordinatorNotAvailable,
        _ => ErrorCode::UnsupportedVersion,
    }
}

#[cfg(test)]
mod tests;
