//! What clients are told of the cluster: Metadata, DescribeCluster, DescribeTopicPartitions and DescribeConfigs.
//!
//! Three sources, each with its own word: the image says which brokers, topics, replicas and configurations there
//! are; the leaders' own claims say who leads and who is in sync; the links say who is heard. A broker that the
//! controller has fenced but that is heard all the same is told of, and so is whoever leads
//! (counter-example 11): to hide a leader that its quorum follows only keeps clients away from it.
//!
//! Nothing here decides or waits. Where topics are to be created for having been asked about, the answer names
//! them, and tells the client meanwhile what Kafka does: that it should ask again.

use std::collections::BTreeSet;

use super::config::{ConfigEntry, Configs};
use super::image::{BrokerImage, BrokerState, ClusterImage, PartitionImage, TopicImage};
use super::names::{check_topic_name, is_internal};
use super::{BrokerRegistration, Endpoint};
use crate::ids::{BrokerId, ClusterId, LeaderEpoch, PartitionIndex, TopicId, TopicPartition};
use crate::peer::LeaderClaim;
use crate::wire::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, ENDPOINT_BROKERS,
    ENDPOINT_CONTROLLERS,
};
use crate::wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, RESOURCE_BROKER,
    RESOURCE_TOPIC,
};
use crate::wire::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use crate::wire::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic, OPERATIONS_UNKNOWN,
};
use crate::wire::{ErrorCode, Str};

/// What a client may do to a topic where nothing is forbidden, one bit an operation of Kafka's: read, write,
/// create, delete, alter, describe, describe and alter configurations.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster: create, alter, describe, cluster action, describe and alter configurations,
/// idempotent write.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// What a broker knows beyond the image.
pub trait ClusterView {
    /// The latest claim to lead a partition, or to have led it.
    fn leader(&self, partition: TopicPartition) -> Option<&LeaderClaim>;

    /// Whether the broker is heard, by this one or by those it hears.
    fn is_heard(&self, broker: BrokerId) -> bool;
}

/// From where, and to whom, is answered.
#[derive(Clone, Copy)]
pub struct Answering<'a> {
    /// The image, and the answering broker's own configuration.
    pub configs: Configs<'a>,
    /// Who leads and who is heard.
    pub view: &'a dyn ClusterView,
    /// The cluster, once this broker belongs to one.
    pub cluster: Option<ClusterId>,
    /// The leader of the metadata quorum, where it is known.
    pub controller: Option<BrokerId>,
    /// The name of the listener that the client came through: it is told those of the same name.
    pub listener: &'a str,
}

impl std::fmt::Debug for Answering<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answering")
            .field("cluster", &self.cluster)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// An answer to Metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// What the client is told.
    pub response: MetadataResponse,
    /// Topics that do not exist, may exist, and are to be created for having been asked about; without duplicates.
    pub to_create: Vec<Str>,
}

/// Who leads a partition, as clients are told.
struct Leadership {
    error_code: ErrorCode,
    leader: BrokerId,
    leader_epoch: LeaderEpoch,
    isr: Vec<BrokerId>,
}

/// What clients take for *no broker*.
const NOBODY: BrokerId = BrokerId(-1);

