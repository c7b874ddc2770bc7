//! The administrator who creates the topic.

use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::{CreateTopicsRequest, CreateTopicsResponse, ErrorCode, Request, Str};

use crate::client::{Client, ClientAction, LOOK_INTERVAL, Purpose, Work};
use crate::clock::SimTime;

const CREATE_TOPICS_VERSION: i16 = 7;

impl Client {
    pub(super) fn pump_create(&mut self, now: SimTime, actions: &mut Vec<ClientAction>) {
        let waiting = self
            .links
            .keys()
            .any(|&node| self.is_waiting_for(node, &Purpose::Create));
        let Work::CreateTopic {
            partitions,
            replication_factor,
            configs,
            ..
        } = &self.work
        else {
            return;
        };
        if waiting || self.metadata_wanted.is_some() {
            return;
        }
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: Str::from(&self.topic),
                num_partitions: *partitions,
                replication_factor: *replication_factor,
                assignments: Vec::new(),
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: Str::from(name),
                        value: Some(Str::from(value)),
                    })
                    .collect(),
            }],
            timeout_ms: 2000,
            validate_only: false,
        };
        if let Some(node) = self.adviser(now) {
            self.call(
                now,
                node,
                Purpose::Create,
                CREATE_TOPICS_VERSION,
                Request::CreateTopics(request),
                actions,
            );
        }
    }

    pub(super) fn on_created(&mut self, now: SimTime, response: &CreateTopicsResponse) {
        let Work::CreateTopic { done, .. } = &mut self.work else {
            return;
        };
        let error = response.topics.first().map(|topic| topic.error_code);
        match error {
            Some(ErrorCode::None | ErrorCode::TopicAlreadyExists) => *done = true,
            Some(error) if !error.is_retriable() => {
                // The controller has been asked, and decides otherwise when more brokers have registered.
                self.metadata_wanted = Some(now + LOOK_INTERVAL);
            }
            Some(_) | None => {
                self.want_metadata(now);
            }
        }
    }
}
