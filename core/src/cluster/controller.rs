//! What the controller decides: which records a question becomes, and what is answered once they are committed.
//!
//! Every plan is made on the image that the metadata log has when everything in it is applied, *its uncommitted
//! tail included*: a decision builds on what was decided before it, and is undone with it when the log is
//! truncated. It is records to append, all of them in one batch, and an answer that must not leave before they are
//! committed. Where there are no records nothing has to change; the answer must all the same wait until what it
//! was read from is committed.
//!
//! Errors are per topic, with Kafka's codes and in the words of its controller.
//!
//! Not decided here: who leads a partition, and the order in which voters change; both are the partition's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::config::{BrokerConfig, Configs, InvalidConfig, check_topic};
use super::image::{BrokerImage, BrokerState, ClusterImage, TopicImage};
use super::names::{METADATA, check_topic_name, collision_key};
use super::placement::{PlacementError, place};
use super::record::{ConfigMap, ConfigResource, MetadataRecord};
use super::{BrokerRegistration, VoterReport};
use crate::ids::{
    BrokerId, Incarnation, PartitionIndex, ProducerId, TopicId, TopicPartition, Voter,
};
use crate::peer::Answer;
use crate::wire::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::{ErrorCode, Request, Response, Str};

/// Partitions that one request may create, as in Kafka: a request is one batch of the log.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Producer ids that are handed out at once.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// What a question comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// To be appended in one batch; nothing to append where there are none.
    pub records: Vec<MetadataRecord>,
    /// To be sent when they are committed, or lost with them.
    pub answer: Answer,
}

impl Planned {
    const fn nothing(answer: Answer) -> Self {
        Self {
            records: Vec::new(),
            answer,
        }
    }

    fn done(records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        Self {
            records: records.into_iter().collect(),
            answer: Answer::Done,
        }
    }
}

/// Records, and a client's response to send when they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan<Response> {
    records: Vec<MetadataRecord>,
    response: Response,
}

impl<T: Into<Response>> From<Plan<T>> for Planned {
    fn from(plan: Plan<T>) -> Self {
        Self {
            records: plan.records,
            answer: Answer::Client(Box::new(plan.response.into())),
        }
    }
}

