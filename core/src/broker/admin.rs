//! Requests that only the controller can decide: forwarded, asked again until somebody answers, and acknowledged once
//! this broker's own image shows what was done.
//!
//! A client that was told that its topic exists asks the same broker about it next. So the controller's answer is
//! held back until this broker has applied the metadata that it speaks of.
//!
//! A question is asked again at once where the broker asked is not the controller, and after a while where nothing
//! comes back: the controller may have died with it. The repetition may then find the work done and
//! say, for example, that the topic exists, as in Kafka.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::{AdminRequest, ClusterImage};
use crate::effect::{Effects, RequestId};
use crate::ids::TopicId;
use crate::peer::{self, Answer};
use crate::time::Instant;
use crate::wire::create_partitions::CreatePartitionsTopicResult;
use crate::wire::create_topics::CreatableTopicResult;
use crate::wire::delete_topics::DeletableTopicResult;
use crate::wire::{
    CreatePartitionsResponse, CreateTopicsResponse, DeleteTopicsResponse, ErrorCode, Response, Str,
};

use super::Broker;
use super::requests::{Due, Requests, What, respond};

/// After this long a question is asked again where the broker asked was not the controller, or nobody could be asked.
const RETRY_SOON: Duration = Duration::from_millis(100);
/// After this long a question is asked again where nothing came back.
const RETRY_LATE: Duration = Duration::from_secs(2);
/// How long a request is tried at least. A client that would rather not wait means the work, not the asking.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// How long the creation of a topic that somebody asked about is tried.
const AUTO_CREATE_PATIENCE: Duration = Duration::from_secs(10);

/// An administrative request that waits for the controller, or for the image.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    request: AdminRequest,
    question: u64,
    /// The controller's answer, once it is there.
    answer: Option<Box<Response>>,
}

/// A question that the controller has not answered.
#[derive(Clone, Debug)]
pub(super) struct Question {
    question: peer::Question,
    purpose: Purpose,
    ask_at: Instant,
    /// When it need not be asked any more.
    until: Option<Instant>,
}

/// What a question is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's request.
    Client(RequestId),
    /// Topics that somebody asked about.
    AutoCreate(Vec<Str>),
    /// A block of producer ids.
    ProducerIds,
}

/// What is under way for administrators.
#[derive(Clone, Debug, Default)]
pub(super) struct Unseen {
    /// Requests whose answer is there and not in the image.
    requests: BTreeSet<RequestId>,
    /// Topics that are being created because somebody asked about them.
    creating: BTreeSet<Str>,
}

impl Broker {
    /// Forwards an administrative request.
    pub(super) fn on_admin(
        &mut self,
        id: RequestId,
        api_version: i16,
        body: AdminRequest,
        fx: &mut Effects,
    ) {
        let patience = Duration::from_millis(u64::try_from(body.timeout_ms()).unwrap_or(0));
        let deadline = self.now + patience.max(PATIENCE_MIN);
        let question = peer::Question::Client {
            api_version,
            request: Box::new(body.clone()),
        };
        let admin = Admin {
            request: body,
            question: self.requests.next_question(),
            answer: None,
        };
        self.requests
            .wait(id, deadline, What::Admin(Box::new(admin)));
        self.put_question(question, Purpose::Client(id), None, fx);
    }

    /// Asks for topics to be created with the cluster's defaults, but for those that are being created already.
    pub(super) fn auto_create(&mut self, names: Vec<Str>, fx: &mut Effects) {
        let creating = &mut self.requests.unseen.creating;
        let names: Vec<Str> = names
            .into_iter()
            .map(|name| name.detached())
            .filter(|name| creating.insert(name.clone()))
            .collect();
        if names.is_empty() {
            return;
        }
        let request = crate::cluster::auto_create_request(&names);
        let question = peer::Question::Client {
            api_version: 7,
            request: Box::new(AdminRequest::CreateTopics(request)),
        };
        let until = self.now + AUTO_CREATE_PATIENCE;
        self.put_question(question, Purpose::AutoCreate(names), Some(until), fx);
    }

    /// Asks the controller, until it answers.
    pub(super) fn put_question(
        &mut self,
        question: peer::Question,
        purpose: Purpose,
        until: Option<Instant>,
        fx: &mut Effects,
    ) {
        let id = self.requests.next_question();
        self.requests.last_question += 1;
        let ask_at = self.now + RETRY_LATE;
        self.requests
            .move_due(Due::Question(id), None, Some(ask_at));
        let asked = Question {
            question: question.clone(),
            purpose,
            ask_at,
            until,
        };
        self.requests.questions.insert(id, asked);
        if !self.ask(id, question, fx) {
            self.ask_soon(id);
        }
    }

