//! The requests of clients: who answers which, and how those that wait are woken.
//!
//! Every request gets one answer, but for a produce with `acks=0`, which gets none. What cannot be answered at once waits
//! in the `purgatory`.
//!
//! Whoever waits for a partition is found by that partition, so a change of one partition costs nothing to those
//! that wait for others. The order of answers on one connection is the connection's business.

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

/// Everything that is kept on behalf of clients.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) purgatory: Purgatory,
    /// Batches that are neither acknowledged nor refused.
    pub(super) open_batches: BTreeMap<TopicPartition, OpenBatches>,
    /// Produce requests with rejections that are held back.
    pub(super) held_rejections: BTreeSet<RequestId>,
    /// Fetches that wait for more of a partition, with the place of that partition in them.
    pub(super) readers: Waiters,
    /// Requests for offsets that wait for a partition, with its number in them.
    pub(super) offsets: Waiters,
    pub(super) sessions: Sessions,
    pub(super) producer_ids: ProducerIds,
    pub(super) controller_requests: ControllerRequests,
    pub(super) read_indexes: ReadIndexes,
    pub(super) disconnected_leaders: DisconnectedLeaders,
    /// `fetch.max.bytes`, read again once the image has moved.
    pub(super) fetch_bytes_max: Option<i32>,
}

impl Requests {
    /// Nothing is looked for that does not wait.
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
    /// Takes a client's request.
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

    /// A connection is gone: nobody reads its answers. Fetch sessions outlive connections, as in Kafka.
    pub(super) fn on_disconnected(&mut self, connection: ConnectionId) {
        self.forget_requests_of(connection);
    }

    /// Closes a client's connection. Nobody takes what else was asked on it.
    pub(super) fn close(&mut self, connection: ConnectionId, fx: &mut Effects) {
        self.forget_requests_of(connection);
        fx.push(Effect::Close(connection));
    }

    /// Something has changed about a partition: its high watermark, who leads it, who is in sync.
    pub(super) fn wake_requests(&mut self, partition: TopicPartition, fx: &mut Effects) {
        self.wake_produces(partition, fx);
        self.wake_fetches(partition, fx);
        self.wake_offsets(partition, fx);
    }

    /// Has the broker called when the next request has waited long enough, or something is to be asked again for one.
    pub(super) fn arm_requests(&mut self) {
        let requests = &self.requests;
        let due = [
            requests.purgatory.next_deadline(),
            requests.controller_requests.next_deadline(),
            requests.read_indexes.next_deadline(),
        ];
        self.arm(Timer::Requests, due.into_iter().flatten().min());
    }

    /// Does what is due for requests that wait.
    pub(super) fn expire_requests(&mut self, fx: &mut Effects) {
        self.expire_delayed(fx);
        self.retry_controller_requests(fx);
        self.retry_read_index(fx);
    }
}

/// What whoever looks for a coordinator is told: there is none. That of a group is asked for again and again also by
/// consumers that join no group, so the error is one to wait with; for anything else it is final.
const fn no_coordinator(request: &FindCoordinatorRequest) -> ErrorCode {
    match request.key_type {
        KEY_GROUP => ErrorCode::CoordinatorNotAvailable,
        _ => ErrorCode::UnsupportedVersion,
    }
}

#[cfg(test)]
mod tests;