/// Why something is refused: Kafka's code and words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: ErrorCode,
    message: String,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<InvalidConfig> for Refusal {
    fn from(error: InvalidConfig) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

/// A broker has started and registers. It is fenced until [`plan_liveness`] finds it fit.
///
/// Another directory than before means that the earlier one is lost: every partition that wants a replica of
/// this broker wants it in the new directory. An earlier start of the same directory is refused, and so is a
/// directory that another broker has.
#[must_use]
pub fn plan_registration(image: &ClusterImage, registration: &BrokerRegistration) -> Planned {
    match register(image, registration) {
        Ok(records) => Planned::done(records),
        Err(refusal) => Planned::nothing(Answer::Refused(refusal.to_string())),
    }
}

fn register(
    image: &ClusterImage,
    registration: &BrokerRegistration,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let id = registration.broker;
    if let Some(other) = image.brokers().find(|other| {
        other.registration.directory == registration.directory && other.registration.broker != id
    }) {
        return Err(Refusal::new(
            ErrorCode::InvalidRegistration,
            format!(
                "Directory {} belongs to broker {}; it cannot be that of broker {id} too.",
                registration.directory, other.registration.broker
            ),
        ));
    }
    if let Some(known) = image.broker(id) {
        let known = &known.registration;
        if known == registration {
            return Ok(Vec::new());
        }
        if known.directory == registration.directory && known.incarnation > registration.incarnation
        {
            return Err(Refusal::new(
                ErrorCode::StaleBrokerEpoch,
                format!("Broker {id} has been started again since."),
            ));
        }
    }
    let mut records = vec![MetadataRecord::RegisterBroker {
        registration: registration.clone(),
    }];
    let voter = Voter {
        broker: id,
        directory: registration.directory,
    };
    for (partition, target) in targets(image) {
        if target.iter().any(|it| it.broker == id && *it != voter) {
            let target = target
                .iter()
                .map(|&it| if it.broker == id { voter } else { it })
                .collect();
            records.push(MetadataRecord::PartitionTarget { partition, target });
        }
    }
    Ok(records)
}

/// Every partition with its target, that of the metadata log first.
fn targets(image: &ClusterImage) -> impl Iterator<Item = (TopicPartition, &[Voter])> {
    let metadata = (
        TopicPartition::METADATA,
        image.metadata_quorum().target.as_slice(),
    );
    std::iter::once(metadata).chain(image.topics().flat_map(|topic| {
        topic.partitions().map(|(partition, it)| {
            let name = TopicPartition {
                topic: topic.id,
                partition,
            };
            (name, it.target.as_slice())
        })
    }))
}

/// What is to be recorded of a broker's liveness. `fit` says that its registered start is heard and has caught up
/// with the metadata, `silent` that nothing has been heard of it for the session timeout. A broker that is
/// stopping stays so until its next start, or until it is silent.
#[must_use]
pub fn plan_liveness(broker: &BrokerImage, fit: bool, silent: bool) -> Vec<MetadataRecord> {
    let BrokerRegistration {
        broker: id,
        incarnation,
        ..
    } = broker.registration;
    match broker.state {
        BrokerState::Fenced if fit && !silent => vec![MetadataRecord::UnfenceBroker {
            broker: id,
            incarnation,
        }],
        BrokerState::Active | BrokerState::Stopping if silent => {
            vec![MetadataRecord::FenceBroker {
                broker: id,
                incarnation,
            }]
        }
        BrokerState::Fenced | BrokerState::Active | BrokerState::Stopping => Vec::new(),
    }
}

/// A broker says that it is about to stop: it is given no new replicas, and nobody hands leadership to it.
#[must_use]
pub fn plan_stop(image: &ClusterImage, broker: BrokerId, incarnation: Incarnation) -> Planned {
    let known = image.broker(broker).filter(|known| {
        known.registration.incarnation == incarnation && known.state != BrokerState::Stopping
    });
    Planned::done(known.map(|_| MetadataRecord::StopBroker {
        broker,
        incarnation,
    }))
}

/// Leaders report the committed voters of their partitions: what is news, and of partitions that exist, is
/// recorded.
#[must_use]
pub fn plan_voter_reports(image: &ClusterImage, reports: &[VoterReport]) -> Planned {
    let mut newest: BTreeMap<TopicPartition, &VoterReport> = BTreeMap::new();
    for report in reports {
        let known = newest.get(&report.partition);
        let is_newest = known.is_none_or(|known| {
            (report.leader_epoch, report.notes) > (known.leader_epoch, known.notes)
        });
        let is_news = image
            .partition(report.partition)
            .is_some_and(|partition| partition.is_news(report));
        if is_newest && is_news {
            newest.insert(report.partition, report);
        }
    }
    Planned::done(
        newest
            .into_values()
            .map(|report| MetadataRecord::PartitionVoters {
                report: report.clone(),
            }),
    )
}

/// The voters that the metadata log is to have, if others than it is heading for. `leader` is the controller,
/// `voters` are the committed voters, and `voters_max` is how many there may be.
///
/// A voter whose directory is lost is replaced by its broker's new one. The quorum grows as active brokers can be
/// had, to an odd number, since an even one stops at the same number of failures as the one below it, and is
/// hit by more. A voter that is merely down is kept: to come back is cheaper than to be replaced, and it may
/// hold what nobody else does. So is one that has not registered yet: it was there when the cluster was formed.
#[must_use]
pub fn plan_metadata_quorum(
    image: &ClusterImage,
    leader: Voter,
    voters: &[Voter],
    voters_max: usize,
) -> Vec<MetadataRecord> {
    let quorum = image.metadata_quorum();
    let heading_for = if quorum.target.is_empty() {
        voters
    } else {
        quorum.target.as_slice()
    };
    let mut target: Vec<Voter> = heading_for
        .iter()
        .map(|&voter| match image.broker(voter.broker) {
            // The leader's directory is there, whatever the image does not say yet.
            Some(broker) if voter != leader => broker.voter(),
            Some(_) | None => voter,
        })
        .collect();
    let spare: Vec<Voter> = image
        .active_brokers()
        .map(BrokerImage::voter)
        .filter(|voter| target.iter().all(|it| it.broker != voter.broker))
        .collect();
    let reach = voters_max.min(target.len() + spare.len());
    let odd = reach - usize::from(reach.is_multiple_of(2) && reach > 0);
    let missing = odd.saturating_sub(target.len());
    target.extend(spare.into_iter().take(missing));
    if target.is_empty() || target == heading_for {
        return Vec::new();
    }
    vec![MetadataRecord::PartitionTarget {
        partition: TopicPartition::METADATA,
        target,
    }]
}

/// A block of producer ids that nobody was given before.
#[must_use]
pub fn plan_producer_ids(image: &ClusterImage) -> Planned {
    let first = image.next_producer_id();
    match first.0.checked_add(PRODUCER_ID_BLOCK) {
        None => Planned::nothing(Answer::Refused("All producer ids are used up.".to_owned())),
        Some(next) => Planned {
            records: vec![MetadataRecord::ProducerIds {
                next: ProducerId(next),
            }],
            answer: Answer::ProducerIds(first, ProducerId(next)),
        },
    }
}

/// An administrative request of a client, answered by the API's own response. `broker` is the controller's own
/// configuration, `seed` decides new ids, and placement where it is free.
#[must_use]
pub fn plan_client(
    image: &ClusterImage,
    broker: &BrokerConfig,
    api_version: i16,
    request: &Request,
    seed: u64,
) -> Planned {
    let configs = Configs { image, broker };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    match request {
        Request::CreateTopics(request) => create_topics(configs, request, &mut rng).into(),
        Request::DeleteTopics(request) => delete_topics(configs, request, api_version).into(),
        Request::CreatePartitions(request) => create_partitions(configs, request, &mut rng).into(),
        Request::Produce(_)
        | Request::Fetch(_)
        | Request::ListOffsets(_)
        | Request::Metadata(_)
        | Request::FindCoordinator(_)
        | Request::ApiVersions(_)
        | Request::InitProducerId(_)
        | Request::OffsetForLeaderEpoch(_)
        | Request::DescribeConfigs(_)
        | Request::DescribeCluster(_)
        | Request::DescribeTopicPartitions(_) => Planned::nothing(Answer::Refused(
            "This is no request for the controller.".to_owned(),
        )),
    }
}

/// The request that creates topics because a client asked about them: everything by default.
#[must_use]
pub fn auto_create_request(names: &[Str]) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: names
            .iter()
            .map(|name| CreatableTopic {
                name: name.clone(),
                num_partitions: -1,
                replication_factor: -1,
                ..CreatableTopic::default()
            })
            .collect(),
        ..CreateTopicsRequest::default()
    }
}

/// Creates topics, or with `validate_only` says whether it could. Each topic stands for itself.
fn create_topics(
    configs: Configs<'_>,
    request: &CreateTopicsRequest,
    rng: &mut ChaCha8Rng,
) -> Plan<CreateTopicsResponse> {
    let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
    let mut batch = Batch::new(configs, rng);
    let mut topics = Vec::new();
    let mut told = BTreeSet::new();
    for topic in &request.topics {
        if duplicates.contains(&topic.name) {
            // Told once, however often it was asked for.
            if !told.insert(&topic.name) {
                continue;
            }
        }
        let created = if duplicates.contains(&topic.name) {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            ))
        } else {
            batch.create_topic(topic)
        };
        topics.push(created.unwrap_or_else(|refusal| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: refusal.code,
            error_message: Some(refusal.message.into()),
            ..CreatableTopicResult::default()
        }));
    }
    Plan {
        records: batch.finish(request.validate_only),
        response: CreateTopicsResponse {
            topics,
            ..CreateTopicsResponse::default()
        },
    }
}

