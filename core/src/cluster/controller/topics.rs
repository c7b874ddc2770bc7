//! Administrative requests about topics: creates and deletes topics, adds partitions.
//!
//! Each topic of a request succeeds or fails by itself, with the error codes and messages of Kafka's controller.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::{PlanError, Planned, reassignments};
use crate::cluster::administration::AdminRequest;
use crate::cluster::config::{BrokerConfig, Configs, InvalidConfig, check_topic};
use crate::cluster::image::{BrokerImage, BrokerState, ClusterImage, TopicImage};
use crate::cluster::names::{METADATA, check_topic_name, collision_key};
use crate::cluster::placement::{PlacementError, Placer};
use crate::cluster::record::{ConfigMap, ConfigResource, MetadataRecord};
use crate::ids::{BrokerId, PartitionIndex, TopicId, TopicPartition, Voter};
use crate::peer::{Decision, ForwardedResponse};
use crate::wire::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::wire::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::{ErrorCode, Response, Str};

/// Partitions that one request may create, as in Kafka: a request is one batch of the log.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Records, and a client's response to send when they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan<Response> {
    pub(super) records: Vec<MetadataRecord>,
    pub(super) response: Response,
}

impl<T: Into<Response>> Plan<T> {
    fn answering(self, api_version: i16) -> Planned {
        let response = ForwardedResponse {
            api_version,
            response: Some(self.response.into()),
        };
        Planned {
            records: self.records,
            decision: Decision::Client(Box::new(response)),
        }
    }
}

/// An administrative request of a client, answered by the API's own response. `broker` is the controller's own
/// configuration, `seed` decides new ids, and placement where it is free.
#[must_use]
pub fn plan_client(
    image: &ClusterImage,
    broker: &BrokerConfig,
    api_version: i16,
    request: &AdminRequest,
    seed: u64,
) -> Planned {
    let configs = Configs { image, broker };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    match request {
        AdminRequest::CreateTopics(request) => {
            create_topics(configs, request, &mut rng).answering(api_version)
        }
        AdminRequest::DeleteTopics(request) => {
            delete_topics(configs, request, api_version).answering(api_version)
        }
        AdminRequest::CreatePartitions(request) => {
            create_partitions(configs, request, &mut rng).answering(api_version)
        }
        AdminRequest::AlterPartitionReassignments(request) => {
            reassignments::alter(image, request).answering(api_version)
        }
    }
}

/// The request for the automatic creation of topics: everything by default.
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