impl<'a> Answering<'a> {
    /// Answers Metadata.
    #[must_use]
    pub fn metadata(&self, request: &MetadataRequest, api_version: i16) -> MetadataAnswer {
        let mut to_create = Vec::new();
        let mut leaders = BTreeSet::new();
        let mut topics = Vec::new();
        let all = request
            .topics
            .as_ref()
            .is_none_or(|topics| api_version == 0 && topics.is_empty());
        if all {
            for topic in self.image().topics() {
                topics.push(self.metadata_topic(topic, api_version, &mut leaders));
            }
        } else {
            let may_create = request.allow_auto_topic_creation && self.configs.auto_create_topics();
            let mut told = BTreeSet::new();
            for asked in request.topics.iter().flatten() {
                if !told.insert((asked.topic_id, asked.name.as_ref())) {
                    continue;
                }
                topics.push(match self.asked_topic(asked) {
                    Ok(topic) => self.metadata_topic(topic, api_version, &mut leaders),
                    Err(error_code) => {
                        if error_code == ErrorCode::UnknownTopicOrPartition
                            && may_create
                            && let Some(name) = &asked.name
                        {
                            to_create.push(name.clone());
                        }
                        refused_topic(asked, error_code, api_version)
                    }
                });
            }
        }
        if request.include_topic_authorized_operations {
            for topic in &mut topics {
                if topic.error_code.is_none() {
                    topic.topic_authorized_operations = TOPIC_OPERATIONS;
                }
            }
        }
        let brokers = self
            .endpoints(|broker| self.is_alive(broker) || leaders.contains(&id_of(broker)))
            .map(|(broker, endpoint)| MetadataResponseBroker {
                node_id: broker.broker.0,
                host: endpoint.host.as_str().into(),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(Str::from),
            })
            .collect();
        let response = MetadataResponse {
            brokers,
            cluster_id: self.cluster.map(|id| id.to_string().into()),
            controller_id: self.controller_id().0,
            topics,
            cluster_authorized_operations: if request.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_UNKNOWN
            },
            ..MetadataResponse::default()
        };
        MetadataAnswer {
            response,
            to_create,
        }
    }

    /// Answers DescribeCluster.
    #[must_use]
    pub fn describe_cluster(&self, request: &DescribeClusterRequest) -> DescribeClusterResponse {
        if request.endpoint_type != ENDPOINT_BROKERS {
            let (error_code, message) = if request.endpoint_type == ENDPOINT_CONTROLLERS {
                let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type \
                               CONTROLLER";
                (ErrorCode::MismatchedEndpointType, message.to_owned())
            } else {
                let message = format!("Unsupported endpoint type {}", request.endpoint_type);
                (ErrorCode::UnsupportedEndpointType, message)
            };
            return DescribeClusterResponse {
                error_code,
                error_message: Some(message.into()),
                ..DescribeClusterResponse::default()
            };
        }
        let brokers = self
            .endpoints(|broker| request.include_fenced_brokers || self.is_alive(broker))
            .map(|(broker, endpoint)| DescribeClusterBroker {
                broker_id: broker.broker.0,
                host: endpoint.host.as_str().into(),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(Str::from),
                is_fenced: !self
                    .image()
                    .broker(broker.broker)
                    .is_some_and(|it| self.is_alive(it)),
            })
            .collect();
        DescribeClusterResponse {
            cluster_id: self.cluster.map_or(Str::EMPTY, |id| id.to_string().into()),
            controller_id: self.controller_id().0,
            brokers,
            cluster_authorized_operations: if request.include_cluster_authorized_operations {
                CLUSTER_OPERATIONS
            } else {
                OPERATIONS_UNKNOWN
            },
            ..DescribeClusterResponse::default()
        }
    }

    /// Answers DescribeTopicPartitions (KIP-966), a page at a time: partitions in the order of their topics' names
    /// from the cursor on, until the request's limit or the broker's is reached.
    #[must_use]
    pub fn describe_topic_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let cursor = request.cursor.as_ref();
        let start = cursor.map_or("", |cursor| cursor.topic_name.as_str());
        let mut asked: BTreeSet<&str> = request.topics.iter().map(|it| it.name.as_str()).collect();
        asked.retain(|name| *name >= start);
        let is_sound = cursor.is_none_or(|cursor| {
            cursor.partition_index >= 0 && (request.topics.is_empty() || asked.contains(start))
        });
        if !is_sound {
            return refused_page(&request.topics);
        }
        let limit = request
            .response_partition_limit
            .min(self.configs.describe_partitions_max())
            .max(1);
        let mut page = Page {
            response: DescribeTopicPartitionsResponse::default(),
            remaining: usize::try_from(limit).expect("at least 1"),
        };
        let first = |name: &str| match cursor {
            Some(cursor) if cursor.topic_name == *name => cursor.partition_index,
            Some(_) | None => 0,
        };
        if request.topics.is_empty() {
            for topic in self.image().topics_from(start) {
                if page.is_full(&topic.name) {
                    break;
                }
                self.describe_topic(topic, first(&topic.name), &mut page);
            }
        } else {
            for name in asked {
                if page.is_full(name) {
                    break;
                }
                match self.image().topic_named(name) {
                    Some(topic) => self.describe_topic(topic, first(name), &mut page),
                    None => page
                        .response
                        .topics
                        .push(DescribeTopicPartitionsResponseTopic {
                            error_code: name_error(name),
                            name: Some(name.into()),
                            is_internal: is_internal(name),
                            ..DescribeTopicPartitionsResponseTopic::default()
                        }),
                }
            }
        }
        page.response
    }

    /// Answers DescribeConfigs, for topics and for this broker.
    #[must_use]
    pub fn describe_configs(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request
            .resources
            .iter()
            .map(|resource| {
                let (error_code, error_message, entries) = match self.entries_of(resource) {
                    Ok(entries) => (ErrorCode::None, None, entries),
                    Err((code, message)) => (code, Some(message.into()), Vec::new()),
                };
                let wanted = resource.configuration_keys.as_deref().unwrap_or_default();
                let configs = entries
                    .into_iter()
                    .filter(|entry| wanted.is_empty() || wanted.iter().any(|key| key == entry.name))
                    .map(|entry| described(entry, request))
                    .collect();
                DescribeConfigsResult {
                    error_code,
                    error_message,
                    resource_type: resource.resource_type,
                    resource_name: resource.resource_name.clone(),
                    configs,
                }
            })
            .collect();
        DescribeConfigsResponse {
            results,
            ..DescribeConfigsResponse::default()
        }
    }

    const fn image(&self) -> &'a ClusterImage {
        self.configs.image
    }

    /// Whom administrative requests are sent to. Every broker passes them on, so where the controller is not
    /// known, or cannot be reached through this listener, this broker will do.
    fn controller_id(&self) -> BrokerId {
        self.controller
            .filter(|&id| self.endpoint_of(id).is_some())
            .unwrap_or_else(|| self.configs.broker.broker())
    }

    fn is_alive(&self, broker: &BrokerImage) -> bool {
        broker.state != BrokerState::Fenced || self.view.is_heard(id_of(broker))
    }

    /// The brokers that are `wanted` and have an endpoint for this client, with that endpoint.
    fn endpoints(
        &self,
        wanted: impl Fn(&BrokerImage) -> bool,
    ) -> impl Iterator<Item = (&'a BrokerRegistration, &'a Endpoint)> {
        let listener = self.listener;
        self.image()
            .brokers()
            .filter(move |broker| wanted(broker))
            .filter_map(move |broker| {
                let registration = &broker.registration;
                Some((registration, endpoint(registration, listener)?))
            })
    }

    fn endpoint_of(&self, broker: BrokerId) -> Option<&'a Endpoint> {
        endpoint(&self.image().broker(broker)?.registration, self.listener)
    }

    fn is_offline(&self, broker: BrokerId) -> bool {
        self.endpoint_of(broker).is_none()
            || self
                .image()
                .broker(broker)
                .is_none_or(|broker| !self.is_alive(broker))
    }

    fn leadership(&self, partition: TopicPartition) -> Leadership {
        let Some(claim) = self.view.leader(partition) else {
            return Leadership {
                error_code: ErrorCode::LeaderNotAvailable,
                leader: NOBODY,
                leader_epoch: LeaderEpoch(-1),
                isr: Vec::new(),
            };
        };
        let known = claim.leader.filter(|&id| self.image().broker(id).is_some());
        let (error_code, leader) = match known {
            None => (ErrorCode::LeaderNotAvailable, NOBODY),
            Some(id) if self.endpoint_of(id).is_none() => (ErrorCode::ListenerNotFound, NOBODY),
            Some(id) => (ErrorCode::None, id),
        };
        Leadership {
            error_code,
            leader,
            leader_epoch: claim.leader_epoch,
            isr: claim.isr.clone(),
        }
    }

    fn asked_topic(&self, asked: &MetadataRequestTopic) -> Result<&'a TopicImage, ErrorCode> {
        if asked.topic_id != TopicId::ZERO {
            return self
                .image()
                .topic(asked.topic_id)
                .ok_or(ErrorCode::UnknownTopicId);
        }
        let name = asked.name.as_ref().ok_or(ErrorCode::InvalidRequest)?;
        self.image()
            .topic_named(name)
            .ok_or_else(|| name_error(name))
    }

    fn metadata_topic(
        &self,
        topic: &TopicImage,
        api_version: i16,
        leaders: &mut BTreeSet<BrokerId>,
    ) -> MetadataResponseTopic {
        let partitions = topic
            .partitions()
            .map(|(index, partition)| {
                let told = self.metadata_partition(topic.id, index, partition, api_version);
                leaders.insert(BrokerId(told.leader_id));
                told
            })
            .collect();
        MetadataResponseTopic {
            error_code: ErrorCode::None,
            name: Some((&*topic.name).into()),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions,
            ..MetadataResponseTopic::default()
        }
    }

    fn metadata_partition(
        &self,
        topic: TopicId,
        index: PartitionIndex,
        partition: &PartitionImage,
        api_version: i16,
    ) -> MetadataResponsePartition {
        let leadership = self.leadership(TopicPartition {
            topic,
            partition: index,
        });
        let mut error_code = leadership.error_code;
        // Clients learned to tell a missing listener from a missing leader with version 6.
        if error_code == ErrorCode::ListenerNotFound && api_version < 6 {
            error_code = ErrorCode::LeaderNotAvailable;
        }
        let mut replicas = partition.replica_brokers();
        let mut isr = leadership.isr;
        let offline: Vec<_> = replicas
            .iter()
            .copied()
            .filter(|&id| self.is_offline(id))
            .collect();
        // Version 0 cannot say "offline": it is told of replicas that are there, and that some are not.
        if api_version == 0 && !offline.is_empty() {
            replicas.retain(|id| !offline.contains(id));
            isr.retain(|id| !offline.contains(id));
            if error_code.is_none() {
                error_code = ErrorCode::ReplicaNotAvailable;
            }
        }
        MetadataResponsePartition {
            error_code,
            partition_index: index.0,
            leader_id: leadership.leader.0,
            leader_epoch: leadership.leader_epoch.0,
            replica_nodes: numbers(&replicas),
            isr_nodes: numbers(&isr),
            offline_replicas: numbers(&offline),
        }
    }

    fn describe_topic(&self, topic: &TopicImage, first: i32, page: &mut Page) {
        let first = usize::try_from(first).expect("a sound cursor is not negative");
        let partitions: Vec<_> = topic
            .partitions()
            .skip(first)
            .take(page.remaining)
            .map(|(index, partition)| self.describe_partition(topic.id, index, partition))
            .collect();
        let next = first.saturating_add(partitions.len());
        page.remaining -= partitions.len();
        page.response
            .topics
            .push(DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::None,
                name: Some((&*topic.name).into()),
                topic_id: topic.id,
                is_internal: is_internal(&topic.name),
                partitions,
                topic_authorized_operations: TOPIC_OPERATIONS,
            });
        if next < topic.partitions.len() {
            page.end_before(&topic.name, next);
        }
    }

    fn describe_partition(
        &self,
        topic: TopicId,
        index: PartitionIndex,
        partition: &PartitionImage,
    ) -> DescribeTopicPartitionsResponsePartition {
        let leadership = self.leadership(TopicPartition {
            topic,
            partition: index,
        });
        let replicas = partition.replica_brokers();
        let offline: Vec<_> = replicas
            .iter()
            .copied()
            .filter(|&id| self.is_offline(id))
            .collect();
        DescribeTopicPartitionsResponsePartition {
            // As in Kafka, a partition without a leader is described all the same.
            error_code: ErrorCode::None,
            partition_index: index.0,
            leader_id: leadership.leader.0,
            leader_epoch: leadership.leader_epoch.0,
            replica_nodes: numbers(&replicas),
            isr_nodes: numbers(&leadership.isr),
            // A quorum needs no list of who else may be elected: every voter may, if its log allows it.
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: numbers(&offline),
        }
    }

    fn entries_of(
        &self,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<ConfigEntry>, (ErrorCode, String)> {
        let name = resource.resource_name.as_str();
        match resource.resource_type {
            RESOURCE_TOPIC => {
                check_topic_name(name)
                    .map_err(|error| (ErrorCode::InvalidTopicException, error.to_string()))?;
                let topic = self.image().topic_named(name).ok_or_else(|| {
                    let message = "This server does not host this topic-partition.".to_owned();
                    (ErrorCode::UnknownTopicOrPartition, message)
                })?;
                Ok(self.configs.topic_entries(&topic.config))
            }
            RESOURCE_BROKER if name.is_empty() => Ok(self.configs.broker_default_entries()),
            RESOURCE_BROKER => {
                let refused = |message: String| (ErrorCode::InvalidRequest, message);
                let id: i32 = name.parse().map_err(|_| {
                    refused(format!("Broker id must be an integer, but it is: {name}"))
                })?;
                let me = self.configs.broker.broker();
                if BrokerId(id) != me {
                    return Err(refused(format!(
                        "Unexpected broker id, expected {me} or empty string, but received {name}"
                    )));
                }
                Ok(self.configs.broker_entries())
            }
            other => Err((
                ErrorCode::InvalidRequest,
                format!("Unsupported resource type: {other}"),
            )),
        }
    }
}

