//! Responses about the cluster: Metadata, DescribeCluster, DescribeTopicPartitions, DescribeConfigs and
//! ListPartitionReassignments.
//!
//! Three sources: the image has the brokers, topics, replicas and configurations; the leaders' own announcements have
//! leaders and ISRs; the links know which brokers are alive. A broker that the controller has fenced but that is alive
//! here is included, and leads what it has announced (counter-example 11): hiding a leader that its quorum follows only
//! keeps clients away from it. A broker without contact to the controller or to this broker, or that has restarted
//! since its announcement, is not named as a leader.
//!
//! Nothing here decides or waits: the caller says whether the image is known to be current; if it is not, a topic that
//! it lacks may still exist. If topics must be created automatically, the answer lists them, and the response makes the
//! client retry, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{ConfigEntry, Configs};
use super::image::{BrokerImage, BrokerState, ClusterImage, PartitionImage, TopicImage};
use super::names::{check_topic_name, is_internal};
use super::{BrokerRegistration, Endpoint};
use crate::ids::{BrokerId, ClusterId, LeaderEpoch, PartitionIndex, TopicId, TopicPartition};
use crate::peer::LeaderAndIsr;
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
use crate::wire::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::wire::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic, OPERATIONS_UNKNOWN,
};
use crate::wire::{ErrorCode, Str};

/// The operations that every client may do on a topic, as there are no ACLs; one bit for each of Kafka's operations:
/// read, write, create, delete, alter, describe, describe and alter configurations.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The same for the cluster: create, alter, describe, cluster action, describe and alter configurations,
/// idempotent write.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// What a broker knows beyond the image.
pub trait ClusterView {
    /// The latest announcement of a partition, by its leader or by one that has resigned.
    fn leader(&self, partition: TopicPartition) -> Option<&LeaderAndIsr>;

    /// Whether the incarnation that made that announcement is the latest of its broker.
    fn is_current(&self, partition: TopicPartition) -> bool;

    /// Whether the broker is alive, as far as this broker knows.
    fn is_alive(&self, broker: BrokerId) -> bool;

    /// Whether the broker's directory is offline, by its last heartbeat.
    fn is_directory_offline(&self, broker: BrokerId) -> bool;
}

/// The context of a response: the answering broker's state, and the client's listener.
#[derive(Clone, Copy)]
pub struct AnswerContext<'a> {
    /// The image, and the answering broker's own configuration.
    pub configs: Configs<'a>,
    /// Leaders and live brokers.
    pub view: &'a dyn ClusterView,
    /// The cluster; `None` before this broker has joined one.
    pub cluster: Option<ClusterId>,
    /// The leader of the metadata quorum, where it is known.
    pub controller: Option<BrokerId>,
    /// Whether the image is known to be current, so that what it lacks does not exist.
    pub confirmed: bool,
    /// The name of the listener of the client's connection: the response has the endpoints of that name.
    pub listener: &'a str,
}

impl std::fmt::Debug for AnswerContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerContext")
            .field("cluster", &self.cluster)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// The answer to a Metadata request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataAnswer {
    /// The response to the client.
    pub response: MetadataResponse,
    /// Topics that do not exist and must be created automatically; without duplicates.
    pub to_create: Vec<Str>,
}

/// The leader of a partition in a response.
struct Leadership {
    error_code: ErrorCode,
    leader: BrokerId,
    leader_epoch: LeaderEpoch,
    isr: Vec<BrokerId>,
}

/// The most resources in one response to DescribeConfigs: each takes a hundred times the bytes of a partition in other
/// responses.
const DESCRIBED_RESOURCES_MAX: usize = 5_000;

/// From this version of Metadata on topics can be requested by id.
const BY_ID_FROM: i16 = 12;

/// *No broker* in responses.
const NO_BROKER: BrokerId = BrokerId(-1);

