//! The cluster's metadata as a value: the fold of a prefix of `__cluster_metadata`.
//!
//! Every node that has applied the same prefix has the same image. [`ClusterImage::apply`] is therefore total: a record
//! that does not fit (a partition of a deleted topic, a fencing of an earlier incarnation) changes nothing, on every
//! node alike. Whether a change is *allowed* is decided before its record is written, by [`super::controller`].
//!
//! Three sets of voters belong to a partition, and are kept apart (counter-example 3):
//!
//! - the *initial* voters, immutable: those of a replica without voter notes;
//! - the *reported* voters: committed as a note of the partition's own log, and reported by its leader. A report may be
//!   old, never wrong;
//! - the *target*: the voters that the controller wants. The partition's leader changes to them, one voter at a time.
//!
//! An image is cheap to clone: maps, topics and partitions are shared until one side changes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::{LayoutField, MetadataDecodeError, put_length, take_bytes, take_length};
use super::record::{ConfigMap, ConfigResource, MetadataRecord};
use super::{BrokerRegistration, VoterReport};
use crate::ids::{
    BrokerId, Incarnation, LeaderEpoch, PartitionIndex, ProducerId, TopicId, TopicPartition, Voter,
};

/// The first bytes of a snapshot.
const MAGIC: &[u8; 8] = b"varveimg";
/// The version of the snapshot's layout around its records.
const SNAPSHOT_VERSION: u8 = 1;

/// The metadata that a prefix of the metadata log builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterImage {
    brokers: Arc<BTreeMap<BrokerId, Arc<BrokerImage>>>,
    topics: Arc<BTreeMap<TopicId, Arc<TopicImage>>>,
    /// Exactly the topics of `topics`, by name.
    names: Arc<BTreeMap<Arc<str>, TopicId>>,
    /// Configurations of brokers; a topic has its own. No map in it is empty.
    broker_configs: Arc<BTreeMap<ConfigResource, ConfigMap>>,
    features: Arc<BTreeMap<String, i16>>,
    /// The quorum of the metadata log itself. Its initial voters come from the format, and only its log has them.
    metadata_quorum: Arc<PartitionImage>,
    /// Producer ids below it are allocated.
    next_producer_id: ProducerId,
}

/// A broker in the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerImage {
    /// The registration of its latest incarnation.
    pub registration: BrokerRegistration,
    /// Whether it may be given replicas.
    pub state: BrokerState,
}

impl BrokerImage {
    /// The voter that it is now.
    #[must_use]
    pub const fn voter(&self) -> Voter {
        Voter {
            broker: self.registration.broker,
            directory: self.registration.directory,
        }
    }
}

/// Whether a broker may be given replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerState {
    /// No: it has not caught up yet, or its session has timed out.
    Fenced,
    /// Yes.
    Active,
    /// No: it is in a controlled shutdown.
    Stopping,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// Its partitions, by index.
    pub partitions: Vec<Arc<PartitionImage>>,
    /// Its own configuration.
    pub config: ConfigMap,
}

impl TopicImage {
    /// One of its partitions.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        let index = usize::try_from(index.0).ok()?;
        self.partitions.get(index).map(AsRef::as_ref)
    }

    /// All its partitions with their indexes, in order.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &PartitionImage)> {
        (0..)
            .map(PartitionIndex)
            .zip(self.partitions.iter().map(AsRef::as_ref))
    }
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionImage {
    /// The voters at its creation. Never changed.
    pub initial_voters: Vec<Voter>,
    /// The initial voters that every accepted report has included: they have never been removed, so one of them without
    /// a replica has never had one.
    never_removed: Vec<Voter>,
    /// The desired voters, most preferred leader first.
    pub target: Vec<Voter>,
    /// While a reassignment is in progress: the brokers of the target before it, most preferred leader first.
    pub original: Option<Vec<BrokerId>>,
    /// The last accepted voter report.
    pub reported: Option<Reported>,
}

/// A report that has been accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The epoch of the leader that reported.
    pub leader_epoch: LeaderEpoch,
    /// The count of the note that named the voters, from the log's beginning; 0 for the initial voters.
    pub notes: u64,
    /// The voters.
    pub voters: Vec<Voter>,
}