    /// A question is due to be asked again.
    pub(super) fn ask_again(&mut self, id: u64, fx: &mut Effects) {
        let Some(asked) = self.requests.questions.get(&id) else {
            return;
        };
        if asked.until.is_some_and(|until| until <= self.now) {
            self.give_up(id);
            return;
        }
        let question = asked.question.clone();
        self.requests.set_ask_at(id, self.now + RETRY_LATE);
        if !self.ask(id, question, fx) {
            self.ask_soon(id);
        }
    }

    fn ask_soon(&mut self, id: u64) {
        self.requests.set_ask_at(id, self.now + RETRY_SOON);
    }

    fn give_up(&mut self, id: u64) {
        if let Some(Purpose::AutoCreate(names)) = self.requests.drop_question(id) {
            for name in names {
                self.requests.unseen.creating.remove(&name);
            }
        }
    }

    /// The controller's answer to one of the questions asked here.
    pub(super) fn on_client_answer(&mut self, id: u64, answer: Answer, fx: &mut Effects) {
        if let Answer::NotController(_) = answer {
            self.ask_soon(id);
            return;
        }
        let Some(purpose) = self.requests.drop_question(id) else {
            return; // answered or given up already
        };
        match (purpose, answer) {
            (Purpose::Client(request), Answer::Client(response)) => {
                self.on_decided(request, response, fx);
            }
            (
                Purpose::Client(request),
                Answer::NotController(_)
                | Answer::Done
                | Answer::Refused(_)
                | Answer::ProducerIds(..),
            ) => {
                if let Some(What::Admin(admin)) = self.requests.take(request) {
                    self.end_admin(request, *admin, ErrorCode::UnknownServerError, fx);
                }
            }
            (Purpose::AutoCreate(names), _) => {
                for name in names {
                    self.requests.unseen.creating.remove(&name);
                }
            }
            (Purpose::ProducerIds, Answer::ProducerIds(first, end)) => {
                self.on_producer_ids(first.0..end.0, fx);
            }
            (
                Purpose::ProducerIds,
                Answer::NotController(_) | Answer::Done | Answer::Refused(_) | Answer::Client(_),
            ) => self.requests.producer_ids.refused(),
        }
    }

    /// The controller has decided, and that is committed.
    fn on_decided(&mut self, id: RequestId, response: Box<Response>, fx: &mut Effects) {
        let Some(What::Admin(admin)) = self
            .requests
            .waiting
            .get_mut(&id)
            .map(|waiting| &mut waiting.what)
        else {
            return;
        };
        admin.answer = Some(response);
        self.requests.unseen.requests.insert(id);
        self.show(id, fx);
    }

    /// The image has advanced: answers what it now shows.
    pub(super) fn image_moved(&mut self, fx: &mut Effects) {
        self.requests.fetch_bytes_max = None;
        self.finish_round(fx);
        let unseen: Vec<RequestId> = self.requests.unseen.requests.iter().copied().collect();
        for id in unseen {
            self.show(id, fx);
        }
    }

    /// Answers a request if the image shows what was done.
    fn show(&mut self, id: RequestId, fx: &mut Effects) {
        let Some(What::Admin(admin)) = self.requests.waiting.get(&id).map(|waiting| &waiting.what)
        else {
            self.requests.unseen.requests.remove(&id);
            return;
        };
        let shown = admin
            .answer
            .as_ref()
            .is_some_and(|answer| shows(self.image(), &admin.request, answer));
        if shown && let Some(What::Admin(admin)) = self.requests.take(id) {
            self.requests.unseen.requests.remove(&id);
            if let Some(answer) = admin.answer {
                respond(id, *answer, fx);
            }
        }
    }

    /// Answers a request that nothing came of, as far as this broker can tell.
    pub(super) fn end_admin(&self, id: RequestId, admin: Admin, code: ErrorCode, fx: &mut Effects) {
        let (mut response, message) = match admin.answer {
            Some(answer) => (*answer, "This broker has not seen yet what was decided."),
            None => (
                as_if_done(&admin.request),
                "The controller has not answered.",
            ),
        };
        fail_done(&mut response, code, message);
        respond(id, response, fx);
    }
}

impl Requests {
    fn next_question(&self) -> u64 {
        // The broker's own questions have the number 0.
        self.last_question + 1
    }