/// A page that is being filled.
struct Page {
    response: DescribeTopicPartitionsResponse,
    /// Partitions that still fit.
    remaining: usize,
}

impl Page {
    /// Whether nothing of the topic fits any more; the next page then starts with it.
    fn is_full(&mut self, next_topic: &str) -> bool {
        if self.response.next_cursor.is_some() {
            return true;
        }
        if self.remaining == 0 {
            self.end_before(next_topic, 0);
        }
        self.remaining == 0
    }

    fn end_before(&mut self, topic: &str, partition: usize) {
        self.response.next_cursor = Some(Cursor {
            topic_name: topic.into(),
            partition_index: i32::try_from(partition).expect("partitions are counted by an i32"),
        });
    }
}

const fn id_of(broker: &BrokerImage) -> BrokerId {
    broker.registration.broker
}

fn endpoint<'a>(broker: &'a BrokerRegistration, listener: &str) -> Option<&'a Endpoint> {
    broker.listeners.iter().find(|it| it.name == listener)
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

/// Why there is no topic of this name.
fn name_error(name: &str) -> ErrorCode {
    match check_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn refused_topic(
    asked: &MetadataRequestTopic,
    error_code: ErrorCode,
    api_version: i16,
) -> MetadataResponseTopic {
    let name = asked
        .name
        .clone()
        .filter(|_| asked.topic_id == TopicId::ZERO);
    MetadataResponseTopic {
        error_code,
        is_internal: name.as_deref().is_some_and(is_internal),
        // Before version 12 the name cannot be null.
        name: name.or((api_version < 12).then_some(Str::EMPTY)),
        topic_id: asked.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn refused_page(topics: &[TopicRequest]) -> DescribeTopicPartitionsResponse {
    DescribeTopicPartitionsResponse {
        topics: topics
            .iter()
            .map(|topic| DescribeTopicPartitionsResponseTopic {
                error_code: ErrorCode::InvalidRequest,
                name: Some(topic.name.clone()),
                ..DescribeTopicPartitionsResponseTopic::default()
            })
            .collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

fn described(
    entry: ConfigEntry,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    let synonyms = if request.include_synonyms {
        entry.synonyms
    } else {
        Vec::new()
    };
    DescribeConfigsResourceResult {
        name: Str::from_static(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: false,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: Str::from_static(synonym.name),
                value: Some(synonym.value.into()),
                source: synonym.source.code(),
            })
            .collect(),
        config_type: entry.kind.code(),
        documentation: request
            .include_documentation
            .then(|| Str::from_static(entry.documentation)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::image::voter;
    use crate::cluster::{BrokerConfig, ConfigMap, MetadataRecord};
    use crate::ids::Incarnation;

    const FLIGHTS: TopicId = TopicId(1 << 64);
    const WEATHER: TopicId = TopicId(2 << 64);

    /// What broker 1 knows.
    struct Known {
        image: ClusterImage,
        broker: BrokerConfig,
        leaders: BTreeMap<TopicPartition, LeaderClaim>,
        heard: Vec<i32>,
    }

    impl ClusterView for Known {
        fn leader(&self, partition: TopicPartition) -> Option<&LeaderClaim> {
            self.leaders.get(&partition)
        }

        fn is_heard(&self, broker: BrokerId) -> bool {
            self.heard.contains(&broker.0)
        }
    }

    fn partition(topic: TopicId, index: i32) -> TopicPartition {
        TopicPartition {
            topic,
            partition: PartitionIndex(index),
        }
    }

    impl Known {
        /// Brokers 1 to 3, active; only 1 and 2 have the listener `INSIDE`. `flights` has two partitions on all of
        /// them, `weather` one on 3 and 1.
        fn new() -> Self {
            let mut known = Self {
                image: ClusterImage::default(),
                broker: BrokerConfig::new(BrokerId(1), ConfigMap::new()).unwrap(),
                leaders: BTreeMap::new(),
                heard: Vec::new(),
            };
            for id in 1..=3 {
                let endpoint = |name: &str, port| Endpoint {
                    name: name.to_owned(),
                    host: format!("n{id}"),
                    port,
                };
                let mut listeners = vec![endpoint("OUTSIDE", 9092)];
                if id < 3 {
                    listeners.push(endpoint("INSIDE", 9093));
                }
                let registration = BrokerRegistration {
                    broker: BrokerId(id),
                    directory: voter(id).directory,
                    incarnation: Incarnation(1),
                    rack: (id == 1).then(|| "attic".to_owned()),
                    listeners,
                    peer_address: format!("n{id}:9192"),
                };
                known.apply(MetadataRecord::RegisterBroker { registration });
                known.apply(MetadataRecord::UnfenceBroker {
                    broker: BrokerId(id),
                    incarnation: Incarnation(1),
                });
            }
            for (name, id, target) in [
                ("flights", FLIGHTS, vec![vec![1, 2, 3], vec![2, 3, 1]]),
                ("weather", WEATHER, vec![vec![3, 1]]),
            ] {
                let name = name.to_owned();
                known.apply(MetadataRecord::Topic { name, id });
                for (index, target) in (0..).zip(target) {
                    let target: Vec<_> = target.into_iter().map(voter).collect();
                    known.apply(MetadataRecord::Partition {
                        partition: partition(id, index),
                        voters: target.clone(),
                        target,
                    });
                }
            }
            known.leads(FLIGHTS, 0, 1, &[1, 2, 3]);
            known.leads(FLIGHTS, 1, 2, &[1, 2]);
            known.leads(WEATHER, 0, 3, &[1, 3]);
            known
        }

        fn apply(&mut self, record: MetadataRecord) {
            self.image.apply(&record);
        }

        fn leads(&mut self, topic: TopicId, index: i32, leader: i32, isr: &[i32]) {
            let partition = partition(topic, index);
            let claim = LeaderClaim {
                partition,
                leader_epoch: LeaderEpoch(7),
                leader: (leader > 0).then_some(BrokerId(leader)),
                version: 0,
                isr: isr.iter().copied().map(BrokerId).collect(),
            };
            self.leaders.insert(partition, claim);
        }

        fn fence(&mut self, broker: i32) {
            self.apply(MetadataRecord::FenceBroker {
                broker: BrokerId(broker),
                incarnation: Incarnation(1),
            });
        }

        fn through<'a>(&'a self, listener: &'a str) -> Answering<'a> {
            Answering {
                configs: Configs {
                    image: &self.image,
                    broker: &self.broker,
                },
                view: self,
                cluster: Some(ClusterId(5)),
                controller: Some(BrokerId(3)),
                listener,
            }
        }

        fn metadata(&self, names: Option<&[&str]>, api_version: i16) -> MetadataAnswer {
            let request = MetadataRequest {
                topics: names.map(|names| {
                    names
                        .iter()
                        .map(|&name| MetadataRequestTopic {
                            name: Some(name.into()),
                            topic_id: TopicId::ZERO,
                        })
                        .collect()
                }),
                ..MetadataRequest::default()
            };
            self.through("OUTSIDE").metadata(&request, api_version)
        }

        fn page(&self, topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> String {
            let request = DescribeTopicPartitionsRequest {
                topics: topics
                    .iter()
                    .map(|&name| TopicRequest { name: name.into() })
                    .collect(),
                response_partition_limit: limit,
                cursor: cursor.map(|(name, partition_index)| Cursor {
                    topic_name: name.into(),
                    partition_index,
                }),
            };
            let response = self.through("OUTSIDE").describe_topic_partitions(&request);
            let mut lines = Vec::new();
            for topic in response.topics {
                let partitions: Vec<_> = topic
                    .partitions
                    .iter()
                    .map(|it| it.partition_index)
                    .collect();
                let name = topic.name.unwrap_or_default();
                lines.push(format!("{name} {} {partitions:?}", topic.error_code));
            }
            if let Some(next) = response.next_cursor {
                lines.push(format!("next {}-{}", next.topic_name, next.partition_index));
            }
            lines.join("; ")
        }
    }

    /// Brokers, then topic by topic each partition with leader, replicas, in-sync and offline replicas.
    fn told(response: &MetadataResponse) -> String {
        let mut lines: Vec<_> = response
            .brokers
            .iter()
            .map(|it| format!("broker {} at {}:{}", it.node_id, it.host, it.port))
            .collect();
        for topic in &response.topics {
            let name = topic.name.clone().unwrap_or(Str::from_static("-"));
            lines.push(format!("{name} {}", topic.error_code));
            for it in &topic.partitions {
                lines.push(format!(
                    "  {} {} leader {} e{} replicas {:?} isr {:?} offline {:?}",
                    it.partition_index,
                    it.error_code,
                    it.leader_id,
                    it.leader_epoch,
                    it.replica_nodes,
                    it.isr_nodes,
                    it.offline_replicas
                ));
            }
        }
        lines.join("\n")
    }

    #[test]
    fn all_topics_are_told_when_none_is_named() {
        let known = Known::new();
        let answer = known.metadata(None, 12);
        insta::assert_snapshot!(told(&answer.response), @r"
        broker 1 at n1:9092
        broker 2 at n2:9092
        broker 3 at n3:9092
        flights NONE
          0 NONE leader 1 e7 replicas [1, 2, 3] isr [1, 2, 3] offline []
          1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline []
        weather NONE
          0 NONE leader 3 e7 replicas [3, 1] isr [1, 3] offline []
        ");
        assert_eq!(answer.response.controller_id, 3);
        assert_eq!(answer.response.brokers[0].rack, Some("attic".into()));
        assert_eq!(answer.response.topics[0].topic_id, FLIGHTS);
        assert_eq!(known.metadata(Some(&[]), 0), known.metadata(None, 0));
        assert_eq!(known.metadata(Some(&[]), 1).response.topics, []);
    }

    /// Counter-example 11: the controller has fenced 3, whose peers hear and follow it.
    #[test]
    fn a_fenced_broker_that_is_heard_is_told_of() {
        let mut known = Known::new();
        known.fence(3);
        known.heard = vec![3];
        let answer = known.metadata(Some(&["weather"]), 12);
        insta::assert_snapshot!(told(&answer.response), @r"
        broker 1 at n1:9092
        broker 2 at n2:9092
        broker 3 at n3:9092
        weather NONE
          0 NONE leader 3 e7 replicas [3, 1] isr [1, 3] offline []
        ");
    }

    #[test]
    fn a_leader_can_be_reached_by_whoever_is_told_of_it_heard_or_not() {
        let mut known = Known::new();
        known.fence(3);
        let weather = known.metadata(Some(&["weather"]), 12).response;
        insta::assert_snapshot!(told(&weather), @r"
        broker 1 at n1:9092
        broker 2 at n2:9092
        broker 3 at n3:9092
        weather NONE
          0 NONE leader 3 e7 replicas [3, 1] isr [1, 3] offline [3]
        ");
        let flights = known.metadata(Some(&["flights"]), 12).response;
        assert_eq!(flights.brokers.len(), 2);
    }

    #[test]
    fn a_partition_without_a_leader_says_so_and_keeps_its_epoch() {
        let mut known = Known::new();
        known.leads(FLIGHTS, 0, -1, &[]);
        known.leaders.remove(&partition(WEATHER, 0));
        let answer = known.metadata(None, 12);
        insta::assert_snapshot!(told(&answer.response), @r"
        broker 1 at n1:9092
        broker 2 at n2:9092
        broker 3 at n3:9092
        flights NONE
          0 LEADER_NOT_AVAILABLE leader -1 e7 replicas [1, 2, 3] isr [] offline []
          1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline []
        weather NONE
          0 LEADER_NOT_AVAILABLE leader -1 e-1 replicas [3, 1] isr [] offline []
        ");
    }

    #[test]
    fn clients_are_told_the_listener_that_they_came_through() {
        let known = Known::new();
        let inside = known.through("INSIDE");
        let request = MetadataRequest::default();
        insta::assert_snapshot!(told(&inside.metadata(&request, 12).response), @r"
        broker 1 at n1:9093
        broker 2 at n2:9093
        flights NONE
          0 NONE leader 1 e7 replicas [1, 2, 3] isr [1, 2, 3] offline [3]
          1 NONE leader 2 e7 replicas [2, 3, 1] isr [1, 2] offline [3]
        weather NONE
          0 LISTENER_NOT_FOUND leader -1 e7 replicas [3, 1] isr [1, 3] offline [3]
        ");
        let old = inside.metadata(&request, 5).response;
        let code = old.topics[1].partitions[0].error_code;
        assert_eq!(code, ErrorCode::LeaderNotAvailable);
        assert_eq!(
            old.controller_id, 1,
            "3 cannot be reached; whoever answers passes it on"
        );
    }

    #[test]
    fn version_0_is_told_only_of_replicas_that_are_there() {
        let mut known = Known::new();
        known.fence(3);
        let answer = known.metadata(Some(&["flights"]), 0);
        let told = &answer.response.topics[0].partitions[0];
        assert_eq!(told.error_code, ErrorCode::ReplicaNotAvailable);
        assert_eq!(told.replica_nodes, [1, 2]);
        assert_eq!(told.isr_nodes, [1, 2]);
    }

    #[test]
    fn what_does_not_exist_is_created_where_both_sides_want_it() {
        let mut known = Known::new();
        let names = ["trains", "flights", "a/b", "trains"];
        let answer = known.metadata(Some(&names), 12);
        assert_eq!(answer.to_create, ["trains"]);
        let codes = |answer: &MetadataAnswer| -> Vec<_> {
            answer
                .response
                .topics
                .iter()
                .map(|it| it.error_code.name())
                .collect()
        };
        let expected = [
            "UNKNOWN_TOPIC_OR_PARTITION",
            "NONE",
            "INVALID_TOPIC_EXCEPTION",
        ];
        assert_eq!(codes(&answer), expected);
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some("trains".into()),
                topic_id: TopicId::ZERO,
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        assert_eq!(
            known.through("OUTSIDE").metadata(&request, 12).to_create,
            [] as [Str; 0]
        );
        let file = [("auto.create.topics.enable".to_owned(), "false".to_owned())];
        known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
        let answer = known.metadata(Some(&names), 12);
        assert_eq!(answer.to_create, [] as [Str; 0]);
        assert_eq!(codes(&answer), expected);
    }

    #[test]
    fn topics_are_found_by_id() {
        let known = Known::new();
        let by_id = |topic_id| MetadataRequestTopic {
            name: None,
            topic_id,
        };
        let request = MetadataRequest {
            topics: Some(vec![
                by_id(WEATHER),
                by_id(TopicId(9)),
                by_id(TopicId::ZERO),
            ]),
            include_topic_authorized_operations: true,
            ..MetadataRequest::default()
        };
        let topics = known
            .through("OUTSIDE")
            .metadata(&request, 12)
            .response
            .topics;
        assert_eq!(topics[0].name, Some("weather".into()));
        assert_eq!(topics[0].topic_authorized_operations, 0xdf8);
        assert_eq!(
            (topics[1].error_code, &topics[1].name),
            (ErrorCode::UnknownTopicId, &None)
        );
        assert_eq!(topics[2].error_code, ErrorCode::InvalidRequest);
        let old = known
            .through("OUTSIDE")
            .metadata(&request, 11)
            .response
            .topics;
        assert_eq!(old[2].name, Some(Str::EMPTY), "version 11 cannot say null");
    }

    #[test]
    fn a_page_ends_at_the_limit_and_the_next_begins_there() {
        let mut known = Known::new();
        let all: [&str; 0] = [];
        assert_eq!(
            known.page(&all, 10, None),
            "flights NONE [0, 1]; weather NONE [0]"
        );
        assert_eq!(
            known.page(&all, 1, None),
            "flights NONE [0]; next flights-1"
        );
        assert_eq!(
            known.page(&all, 1, Some(("flights", 1))),
            "flights NONE [1]; next weather-0"
        );
        assert_eq!(
            known.page(&all, 1, Some(("weather", 0))),
            "weather NONE [0]"
        );
        assert_eq!(known.page(&all, 0, None), known.page(&all, 1, None));
        assert_eq!(
            known.page(&["weather", "gone", "a/b"], 10, None),
            "a/b INVALID_TOPIC_EXCEPTION []; gone UNKNOWN_TOPIC_OR_PARTITION []; weather NONE [0]"
        );
        assert_eq!(
            known.page(&["weather"], 10, Some(("flights", 0))),
            "weather INVALID_REQUEST []"
        );
        assert_eq!(
            known.page(&["flights"], 10, Some(("flights", -1))),
            "flights INVALID_REQUEST []"
        );
        let file = [(
            "max.request.partition.size.limit".to_owned(),
            "1".to_owned(),
        )];
        known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
        assert_eq!(known.page(&all, 10, None), known.page(&all, 1, None));
    }

    #[test]
    fn the_cluster_is_described_with_its_fenced_brokers_for_those_who_ask() {
        let mut known = Known::new();
        known.fence(2);
        let mut request = DescribeClusterRequest::default();
        let describe = |known: &Known, request: &DescribeClusterRequest| -> Vec<_> {
            let response = known.through("OUTSIDE").describe_cluster(request);
            let brokers = response.brokers.iter();
            brokers.map(|it| (it.broker_id, it.is_fenced)).collect()
        };
        assert_eq!(describe(&known, &request), [(1, false), (3, false)]);
        request.include_fenced_brokers = true;
        assert_eq!(
            describe(&known, &request),
            [(1, false), (2, true), (3, false)]
        );
        request.endpoint_type = ENDPOINT_CONTROLLERS;
        let response = known.through("OUTSIDE").describe_cluster(&request);
        assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType);
        request.endpoint_type = 9;
        let response = known.through("OUTSIDE").describe_cluster(&request);
        assert_eq!(response.error_code, ErrorCode::UnsupportedEndpointType);
    }

    #[test]
    fn configurations_are_described_with_source_synonyms_and_meaning() {
        let mut known = Known::new();
        let file = [("log.segment.bytes".to_owned(), "2097152".to_owned())];
        known.broker = BrokerConfig::new(BrokerId(1), file.into()).unwrap();
        let resource = |resource_type, name: &str, keys: Option<&[&str]>| DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        };
        let describe = |resource: DescribeConfigsResource| {
            let request = DescribeConfigsRequest {
                resources: vec![resource],
                include_synonyms: true,
                include_documentation: true,
            };
            known
                .through("OUTSIDE")
                .describe_configs(&request)
                .results
                .remove(0)
        };
        let keys = ["segment.bytes", "retention.ms", "no.such.key"];
        let configs = describe(resource(RESOURCE_TOPIC, "flights", Some(&keys))).configs;
        assert_eq!(configs.len(), 2);
        assert_eq!(configs[0].value, Some("604800000".into()));
        assert_eq!(
            (configs[0].config_source, configs[0].synonyms.len()),
            (5, 0)
        );
        assert_eq!(configs[1].value, Some("2097152".into()));
        assert_eq!((configs[1].config_source, configs[1].config_type), (4, 3));
        let synonyms: Vec<_> = configs[1]
            .synonyms
            .iter()
            .map(|it| (it.source, &*it.name))
            .collect();
        assert_eq!(
            synonyms,
            [(4, "log.segment.bytes"), (5, "log.segment.bytes")]
        );
        assert!(
            configs[1]
                .documentation
                .as_ref()
                .is_some_and(|doc| doc.contains("segment"))
        );

        assert!(
            describe(resource(RESOURCE_TOPIC, "flights", None))
                .configs
                .len()
                > 30
        );
        assert!(describe(resource(RESOURCE_BROKER, "1", None)).configs.len() > 50);
        assert_eq!(describe(resource(RESOURCE_BROKER, "", None)).configs, []);
        let refused = [
            (RESOURCE_TOPIC, "trains"),
            (RESOURCE_TOPIC, "a/b"),
            (RESOURCE_BROKER, "2"),
            (RESOURCE_BROKER, "two"),
            (8, "1"),
        ]
        .map(|(kind, name)| {
            let result = describe(resource(kind, name, None));
            format!(
                "{} {}",
                result.error_code,
                result.error_message.unwrap_or_default()
            )
        });
        insta::assert_snapshot!(refused.join("\n"), @r"
        UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
        INVALID_TOPIC_EXCEPTION Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        INVALID_REQUEST Unexpected broker id, expected 1 or empty string, but received 2
        INVALID_REQUEST Broker id must be an integer, but it is: two
        INVALID_REQUEST Unsupported resource type: 8
        ");
    }
}