impl PartitionImage {
    /// The committed voters as far as the image knows them: the reported or else the initial ones.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        match &self.reported {
            Some(reported) => &reported.voters,
            None => &self.initial_voters,
        }
    }

    /// Its replicas in responses to clients: the target in its order, then voters that are still to be removed.
    #[must_use]
    pub fn replica_brokers(&self) -> Vec<BrokerId> {
        let mut brokers = Vec::with_capacity(self.target.len());
        for voter in self.target.iter().chain(self.voters()) {
            if !brokers.contains(&voter.broker) {
                brokers.push(voter.broker);
            }
        }
        brokers
    }

    /// Whether a report is newer than the accepted one: a higher epoch, or a later note in the same epoch.
    #[must_use]
    pub fn supersedes(&self, report: &VoterReport) -> bool {
        self.reported.as_ref().is_none_or(|known| {
            (report.leader_epoch, report.notes) > (known.leader_epoch, known.notes)
        })
    }

    /// A reassignment is complete once the committed voters are the target.
    fn end_reassignment(&mut self) {
        let is_voter = |voter| self.voters().contains(voter);
        if self.voters().len() == self.target.len() && self.target.iter().all(is_voter) {
            self.original = None;
        }
    }

    fn kind_of(&self, voter: Voter) -> Option<AssignmentKind> {
        if self.never_removed.contains(&voter) {
            Some(AssignmentKind::InitialVoter)
        } else if self.voters().contains(&voter) {
            Some(AssignmentKind::Voter)
        } else if self.target.contains(&voter) {
            Some(AssignmentKind::Learner)
        } else {
            None
        }
    }
}

/// Why a directory must have a replica. It decides only how a replica starts that the directory does *not* have yet: an
/// existing replica goes by its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssignmentKind {
    /// An initial voter that every accepted report has included. It has never been removed, so if the directory does
    /// not have it, it never existed: it starts empty, clean, and votes.
    InitialVoter,
    /// A voter that a reported change has added, possibly an initial voter that had been removed. If the directory does
    /// not have it, it may have voted or acknowledged and then been deleted: it starts as a suspect.
    Voter,
    /// In the target, and not known to be a voter. It may still be one, or have been one: it starts as a suspect, whose
    /// votes count fully once it has caught up.
    Learner,
}

/// A replica that a directory must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Why.
    pub kind: AssignmentKind,
    /// The voters to create it with, if it does not exist: the initial voters of the partition. A replica that does not
    /// start as an initial voter is left out of them: until its log's first voter note reaches it, it must not consider
    /// itself a voter, since two such replicas could elect each other with empty logs.
    pub create_with: Vec<Voter>,
}

