//! The requests of clients: who answers which, which wait, and when waiting ends.
//!
//! Every request gets one answer, but for a produce with `acks=0`, which gets none. What cannot be answered at
//! once waits here, by its [`RequestId`], until what it waits for has happened or its time is over:
//!
//! - a produce, for its batches to meet the acks policy (`produce`);
//! - a fetch, for enough bytes, or for the disk (`fetch`);
//! - lookups by time, for the disk, and of the latest offset, for the leader's voters (`offsets`);
//! - a producer that wants an id, for a block of them (`producer_ids`);
//! - an administrative request, for the controller, and then for this broker's own image (`admin`);
//! - whatever is answered from the image, until that is known to be current (`read_index`).
//!
//! Whoever waits for a partition is found by that partition, so a change of one partition costs nothing to those
//! that wait for others. The order of answers on one connection is the connection's business.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::cluster::AdminRequest;
use crate::effect::{Effect, Effects, RequestId};
use crate::ids::{Offset, TopicPartition};
use crate::input::{ClientRequest, ConnectionId};
use crate::store::{QueryId, QueryResult};
use crate::time::Instant;
use crate::wire::find_coordinator::{Coordinator, KEY_GROUP};
use crate::wire::{
    ErrorCode, FindCoordinatorRequest, FindCoordinatorResponse, Request, Response, Str,
};

use super::admin::{Admin, Question, Unseen};
use super::doubts::Doubts;
use super::fetch::WaitingFetch;
use super::fetch_session::Sessions;
use super::listing::{ImageRequest, ImageRequestBody};
use super::offsets::WaitingOffsets;
use super::produce::{Appends, WaitingProduce};
use super::producer_ids::ProducerIds;
use super::read_index::{ReadIndexes, Unconfirmed};
use super::{Broker, Timer};

/// Everything that waits on behalf of clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) waiting: BTreeMap<RequestId, Waiting>,
    /// When each of them has waited long enough; not all have such a time.
    deadlines: BTreeSet<(Instant, Due)>,
    /// Batches that are appended and not acknowledged.
    pub(super) appends: BTreeMap<TopicPartition, Appends>,
    /// Fetches that wait for more of a partition, with the place of that partition in them.
    pub(super) readers: BTreeMap<TopicPartition, BTreeSet<(RequestId, usize)>>,
    /// Lookups of the latest offset that wait for the partition's leader to be confirmed, with their place in the answer.
    pub(super) confirming: BTreeMap<TopicPartition, BTreeSet<(RequestId, usize)>>,
    /// Lookups under way, and what for.
    pub(super) lookups: BTreeMap<QueryId, Lookup>,
    pub(super) sessions: Sessions,
    pub(super) producer_ids: ProducerIds,
    /// Questions that the controller has not answered.
    pub(super) questions: BTreeMap<u64, Question>,
    /// Numbers the questions.
    pub(super) last_question: u64,
    pub(super) unseen: Unseen,
    pub(super) read_indexes: ReadIndexes,
    pub(super) doubts: Doubts,
    /// `fetch.max.bytes`, read again once the image has moved.
    pub(super) fetch_bytes_max: Option<i32>,
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// When it has waited long enough.
    deadline: Instant,
    pub(super) what: What,
}

/// What waits.
#[derive(Clone, Debug)]
pub(super) enum What {
    Produce(WaitingProduce),
    Fetch(Box<WaitingFetch>),
    Offsets(WaitingOffsets),
    ProducerId,
    Admin(Box<Admin>),
    /// With the first round that counts for it.
    Unconfirmed(u64, Box<Unconfirmed>),
    /// The answer would name a leader in doubt.
    Leaderless(Box<ImageRequest>),
}

/// What a lookup in a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    /// Whose answer it is for. That request may be gone.
    pub(super) request: RequestId,
    /// The log.
    pub(super) partition: TopicPartition,
    /// The place of the partition in the request.
    pub(super) place: usize,
    /// Where the lookup ends, exclusive.
    pub(super) end: Offset,
}

/// What may come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A request has waited long enough.
    Request(RequestId),
    /// A question is to be asked again.
    Question(u64),
    /// The voters of the metadata are to be asked again where these end.
    ReadIndex,
}

impl Requests {
    /// Lets a request wait.
    pub(super) fn wait(&mut self, id: RequestId, deadline: Instant, what: What) {
        self.deadlines.insert((deadline, Due::Request(id)));
        self.waiting.insert(id, Waiting { deadline, what });
    }