impl<'a> AnswerContext<'a> {
    /// Answers Metadata.
    #[must_use]
    pub fn metadata(&self, request: &MetadataRequest, api_version: i16) -> MetadataAnswer {
        if is_invalid(request, api_version) {
            return MetadataAnswer {
                response: refused_metadata(request),
                to_create: Vec::new(),
            };
        }
        let mut to_create = Vec::new();
        let mut topics = Vec::new();
        if lists_all_topics(request, api_version) {
            for topic in self.image().topics() {
                topics.push(self.metadata_topic(topic, api_version));
            }
        } else {
            let may_create = request.allow_auto_topic_creation && self.configs.auto_create_topics();
            let mut told = BTreeSet::new();
            let asked = || request.topics.iter().flatten();
            // A request with ids is answered for its ids only.
            let by_id = asked().any(is_by_id);
            for asked in asked().filter(|asked| is_by_id(asked) == by_id) {
                if !told.insert((asked.topic_id, asked.name.as_ref())) {
                    continue;
                }
                topics.push(match self.requested_topic(asked) {
                    Ok(topic) => self.metadata_topic(topic, api_version),
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
            .endpoints(|broker| self.is_alive(broker))
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
                            error_code: self.missing_topic_error(name),
                            name: Some(name.into()),
                            is_internal: is_internal(name),
                            topic_authorized_operations: TOPIC_OPERATIONS,
                            ..DescribeTopicPartitionsResponseTopic::default()
                        }),
                }
            }
        }
        page.response
    }

    /// Answers DescribeConfigs, for topics and for this broker. Each resource is answered, as in Kafka, however often
    /// it is named, up to a limit that bounds the time of a step.
    #[must_use]
    pub fn describe_configs(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request
            .resources
            .iter()
            .enumerate()
            .map(|(place, resource)| {
                let entries = if place < DESCRIBED_RESOURCES_MAX {
                    self.entries_of(resource)
                } else {
                    Err((
                        ErrorCode::PolicyViolation,
                        format!(
                            "Excessively large number of resources per request: at most {DESCRIBED_RESOURCES_MAX} \
                             can be described."
                        ),
                    ))
                };
                let (error_code, error_message, entries) = match entries {
                    Ok(entries) => (ErrorCode::None, Some(Str::EMPTY), entries),
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

    /// Answers ListPartitionReassignments: partitions that are named and not being reassigned are left out.
    #[must_use]
    pub fn list_partition_reassignments(
        &self,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        // By name, and each of its partitions once, however often they are named.
        let mut asked: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for topic in request.topics.iter().flatten() {
            let indexes = asked.entry(&topic.name).or_default();
            indexes.extend(&topic.partition_indexes);
        }
        let told = |topic: &TopicImage, ongoing: Vec<OngoingPartitionReassignment>| {
            OngoingTopicReassignment {
                name: (&*topic.name).into(),
                partitions: ongoing,
            }
        };
        let mut topics: Vec<OngoingTopicReassignment> = if request.topics.is_some() {
            let asked = asked.into_iter().filter_map(|(name, indexes)| {
                let topic = self.image().topic_named(name)?;
                let indexes = indexes.into_iter().map(PartitionIndex);
                let ongoing = indexes.filter_map(|index| ongoing(index, topic.partition(index)?));
                Some(told(topic, ongoing.collect()))
            });
            asked.collect()
        } else {
            let all = self.image().topics().map(|topic| {
                let partitions = topic.partitions();
                let ongoing = partitions.filter_map(|(index, it)| ongoing(index, it));
                told(topic, ongoing.collect())
            });
            all.collect()
        };
        topics.retain(|topic| !topic.partitions.is_empty());
        ListPartitionReassignmentsResponse {
            topics,
            ..ListPartitionReassignmentsResponse::default()
        }
    }

    /// The broker to which clients send administrative requests. Every broker forwards them, so where the controller is
    /// not known, or has no endpoint for this listener, it is this broker.
    fn controller_id(&self) -> BrokerId {
        self.controller
            .filter(|&id| self.endpoint_of(id).is_some())
            .unwrap_or_else(|| self.configs.broker.broker())
    }

    /// Whether clients can use a broker. A fenced or stopping one counts only while it is alive.
    fn is_alive(&self, broker: &BrokerImage) -> bool {
        match broker.state {
            BrokerState::Active => true,
            BrokerState::Fenced | BrokerState::Stopping => self.view.is_alive(id_of(broker)),
        }
    }

    /// The brokers that are `wanted` and have an endpoint for this client's listener, with that endpoint.
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

    /// Whether a broker's replicas are offline: the broker is not alive, or its directory is offline.
    fn is_offline(&self, broker: BrokerId) -> bool {
        self.endpoint_of(broker).is_none()
            || self.view.is_directory_offline(broker)
            || self
                .image()
                .broker(broker)
                .is_none_or(|broker| !self.is_alive(broker))
    }

    /// The leader of a partition, as far as this broker knows.
    #[must_use]
    pub fn leader(&self, partition: TopicPartition) -> Option<BrokerId> {
        let leads = |id: &BrokerId| {
            let broker = self.image().broker(*id);
            broker.is_some_and(|it| self.is_alive(it)) && self.view.is_current(partition)
        };
        self.view.leader(partition)?.leader.filter(leads)
    }

    fn leadership(&self, partition: TopicPartition) -> Leadership {
        let Some(announcement) = self.view.leader(partition) else {
            return Leadership {
                error_code: ErrorCode::LeaderNotAvailable,
                leader: NO_BROKER,
                leader_epoch: LeaderEpoch(-1),
                isr: Vec::new(),
            };
        };
        let (error_code, leader) = match self.leader(partition) {
            None => (ErrorCode::LeaderNotAvailable, NO_BROKER),
            Some(id) if self.endpoint_of(id).is_none() => (ErrorCode::ListenerNotFound, NO_BROKER),
            Some(id) => (ErrorCode::None, id),
        };
        Leadership {
            error_code,
            leader,
            leader_epoch: announcement.leader_epoch,
            isr: announcement.isr.clone(),
        }
    }

    fn requested_topic(&self, asked: &MetadataRequestTopic) -> Result<&'a TopicImage, ErrorCode> {
        if is_by_id(asked) {
            return self.image().topic(asked.topic_id).ok_or(if self.confirmed {
                ErrorCode::UnknownTopicId
            } else {
                ErrorCode::LeaderNotAvailable
            });
        }
        let name = asked
            .name
            .as_ref()
            .expect("a sound request names what it asks for");
        self.image()
            .topic_named(name)
            .ok_or_else(|| self.missing_topic_error(name))
    }

    /// Why the image has no topic of this name.
    fn missing_topic_error(&self, name: &str) -> ErrorCode {
        match check_topic_name(name) {
            Ok(()) if self.confirmed => ErrorCode::UnknownTopicOrPartition,
            Ok(()) => ErrorCode::LeaderNotAvailable,
            Err(_) => ErrorCode::InvalidTopicException,
        }
    }

    fn metadata_topic(&self, topic: &TopicImage, api_version: i16) -> MetadataResponseTopic {
        let partitions = topic
            .partitions()
            .map(|(index, partition)| {
                self.metadata_partition(topic.id, index, partition, api_version)
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
        // From version 6 on clients distinguish a missing listener from a missing leader.
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
        // Version 0 has no offline replicas: it gets the available ones, and an error for the others.
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
            // As in Kafka, a partition without a leader is described without an error.
            error_code: ErrorCode::None,
            partition_index: index.0,
            leader_id: leadership.leader.0,
            leader_epoch: leadership.leader_epoch.0,
            replica_nodes: numbers(&replicas),
            isr_nodes: numbers(&leadership.isr),
            // A quorum needs no list of eligible leaders: every voter may be elected, if its log is up to date.
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
                    let (code, message) = if self.confirmed {
                        let message = "This server does not host this topic-partition.";
                        (ErrorCode::UnknownTopicOrPartition, message)
                    } else {
                        let message = "The controller has not answered.";
                        (ErrorCode::RequestTimedOut, message)
                    };
                    (code, message.to_owned())
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
    /// How many partitions still fit.
    remaining: usize,
}

impl Page {
    /// Whether no partition of the topic fits; the next page then starts with it.
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

/// The response for a partition that is being reassigned; `None` where it is not. It also is while voters remain to be
/// removed, as after a cancellation.
fn ongoing(
    PartitionIndex(partition_index): PartitionIndex,
    partition: &PartitionImage,
) -> Option<OngoingPartitionReassignment> {
    let is_target = |id: &i32| partition.target.iter().any(|voter| voter.broker.0 == *id);
    let is_new = |id: &i32| {
        let mut original = partition.original.iter().flatten();
        partition.original.is_some() && original.all(|broker| broker.0 != *id)
    };
    let replicas: Vec<i32> = partition.replica_brokers().iter().map(|it| it.0).collect();
    let (stay, removing_replicas): (Vec<i32>, Vec<i32>) =
        replicas.iter().partition(|id| is_target(id));
    let is_ongoing = partition.original.is_some() || !removing_replicas.is_empty();
    is_ongoing.then(|| OngoingPartitionReassignment {
        partition_index,
        replicas,
        adding_replicas: stay.into_iter().filter(is_new).collect(),
        removing_replicas,
    })
}

/// Whether a request is for all topics.
#[must_use]
pub fn lists_all_topics(request: &MetadataRequest, api_version: i16) -> bool {
    let topics = request.topics.as_ref();
    topics.is_none_or(|topics| api_version == 0 && topics.is_empty())
}

fn is_by_id(asked: &MetadataRequestTopic) -> bool {
    asked.topic_id != TopicId::ZERO
}

/// Whether a topic has neither name nor id, or an id in a version that has the field but does not support it.
fn is_invalid(request: &MetadataRequest, api_version: i16) -> bool {
    request.topics.iter().flatten().any(|asked| {
        let by_id = is_by_id(asked);
        by_id && api_version < BY_ID_FROM || !by_id && asked.name.is_none()
    })
}

/// The response to an invalid request: only the topics, each with the same error.
fn refused_metadata(request: &MetadataRequest) -> MetadataResponse {
    let refused = |asked: &MetadataRequestTopic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(asked.name.clone().unwrap_or(Str::EMPTY)),
        topic_id: asked.topic_id,
        ..MetadataResponseTopic::default()
    };
    MetadataResponse {
        error_code: ErrorCode::InvalidRequest,
        topics: request.topics.iter().flatten().map(refused).collect(),
        ..MetadataResponse::default()
    }
}

fn refused_topic(
    asked: &MetadataRequestTopic,
    error_code: ErrorCode,
    api_version: i16,
) -> MetadataResponseTopic {
    let name = asked.name.clone().filter(|_| !is_by_id(asked));
    MetadataResponseTopic {
        error_code,
        is_internal: name.as_deref().is_some_and(is_internal),
        // Before version 12 the name cannot be null.
        name: name.or((api_version < BY_ID_FROM).then_some(Str::EMPTY)),
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
mod tests;