impl ClusterImage {
    /// Applies one record. Records that do not fit change nothing.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::RegisterBroker { registration } => self.register(registration),
            MetadataRecord::FenceBroker {
                broker,
                incarnation,
            } => self.set_broker_state(*broker, *incarnation, BrokerState::Fenced),
            MetadataRecord::UnfenceBroker {
                broker,
                incarnation,
            } => self.set_broker_state(*broker, *incarnation, BrokerState::Active),
            MetadataRecord::StopBroker {
                broker,
                incarnation,
            } => self.set_broker_state(*broker, *incarnation, BrokerState::Stopping),
            MetadataRecord::UnregisterBroker { broker } => {
                Arc::make_mut(&mut self.brokers).remove(broker);
                Arc::make_mut(&mut self.broker_configs).remove(&ConfigResource::Broker(*broker));
            }
            MetadataRecord::Topic { name, id } => self.add_topic(name, *id),
            MetadataRecord::RemoveTopic { id } => self.remove_topic(*id),
            MetadataRecord::Partition {
                partition,
                voters,
                target,
            } => self.add_partition(*partition, voters, target),
            MetadataRecord::PartitionTarget { partition, target } => {
                if let Some(partition) = self.partition_mut(*partition) {
                    partition.target.clone_from(target);
                    partition.end_reassignment();
                }
            }
            MetadataRecord::Reassignment {
                partition,
                target,
                original,
            } => {
                if let Some(partition) = self.partition_mut(*partition) {
                    partition.target.clone_from(target);
                    partition.original = (!original.is_empty()).then(|| original.clone());
                    partition.end_reassignment();
                }
            }
            MetadataRecord::PartitionVoters { report } => self.take_report(report),
            MetadataRecord::Config {
                resource,
                key,
                value,
            } => self.configure(resource, key, value.as_deref()),
            MetadataRecord::ProducerIds { next } => {
                self.next_producer_id = self.next_producer_id.max(*next);
            }
            MetadataRecord::Feature { name, level } => {
                let features = Arc::make_mut(&mut self.features);
                if *level == 0 {
                    features.remove(name);
                } else {
                    features.insert(name.clone(), *level);
                }
            }
        }
    }

    /// A broker by its id.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&BrokerImage> {
        self.brokers.get(&id).map(AsRef::as_ref)
    }

    /// All registered brokers, by ascending id.
    pub fn brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers.values().map(AsRef::as_ref)
    }

    /// The brokers that are given replicas, by ascending id.
    pub fn active_brokers(&self) -> impl Iterator<Item = &BrokerImage> {
        self.brokers()
            .filter(|broker| broker.state == BrokerState::Active)
    }

    /// The peer addresses: `host:port` of every registered broker's peer listener.
    #[must_use]
    pub fn peer_addresses(&self) -> BTreeMap<BrokerId, String> {
        self.brokers()
            .map(|broker| &broker.registration)
            .map(|known| (known.broker, known.peer_address.clone()))
            .collect()
    }

    /// A topic by its id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&TopicImage> {
        self.topics.get(&id).map(AsRef::as_ref)
    }

    /// A topic by its name.
    #[must_use]
    pub fn topic_named(&self, name: &str) -> Option<&TopicImage> {
        self.topic(*self.names.get(name)?)
    }

    /// The id of the topic that has this name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.names.values().map(|id| {
            self.topic(*id)
                .expect("names and topics hold the same topics")
        })
    }

    /// The topics whose names are not before `first`, in order.
    pub fn topics_from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a TopicImage> {
        use std::ops::Bound::{Included, Unbounded};
        self.names
            .range::<str, _>((Included(first), Unbounded))
            .map(|(_, id)| {
                self.topic(*id)
                    .expect("names and topics hold the same topics")
            })
    }

    /// A partition; [`TopicPartition::METADATA`] is [`Self::metadata_quorum`].
    #[must_use]
    pub fn partition(&self, partition: TopicPartition) -> Option<&PartitionImage> {
        if partition == TopicPartition::METADATA {
            return Some(&self.metadata_quorum);
        }
        self.topic(partition.topic)?.partition(partition.partition)
    }

    /// The quorum of the metadata log: its target and its reported voters. It is not a topic: clients do not see it,
    /// and every broker has a replica, assigned or not.
    #[must_use]
    pub fn metadata_quorum(&self) -> &PartitionImage {
        &self.metadata_quorum
    }

    /// The configuration of a resource; `None` for a topic that does not exist.
    #[must_use]
    pub fn config(&self, resource: &ConfigResource) -> Option<&ConfigMap> {
        match resource {
            ConfigResource::Topic(id) => self.topic(*id).map(|topic| &topic.config),
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                self.broker_configs.get(resource)
            }
        }
    }

    /// The finalized features and their levels.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that has not been allocated.
    #[must_use]
    pub const fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Whether, and why, a directory must have a replica of this partition. Not for the metadata log, which every
    /// broker has.
    #[must_use]
    pub fn assignment(&self, partition: TopicPartition, voter: Voter) -> Option<Assignment> {
        let image = self
            .topic(partition.topic)?
            .partition(partition.partition)?;
        let kind = image.kind_of(voter)?;
        let mut create_with = image.initial_voters.clone();
        if kind != AssignmentKind::InitialVoter {
            create_with.retain(|&initial| initial != voter);
        }
        Some(Assignment {
            partition,
            kind,
            create_with,
        })
    }

    /// Every replica that a directory must have, without the metadata log, in the order of their partitions.
    pub fn assignments(&self, voter: Voter) -> impl Iterator<Item = Assignment> {
        self.topics.values().flat_map(move |topic| {
            topic.partitions().filter_map(move |(index, _)| {
                self.assignment(
                    TopicPartition {
                        topic: topic.id,
                        partition: index,
                    },
                    voter,
                )
            })
        })
    }

    /// The fewest records that build this image from an empty one, always in the same order.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for (name, &level) in &*self.features {
            records.push(MetadataRecord::Feature {
                name: name.clone(),
                level,
            });
        }
        for broker in self.brokers() {
            broker.push_records(&mut records);
        }
        for (resource, config) in &*self.broker_configs {
            push_config(resource, config, &mut records);
        }
        for topic in self.topics.values() {
            topic.push_records(&mut records);
        }
        self.metadata_quorum
            .push_changes(TopicPartition::METADATA, &mut records);
        if self.next_producer_id != ProducerId::default() {
            records.push(MetadataRecord::ProducerIds {
                next: self.next_producer_id,
            });
        }
        records
    }

    /// A snapshot, equivalent to the log up to here:
    ///
    /// ```text
    /// "varveimg" | version u8 = 1 | count u32 | count × (length, record) | CRC-32C of all that precedes, u32
    /// ```
    ///
    /// The records are those of the log, so there is one layout to know.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let records = self.to_records();
        let mut out = MAGIC.to_vec();
        out.push(SNAPSHOT_VERSION);
        u32::try_from(records.len())
            .expect("records are counted in memory, which holds fewer")
            .put(&mut out);
        for record in records {
            let record = record.encode();
            put_length(record.len(), &mut out);
            out.extend_from_slice(&record);
        }
        crc32c::crc32c(&out).put(&mut out);
        out
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    /// Any bytes that [`Self::encode`] of a version known here does not give.
    pub fn decode(snapshot: &[u8]) -> Result<Self, MetadataDecodeError> {
        let mut bytes = snapshot;
        if take_bytes(&mut bytes, MAGIC.len())? != MAGIC {
            return Err(MetadataDecodeError::Magic);
        }
        let version = u8::take(&mut bytes)?;
        if version != SNAPSHOT_VERSION {
            return Err(MetadataDecodeError::UnknownVersion { kind: 0, version });
        }
        let (body, mut crc) = bytes
            .split_at_checked(bytes.len().saturating_sub(size_of::<u32>()))
            .ok_or(MetadataDecodeError::Truncated)?;
        let stored = u32::take(&mut crc)?;
        let computed = crc32c::crc32c(&snapshot[..snapshot.len() - size_of::<u32>()]);
        if stored != computed {
            return Err(MetadataDecodeError::Checksum { stored, computed });
        }
        let mut bytes = body;
        let mut image = Self::default();
        for _ in 0..u32::take(&mut bytes)? {
            let length = take_length(&mut bytes)?;
            image.apply(&MetadataRecord::decode(take_bytes(&mut bytes, length)?)?);
        }
        if bytes.is_empty() {
            Ok(image)
        } else {
            Err(MetadataDecodeError::Trailing(bytes.len()))
        }
    }

    fn register(&mut self, registration: &BrokerRegistration) {
        Arc::make_mut(&mut self.brokers).insert(
            registration.broker,
            Arc::new(BrokerImage {
                registration: registration.clone(),
                state: BrokerState::Fenced,
            }),
        );
    }

    fn set_broker_state(&mut self, id: BrokerId, incarnation: Incarnation, state: BrokerState) {
        let known = self
            .broker(id)
            .map(|broker| broker.registration.incarnation);
        if known != Some(incarnation) {
            return;
        }
        if let Some(broker) = Arc::make_mut(&mut self.brokers).get_mut(&id) {
            Arc::make_mut(broker).state = state;
        }
    }

    fn add_topic(&mut self, name: &str, id: TopicId) {
        let taken = self.names.contains_key(name) || self.topics.contains_key(&id);
        if taken || id == TopicId::METADATA {
            return;
        }
        let name: Arc<str> = name.into();
        Arc::make_mut(&mut self.names).insert(Arc::clone(&name), id);
        let topic = TopicImage {
            name,
            id,
            partitions: Vec::new(),
            config: ConfigMap::new(),
        };
        Arc::make_mut(&mut self.topics).insert(id, Arc::new(topic));
    }

    fn remove_topic(&mut self, id: TopicId) {
        if let Some(topic) = Arc::make_mut(&mut self.topics).remove(&id) {
            Arc::make_mut(&mut self.names).remove(&topic.name);
        }
    }

    fn add_partition(&mut self, partition: TopicPartition, voters: &[Voter], target: &[Voter]) {
        let Some(topic) = self.topic_mut(partition.topic) else {
            return;
        };
        if usize::try_from(partition.partition.0) != Ok(topic.partitions.len()) {
            return;
        }
        topic.partitions.push(Arc::new(PartitionImage {
            initial_voters: voters.to_vec(),
            never_removed: voters.to_vec(),
            target: target.to_vec(),
            original: None,
            reported: None,
        }));
    }

    fn take_report(&mut self, report: &VoterReport) {
        if let Some(partition) = self.partition_mut(report.partition)
            && partition.supersedes(report)
        {
            let never_removed = &mut partition.never_removed;
            never_removed.retain(|voter| report.voters.contains(voter));
            partition.reported = Some(Reported {
                leader_epoch: report.leader_epoch,
                notes: report.notes,
                voters: report.voters.clone(),
            });
            partition.end_reassignment();
        }
    }

    fn configure(&mut self, resource: &ConfigResource, key: &str, value: Option<&str>) {
        match resource {
            ConfigResource::Topic(id) => {
                if let Some(topic) = self.topic_mut(*id) {
                    set(&mut topic.config, key, value);
                }
            }
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                let configs = Arc::make_mut(&mut self.broker_configs);
                let config = configs.entry(resource.clone()).or_default();
                set(config, key, value);
                if config.is_empty() {
                    configs.remove(resource);
                }
            }
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> Option<&mut TopicImage> {
        if !self.topics.contains_key(&id) {
            return None;
        }
        Arc::make_mut(&mut self.topics)
            .get_mut(&id)
            .map(Arc::make_mut)
    }

    fn partition_mut(&mut self, partition: TopicPartition) -> Option<&mut PartitionImage> {
        if partition == TopicPartition::METADATA {
            return Some(Arc::make_mut(&mut self.metadata_quorum));
        }
        let index = usize::try_from(partition.partition.0).ok()?;
        self.topic_mut(partition.topic)?
            .partitions
            .get_mut(index)
            .map(Arc::make_mut)
    }
}

