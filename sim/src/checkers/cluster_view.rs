//! What clients are told of brokers, topics and partitions never goes back: an answer has everything that was committed,
//! and so everything that anybody may have been told, when the request came. What does not exist had been deleted, or
//! was never there.
//!
//! A broker that cannot reach a majority of the metadata's voters tells after a while of what it has. By then it may have
//! missed partitions that a topic was given, and brokers; but it never says that a topic does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use varve_core::cluster::{BrokerState, ClusterImage, MetadataRecord};
use varve_core::effect::{Effect, RequestId};
use varve_core::ids::{BrokerId, TopicId};
use varve_core::input::Input;
use varve_core::store::Recovered;
use varve_core::wire::{ErrorCode, MetadataResponse, Request, Response};

use crate::clock::SimTime;

use super::{Checker, Observed, Step};

/// How long a broker looks for a majority at the least, before it answers without.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub struct ClusterViewNeverGoesBack {
    /// What is committed.
    present: Arc<Contents>,
    /// Requests that are not answered.
    open: BTreeMap<(u8, RequestId), Asked>,
    /// The request that is about to be told, and whether it asks for all topics.
    next: Option<((u8, RequestId), bool)>,
    /// When a broker was last committed to be fenced or on its way out: it may be left out.
    inactive: BTreeMap<BrokerId, SimTime>,
}

/// What there is in a cluster.
#[derive(Debug, Default)]
struct Contents {
    /// Name and number of partitions.
    topics: BTreeMap<TopicId, (String, usize)>,
    /// Those that are given work.
    brokers: BTreeSet<BrokerId>,
}

/// A request, with what there was when it came.
#[derive(Debug)]
struct Asked {
    at: SimTime,
    lists_all: bool,
    floor: Arc<Contents>,
}

impl Contents {
    fn of(image: &ClusterImage) -> Self {
        let topic = |topic: &varve_core::cluster::TopicImage| {
            (topic.id, (topic.name.to_string(), topic.partitions.len()))
        };
        let brokers = image.brokers();
        let active = brokers.filter(|broker| broker.state == BrokerState::Active);
        Self {
            topics: image.topics().map(topic).collect(),
            brokers: active.map(|broker| broker.registration.broker).collect(),
        }
    }

    /// The topic that a client names by its id, or else by name.
    fn find(&self, id: TopicId, name: &str) -> Option<(TopicId, usize)> {
        if id != TopicId::ZERO {
            return Some((id, self.topics.get(&id)?.1));
        }
        let mut topics = self.topics.iter();
        let (id, (_, count)) = topics.find(|(_, (known, _))| known == name)?;
        Some((*id, *count))
    }
}

impl Checker for ClusterViewNeverGoesBack {
    fn name(&self) -> &'static str {
        "ClusterViewNeverGoesBack"
    }

    fn on_start(&mut self, _seen: &Observed, recovered: &Recovered) -> Result<(), String> {
        let broker = recovered.broker.0;
        self.open.retain(|(node, _), _| i32::from(*node) != broker);
        Ok(())
    }

    fn on_input(&mut self, node: u8, input: &Input) {
        self.next = None;
        if let Input::Disconnected(connection) = input {
            let gone =
                |(at, request): &(u8, RequestId)| *at == node && request.connection == *connection;
            self.open.retain(|request, _| !gone(request));
        }
        let Input::Request(request) = input else {
            return;
        };
        let lists_all = matches!(&request.body, Request::Metadata(body) if body.topics.is_none());
        self.next = Some(((node, request.context.id), lists_all));
    }

    fn on_step(&mut self, seen: &Observed, step: &Step<'_>) -> Result<(), String> {
        if let Some((request, lists_all)) = self.next.take() {
            let asked = Asked {
                at: step.at,
                lists_all,
                floor: Arc::clone(&self.present),
            };
            self.open.insert(request, asked);
        }
        for record in seen.metadata_news() {
            if let MetadataRecord::FenceBroker { broker, .. }
            | MetadataRecord::StopBroker { broker, .. }
            | MetadataRecord::UnregisterBroker { broker, .. } = record
            {
                self.inactive.insert(*broker, step.at);
            }
            if let MetadataRecord::RegisterBroker { registration } = record {
                self.inactive.insert(registration.broker, step.at);
            }
        }
        for effect in step.effects {
            if let Effect::Respond { request, response } = effect
                && let Some(asked) = self.open.remove(&(step.node, *request))
            {
                self.judge(seen, step, &asked, response)
                    .map_err(|what| format!("n{} {what}", step.node))?;
            }
        }
        if !seen.metadata_news().is_empty() {
            self.present = Arc::new(Contents::of(seen.image()));
        }
        Ok(())
    }
}

