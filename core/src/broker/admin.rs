//! Requests that only the controller can decide: forwarded, retried until the controller answers, and acknowledged once
//! this broker's own image shows the result.
//!
//! A client whose topic has been created asks the same broker about it next. So the controller's answer, which has the
//! end of the metadata that contain the change, is held back until this broker has applied them up to there.
//!
//! A request is retried soon where the broker that got it is not the controller, and later where no response comes: the
//! controller may have died with it. The retry may then find the change made and say, for example, that the topic
//! exists, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cluster::{AdminRequest, visit_topics};
use crate::effect::{Effects, RequestId};
use crate::ids::Offset;
use crate::input::RequestContext;
use crate::peer::{self, ControllerResponse, Decision, ForwardedRequest, Newer};
use crate::time::Instant;
use crate::wire::{ApiError, ErrorCode, Response, Str};

use super::Broker;
use super::purgatory::Delayed;

/// A request is retried after this long where the broker that got it was not the controller, or no broker could be
/// reached.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// A request is retried after this long where no response came.
const RETRY_LATE: Duration = Duration::from_secs(2);
/// A request is tried for at least this long. A shorter timeout of the client is meant for the operation, not for
/// reaching the controller.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// The error message for a request that the controller does not know.
const UNSUPPORTED: &str = "The controller runs an earlier version of varve, which does not know this request: upgrade every broker.";
/// The error message for an answer of the controller that this version cannot carry.
const UNREADABLE: &str = "The controller's answer cannot be told in this API version.";
/// How long the automatic creation of a topic is tried.
const AUTO_CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// The version of CreateTopics for automatic creation: controllers of earlier builds know it as well.
const AUTO_CREATE_VERSION: i16 = 7;

/// An administrative request that waits for the controller, or for the image.
#[derive(Debug)]
struct WaitingAdmin {
    context: RequestContext,
    request: AdminRequest,
    controller_request: u64,
    /// The controller's answer, once it has arrived, and the end of the metadata that contain the change (exclusive).
    decided: Option<(Offset, Response)>,
}

/// A request that the controller has not answered.
#[derive(Debug)]
struct PendingRequest {
    controller_request: peer::ControllerRequest,
    purpose: Purpose,
    retry_at: Instant,
    /// When to stop retrying; `None` for a request that ends by other means.
    until: Option<Instant>,
}

/// What a request to the controller serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's request.
    Client(RequestId),
    /// Topics to be created automatically.
    AutoCreate(Vec<Str>),
    /// A block of producer ids.
    ProducerIds,
}

/// The requests to the controller that are under way.
#[derive(Debug, Default)]
pub(super) struct ControllerRequests {
    /// Requests without a response.
    pending: BTreeMap<u64, PendingRequest>,
    /// When each of them is retried.
    due: BTreeSet<(Instant, u64)>,
    /// The id of the last request. Requests whose response nobody awaits have the id 0.
    last: u64,
    /// Decided requests, by the end of the metadata that this broker must apply before it answers.
    unapplied: BTreeSet<(Offset, RequestId)>,
    /// Topics whose automatic creation is under way.
    creating: BTreeSet<Str>,
}

impl Broker {
    /// Forwards an administrative request.
    pub(super) fn on_admin(
        &mut self,
        context: RequestContext,
        body: AdminRequest,
        fx: &mut Effects,
    ) {
        let id = context.id;
        let timeout = Duration::from_millis(u64::try_from(body.timeout_ms()).unwrap_or(0));
        let deadline = self.now + timeout.max(TIMEOUT_MIN);
        let forwarded = ForwardedRequest {
            api_version: context.api_version,
            client_id: context.client_id.clone(),
            client_host: Newer(Some(context.client_host.clone())),
            request: Some(body.clone()),
        };
        let controller_request = peer::ControllerRequest::Client(Box::new(forwarded));
        let admin = WaitingAdmin {
            context,
            request: body,
            controller_request: self.requests.controller_requests.last + 1,
            decided: None,
        };
        self.requests.purgatory.insert(deadline, Box::new(admin));
        self.put_controller_request(controller_request, Purpose::Client(id), None, fx);
    }