impl BrokerImage {
    fn push_records(&self, records: &mut Vec<MetadataRecord>) {
        let broker = self.registration.broker;
        let incarnation = self.registration.incarnation;
        records.push(MetadataRecord::RegisterBroker {
            registration: self.registration.clone(),
        });
        match self.state {
            BrokerState::Fenced => {}
            BrokerState::Active => records.push(MetadataRecord::UnfenceBroker {
                broker,
                incarnation,
            }),
            BrokerState::Stopping => records.push(MetadataRecord::StopBroker {
                broker,
                incarnation,
            }),
        }
    }
}

impl TopicImage {
    fn push_records(&self, records: &mut Vec<MetadataRecord>) {
        records.push(MetadataRecord::Topic {
            name: self.name.to_string(),
            id: self.id,
        });
        for (index, partition) in self.partitions() {
            let name = TopicPartition {
                topic: self.id,
                partition: index,
            };
            records.push(MetadataRecord::Partition {
                partition: name,
                voters: partition.initial_voters.clone(),
                target: partition.target.clone(),
            });
            partition.push_progress(name, records);
        }
        push_config(&ConfigResource::Topic(self.id), &self.config, records);
    }
}

impl PartitionImage {
    /// The changes of the metadata quorum, which has no creation record.
    fn push_changes(&self, partition: TopicPartition, records: &mut Vec<MetadataRecord>) {
        if !self.target.is_empty() {
            records.push(MetadataRecord::PartitionTarget {
                partition,
                target: self.target.clone(),
            });
        }
        self.push_progress(partition, records);
    }