    fn set_ask_at(&mut self, id: u64, at: Instant) {
        let Some(asked) = self.questions.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut asked.ask_at, at);
        self.move_due(Due::Question(id), Some(before), Some(at));
    }

    fn drop_question(&mut self, id: u64) -> Option<Purpose> {
        let asked = self.questions.remove(&id)?;
        self.move_due(Due::Question(id), Some(asked.ask_at), None);
        Some(asked.purpose)
    }

    /// Forgets what a request waits for.
    pub(super) fn forget_admin(&mut self, id: RequestId, admin: &Admin) {
        self.drop_question(admin.question);
        self.unseen.requests.remove(&id);
    }
}

/// Whether an image shows what the controller says to have done.
fn shows(image: &ClusterImage, request: &AdminRequest, answer: &Response) -> bool {
    match (request, answer) {
        (AdminRequest::CreateTopics(request), Response::CreateTopics(answer)) => {
            let exists = |topic: &CreatableTopicResult| {
                let known = image.topic(topic.topic_id);
                let partitions = usize::try_from(topic.num_partitions).unwrap_or(0);
                known.is_some_and(|known| known.partitions.len() >= partitions)
            };
            let mut done = answer
                .topics
                .iter()
                .filter(|topic| topic.error_code.is_none());
            request.validate_only || done.all(exists)
        }
        (AdminRequest::DeleteTopics(_), Response::DeleteTopics(answer)) => {
            let mut done = answer
                .responses
                .iter()
                .filter(|topic| topic.error_code.is_none());
            done.all(|topic| image.topic(topic.topic_id).is_none())
        }
        (AdminRequest::CreatePartitions(request), Response::CreatePartitions(answer)) => {
            let grown = |topic: &CreatePartitionsTopicResult| {
                let asked = request.topics.iter().find(|asked| asked.name == topic.name);
                let count = asked.map_or(0, |asked| usize::try_from(asked.count).unwrap_or(0));
                let known = image.topic_named(&topic.name);
                known.is_none_or(|known| known.partitions.len() >= count)
            };
            let mut done = answer
                .results
                .iter()
                .filter(|topic| topic.error_code.is_none());
            request.validate_only || done.all(grown)
        }
        _ => true,
    }
}

/// Whatever an answer says to be done is told as failed.
fn fail_done(answer: &mut Response, code: ErrorCode, message: &'static str) {
    let fail = |error_code: &mut ErrorCode, error_message: &mut Option<Str>| {
        if error_code.is_none() {
            *error_code = code;
            *error_message = Some(Str::from_static(message));
        }
    };
    match answer {
        Response::CreateTopics(answer) => answer
            .topics
            .iter_mut()
            .for_each(|topic| fail(&mut topic.error_code, &mut topic.error_message)),
        Response::DeleteTopics(answer) => answer
            .responses
            .iter_mut()
            .for_each(|topic| fail(&mut topic.error_code, &mut topic.error_message)),
        Response::CreatePartitions(answer) => answer
            .results
            .iter_mut()
            .for_each(|topic| fail(&mut topic.error_code, &mut topic.error_message)),
        Response::Produce(_)
        | Response::Fetch(_)
        | Response::ListOffsets(_)
        | Response::Metadata(_)
        | Response::FindCoordinator(_)
        | Response::ApiVersions(_)
        | Response::InitProducerId(_)
        | Response::OffsetForLeaderEpoch(_)
        | Response::DescribeConfigs(_)
        | Response::DescribeCluster(_)
        | Response::DescribeTopicPartitions(_) => {}
    }
}

/// An answer to a request that names every topic of it, and no error.
fn as_if_done(request: &AdminRequest) -> Response {
    match request {
        AdminRequest::CreateTopics(request) => CreateTopicsResponse {
            topics: (request.topics.iter())
                .map(|topic| CreatableTopicResult {
                    name: topic.name.clone(),
                    ..CreatableTopicResult::default()
                })
                .collect(),
            ..CreateTopicsResponse::default()
        }
        .into(),
        AdminRequest::DeleteTopics(request) => {
            let named = request.topic_names.iter();
            let named = named.map(|name| (Some(name.clone()), TopicId::ZERO));
            let topics = request.topics.iter();
            let topics = topics.map(|topic| (topic.name.clone(), topic.topic_id));
            let done = |(name, topic_id)| DeletableTopicResult {
                name,
                topic_id,
                ..DeletableTopicResult::default()
            };
            DeleteTopicsResponse {
                responses: named.chain(topics).map(done).collect(),
                ..DeleteTopicsResponse::default()
            }
            .into()
        }
        AdminRequest::CreatePartitions(request) => CreatePartitionsResponse {
            results: (request.topics.iter())
                .map(|topic| CreatePartitionsTopicResult {
                    name: topic.name.clone(),
                    ..CreatePartitionsTopicResult::default()
                })
                .collect(),
            ..CreatePartitionsResponse::default()
        }
        .into(),
    }
}