impl ClusterViewNeverGoesBack {
    fn judge(
        &self,
        seen: &Observed,
        step: &Step<'_>,
        asked: &Asked,
        response: &Response,
    ) -> Result<(), String> {
        let exists = |code: ErrorCode, id: TopicId, name: &str, partition: i32| {
            let denied = [
                ErrorCode::UnknownTopicOrPartition,
                ErrorCode::UnknownTopicId,
            ]
            .contains(&code);
            let (id, count) = asked.floor.find(id, name).filter(|_| denied)?;
            let there = usize::try_from(partition).is_ok_and(|partition| partition < count);
            (there && !seen.is_topic_removed(id))
                .then(|| format!("says that {id}-{partition} ({name}) does not exist"))
        };
        let denied = match response {
            Response::Metadata(response) => {
                return self.judge_metadata(seen, step, asked, response);
            }
            Response::Produce(response) => response.responses.iter().find_map(|topic| {
                let mut partitions = topic.partition_responses.iter();
                partitions
                    .find_map(|it| exists(it.error_code, topic.topic_id, &topic.name, it.index))
            }),
            Response::Fetch(response) => response.responses.iter().find_map(|topic| {
                let mut partitions = topic.partitions.iter();
                partitions.find_map(|it| {
                    exists(
                        it.error_code,
                        topic.topic_id,
                        &topic.topic,
                        it.partition_index,
                    )
                })
            }),
            Response::OffsetForLeaderEpoch(response) => response.topics.iter().find_map(|topic| {
                let mut partitions = topic.partitions.iter();
                partitions
                    .find_map(|it| exists(it.error_code, TopicId::ZERO, &topic.topic, it.partition))
            }),
            Response::ListOffsets(response) => response.topics.iter().find_map(|topic| {
                let mut partitions = topic.partitions.iter();
                partitions.find_map(|it| {
                    exists(
                        it.error_code,
                        TopicId::ZERO,
                        &topic.name,
                        it.partition_index,
                    )
                })
            }),
            _other => None,
        };
        denied.map_or(Ok(()), Err)
    }

    fn judge_metadata(
        &self,
        seen: &Observed,
        step: &Step<'_>,
        asked: &Asked,
        response: &MetadataResponse,
    ) -> Result<(), String> {
        let unconfirmed = step.at.since(asked.at) >= PATIENCE;
        for topic in &response.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            let Some((id, count)) = asked.floor.find(topic.topic_id, name) else {
                continue;
            };
            let told = topic.partitions.len();
            match topic.error_code {
                ErrorCode::None if told < count && !unconfirmed => {
                    return Err(format!(
                        "tells of {told} of the {count} partitions of {name}"
                    ));
                }
                ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId
                    if !seen.is_topic_removed(id) =>
                {
                    return Err(format!("says that {id} ({name}) does not exist"));
                }
                _other => {}
            }
        }
        let told = |id: &TopicId| response.topics.iter().any(|topic| topic.topic_id == *id);
        let is_missing = |id: &&TopicId| !told(id) && !seen.is_topic_removed(**id);
        if asked.lists_all
            && let Some(id) = asked.floor.topics.keys().find(is_missing)
        {
            return Err(format!("lists all topics but {id}"));
        }
        let is_left_out = |broker: &&BrokerId| {
            let listed = response.brokers.iter().any(|it| it.node_id == broker.0);
            let inactive = self.inactive.get(broker);
            !listed && inactive.is_none_or(|at| *at < asked.at)
        };
        match asked.floor.brokers.iter().find(is_left_out) {
            Some(broker) if !unconfirmed => Err(format!("leaves out broker {broker}")),
            Some(_) | None => Ok(()),
        }
    }
}
