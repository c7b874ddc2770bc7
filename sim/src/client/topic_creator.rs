//! Whoever creates a client's topics, and is done.

use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::{
    CreateTopicsRequest, CreateTopicsResponse, ErrorCode, Request, Response, Str,
};

use crate::client::network_client::LOOK_INTERVAL;
use crate::client::{ClientAction, NetworkClient, Work};
use crate::clock::SimTime;
use crate::draw::Draw;
use crate::history::History;

const CREATE_TOPICS_VERSION: i16 = 7;

/// What is to be created, and how far that is.
#[derive(Clone, Debug)]
pub struct TopicCreator {
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(String, String)>,
    /// The call that waits for its answer.
    call: Option<u64>,
    /// The topics exist.
    done: bool,
}

impl TopicCreator {
    /// Creates topics of so many partitions, each with so many replicas, with this configuration.
    #[must_use]
    pub const fn new(
        partitions: i32,
        replication_factor: i16,
        configs: Vec<(String, String)>,
    ) -> Self {
        Self {
            partitions,
            replication_factor,
            configs,
            call: None,
            done: false,
        }
    }

    fn request(&self, topics: &[String]) -> CreateTopicsRequest {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: Str::from(name),
            value: Some(Str::from(value)),
        };
        let topic = |name: &String| CreatableTopic {
            name: Str::from(name),
            num_partitions: self.partitions,
            replication_factor: self.replication_factor,
            assignments: Vec::new(),
            configs: self.configs.iter().map(config).collect(),
        };
        CreateTopicsRequest {
            topics: topics.iter().map(topic).collect(),
            timeout_ms: 2000,
            validate_only: false,
        }
    }

    fn on_created(
        &mut self,
        now: SimTime,
        response: &CreateTopicsResponse,
        network: &mut NetworkClient,
    ) {
        let exists =
            |error: ErrorCode| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
        let mut errors = response.topics.iter().map(|topic| topic.error_code);
        match errors.find(|&error| !exists(error)) {
            None if response.topics.len() == network.topics.len() => self.done = true,
            Some(error) if !error.is_retriable() => {
                // The controller has been asked, and decides otherwise when more brokers have registered.
                network.want_metadata_at(now + LOOK_INTERVAL);
            }
            Some(_) | None => network.want_metadata(now),
        }
    }
}

impl Work for TopicCreator {
    fn pump(
        &mut self,
        now: SimTime,
        network: &mut NetworkClient,
        _history: &mut History,
        actions: &mut Vec<ClientAction>,
    ) {
        if self.done || self.call.is_some() || network.wants_metadata() {
            return;
        }
        if let Some(node) = network.adviser(now) {
            let request = Request::CreateTopics(self.request(&network.topics));
            self.call = network.call(now, node, CREATE_TOPICS_VERSION, request, actions);
        }
    }

    fn on_response(
        &mut self,
        now: SimTime,
        _call: u64,
        response: Response,
        network: &mut NetworkClient,
        history: &mut History,
    ) {
        self.call = None;
        if let Response::CreateTopics(response) = response {
            self.on_created(now, &response, network);
        } else {
            network.refuse_answer("a topic", &response, history);
        }
    }

    fn on_failure(&mut self, _now: SimTime, _call: u64, _draw: &mut Draw) {
        self.call = None;
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn needs_leaders(&self) -> bool {
        false
    }
}
