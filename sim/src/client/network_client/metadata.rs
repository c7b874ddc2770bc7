//! What a client knows of the cluster: its topics' ids, and who leads their partitions, as brokers answer it.

use std::collections::BTreeMap;

use varve_core::ids::{PartitionIndex, TopicId, TopicPartition};
use varve_core::wire::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use varve_core::wire::{ErrorCode, MetadataRequest, MetadataResponse, Request, Str};

use crate::client::{ClientAction, NetworkClient};
use crate::clock::SimTime;

const METADATA_VERSION: i16 = 12;

/// What a client knows of its topics.
#[derive(Clone, Debug, Default)]
pub struct ClusterMetadata {
    /// The topics' ids, by name.
    pub topic_ids: BTreeMap<String, TopicId>,
    /// Leader and epoch by partition.
    pub leaders: BTreeMap<TopicPartition, (u8, i32)>,
}

impl ClusterMetadata {
    /// Whether it knows of no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topic_ids.is_empty()
    }

    /// The partitions that each leader has.
    #[must_use]
    pub fn by_leader(&self) -> BTreeMap<u8, Vec<TopicPartition>> {
        let mut by_leader: BTreeMap<u8, Vec<TopicPartition>> = BTreeMap::new();
        for (&partition, &(leader, _)) in &self.leaders {
            by_leader.entry(leader).or_default().push(partition);
        }
        by_leader
    }

    /// The name of a topic.
    ///
    /// # Panics
    /// Where it is none of the client's.
    #[must_use]
    pub fn name_of(&self, topic: TopicId) -> &str {
        let mut known = self.topic_ids.iter();
        let (name, _) = known
            .find(|(_, id)| **id == topic)
            .expect("it is a topic of the client's");
        name
    }

    /// Takes in what a broker has answered of a topic. Returns whether it has named a leader of every partition.
    fn learn(&mut self, name: &str, topic: &MetadataResponseTopic) -> bool {
        self.topic_ids.insert(name.to_owned(), topic.topic_id);
        let mut has_leaders = !topic.partitions.is_empty();
        for answer in &topic.partitions {
            let Ok(leader) = u8::try_from(answer.leader_id) else {
                has_leaders = false;
                continue;
            };
            let partition = TopicPartition {
                topic: topic.topic_id,
                partition: PartitionIndex(answer.partition_index),
            };
            // As Kafka's clients: an older epoch than the one known is ignored.
            let known = self.leaders.get(&partition);
            if known.is_none_or(|(_, epoch)| *epoch <= answer.leader_epoch) {
                let leader = (leader, answer.leader_epoch);
                self.leaders.insert(partition, leader);
            }
        }
        has_leaders
    }
}

/// These partitions by topic, as requests name them.
pub(in crate::client) fn by_topic(
    partitions: impl IntoIterator<Item = TopicPartition>,
) -> BTreeMap<TopicId, Vec<TopicPartition>> {
    let mut by_topic: BTreeMap<TopicId, Vec<TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(partition.topic).or_default().push(partition);
    }
    by_topic
}

impl NetworkClient {
    /// What it knows of its topics.
    #[must_use]
    pub const fn metadata(&self) -> &ClusterMetadata {
        &self.metadata
    }

