//! The administrator who creates the topic.

use varve_core::wire::create_topics::{CreatableTopic, CreatableTopicConfig};
use varve_core::wire::{CreateTopicsRequest, CreateTopicsResponse, ErrorCode, Request, Str};

use crate::client::{Client, ClientAction, Purpose, Work};
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
        if let Some(node) = self.connected() {
            self.call(
                now,
                node,
                Purpose::Create,
                CREATE_TOPICS_VERSION,
                Request::CreateTopics(request),
                actions,
            );
        } else {
            self.want_metadata(now);
        }
    }

    pub(super) fn on_created(&mut self, now: SimTime, response: &CreateTopicsResponse) {
        let error = response.topics.first().map(|topic| topic.error_code);
        let exists = matches!(error, Some(ErrorCode::None | ErrorCode::TopicAlreadyExists));
        if exists && let Work::CreateTopic { done, .. } = &mut self.work {
            *done = true;
        }
        if !exists {
            self.setbacks += 1;
            self.want_metadata(now);
        }
    }
}