    /// Takes a request out. What it waits *for* is the caller's to forget.
    pub(super) fn take(&mut self, id: RequestId) -> Option<What> {
        let waiting = self.waiting.remove(&id)?;
        self.deadlines.remove(&(waiting.deadline, Due::Request(id)));
        Some(waiting.what)
    }

    /// Something comes due at another time.
    pub(super) fn move_due(&mut self, due: Due, from: Option<Instant>, to: Option<Instant>) {
        if let Some(from) = from {
            self.deadlines.remove(&(from, due));
        }
        if let Some(to) = to {
            self.deadlines.insert((to, due));
        }
    }

    /// Takes a request out, with every place where it is looked for.
    pub(super) fn forget(&mut self, id: RequestId) -> Option<What> {
        let what = self.take(id)?;
        match &what {
            What::Produce(produce) => self.forget_appends(id, produce),
            What::Fetch(fetch) => self.forget_reader(id, fetch),
            What::Offsets(offsets) => self.forget_latest(id, offsets),
            What::Admin(admin) => self.forget_admin(id, admin),
            What::ProducerId => self.producer_ids.forget(id),
            What::Unconfirmed(round, _) => self.read_indexes.forget(*round, id),
            What::Leaderless(_) => self.doubts.forget(id),
        }
        Some(what)
    }
}

impl Broker {
    /// Takes a client's request.
    pub(super) fn on_request(&mut self, request: ClientRequest, fx: &mut Effects) {
        let ClientRequest {
            id,
            api_version,
            listener,
            body,
            examined,
            ..
        } = request;
        let mut read_image = |body| {
            let request = ImageRequest {
                api_version,
                listener,
                body,
            };
            self.confirm(id, Unconfirmed::Request(request), fx);
        };
        match body {
            Request::Produce(body) => {
                self.on_produce(id, api_version, listener, body, examined, fx);
            }
            Request::Fetch(body) => self.on_fetch(id, api_version, listener, body, fx),
            Request::ListOffsets(body) => self.on_list_offsets(id, api_version, body, fx),
            Request::OffsetForLeaderEpoch(body) => self.on_offset_for_leader_epoch(id, body, fx),
            Request::InitProducerId(body) => self.on_init_producer_id(id, &body, fx),
            Request::ApiVersions(body) => self.on_api_versions(id, api_version, &body, fx),
            Request::Metadata(body) => read_image(ImageRequestBody::Metadata(body)),
            Request::DescribeCluster(body) => read_image(ImageRequestBody::DescribeCluster(body)),
            Request::DescribeTopicPartitions(body) => {
                read_image(ImageRequestBody::DescribeTopicPartitions(body));
            }
            Request::DescribeConfigs(body) => read_image(ImageRequestBody::DescribeConfigs(body)),
            Request::CreateTopics(body) => {
                self.on_admin(id, api_version, AdminRequest::CreateTopics(body), fx);
            }
            Request::DeleteTopics(body) => {
                self.on_admin(id, api_version, AdminRequest::DeleteTopics(body), fx);
            }
            Request::CreatePartitions(body) => {
                self.on_admin(id, api_version, AdminRequest::CreatePartitions(body), fx);
            }
            Request::FindCoordinator(body) => {
                respond(id, no_coordinator(api_version, &body), fx);
            }
        }
    }

    /// A connection is gone: nobody reads its answers. Fetch sessions outlive connections, as in Kafka.
    pub(super) fn on_disconnected(&mut self, connection: ConnectionId) {
        let id = |number| RequestId { connection, number };
        while let Some((&gone, _)) = self
            .requests
            .waiting
            .range((Bound::Included(id(0)), Bound::Included(id(u64::MAX))))
            .next()
        {
            self.requests.forget(gone);
        }
    }

    /// Closes a client's connection. Nobody takes what else was asked on it.
    pub(super) fn close(&mut self, connection: ConnectionId, fx: &mut Effects) {
        self.on_disconnected(connection);
        fx.push(Effect::Close(connection));
    }

    /// Something has changed about a partition: its high watermark, who leads it, who is in sync.
    pub(super) fn wake_requests(&mut self, partition: TopicPartition, fx: &mut Effects) {
        self.wake_produces(partition, fx);
        self.wake_fetches(partition, fx);
        self.wake_latest(partition, fx);
    }

    /// Has the broker called when the next request has waited long enough.
    pub(super) fn arm_requests(&mut self) {
        let next = self.requests.deadlines.first().map(|(at, _)| *at);
        self.arm(Timer::Requests, next);
    }