    /// The reported voters, and the reassignment in progress.
    fn push_progress(&self, partition: TopicPartition, records: &mut Vec<MetadataRecord>) {
        if let Some(reported) = &self.reported {
            let is_back = |voter: &Voter| {
                reported.voters.contains(voter) && !self.never_removed.contains(voter)
            };
            if self.initial_voters.iter().any(is_back) {
                // Stands for the reports that left them out, so that the snapshot preserves that they were removed.
                records.push(MetadataRecord::PartitionVoters {
                    report: VoterReport {
                        partition,
                        leader_epoch: LeaderEpoch(-1),
                        notes: 0,
                        voters: self.never_removed.clone(),
                    },
                });
            }
            records.push(MetadataRecord::PartitionVoters {
                report: VoterReport {
                    partition,
                    leader_epoch: reported.leader_epoch,
                    notes: reported.notes,
                    voters: reported.voters.clone(),
                },
            });
        }
        if let Some(original) = &self.original {
            records.push(MetadataRecord::Reassignment {
                partition,
                target: self.target.clone(),
                original: original.clone(),
            });
        }
    }
}

fn push_config(resource: &ConfigResource, config: &ConfigMap, records: &mut Vec<MetadataRecord>) {
    for (key, value) in config {
        records.push(MetadataRecord::Config {
            resource: resource.clone(),
            key: key.clone(),
            value: Some(value.clone()),
        });
    }
}

fn set(config: &mut ConfigMap, key: &str, value: Option<&str>) {
    match value {
        Some(value) => {
            config.insert(key.to_owned(), value.to_owned());
        }
        None => {
            config.remove(key);
        }
    }
}

/// The voter of a broker in tests, with a directory derived from its id.
#[cfg(test)]
pub(super) fn voter(broker: i32) -> Voter {
    Voter {
        broker: BrokerId(broker),
        directory: crate::ids::DirectoryId(1000 + broker.unsigned_abs() as u128),
    }
}

#[cfg(test)]
mod tests;