    /// Requests the creation of topics with the cluster's defaults, except those whose creation is under way.
    pub(super) fn auto_create(&mut self, names: Vec<Str>, fx: &mut Effects) {
        let creating = &mut self.requests.controller_requests.creating;
        let names: Vec<Str> = names
            .into_iter()
            .map(|name| name.detached())
            .filter(|name| creating.insert(name.clone()))
            .collect();
        if names.is_empty() {
            return;
        }
        let request = crate::cluster::auto_create_request(&names);
        let forwarded = ForwardedRequest {
            api_version: AUTO_CREATE_VERSION,
            client_id: None,
            client_host: Newer(None),
            request: Some(AdminRequest::CreateTopics(request)),
        };
        let controller_request = peer::ControllerRequest::Client(Box::new(forwarded));
        let until = self.now + AUTO_CREATE_TIMEOUT;
        self.put_controller_request(
            controller_request,
            Purpose::AutoCreate(names),
            Some(until),
            fx,
        );
    }

    /// Sends a request to the controller, with retries until it responds.
    pub(super) fn put_controller_request(
        &mut self,
        controller_request: peer::ControllerRequest,
        purpose: Purpose,
        until: Option<Instant>,
        fx: &mut Effects,
    ) {
        let controller_requests = &mut self.requests.controller_requests;
        controller_requests.last += 1;
        let id = controller_requests.last;
        let retry_at = self.now + RETRY_LATE;
        controller_requests.due.insert((retry_at, id));
        let pending = PendingRequest {
            controller_request: controller_request.clone(),
            purpose,
            retry_at,
            until,
        };
        controller_requests.pending.insert(id, pending);
        if !self.send_to_controller(id, controller_request, fx) {
            self.retry_soon(id);
        }
    }

    /// Resends the requests whose retry is due.
    pub(super) fn retry_controller_requests(&mut self, fx: &mut Effects) {
        while let Some(&(at, id)) = self.requests.controller_requests.due.first()
            && at <= self.now
        {
            let pending = &self.requests.controller_requests.pending[&id];
            if pending.until.is_some_and(|until| until <= self.now) {
                self.give_up(id);
                continue;
            }
            let controller_request = pending.controller_request.clone();
            self.requests
                .controller_requests
                .retry_at(id, self.now + RETRY_LATE);
            if !self.send_to_controller(id, controller_request, fx) {
                self.retry_soon(id);
            }
        }
    }

    fn retry_soon(&mut self, id: u64) {
        self.requests
            .controller_requests
            .retry_at(id, self.now + RETRY_SOON);
    }

    fn give_up(&mut self, id: u64) {
        if let Some(Purpose::AutoCreate(names)) = self.requests.controller_requests.forget(id) {
            self.requests.controller_requests.end_creation(names);
        }
    }

    /// The controller's response to one of the requests sent here.
    pub(super) fn on_client_answer(
        &mut self,
        id: u64,
        answer: ControllerResponse,
        fx: &mut Effects,
    ) {
        let ControllerResponse::Decided {
            decision,
            metadata_end,
        } = answer
        else {
            self.retry_soon(id);
            return;
        };
        let Some(purpose) = self.requests.controller_requests.forget(id) else {
            return; // answered or given up already
        };
        match (purpose, decision) {
            (Purpose::Client(request), Decision::Client(forwarded)) => match forwarded.response {
                Some(response) => self.on_decided(request, response, metadata_end, fx),
                None => {
                    self.refuse_undecided(request, ErrorCode::UnknownServerError, UNREADABLE, fx)
                }
            },
            (Purpose::Client(request), Decision::Unsupported) => {
                self.refuse_undecided(request, ErrorCode::UnsupportedVersion, UNSUPPORTED, fx);
            }
            (
                Purpose::Client(request),
                Decision::Done | Decision::Refused(_) | Decision::ProducerIds(..),
            ) => self.refuse_undecided(request, ErrorCode::UnknownServerError, UNREADABLE, fx),
            (Purpose::AutoCreate(names), _) => {
                self.requests.controller_requests.end_creation(names);
            }
            (Purpose::ProducerIds, Decision::ProducerIds(first, end)) => {
                self.on_producer_ids(first.0..end.0, fx);
            }
            (
                Purpose::ProducerIds,
                Decision::Done | Decision::Refused(_) | Decision::Unsupported | Decision::Client(_),
            ) => self.requests.producer_ids.refused(),
        }
    }

    /// The controller has made no decision, or one that this client's version cannot carry.
    fn refuse_undecided(
        &mut self,
        id: RequestId,
        code: ErrorCode,
        message: &'static str,
        fx: &mut Effects,
    ) {
        if let Some(admin) = self.requests.purgatory.take::<WaitingAdmin>(id) {
            let error = ApiError::new(code, Str::from_static(message));
            let response = (admin.request).error_response(admin.context.api_version, &error);
            fx.respond(id, response);
        }
    }