/// Deletes topics, each by name or by id.
fn delete_topics(
    configs: Configs<'_>,
    request: &DeleteTopicsRequest,
    api_version: i16,
) -> Plan<DeleteTopicsResponse> {
    let asked: Vec<(Option<&Str>, TopicId)> = if api_version >= 6 {
        request
            .topics
            .iter()
            .map(|topic| (topic.name.as_ref(), topic.topic_id))
            .collect()
    } else {
        request
            .topic_names
            .iter()
            .map(|name| (Some(name), TopicId::ZERO))
            .collect()
    };
    let disabled = (!configs.delete_topics()).then(|| {
        let code = if api_version < 3 {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        Refusal::new(code, "Topic deletion is disabled.")
    });
    let named_twice = duplicates(asked.iter().filter_map(|&(name, _)| name));
    let ids: Vec<TopicId> = asked
        .iter()
        .filter(|(name, _)| name.is_none())
        .map(|&(_, id)| id)
        .collect();
    let mut deleted = BTreeSet::new();
    let mut told = BTreeSet::new();
    let mut responses = Vec::new();
    for (name, id) in asked {
        let topic = match &disabled {
            Some(refusal) => Err(refusal.clone()),
            None => topic_to_delete(configs.image, name, id, &named_twice, &ids),
        };
        if !told.insert((name, id)) {
            continue;
        }
        responses.push(match topic {
            Ok(topic) => {
                deleted.insert(topic.id);
                DeletableTopicResult {
                    name: Some((&*topic.name).into()),
                    topic_id: topic.id,
                    ..DeletableTopicResult::default()
                }
            }
            Err(refusal) => DeletableTopicResult {
                name: name.cloned(),
                topic_id: id,
                error_code: refusal.code,
                error_message: Some(refusal.message.into()),
            },
        });
    }
    Plan {
        records: deleted
            .into_iter()
            .map(|id| MetadataRecord::RemoveTopic { id })
            .collect(),
        response: DeleteTopicsResponse {
            responses,
            ..DeleteTopicsResponse::default()
        },
    }
}

fn topic_to_delete<'a>(
    image: &'a ClusterImage,
    name: Option<&Str>,
    id: TopicId,
    named_twice: &BTreeSet<&Str>,
    ids: &[TopicId],
) -> Result<&'a TopicImage, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    match (name, id) {
        (None, TopicId::ZERO) => invalid("Neither topic name nor id were specified."),
        (None, id) if ids.iter().filter(|&&it| it == id).count() > 1 => {
            invalid("Duplicate topic id.")
        }
        (None, id) => image.topic(id).ok_or_else(unknown_topic_id),
        (Some(name), TopicId::ZERO) if named_twice.contains(name) => {
            invalid("Duplicate topic name.")
        }
        (Some(name), TopicId::ZERO) => {
            let topic = image.topic_named(name).ok_or_else(unknown_topic)?;
            if ids.contains(&topic.id) {
                return invalid("The provided topic name maps to an ID that was already supplied.");
            }
            Ok(topic)
        }
        (Some(_), _) => invalid("You may not specify both topic name and topic id."),
    }
}

/// Gives topics more partitions, or with `validate_only` says whether it could. Each topic stands for itself.
fn create_partitions(
    configs: Configs<'_>,
    request: &CreatePartitionsRequest,
    rng: &mut ChaCha8Rng,
) -> Plan<CreatePartitionsResponse> {
    let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
    let mut batch = Batch::new(configs, rng);
    let mut results = Vec::new();
    let mut told = BTreeSet::new();
    for topic in &request.topics {
        if !told.insert(&topic.name) {
            continue;
        }
        let outcome = if duplicates.contains(&topic.name) {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "Duplicate topic name.",
            ))
        } else {
            batch.add_partitions(topic)
        };
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err(refusal) => (refusal.code, Some(refusal.message.into())),
        };
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code,
            error_message,
        });
    }
    Plan {
        records: batch.finish(request.validate_only),
        response: CreatePartitionsResponse {
            results,
            ..CreatePartitionsResponse::default()
        },
    }
}

/// The names that occur more than once.
fn duplicates<'a>(names: impl Iterator<Item = &'a Str>) -> BTreeSet<&'a Str> {
    let mut once = BTreeSet::new();
    names.filter(|&name| !once.insert(name)).collect()
}

fn unknown_topic() -> Refusal {
    Refusal::new(
        ErrorCode::UnknownTopicOrPartition,
        "This server does not host this topic-partition.",
    )
}

fn unknown_topic_id() -> Refusal {
    Refusal::new(
        ErrorCode::UnknownTopicId,
        "This server does not host this topic ID.",
    )
}

/// The records of one request, and the image as they would leave it: a topic is placed with regard to those
/// that the same request has created before it.
struct Batch<'a> {
    configs: Configs<'a>,
    image: ClusterImage,
    rng: &'a mut ChaCha8Rng,
    records: Vec<MetadataRecord>,
    partitions: usize,
    /// Names of topics by their collision keys, known once they are asked for.
    collisions: Option<BTreeMap<String, String>>,
}

impl<'a> Batch<'a> {
    fn new(configs: Configs<'a>, rng: &'a mut ChaCha8Rng) -> Self {
        Self {
            configs,
            image: configs.image.clone(),
            rng,
            records: Vec::new(),
            partitions: 0,
            collisions: None,
        }
    }

    fn finish(self, validate_only: bool) -> Vec<MetadataRecord> {
        if validate_only {
            Vec::new()
        } else {
            self.records
        }
    }

    fn push(&mut self, record: MetadataRecord) {
        self.image.apply(&record);
        self.records.push(record);
    }