    /// A topic's id, once known.
    #[must_use]
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.metadata.topic_ids.get(topic).copied()
    }

    /// Whom the client takes for the leader of a partition.
    #[must_use]
    pub fn leader_of(&self, topic: &str, partition: PartitionIndex) -> Option<u8> {
        let topic = self.topic_id(topic)?;
        let leader = self
            .metadata
            .leaders
            .get(&TopicPartition { topic, partition });
        leader.map(|&(node, _)| node)
    }

    /// The client takes a node for the leader of a partition, whose topic has this name, whoever has told it.
    pub fn take_for_leader(
        &mut self,
        node: u8,
        leader_epoch: i32,
        topic: &str,
        partition: TopicPartition,
    ) {
        let metadata = &mut self.metadata;
        metadata.topic_ids.insert(topic.to_owned(), partition.topic);
        metadata.leaders.insert(partition, (node, leader_epoch));
        self.metadata_wanted = None;
    }

    /// It need not ask for metadata, for now.
    pub(in crate::client) const fn need_no_metadata(&mut self) {
        self.metadata_wanted = None;
    }

    /// Whether it is to ask for metadata, or waits for them.
    #[must_use]
    pub const fn wants_metadata(&self) -> bool {
        self.metadata_wanted.is_some()
    }

    /// It asks for metadata again at this time.
    pub const fn want_metadata_at(&mut self, at: SimTime) {
        self.metadata_wanted = Some(at);
    }

    /// What the client knows is of no use: it asks again in a while, and somebody else, who may know better.
    pub fn want_metadata(&mut self, now: SimTime) {
        if self.metadata_wanted.is_none() {
            let mut draw = self.draw();
            self.metadata_backoff.failed(now, &mut draw);
            self.metadata_wanted = Some(self.metadata_backoff.until());
            self.adviser = None;
        }
    }

    /// Whom the client asks what any broker can answer.
    pub fn adviser(&mut self, now: SimTime) -> Option<u8> {
        if self.adviser.is_none() {
            self.adviser = self.next_adviser(now);
        }
        self.adviser
    }

    /// Some node that can be reached, every one of them before any comes a second time: each that does not answer
    /// costs seconds.
    fn next_adviser(&mut self, now: SimTime) -> Option<u8> {
        let open = |node: &u8| self.unreachable.get(node).is_none_or(|until| *until <= now);
        let mut candidates: Vec<u8> = (1..=self.nodes).filter(open).collect();
        if candidates
            .iter()
            .all(|node| self.advisers_tried.contains(node))
        {
            self.advisers_tried.clear();
        }
        candidates.retain(|node| !self.advisers_tried.contains(node));
        let node = *self.draw().pick(&candidates)?;
        self.advisers_tried.insert(node);
        Some(node)
    }

    pub(in crate::client) fn fetch_metadata(
        &mut self,
        now: SimTime,
        actions: &mut Vec<ClientAction>,
    ) {
        if self.metadata_call.is_some() || self.metadata_wanted.is_none_or(|at| at > now) {
            return;
        }
        let Some(node) = self.adviser(now) else {
            return;
        };
        let asked = |name: &String| MetadataRequestTopic {
            topic_id: TopicId::ZERO,
            name: Some(Str::from(name)),
        };
        let request = MetadataRequest {
            topics: Some(self.topics.iter().map(asked).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let request = Request::Metadata(request);
        self.metadata_call = self.call(now, node, METADATA_VERSION, request, actions);
    }

    /// Whether this is the call for metadata that waits for its answer.
    pub(in crate::client) fn is_for_metadata(&self, call: u64) -> bool {
        self.metadata_call == Some(call)
    }

    /// Its call for metadata is not going to be answered.
    pub(in crate::client) const fn on_metadata_failed(&mut self) {
        self.metadata_call = None;
    }

    /// Its call for metadata has been answered.
    pub(in crate::client) fn on_metadata(
        &mut self,
        now: SimTime,
        response: &MetadataResponse,
        needs_leaders: bool,
    ) {
        self.metadata_call = None;
        self.metadata_wanted = None;
        if !needs_leaders {
            self.metadata_backoff.succeeded();
            return;
        }
        let mut is_complete = true;
        for name in &self.topics {
            let mut answers = response.topics.iter();
            let topic = answers.find(|topic| topic.name.as_deref() == Some(name));
            let topic = topic.filter(|topic| topic.error_code == ErrorCode::None);
            is_complete &= topic.is_some_and(|topic| self.metadata.learn(name, topic));
        }
        if is_complete {
            self.metadata_backoff.succeeded();
        } else {
            self.want_metadata(now);
        }
    }
}