    /// The controller's decision is committed.
    fn on_decided(
        &mut self,
        id: RequestId,
        response: Response,
        metadata_end: Offset,
        fx: &mut Effects,
    ) {
        if let Some(admin) = self.requests.purgatory.get_mut::<WaitingAdmin>(id) {
            admin.decided = Some((metadata_end, response));
            self.requests
                .controller_requests
                .unapplied
                .insert((metadata_end, id));
            self.answer_applied(fx);
        }
    }

    /// The image has advanced: answers the requests whose result it contains.
    pub(super) fn answer_from_advanced_image(&mut self, fx: &mut Effects) {
        self.requests.fetch_bytes_max = None;
        self.finish_read_index_round(fx);
        self.answer_applied(fx);
    }

    /// Answers the requests whose result the image contains.
    fn answer_applied(&mut self, fx: &mut Effects) {
        let applied = self.metadata_offset();
        while let Some(&(metadata_end, id)) = self.requests.controller_requests.unapplied.first()
            && metadata_end <= applied
        {
            self.requests.controller_requests.unapplied.pop_first();
            if let Some(admin) = self.requests.purgatory.take::<WaitingAdmin>(id)
                && let Some((_, response)) = admin.decided
            {
                fx.respond(id, response);
            }
        }
    }
}

impl WaitingAdmin {
    /// Answers a request with an error: this broker knows of no result.
    fn end(self, code: ErrorCode, fx: &mut Effects) {
        let error = |message| ApiError::new(code, Str::from_static(message));
        let response = match self.decided {
            Some((_, mut response)) => {
                fail_done(
                    &mut response,
                    &error("This broker has not seen yet what was decided."),
                );
                response
            }
            None => {
                let error = error("The controller has not answered.");
                (self.request).error_response(self.context.api_version, &error)
            }
        };
        fx.respond(self.context.id, response);
    }
}

/// Turns every success in a response into this error; refusals of the controller stay.
fn fail_done(response: &mut Response, error: &ApiError) {
    visit_topics(response, |_, error_code, error_message| {
        if error_code.is_none() {
            *error_code = error.code;
            error_message.clone_from(&error.message);
        }
    });
}

impl Delayed for WaitingAdmin {
    fn context(&self) -> &RequestContext {
        &self.context
    }

    fn expire(self: Box<Self>, _broker: &mut Broker, fx: &mut Effects) {
        self.end(ErrorCode::RequestTimedOut, fx);
    }

    fn fail(self: Box<Self>, _broker: &mut Broker, fx: &mut Effects) {
        self.end(ErrorCode::NotController, fx);
    }

    fn forget(&self, broker: &mut Broker) {
        let controller_requests = &mut broker.requests.controller_requests;
        controller_requests.forget(self.controller_request);
        if let Some((metadata_end, _)) = self.decided {
            controller_requests
                .unapplied
                .remove(&(metadata_end, self.context.id));
        }
    }
}

impl ControllerRequests {
    /// Every request without a response has a retry time.
    pub(super) fn assert_invariants(&self) {
        assert_eq!(
            self.pending.len(),
            self.due.len(),
            "every request to the controller is sent again in its time"
        );
    }

    /// When the next request is retried.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn retry_at(&mut self, id: u64, at: Instant) {
        if let Some(pending) = self.pending.get_mut(&id) {
            self.due.remove(&(pending.retry_at, id));
            self.due.insert((at, id));
            pending.retry_at = at;
        }
    }

    /// Forgets a request. Returns its purpose.
    fn forget(&mut self, id: u64) -> Option<Purpose> {
        let pending = self.pending.remove(&id)?;
        self.due.remove(&(pending.retry_at, id));
        Some(pending.purpose)
    }

    fn end_creation(&mut self, names: Vec<Str>) {
        for name in names {
            self.creating.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::CreateTopicsResponse;
    use crate::wire::create_topics::CreatableTopicResult;

    #[test]
    fn what_the_controller_has_refused_stays_refused_where_its_work_is_not_seen_in_time() {
        let topic = |error_code| CreatableTopicResult {
            error_code,
            ..CreatableTopicResult::default()
        };
        let topics = vec![topic(ErrorCode::None), topic(ErrorCode::TopicAlreadyExists)];
        let mut response = CreateTopicsResponse {
            topics,
            ..CreateTopicsResponse::default()
        }
        .into();
        fail_done(&mut response, &ErrorCode::RequestTimedOut.into());
        let Response::CreateTopics(response) = response else {
            unreachable!("it was one");
        };
        let codes = response.topics.iter().map(|topic| topic.error_code);
        let told = [ErrorCode::RequestTimedOut, ErrorCode::TopicAlreadyExists];
        assert_eq!(codes.collect::<Vec<_>>(), told);
    }
}