/// Creates topics, or with `validate_only` checks whether it could. Each topic succeeds or fails by itself.
pub(super) fn create_topics(
    configs: Configs<'_>,
    request: &CreateTopicsRequest,
    rng: &mut ChaCha8Rng,
) -> Plan<CreateTopicsResponse> {
    let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
    let mut batch = PlannedBatch::new(configs, rng);
    let mut topics = Vec::new();
    let mut told = BTreeSet::new();
    for topic in &request.topics {
        if duplicates.contains(&topic.name) {
            // One result, however often the topic is named.
            if !told.insert(&topic.name) {
                continue;
            }
        }
        let created = if duplicates.contains(&topic.name) {
            Err(PlanError::new(
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
pub(super) fn delete_topics(
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
        PlanError::new(code, "Topic deletion is disabled.")
    });
    let named_twice = duplicates(asked.iter().filter_map(|&(name, _)| name));
    let mut ids: BTreeMap<TopicId, usize> = BTreeMap::new();
    for (_, id) in asked.iter().filter(|(name, _)| name.is_none()) {
        *ids.entry(*id).or_default() += 1;
    }
    // Topics that are named both ways: they are refused, once, by their names.
    let id_named = |name: Option<&Str>| Some(configs.image.topic_named(name?)?.id);
    let by_name = asked.iter().filter(|(_, id)| *id == TopicId::ZERO);
    let named: BTreeSet<TopicId> = by_name.filter_map(|&(name, _)| id_named(name)).collect();
    let mut deleted = BTreeSet::new();
    let mut told = BTreeSet::new();
    let mut responses = Vec::new();
    for (name, id) in asked {
        let by_name_and_id = name.is_none() && named.contains(&id);
        let is_one_way = name.is_some() != (id != TopicId::ZERO);
        if by_name_and_id || is_one_way && !told.insert((name, id)) {
            continue;
        }
        let topic = match &disabled {
            Some(refusal) => Err(refusal.clone()),
            None => topic_to_delete(configs.image, name, id, &named_twice, &ids),
        };
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
                topic_id: id_named(name)
                    .filter(|id| ids.contains_key(id))
                    .unwrap_or(id),
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
    ids: &BTreeMap<TopicId, usize>,
) -> Result<&'a TopicImage, PlanError> {
    let invalid = |message: &str| Err(PlanError::new(ErrorCode::InvalidRequest, message));
    match (name, id) {
        (None, TopicId::ZERO) => invalid("Neither topic name nor id were specified."),
        (None, id) if ids.get(&id).is_some_and(|&times| times > 1) => {
            invalid("Duplicate topic id.")
        }
        (None, id) => image.topic(id).ok_or_else(unknown_topic_id),
        (Some(name), TopicId::ZERO) if named_twice.contains(name) => {
            invalid("Duplicate topic name.")
        }
        (Some(name), TopicId::ZERO) => {
            let topic = image.topic_named(name).ok_or_else(unknown_topic)?;
            if ids.contains_key(&topic.id) {
                return invalid("The provided topic name maps to an ID that was already supplied.");
            }
            Ok(topic)
        }
        (Some(_), _) => invalid("You may not specify both topic name and topic id."),
    }
}

/// Gives topics more partitions, or with `validate_only` checks whether it could. Each topic succeeds or fails by
/// itself.
pub(super) fn create_partitions(
    configs: Configs<'_>,
    request: &CreatePartitionsRequest,
    rng: &mut ChaCha8Rng,
) -> Plan<CreatePartitionsResponse> {
    let duplicates = duplicates(request.topics.iter().map(|topic| &topic.name));
    let mut batch = PlannedBatch::new(configs, rng);
    let mut results = Vec::new();
    let mut told = BTreeSet::new();
    for topic in &request.topics {
        if !told.insert(&topic.name) {
            continue;
        }
        let outcome = if duplicates.contains(&topic.name) {
            Err(PlanError::new(
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

fn unknown_topic() -> PlanError {
    PlanError::new(
        ErrorCode::UnknownTopicOrPartition,
        "This server does not host this topic-partition.",
    )
}

fn unknown_topic_id() -> PlanError {
    PlanError::new(
        ErrorCode::UnknownTopicId,
        "This server does not host this topic ID.",
    )
}

/// The records of one request, and the image with them applied: a topic is placed with regard to those that the same
/// request has created before it.
struct PlannedBatch<'a> {
    configs: Configs<'a>,
    image: ClusterImage,
    rng: &'a mut ChaCha8Rng,
    records: Vec<MetadataRecord>,
    partitions: usize,
    /// Created when the first partition is placed.
    placer: Option<Placer>,
    /// Names of topics by their collision keys, computed on first use.
    collisions: Option<BTreeMap<String, String>>,
}

impl<'a> PlannedBatch<'a> {
    fn new(configs: Configs<'a>, rng: &'a mut ChaCha8Rng) -> Self {
        Self {
            configs,
            image: configs.image.clone(),
            rng,
            records: Vec::new(),
            partitions: 0,
            placer: None,
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

    fn create_topic(&mut self, topic: &CreatableTopic) -> Result<CreatableTopicResult, PlanError> {
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

    fn check_new_name(&mut self, name: &str) -> Result<(), PlanError> {
        if name == METADATA {
            return Err(PlanError::new(
                ErrorCode::InvalidRequest,
                format!("Creation of internal topic {METADATA} is prohibited."),
            ));
        }
        check_topic_name(name).map_err(|invalid| {
            PlanError::new(ErrorCode::InvalidTopicException, invalid.to_string())
        })?;
        if self.image.topic_named(name).is_some() {
            return Err(PlanError::new(
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
            Some(other) => Err(PlanError::new(
                ErrorCode::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            )),
        }
    }

    fn place_topic(&mut self, topic: &CreatableTopic) -> Result<Vec<Vec<Voter>>, PlanError> {
        if !topic.assignments.is_empty() {
            let placed = self.placed_by_hand(topic)?;
            self.count_partitions(placed.len())?;
            self.count_placed(&placed);
            return Ok(placed);
        }
        let replication_factor = match topic.replication_factor {
            -1 => self.configs.default_replication_factor(),
            factor if factor > 0 => i32::from(factor),
            _ => {
                return Err(PlanError::new(
                    ErrorCode::InvalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                ));
            }
        };
        let partitions = match topic.num_partitions {
            -1 => self.configs.num_partitions(),
            partitions if partitions > 0 => partitions,
            _ => {
                return Err(PlanError::new(
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
    ) -> Result<Vec<Vec<Voter>>, PlanError> {
        let factor = usize::try_from(replication_factor).expect("above 0");
        let image = &self.image;
        let placer = self.placer.get_or_insert_with(|| Placer::new(image));
        let placed = placer.place(partitions, factor, self.rng);
        placed.map_err(|error: PlacementError| {
            PlanError::new(
                ErrorCode::InvalidReplicationFactor,
                format!("Unable to replicate the partition {replication_factor} time(s): {error}"),
            )
        })
    }

    /// Counts new partitions against the limit of a request.
    fn count_partitions(&mut self, partitions: usize) -> Result<(), PlanError> {
        let total = self.partitions.saturating_add(partitions);
        if total > PARTITIONS_PER_REQUEST_MAX {
            return Err(PlanError::new(
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

    /// Counts partitions that the client has placed.
    fn count_placed(&mut self, placed: &[Vec<Voter>]) {
        if let Some(placer) = &mut self.placer {
            placer.count(placed);
        }
    }

    fn placed_by_hand(&self, topic: &CreatableTopic) -> Result<Vec<Vec<Voter>>, PlanError> {
        if topic.replication_factor != -1 {
            return Err(PlanError::new(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ));
        }
        if topic.num_partitions != -1 {
            return Err(PlanError::new(
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
                return Err(PlanError::new(
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
            return Err(PlanError::new(
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
    ) -> Result<Vec<Voter>, PlanError> {
        let refused =
            |message: String| Err(PlanError::new(ErrorCode::InvalidReplicaAssignment, message));
        let voters = assigned_voters(&self.image, brokers)?;
        let is_active = |broker: &BrokerImage| broker.state == BrokerState::Active;
        let mut known = brokers
            .iter()
            .filter_map(|&id| self.image.broker(BrokerId(id)));
        let any_active = known.any(is_active);
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

    fn add_partitions(&mut self, topic: &CreatePartitionsTopic) -> Result<(), PlanError> {
        let invalid = |message| Err(PlanError::new(ErrorCode::InvalidPartitions, message));
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
        self.count_partitions(additional)?;
        let placed = match &topic.assignments {
            None => {
                let factor = i32::try_from(factor).expect("a replication factor is an i16");
                self.place(additional, factor)?
            }
            Some(assignments) => {
                if assignments.len() != additional {
                    return Err(PlanError::new(
                        ErrorCode::InvalidReplicaAssignment,
                        format!(
                            "Attempted to add {additional} additional partition(s), but only {} assignment(s) \
                             were specified.",
                            assignments.len()
                        ),
                    ));
                }
                let first = i32::try_from(count).expect("partitions were counted by an i32");
                let placed = (first..)
                    .zip(assignments)
                    .map(|(partition, CreatePartitionsAssignment { broker_ids })| {
                        self.voters_by_hand(partition, broker_ids, Some(factor))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                self.count_placed(&placed);
                placed
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

    /// An unused id. One whose text begins with a dash would be parsed as an option by commands.
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

/// The voters of a manual assignment: the present directories of these brokers.
pub(super) fn assigned_voters(
    image: &ClusterImage,
    brokers: &[i32],
) -> Result<Vec<Voter>, PlanError> {
    let refused =
        |message: String| Err(PlanError::new(ErrorCode::InvalidReplicaAssignment, message));
    if brokers.is_empty() {
        return refused(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    let mut voters: Vec<Voter> = Vec::with_capacity(brokers.len());
    for &id in brokers {
        let Some(broker) = image.broker(BrokerId(id)) else {
            return refused(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        };
        if voters.contains(&broker.voter()) {
            return refused(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        voters.push(broker.voter());
    }
    Ok(voters)
}

fn topic_config(topic: &CreatableTopic) -> Result<ConfigMap, PlanError> {
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

/// The effective configuration of a new topic.
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

/// With two replicas one failure makes the partition unavailable: both must have what is acknowledged.
fn replication_warning(placed: &[Vec<Voter>]) -> Option<&'static str> {
    placed.iter().any(|voters| voters.len() == 2).then_some(
        "With a replication factor of 2 a partition cannot be written or led while either of its brokers is \
         down: a majority of two is both. Use 3.",
    )
}