    fn create_topic(&mut self, topic: &CreatableTopic) -> Result<CreatableTopicResult, Refusal> {
        self.check_new_name(&topic.name)?;
        let config = topic_config(topic)?;
        check_topic(&config)?;
        let placed = self.place_topic(topic)?;
        let replication_factor = placed[0].len();
        let warning = replication_warning(&placed);

        let id = self.new_topic_id();
        self.push(MetadataRecord::Topic {
            name: topic.name.as_str().to_owned(),
            id,
        });
        if let Some(collisions) = &mut self.collisions
            && let Some(key) = collision_key(&topic.name)
        {
            collisions.insert(key, topic.name.as_str().to_owned());
        }
        for (key, value) in &config {
            self.push(MetadataRecord::Config {
                resource: ConfigResource::Topic(id),
                key: key.clone(),
                value: Some(value.clone()),
            });
        }
        self.push_partitions(id, 0, &placed);
        let configs = Configs {
            image: &self.image,
            broker: self.configs.broker,
        };
        Ok(CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: id,
            error_code: ErrorCode::None,
            error_message: warning.map(Str::from_static),
            num_partitions: i32::try_from(placed.len()).expect("bounded by a request's maximum"),
            replication_factor: i16::try_from(replication_factor)
                .expect("it was an i16 or a list of distinct brokers within a request"),
            configs: Some(creation_configs(configs, &config)),
            ..CreatableTopicResult::default()
        })
    }

    fn check_new_name(&mut self, name: &str) -> Result<(), Refusal> {
        if name == METADATA {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("Creation of internal topic {METADATA} is prohibited."),
            ));
        }
        check_topic_name(name).map_err(|invalid| {
            Refusal::new(ErrorCode::InvalidTopicException, invalid.to_string())
        })?;
        if self.image.topic_named(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        let Some(key) = collision_key(name) else {
            return Ok(());
        };
        let image = &self.image;
        let collisions = self.collisions.get_or_insert_with(|| {
            image
                .topics()
                .filter_map(|topic| Some((collision_key(&topic.name)?, topic.name.to_string())))
                .collect()
        });
        match collisions.get(&key) {
            None => Ok(()),
            Some(other) => Err(Refusal::new(
                ErrorCode::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            )),
        }
    }

    fn place_topic(&mut self, topic: &CreatableTopic) -> Result<Vec<Vec<Voter>>, Refusal> {
        if !topic.assignments.is_empty() {
            let placed = self.placed_by_hand(topic)?;
            self.count_partitions(placed.len())?;
            return Ok(placed);
        }
        let replication_factor = match topic.replication_factor {
            -1 => self.configs.default_replication_factor(),
            factor if factor > 0 => i32::from(factor),
            _ => {
                return Err(Refusal::new(
                    ErrorCode::InvalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                ));
            }
        };
        let partitions = match topic.num_partitions {
            -1 => self.configs.num_partitions(),
            partitions if partitions > 0 => partitions,
            _ => {
                return Err(Refusal::new(
                    ErrorCode::InvalidPartitions,
                    "Number of partitions was set to an invalid non-positive value.",
                ));
            }
        };
        let partitions = usize::try_from(partitions).expect("above 0");
        self.count_partitions(partitions)?;
        self.place(partitions, replication_factor)
    }

    fn place(
        &mut self,
        partitions: usize,
        replication_factor: i32,
    ) -> Result<Vec<Vec<Voter>>, Refusal> {
        let factor = usize::try_from(replication_factor).expect("above 0");
        place(&self.image, partitions, factor, self.rng).map_err(|error: PlacementError| {
            Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                format!("Unable to replicate the partition {replication_factor} time(s): {error}"),
            )
        })
    }

    /// Counts partitions that are about to be created against the bound of a request.
    fn count_partitions(&mut self, partitions: usize) -> Result<(), Refusal> {
        let total = self.partitions.saturating_add(partitions);
        if total > PARTITIONS_PER_REQUEST_MAX {
            return Err(Refusal::new(
                ErrorCode::PolicyViolation,
                format!(
                    "Excessively large number of partitions per request: at most \
                     {PARTITIONS_PER_REQUEST_MAX} can be created."
                ),
            ));
        }
        self.partitions = total;
        Ok(())
    }

    fn placed_by_hand(&self, topic: &CreatableTopic) -> Result<Vec<Vec<Voter>>, Refusal> {
        if topic.replication_factor != -1 {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ));
        }
        if topic.num_partitions != -1 {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ));
        }
        let mut placed = BTreeMap::new();
        let mut factor = None;
        for CreatableReplicaAssignment {
            partition_index,
            broker_ids,
        } in &topic.assignments
        {
            if placed.contains_key(partition_index) {
                return Err(Refusal::new(
                    ErrorCode::InvalidReplicaAssignment,
                    format!(
                        "Found multiple manual partition assignments for partition {partition_index}"
                    ),
                ));
            }
            let voters = self.voters_by_hand(*partition_index, broker_ids, factor)?;
            factor = Some(voters.len());
            placed.insert(*partition_index, voters);
        }
        if !placed.keys().copied().eq((0..).take(placed.len())) {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                "partitions should be a consecutive 0-based integer sequence",
            ));
        }
        Ok(placed.into_values().collect())
    }

    fn voters_by_hand(
        &self,
        partition: i32,
        brokers: &[i32],
        factor: Option<usize>,
    ) -> Result<Vec<Voter>, Refusal> {
        let refused =
            |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        if brokers.is_empty() {
            return refused(
                "The manual partition assignment includes an empty replica list.".to_owned(),
            );
        }
        let mut voters: Vec<Voter> = Vec::with_capacity(brokers.len());
        let mut any_active = false;
        for &id in brokers {
            let Some(broker) = self.image.broker(BrokerId(id)) else {
                return refused(format!(
                    "The manual partition assignment includes broker {id}, but no such broker is registered."
                ));
            };
            if voters.contains(&broker.voter()) {
                return refused(format!(
                    "The manual partition assignment includes the broker {id} more than once."
                ));
            }
            any_active |= broker.state == BrokerState::Active;
            voters.push(broker.voter());
        }
        if let Some(factor) = factor
            && factor != voters.len()
        {
            return refused(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not \
                 consistent with previous partitions, which have {factor} replica(s).",
                voters.len()
            ));
        }
        if !any_active {
            return refused(format!(
                "All brokers specified in the manual partition assignment for partition {partition} are \
                 fenced or in controlled shutdown."
            ));
        }
        Ok(voters)
    }

    fn add_partitions(&mut self, topic: &CreatePartitionsTopic) -> Result<(), Refusal> {
        let invalid = |message| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        let existing = self
            .image
            .topic_named(&topic.name)
            .ok_or_else(unknown_topic)?;
        let id = existing.id;
        let count = existing.partitions.len();
        let factor = existing
            .partition(PartitionIndex(0))
            .map_or(1, |first| first.target.len());
        let wanted = usize::try_from(topic.count).unwrap_or(0);
        if wanted == count {
            return invalid(format!("Topic already has {count} partition(s)."));
        }
        if wanted < count {
            return invalid(format!(
                "The topic {} currently has {count} partition(s); {} would not be an increase.",
                topic.name, topic.count
            ));
        }
        let additional = wanted - count;
        let placed = match &topic.assignments {
            None => {
                self.count_partitions(additional)?;
                let factor = i32::try_from(factor).expect("a replication factor is an i16");
                self.place(additional, factor)?
            }
            Some(assignments) => {
                if assignments.len() != additional {
                    return Err(Refusal::new(
                        ErrorCode::InvalidReplicaAssignment,
                        format!(
                            "Attempted to add {additional} additional partition(s), but only {} assignment(s) \
                             were specified.",
                            assignments.len()
                        ),
                    ));
                }
                self.count_partitions(additional)?;
                (topic.count - i32::try_from(additional).expect("within the count")..)
                    .zip(assignments)
                    .map(|(partition, CreatePartitionsAssignment { broker_ids })| {
                        self.voters_by_hand(partition, broker_ids, Some(factor))
                    })
                    .collect::<Result<_, _>>()?
            }
        };
        self.push_partitions(id, count, &placed);
        Ok(())
    }

    fn push_partitions(&mut self, topic: TopicId, first: usize, placed: &[Vec<Voter>]) {
        let first = i32::try_from(first).expect("partitions were counted by an i32");
        for (partition, target) in (first..).map(PartitionIndex).zip(placed) {
            let mut voters = target.clone();
            voters.sort_unstable();
            self.push(MetadataRecord::Partition {
                partition: TopicPartition { topic, partition },
                voters,
                target: target.clone(),
            });
        }
    }

    /// An id that no topic has. One whose text begins with a dash would be taken for an option by commands.
    fn new_topic_id(&mut self) -> TopicId {
        loop {
            let high = u128::from(self.rng.next_u64());
            let id = TopicId(high << 64 | u128::from(self.rng.next_u64()));
            let is_reserved = id == TopicId::ZERO || id == TopicId::METADATA;
            if !is_reserved && self.image.topic(id).is_none() && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}

fn topic_config(topic: &CreatableTopic) -> Result<ConfigMap, Refusal> {
    let mut config = ConfigMap::new();
    let mut null = Vec::new();
    for entry in &topic.configs {
        match &entry.value {
            Some(value) => {
                config.insert(entry.name.as_str().to_owned(), value.as_str().to_owned());
            }
            None => null.push(entry.name.as_str().to_owned()),
        }
    }
    if null.is_empty() {
        Ok(config)
    } else {
        Err(InvalidConfig::Null(null).into())
    }
}

/// What holds for a topic that has just been created.
fn creation_configs(configs: Configs<'_>, config: &ConfigMap) -> Vec<CreatableTopicConfigs> {
    configs
        .topic_entries(config)
        .into_iter()
        .map(|entry| CreatableTopicConfigs {
            name: Str::from_static(entry.name),
            value: entry.value.map(Str::from),
            read_only: entry.read_only,
            config_source: entry.source.code(),
            is_sensitive: false,
        })
        .collect()
}

/// Two replicas are one failure away from standing still: both must have what is acknowledged.
fn replication_warning(placed: &[Vec<Voter>]) -> Option<&'static str> {
    placed.iter().any(|voters| voters.len() == 2).then_some(
        "With a replication factor of 2 a partition cannot be written or led while either of its brokers is \
         down: a majority of two is both. Use 3.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Role;
    use crate::cluster::image::voter;
    use crate::ids::{DirectoryId, LeaderEpoch};
    use crate::wire::create_topics::CreatableTopicConfig;
    use crate::wire::delete_topics::DeleteTopicState;

    fn registration(broker: i32, directory: u128, incarnation: u64) -> BrokerRegistration {
        BrokerRegistration {
            broker: BrokerId(broker),
            directory: DirectoryId(directory),
            incarnation: Incarnation(incarnation),
            rack: None,
            listeners: Vec::new(),
            peer_address: format!("n{broker}:9192"),
        }
    }

    /// A cluster and what its controller's file says.
    struct Cluster {
        image: ClusterImage,
        broker: BrokerConfig,
        rng: ChaCha8Rng,
    }

    impl Cluster {
        /// Active brokers 1, 2, ..., each on the directory that `voter` gives it.
        fn of(brokers: i32) -> Self {
            let mut cluster = Self {
                image: ClusterImage::default(),
                broker: BrokerConfig::new(BrokerId(1), ConfigMap::new()).unwrap(),
                rng: ChaCha8Rng::seed_from_u64(1),
            };
            for id in 1..=brokers {
                let registration = registration(id, voter(id).directory.0, 1);
                cluster.register(&registration);
                cluster.liveness(id, true, false);
            }
            cluster
        }

        fn register(&mut self, registration: &BrokerRegistration) -> Planned {
            let planned = plan_registration(&self.image, registration);
            self.apply(&planned.records);
            planned
        }

        fn liveness(&mut self, broker: i32, fit: bool, silent: bool) -> Vec<MetadataRecord> {
            let broker = self.image.broker(BrokerId(broker)).unwrap();
            let records = plan_liveness(broker, fit, silent);
            self.apply(&records);
            records
        }

        fn voter(&self, broker: i32) -> Voter {
            self.image.broker(BrokerId(broker)).unwrap().voter()
        }

        fn set(mut self, key: &str, value: &str) -> Self {
            let mut values = self.broker.values().clone();
            values.insert(key.to_owned(), value.to_owned());
            self.broker = BrokerConfig::new(BrokerId(1), values).unwrap();
            self
        }

        fn apply(&mut self, records: &[MetadataRecord]) {
            for record in records {
                self.image.apply(record);
            }
        }

        fn create(&mut self, request: &CreateTopicsRequest) -> Plan<CreateTopicsResponse> {
            let configs = Configs {
                image: &self.image,
                broker: &self.broker,
            };
            let plan = create_topics(configs, request, &mut self.rng);
            let records = plan.records.clone();
            self.apply(&records);
            plan
        }

        fn created(&mut self, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
            let request = CreateTopicsRequest {
                topics,
                ..CreateTopicsRequest::default()
            };
            self.create(&request).response.topics
        }

        fn create_one(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
            self.created(vec![topic]).remove(0)
        }

        fn delete(&mut self, topics: Vec<DeleteTopicState>) -> Vec<String> {
            let request = DeleteTopicsRequest {
                topics,
                ..DeleteTopicsRequest::default()
            };
            let configs = Configs {
                image: &self.image,
                broker: &self.broker,
            };
            let plan = delete_topics(configs, &request, 6);
            let records = plan.records.clone();
            self.apply(&records);
            plan.response
                .responses
                .into_iter()
                .map(|it| {
                    let name = it.name.unwrap_or(Str::from_static("-"));
                    format!(
                        "{name} {} {}",
                        it.error_code,
                        it.error_message.unwrap_or_default()
                    )
                })
                .collect()
        }

        fn grow(&mut self, topic: CreatePartitionsTopic) -> String {
            let request = CreatePartitionsRequest {
                topics: vec![topic],
                ..CreatePartitionsRequest::default()
            };
            let configs = Configs {
                image: &self.image,
                broker: &self.broker,
            };
            let plan = create_partitions(configs, &request, &mut self.rng);
            let records = plan.records.clone();
            self.apply(&records);
            let result = &plan.response.results[0];
            let message = result.error_message.clone().unwrap_or_default();
            format!("{} {message}", result.error_code)
        }

        fn replicas(&self, topic: &str) -> Vec<Vec<i32>> {
            let topic = self.image.topic_named(topic).unwrap();
            topic
                .partitions()
                .map(|(_, it)| it.target.iter().map(|voter| voter.broker.0).collect())
                .collect()
        }
    }

    fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
        CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor,
            ..CreatableTopic::default()
        }
    }

    fn by_hand(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
        CreatableTopic {
            assignments: assignments
                .iter()
                .map(|&(partition_index, brokers)| CreatableReplicaAssignment {
                    partition_index,
                    broker_ids: brokers.to_vec(),
                })
                .collect(),
            ..topic(name, -1, -1)
        }
    }

    fn configured(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
        CreatableTopic {
            configs: vec![CreatableTopicConfig {
                name: key.into(),
                value: value.map(Str::from),
            }],
            ..topic(name, 1, 1)
        }
    }

    fn outcomes(results: &[CreatableTopicResult]) -> String {
        results
            .iter()
            .map(|it| {
                let message = it.error_message.clone().unwrap_or_default();
                format!("{}: {} {message}", it.name, it.error_code)
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_created_topic_is_a_topic_its_configuration_and_its_partitions() {
        let mut cluster = Cluster::of(3);
        let mut flights = topic("flights", 6, 3);
        flights.configs = configured("", "retention.ms", Some("1000")).configs;
        let result = cluster.create_one(flights);
        assert_eq!(result.error_code, ErrorCode::None);
        assert_eq!((result.num_partitions, result.replication_factor), (6, 3));
        let configs = result.configs.unwrap();
        let retention = configs.iter().find(|it| it.name == "retention.ms").unwrap();
        assert_eq!(retention.value, Some("1000".into()));
        assert_eq!(retention.config_source, 1);

        let created = cluster.image.topic_named("flights").unwrap();
        assert_eq!(created.id, result.topic_id);
        assert_eq!(created.config["retention.ms"], "1000");
        for (_, partition) in created.partitions() {
            assert!(partition.initial_voters.is_sorted());
            let mut target = partition.target.clone();
            target.sort_unstable();
            assert_eq!(target, partition.initial_voters);
        }
        let leaders = cluster.replicas("flights").into_iter().map(|it| it[0]);
        let mut leaders: Vec<_> = leaders.collect();
        leaders.sort_unstable();
        assert_eq!(leaders, [1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn minus_one_means_what_the_controller_is_configured_to() {
        let mut cluster = Cluster::of(3)
            .set("num.partitions", "4")
            .set("default.replication.factor", "3");
        let request = auto_create_request(&["flights".into()]);
        let result = cluster.create(&request).response.topics.remove(0);
        assert_eq!((result.num_partitions, result.replication_factor), (4, 3));
    }

    #[test]
    fn creation_is_refused_topic_by_topic_in_kafkas_words() {
        let mut cluster = Cluster::of(3);
        cluster.created(vec![topic("flights", 1, 1), topic("a.b", 1, 1)]);
        let results = cluster.created(vec![
            topic("flights", 1, 1),
            topic("a_b", 1, 1),
            topic("not/a/name", 1, 1),
            topic("__cluster_metadata", 1, 1),
            topic("no-replica", 1, 0),
            topic("four-replicas", 1, 4),
            topic("no-partition", 0, 1),
            topic("many", 10_001, 1),
            topic("twice", 1, 1),
            topic("twice", 2, 1),
            configured("unknown-key", "speed", Some("high")),
            configured("bad-value", "segment.bytes", Some("small")),
            configured("no-value", "segment.bytes", None),
            topic("c.d", 1, 1),
            topic("c_d", 1, 1),
            topic("weather", 2, 3),
        ]);
        insta::assert_snapshot!(outcomes(&results), @r"
        flights: TOPIC_ALREADY_EXISTS Topic 'flights' already exists.
        a_b: INVALID_TOPIC_EXCEPTION Topic 'a_b' collides with existing topic: a.b
        not/a/name: INVALID_TOPIC_EXCEPTION Topic name is invalid: 'not/a/name' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        __cluster_metadata: INVALID_REQUEST Creation of internal topic __cluster_metadata is prohibited.
        no-replica: INVALID_REPLICATION_FACTOR Replication factor must be larger than 0, or -1 to use the default value.
        four-replicas: INVALID_REPLICATION_FACTOR Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached because only 3 broker(s) are registered.
        no-partition: INVALID_PARTITIONS Number of partitions was set to an invalid non-positive value.
        many: POLICY_VIOLATION Excessively large number of partitions per request: at most 10000 can be created.
        twice: INVALID_REQUEST Duplicate topic name.
        unknown-key: INVALID_CONFIG Unknown topic config name: speed
        bad-value: INVALID_CONFIG Invalid value small for configuration segment.bytes: Not a number of type INT
        no-value: INVALID_CONFIG Null value not supported for topic configs: segment.bytes
        c.d: NONE 
        c_d: INVALID_TOPIC_EXCEPTION Topic 'c_d' collides with existing topic: c.d
        weather: NONE 
        ");
    }

    #[test]
    fn replicas_go_where_a_client_wants_them_or_it_is_told_why_not() {
        let mut cluster = Cluster::of(3);
        cluster.liveness(3, false, true);
        let mut with_factor = by_hand("with-factor", &[(0, &[1])]);
        with_factor.replication_factor = 1;
        let mut with_count = by_hand("with-count", &[(0, &[1])]);
        with_count.num_partitions = 1;
        let results = cluster.created(vec![
            by_hand("wished", &[(1, &[3, 1]), (0, &[2, 3])]),
            with_factor,
            with_count,
            by_hand("gap", &[(0, &[1]), (2, &[1])]),
            by_hand("again", &[(0, &[1]), (0, &[2])]),
            by_hand("nobody", &[(0, &[])]),
            by_hand("stranger", &[(0, &[1, 9])]),
            by_hand("same", &[(0, &[1, 1])]),
            by_hand("uneven", &[(0, &[1]), (1, &[1, 2])]),
            by_hand("fenced", &[(0, &[3])]),
        ]);
        insta::assert_snapshot!(outcomes(&results), @r"
        wished: NONE With a replication factor of 2 a partition cannot be written or led while either of its brokers is down: a majority of two is both. Use 3.
        with-factor: INVALID_REQUEST A manual partition assignment was specified, but replication factor was not set to -1.
        with-count: INVALID_REQUEST A manual partition assignment was specified, but numPartitions was not set to -1.
        gap: INVALID_REPLICA_ASSIGNMENT partitions should be a consecutive 0-based integer sequence
        again: INVALID_REPLICA_ASSIGNMENT Found multiple manual partition assignments for partition 0
        nobody: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes an empty replica list.
        stranger: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 9, but no such broker is registered.
        same: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes the broker 1 more than once.
        uneven: INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).
        fenced: INVALID_REPLICA_ASSIGNMENT All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown.
        ");
        assert_eq!(cluster.replicas("wished"), [[2, 3], [3, 1]]);
    }

    #[test]
    fn validate_only_answers_alike_and_changes_nothing() {
        let mut cluster = Cluster::of(3);
        let request = CreateTopicsRequest {
            topics: vec![topic("flights", 1, 3)],
            validate_only: true,
            ..CreateTopicsRequest::default()
        };
        let plan = cluster.create(&request);
        assert_eq!(plan.records, []);
        assert_eq!(plan.response.topics[0].error_code, ErrorCode::None);
        assert_eq!(plan.response.topics[0].num_partitions, 1);
    }

    #[test]
    fn topics_are_deleted_by_name_or_by_id_but_not_by_both() {
        let mut cluster = Cluster::of(1);
        let names = ["a", "b", "c", "d"];
        let ids: Vec<_> = cluster
            .created(names.map(|name| topic(name, 1, 1)).to_vec())
            .iter()
            .map(|it| it.topic_id)
            .collect();
        let state = |name: Option<&str>, topic_id| DeleteTopicState {
            name: name.map(Str::from),
            topic_id,
        };
        let outcomes = cluster.delete(vec![
            state(Some("a"), TopicId::ZERO),
            state(None, ids[1]),
            state(Some("c"), ids[2]),
            state(None, TopicId::ZERO),
            state(Some("x"), TopicId::ZERO),
            state(None, TopicId(77)),
            state(None, ids[3]),
            state(Some("d"), TopicId::ZERO),
            state(Some("y"), TopicId::ZERO),
            state(Some("y"), TopicId::ZERO),
        ]);
        insta::assert_snapshot!(outcomes.join("\n"), @r"
        a NONE 
        b NONE 
        c INVALID_REQUEST You may not specify both topic name and topic id.
        - INVALID_REQUEST Neither topic name nor id were specified.
        x UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
        - UNKNOWN_TOPIC_ID This server does not host this topic ID.
        d NONE 
        d INVALID_REQUEST The provided topic name maps to an ID that was already supplied.
        y INVALID_REQUEST Duplicate topic name.
        ");
        let left: Vec<_> = cluster.image.topics().map(|it| &*it.name).collect();
        assert_eq!(left, ["c"]);
    }

    #[test]
    fn where_deletion_is_disabled_nothing_is_deleted() {
        let mut cluster = Cluster::of(1).set("delete.topic.enable", "false");
        cluster.create_one(topic("a", 1, 1));
        let outcomes = cluster.delete(vec![DeleteTopicState {
            name: Some("a".into()),
            topic_id: TopicId::ZERO,
        }]);
        assert_eq!(
            outcomes,
            ["a TOPIC_DELETION_DISABLED Topic deletion is disabled."]
        );
        assert!(cluster.image.topic_named("a").is_some());
    }

    #[test]
    fn a_topic_grows_and_does_not_shrink() {
        let mut cluster = Cluster::of(3);
        cluster.create_one(topic("a", 2, 3));
        let grow = |count, assignments: Option<&[&[i32]]>| CreatePartitionsTopic {
            name: "a".into(),
            count,
            assignments: assignments.map(|it| {
                it.iter()
                    .map(|brokers| CreatePartitionsAssignment {
                        broker_ids: brokers.to_vec(),
                    })
                    .collect()
            }),
        };
        let outcomes = [
            cluster.grow(grow(4, None)),
            cluster.grow(grow(4, None)),
            cluster.grow(grow(3, None)),
            cluster.grow(grow(6, Some(&[&[1, 2, 3]]))),
            cluster.grow(grow(5, Some(&[&[1, 2]]))),
            cluster.grow(grow(5, Some(&[&[3, 2, 1]]))),
            cluster.grow(grow(i32::MAX, None)),
            cluster.grow(CreatePartitionsTopic {
                name: "x".into(),
                ..grow(4, None)
            }),
        ];
        insta::assert_snapshot!(outcomes.join("\n"), @r"
        NONE 
        INVALID_PARTITIONS Topic already has 4 partition(s).
        INVALID_PARTITIONS The topic a currently has 4 partition(s); 3 would not be an increase.
        INVALID_REPLICA_ASSIGNMENT Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.
        INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 3 replica(s).
        NONE 
        POLICY_VIOLATION Excessively large number of partitions per request: at most 10000 can be created.
        UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
        ");
        let replicas = cluster.replicas("a");
        assert_eq!(replicas.len(), 5);
        assert_eq!(replicas[4], [3, 2, 1]);
    }

    #[test]
    fn a_broker_is_fenced_when_it_starts_and_each_step_is_recorded_once() {
        let mut cluster = Cluster::of(1);
        let directory = voter(1).directory.0;
        let again = registration(1, directory, 2);
        assert_eq!(cluster.register(&again).records.len(), 1);
        assert_eq!(cluster.register(&again), Planned::done([]));
        assert_eq!(cluster.image.active_brokers().count(), 0);
        assert_eq!(cluster.liveness(1, false, false), []);
        assert_eq!(cluster.liveness(1, true, false).len(), 1);
        assert_eq!(cluster.liveness(1, true, false), []);
        let stop = |image: &ClusterImage, incarnation| {
            plan_stop(image, BrokerId(1), Incarnation(incarnation)).records
        };
        assert_eq!(
            stop(&cluster.image, 1),
            [],
            "an earlier start has stopped already"
        );
        let records = stop(&cluster.image, 2);
        assert_eq!(records.len(), 1);
        cluster.apply(&records);
        assert_eq!(stop(&cluster.image, 2), []);
        assert_eq!(
            cluster.liveness(1, true, false),
            [],
            "it is stopping, heard or not"
        );
        assert_eq!(cluster.liveness(1, false, true).len(), 1);
        assert_eq!(cluster.liveness(1, false, true), []);
        assert_eq!(
            cluster.register(&registration(1, directory, 1)).answer,
            Answer::Refused(
                "STALE_BROKER_EPOCH: Broker 1 has been started again since.".to_owned()
            )
        );
    }

    #[test]
    fn a_lost_directory_is_replaced_in_every_target_and_in_no_report() {
        let mut cluster = Cluster::of(3);
        cluster.create_one(topic("a", 2, 3));
        cluster.create_one(by_hand("b", &[(0, &[1, 2])]));
        let records = cluster.register(&registration(3, 77, 1)).records;
        assert_eq!(
            records.len(),
            3,
            "the registration, and the two partitions that 3 has"
        );
        let new = cluster.voter(3);
        let roles: Vec<_> = cluster.image.assignments(new).map(|it| it.role).collect();
        assert_eq!(roles, [Role::Learner, Role::Learner]);
        let topic = cluster.image.topic_named("a").unwrap();
        for (_, partition) in topic.partitions() {
            assert!(partition.target.contains(&new));
            assert!(partition.voters().contains(&voter(3)));
        }
    }

    #[test]
    fn two_brokers_cannot_have_one_directory() {
        let mut cluster = Cluster::of(2);
        let stolen = registration(2, voter(1).directory.0, 5);
        let planned = cluster.register(&stolen);
        assert_eq!(planned.records, []);
        assert!(matches!(planned.answer, Answer::Refused(why) if why.contains("broker 1")));
    }

    #[test]
    fn producer_ids_are_handed_out_once() {
        let mut cluster = Cluster::of(1);
        for first in [0, 1000, 2000] {
            let planned = plan_producer_ids(&cluster.image);
            cluster.apply(&planned.records);
            let block = Answer::ProducerIds(ProducerId(first), ProducerId(first + 1000));
            assert_eq!(planned.answer, block);
        }
        cluster.apply(&[MetadataRecord::ProducerIds {
            next: ProducerId(i64::MAX - 5),
        }]);
        let planned = plan_producer_ids(&cluster.image);
        assert_eq!(planned.records, []);
        assert!(matches!(planned.answer, Answer::Refused(_)));
    }

    #[test]
    fn only_news_about_partitions_that_exist_is_recorded() {
        let mut cluster = Cluster::of(3);
        let id = cluster.create_one(topic("a", 1, 3)).topic_id;
        let report = |topic, epoch, notes| VoterReport {
            partition: TopicPartition {
                topic,
                partition: PartitionIndex(0),
            },
            leader_epoch: LeaderEpoch(epoch),
            notes,
            voters: vec![voter(1), voter(2)],
        };
        let reports = [report(id, 2, 3), report(id, 1, 9), report(TopicId(9), 1, 1)];
        let records = plan_voter_reports(&cluster.image, &reports).records;
        let news = MetadataRecord::PartitionVoters {
            report: report(id, 2, 3),
        };
        assert_eq!(records, [news]);
        cluster.apply(&records);
        let planned = plan_voter_reports(&cluster.image, &reports);
        assert_eq!(planned, Planned::done([]));
    }

    #[test]
    fn the_metadata_quorum_grows_to_three_and_replaces_what_is_lost_but_not_what_is_down() {
        fn target(cluster: &mut Cluster, voters: &[Voter]) -> Vec<Voter> {
            let records = plan_metadata_quorum(&cluster.image, voter(2), voters, 3);
            cluster.apply(&records);
            if records.is_empty() {
                return Vec::new();
            }
            cluster.image.metadata_quorum().target.clone()
        }

        assert_eq!(
            target(&mut Cluster::of(2), &[voter(2)]),
            [],
            "two are no better than one"
        );
        let formed = [voter(2), voter(1), voter(3)];
        assert_eq!(
            target(&mut Cluster::of(0), &formed),
            [],
            "they will register"
        );

        let mut cluster = Cluster::of(4);
        let voters = [voter(2)];
        assert_eq!(
            target(&mut cluster, &voters),
            [voter(2), voter(1), voter(3)]
        );
        assert_eq!(target(&mut cluster, &voters), [], "it is heading there");
        cluster.liveness(3, false, true);
        assert_eq!(target(&mut cluster, &voters), [], "3 may come back");
        cluster.register(&registration(3, 77, 1));
        let replaced = [voter(2), voter(1), cluster.voter(3)];
        assert_eq!(cluster.image.metadata_quorum().target, replaced);
        assert_eq!(target(&mut cluster, &voters), []);

        // Where nothing has been aimed at, what is lost is found in the voters.
        let mut cluster = Cluster::of(3);
        cluster.register(&registration(3, 77, 1));
        let replaced = [voter(1), voter(2), cluster.voter(3)];
        assert_eq!(
            target(&mut cluster, &[voter(1), voter(2), voter(3)]),
            replaced
        );
    }

    #[test]
    fn a_clients_request_is_answered_by_its_own_api() {
        let cluster = Cluster::of(1);
        let request = auto_create_request(&["a".into()]);
        let planned = plan_client(&cluster.image, &cluster.broker, 7, &request.into(), 1);
        assert_eq!(planned.records.len(), 2);
        let Answer::Client(response) = planned.answer else {
            panic!("a client is answered")
        };
        assert!(matches!(*response, Response::CreateTopics(_)));
        let request = crate::wire::MetadataRequest::default().into();
        let planned = plan_client(&cluster.image, &cluster.broker, 7, &request, 1);
        assert!(matches!(planned.answer, Answer::Refused(_)));
    }

    #[test]
    fn the_same_seed_makes_the_same_topics() {
        let request = CreateTopicsRequest {
            topics: vec![topic("a", 5, 3), topic("b", 5, 2)],
            ..CreateTopicsRequest::default()
        };
        assert_eq!(
            Cluster::of(4).create(&request),
            Cluster::of(4).create(&request)
        );
    }
}