    /// Answers what has waited long enough.
    pub(super) fn expire_requests(&mut self, fx: &mut Effects) {
        while let Some(&(at, due)) = self.requests.deadlines.first()
            && at <= self.now
        {
            match due {
                Due::Request(id) => match self.requests.forget(id) {
                    Some(What::Produce(produce)) => self.time_out_produce(id, produce, fx),
                    Some(What::Fetch(fetch)) => self.time_out_fetch(id, fetch, fx),
                    Some(What::Offsets(offsets)) => {
                        self.fail_offsets(id, offsets, ErrorCode::RequestTimedOut, fx);
                    }
                    Some(What::ProducerId) => Self::refuse_producer_id(id, fx),
                    Some(What::Admin(admin)) => {
                        self.end_admin(id, *admin, ErrorCode::RequestTimedOut, fx);
                    }
                    Some(What::Unconfirmed(_, what)) => self.time_out_unconfirmed(id, *what, fx),
                    Some(What::Leaderless(request)) => {
                        self.answer_from_image(id, *request, true, fx);
                    }
                    None => unreachable!("a deadline is kept for a request that waits"),
                },
                Due::Question(id) => self.ask_again(id, fx),
                Due::ReadIndex => self.retry_read_index(fx),
            }
        }
    }

    /// Answers everything that waits, in such words that clients try elsewhere: this broker stops. What waits for a read
    /// index goes on waiting, since it is soon confirmed.
    pub(super) fn fail_requests(&mut self, fx: &mut Effects) {
        let waiting = self.requests.waiting.iter();
        let failing: Vec<RequestId> = waiting
            .filter(|(_, waiting)| !matches!(waiting.what, What::Unconfirmed(..)))
            .map(|(&id, _)| id)
            .collect();
        for id in failing {
            match self.requests.forget(id) {
                Some(What::Produce(produce)) => {
                    self.fail_produce(id, produce, ErrorCode::NotLeaderOrFollower, fx);
                }
                Some(What::Fetch(fetch)) => self.end_fetch(id, *fetch, fx),
                Some(What::Offsets(offsets)) => {
                    self.fail_offsets(id, offsets, ErrorCode::NotLeaderOrFollower, fx);
                }
                Some(What::ProducerId) => Self::refuse_producer_id(id, fx),
                Some(What::Admin(admin)) => {
                    self.end_admin(id, *admin, ErrorCode::NotController, fx);
                }
                Some(What::Leaderless(request)) => {
                    self.requests.doubts.end();
                    self.answer_from_image(id, *request, true, fx);
                }
                Some(What::Unconfirmed(..)) | None => unreachable!("the request was just seen"),
            }
        }
    }

    /// Takes the answer to a lookup, if a request asked for it; gives it back otherwise.
    pub(super) fn answer_query(
        &mut self,
        id: QueryId,
        result: QueryResult,
        fx: &mut Effects,
    ) -> Option<QueryResult> {
        let Some(lookup) = self.requests.lookups.remove(&id) else {
            return Some(result);
        };
        if let QueryResult::Failed(error) = &result {
            // Worth knowing whether or not the request is still there.
            self.note_hole(lookup.partition, error, fx);
        }
        // Where nobody waits, the client is gone.
        if let Some(waiting) = self.requests.waiting.get(&lookup.request) {
            match &waiting.what {
                What::Fetch(_) => self.on_fetched(lookup, result, fx),
                What::Offsets(_) => self.on_offset_found(lookup, result, fx),
                What::Produce(_)
                | What::ProducerId
                | What::Admin(_)
                | What::Unconfirmed(..)
                | What::Leaderless(_) => {
                    unreachable!("only fetches and lookups of offsets ask the store")
                }
            }
        }
        None
    }
}

/// The answer to whoever looks for a coordinator: there is none. That of a group is asked for again and again also by
/// consumers that join no group, so the answer is one to wait with; for anything else it is final.
fn no_coordinator(api_version: i16, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let error_code = match request.key_type {
        KEY_GROUP => ErrorCode::CoordinatorNotAvailable,
        _ => ErrorCode::UnsupportedVersion,
    };
    if api_version < 4 {
        return FindCoordinatorResponse {
            error_code,
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinator = |key: &Str| Coordinator {
        key: key.clone(),
        node_id: -1,
        port: -1,
        error_code,
        ..Coordinator::default()
    };
    FindCoordinatorResponse {
        coordinators: request.coordinator_keys.iter().map(coordinator).collect(),
        ..FindCoordinatorResponse::default()
    }
}

/// Answers a request.
pub(super) fn respond(request: RequestId, response: impl Into<Response>, fx: &mut Effects) {
    fx.push(Effect::Respond {
        request,
        response: Box::new(response.into()),
    });
}

#[cfg(test)]
mod tests;
