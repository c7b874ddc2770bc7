//! What a client knows of the cluster: which topic, and who leads its partitions, as brokers answer it.

use std::collections::BTreeMap;

use varve_core::ids::{TopicId, TopicPartition};
use varve_core::wire::metadata::MetadataRequestTopic;
use varve_core::wire::{ErrorCode, MetadataRequest, MetadataResponse, Request, Str};

use crate::client::{ClientAction, NetworkClient};
use crate::clock::SimTime;

const METADATA_VERSION: i16 = 12;

/// What a client knows of its topic.
#[derive(Clone, Debug)]
pub struct ClusterMetadata {
    /// The topic's id.
    pub topic: TopicId,
    /// Leader and epoch by partition.
    pub leaders: BTreeMap<i32, (u8, i32)>,
}

impl ClusterMetadata {
    /// The partitions that each leader has.
    #[must_use]
    pub fn by_leader(&self) -> BTreeMap<u8, Vec<i32>> {
        let mut by_leader: BTreeMap<u8, Vec<i32>> = BTreeMap::new();
        for (&partition, &(leader, _)) in &self.leaders {
            by_leader.entry(leader).or_default().push(partition);
        }
        by_leader
    }
}

impl NetworkClient {
    /// What it knows of its topic, once it knows anything.
    #[must_use]
    pub const fn metadata(&self) -> Option<&ClusterMetadata> {
        self.metadata.as_ref()
    }

    /// The topic's id, once known.
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.metadata.as_ref().map(|known| known.topic)
    }

    /// Whom the client takes for the leader of a partition.
    #[must_use]
    pub fn leader_of(&self, partition: i32) -> Option<u8> {
        self.metadata
            .as_ref()?
            .leaders
            .get(&partition)
            .map(|&(node, _)| node)
    }

    /// The client takes a node for the leader of a partition, whoever has told it.
    pub fn take_for_leader(&mut self, node: u8, leader_epoch: i32, of: TopicPartition) {
        let metadata = self.metadata.get_or_insert_with(|| ClusterMetadata {
            topic: of.topic,
            leaders: BTreeMap::new(),
        });
        let leader = (node, leader_epoch);
        metadata.leaders.insert(of.partition.0, leader);
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
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: TopicId::ZERO,
                name: Some(Str::from(&self.topic)),
            }]),
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
        let topic = response.topics.first();
        let Some(topic) = topic.filter(|topic| topic.error_code == ErrorCode::None) else {
            self.want_metadata(now);
            return;
        };
        let metadata = self.metadata.get_or_insert_with(|| ClusterMetadata {
            topic: topic.topic_id,
            leaders: BTreeMap::new(),
        });
        let mut leaderless = topic.partitions.is_empty();
        for partition in &topic.partitions {
            let Ok(leader) = u8::try_from(partition.leader_id) else {
                leaderless = true;
                continue;
            };
            // As Kafka's clients: an older epoch than the one known is ignored.
            let newer = metadata
                .leaders
                .get(&partition.partition_index)
                .is_none_or(|(_, epoch)| *epoch <= partition.leader_epoch);
            if newer {
                metadata
                    .leaders
                    .insert(partition.partition_index, (leader, partition.leader_epoch));
            }
        }
        if leaderless {
            self.want_metadata(now);
        } else {
            self.metadata_backoff.succeeded();
        }
    }
}
