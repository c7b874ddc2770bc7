//! Follows `__cluster_metadata`: applies committed records, and creates or releases the replicas that they assign.
//!
//! Every broker has a replica of the metadata log, as a voter, or as a learner that its leader keeps up to date. Only
//! committed batches are applied, so no answer ever rests on a record that may still be truncated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{
    AssignmentKind, BrokerState, ClusterImage, Configs, MetadataRecord, TopicConfig, decode_batch,
};
use crate::effect::{Effect, Effects};
use crate::hooks::{Mutant, Probe};
use crate::ids::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition, Voter};
use crate::peer::{ControllerRequest, DirectoryState, PeerAddresses};
use crate::queries::Waiter;
use crate::record::Batch;
use crate::replica::{Replica, ReplicaConfig};
use crate::store::{Flush, QueryResult, ReadError, RecoveredReplica, Roll};

use super::Broker;
use super::controller::UncommittedDecision;
use super::state_machine::{State, StateMachine};

/// The id of all requests that this module sends to the controller. Nobody awaits their responses: their effect shows
/// in the image.
const REGISTRATION: u64 = 0;

/// The state that a broker keeps about the metadata log.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// The image; on the controller also the decisions that are not committed.
    pub(super) log: StateMachine<ClusterImage, UncommittedDecision>,
    /// Whether the image has the registration of this incarnation, and so everything from before its start.
    caught_up: bool,
    /// The peers last given by `Effect::Peers`, and whether they are all of the cluster.
    peers: (PeerAddresses, bool),
    /// Addresses of brokers that peers have reported; used until the image names all peers.
    reported_by_peers: PeerAddresses,
    ready: bool,
    /// The controller to which this incarnation last sent its registration.
    asked_to_register: Option<BrokerId>,
    topic_configs: BTreeMap<TopicId, Arc<TopicConfig>>,
    /// Partitions whose replica on this node is neither in the target nor in the reported voters: it is deleted once
    /// the leader releases it. Each with the end of the metadata (exclusive) from which on it is unwanted.
    pub(super) unwanted: BTreeMap<TopicPartition, Offset>,
    /// Partitions led here whose committed voters the image does not have, with the report last sent: leader epoch and
    /// number of notes.
    unreported: BTreeMap<TopicPartition, Option<(LeaderEpoch, u64)>>,
    /// Partitions led here whose leader epoch must be recorded in the metadata before one of their replicas is deleted.
    epochs_to_report: BTreeSet<TopicPartition>,
    /// Partitions led here although another broker is the preferred leader. May contain partitions that this broker
    /// does not lead any more.
    pub(super) imbalanced: BTreeSet<TopicPartition>,
}

impl State for ClusterImage {
    type Record = MetadataRecord;

    fn apply(&mut self, record: &MetadataRecord) {
        Self::apply(self, record);
    }

    fn records_of(batch: &Batch) -> Vec<MetadataRecord> {
        decode_batch(batch).expect("the metadata log holds what this version writes")
    }

    fn to_snapshot(&self) -> Vec<u8> {
        self.encode()
    }

    fn of_snapshot(snapshot: &[u8]) -> Self {
        Self::decode(snapshot).expect("a snapshot is what this version writes")
    }
}

/// What a range of records has changed.
#[derive(Debug, Default)]
struct Affected {
    partitions: BTreeSet<TopicPartition>,
    /// Configurations of topics, or the defaults of the cluster.
    configs: bool,
}

impl Affected {
    /// Adds what a record changes; `image` is the image before it.
    fn note(&mut self, image: &ClusterImage, record: &MetadataRecord) {
        match record {
            MetadataRecord::Partition { partition, .. }
            | MetadataRecord::PartitionTarget { partition, .. }
            | MetadataRecord::Reassignment { partition, .. } => {
                self.partitions.insert(*partition);
            }
            MetadataRecord::PartitionVoters { report } => {
                self.partitions.insert(report.partition);
            }
            MetadataRecord::RemoveTopic { id } => {
                let topic = image.topic(*id);
                let partitions = topic.into_iter().flat_map(|topic| topic.partitions());
                let partitions = partitions.map(|(partition, _)| TopicPartition {
                    topic: *id,
                    partition,
                });
                self.partitions.extend(partitions);
            }
            MetadataRecord::Config { .. } => self.configs = true,
            MetadataRecord::RegisterBroker { .. }
            | MetadataRecord::FenceBroker { .. }
            | MetadataRecord::UnfenceBroker { .. }
            | MetadataRecord::StopBroker { .. }
            | MetadataRecord::UnregisterBroker { .. }
            | MetadataRecord::Topic { .. }
            | MetadataRecord::ProducerIds { .. }
            | MetadataRecord::Feature { .. } => {}
        }
    }
}

impl Metadata {
    /// The image of all metadata that are committed and applied here.
    pub(super) fn image(&self) -> &ClusterImage {
        self.log.committed()
    }

    /// The end of these metadata, exclusive.
    pub(super) const fn applied(&self) -> Offset {
        self.log.applied()
    }
}

impl Broker {
    /// Restores the recovered replicas. Where there is none of the metadata log, this node joins as a learner.
    pub(super) fn start_metadata(&mut self, recovered: Vec<RecoveredReplica>, fx: &mut Effects) {
        for mut replica in recovered {
            let partition = replica.replica;
            if let Some((position, image)) = replica.snapshot.take() {
                fx.probe(Probe::SnapshotRecovered);
                self.metadata.log.restore(&image, position.end_offset);
            }
            let config = self.replica_config(partition);
            let replica =
                self.build_replica(fx, |me, cx| Replica::recover(replica, me, config, cx));
            self.insert_replica(replica);
        }
        if !self.replicas.contains_key(&TopicPartition::METADATA) {
            let config = self.replica_config(TopicPartition::METADATA);
            let founds = fx.mutant(Mutant::FoundsOwnCluster);
            let replica = self.build_replica(fx, |me, cx| {
                let (voters, leader_epoch_min) = if founds {
                    (vec![me], None)
                } else {
                    (Vec::new(), Some(LeaderEpoch(0)))
                };
                let id = TopicPartition::METADATA;
                Replica::create(id, me, voters, config, leader_epoch_min, false, cx)
            });
            self.insert_replica(replica);
        }
        self.image_advanced(None, fx);
    }

    pub(super) fn replica_config(&self, partition: TopicPartition) -> ReplicaConfig {
        let eager = partition == TopicPartition::METADATA;
        // Internal topics are acknowledged only when durable, whatever their configuration.
        let (flush, roll) = if eager {
            (Flush::Commit, Roll::default())
        } else {
            let config = self.topic_config(partition.topic);
            let roll = Roll {
                bytes: config.segment_bytes,
                ms: config.segment_ms,
            };
            (config.flush, roll)
        };
        ReplicaConfig {
            flush,
            roll,
            eager,
            clock_tick_min: self.setup.kafka.clock_tick_min(),
        }
    }

    /// The effective configuration of a topic, by the metadata and this broker's own configuration.
    pub(super) fn topic_config(&self, topic: TopicId) -> Arc<TopicConfig> {
        if let Some(config) = self.metadata.topic_configs.get(&topic) {
            return Arc::clone(config);
        }
        Arc::new(self.configs().topic(topic))
    }

    /// The configuration of the cluster and of this broker.
    pub(super) fn configs(&self) -> Configs<'_> {
        Configs {
            image: self.metadata.image(),
            broker: &self.setup.kafka,
        }
    }

    /// Applies committed records that are not applied yet.
    pub(super) fn follow_metadata(&mut self, fx: &mut Effects) {
        let Some(replica) = self.replicas.get(&TopicPartition::METADATA) else {
            return;
        };
        let mut affected = Affected::default();
        let log = &mut self.metadata.log;
        let before = log.applied();
        let query = log.follow(replica, fx, |image, record| affected.note(image, record));
        let has_advanced = log.applied() > before;
        if let Some(kind) = query {
            let waiter = Waiter::StateMachine;
            self.queries.ask(TopicPartition::METADATA, kind, waiter, fx);
        }
        if has_advanced {
            self.image_advanced(Some(affected), fx);
        }
    }

    pub(super) fn on_metadata_read(&mut self, result: QueryResult, fx: &mut Effects) {
        let mut affected = Affected::default();
        let log = &mut self.metadata.log;
        match log.on_read(result, |image, record| affected.note(image, record)) {
            Ok(()) => self.image_advanced(Some(affected), fx),
            // Another query at once would fail as well: the next housekeeping retries.
            Err(ReadError::Unavailable) => return,
            Err(error) => self.note_hole(TopicPartition::METADATA, &error, fx),
        }
        self.follow_metadata(fx);
    }

    /// Acts on an image that has advanced. `affected` is what has changed; `None` where that is not known.
    fn image_advanced(&mut self, affected: Option<Affected>, fx: &mut Effects) {
        let image = Arc::clone(self.metadata.log.committed());
        // Until the image has the registration of this incarnation, it may be any earlier prefix of the metadata: from
        // before a topic was created, or from before a replica was moved away and deleted. Acting on it would delete a
        // wanted replica, or recreate an empty replica as a voter whose log has acknowledged records.
        let caught_up = self.metadata.caught_up || self.registered().is_some();
        let affected = if caught_up == self.metadata.caught_up {
            affected
        } else {
            None
        };
        self.metadata.caught_up = caught_up;
        if affected.as_ref().is_none_or(|affected| affected.configs) {
            self.metadata.topic_configs.clear();
        }
        let affected = affected.map(|affected| affected.partitions);
        let affected = affected.unwrap_or_else(|| {
            let assigned = image
                .assignments(self.voter())
                .map(|assignment| assignment.partition);
            assigned.chain(self.replicas.keys().copied()).collect()
        });
        for topic in affected.iter().map(|partition| partition.topic) {
            if !self.metadata.topic_configs.contains_key(&topic) && image.topic(topic).is_some() {
                let config = self.configs().topic(topic);
                self.metadata.topic_configs.insert(topic, Arc::new(config));
            }
        }
        for partition in affected {
            self.reconcile_replica(partition, &image, fx);
        }
        // The observers of the metadata log are the registered brokers, which any record may have changed.
        self.set_target(TopicPartition::METADATA, fx);
        self.keep_peers(fx);
        self.save_snapshot(fx);
        self.review_readiness(fx);
        self.answer_from_advanced_image(fx);
    }

    /// Creates, configures or begins to release this node's replica of a partition, as the image assigns.
    fn reconcile_replica(
        &mut self,
        partition: TopicPartition,
        image: &ClusterImage,
        fx: &mut Effects,
    ) {
        if partition == TopicPartition::METADATA {
            return;
        }
        let present = self.replicas.contains_key(&partition);
        let mut assignment = image.assignment(partition, self.voter());
        let hasty = fx.mutant(Mutant::DeletesOnTargetAlone);
        let unwanted_since = self.metadata.unwanted.remove(&partition);
        if hasty && let Some(partition) = image.partition(partition) {
            assignment = assignment.filter(|_| partition.target.contains(&self.voter()));
        }
        match assignment {
            Some(_) if !present && self.directory_state() == DirectoryState::Offline => {}
            Some(assignment) if !present && self.metadata.caught_up => {
                let config = self.replica_config(partition);
                let preferred = image
                    .partition(partition)
                    .and_then(|partition| partition.target.first())
                    .is_some_and(|first| *first == self.voter());
                let is_new = assignment.kind != AssignmentKind::InitialVoter;
                let leader_epoch_min = is_new.then(|| reported_epoch(image, partition));
                let voters = assignment.create_with;
                let replica = self.build_replica(fx, |me, cx| {
                    Replica::create(
                        partition,
                        me,
                        voters,
                        config,
                        leader_epoch_min,
                        preferred,
                        cx,
                    )
                });
                self.insert_replica(replica);
            }
            Some(assignment) if present => {
                let config = self.replica_config(partition);
                let is_current = self.metadata.caught_up;
                let leader_epoch_min = reported_epoch(image, partition);
                self.with_replica(partition, fx, |replica, cx| {
                    replica.configure(config);
                    replica.set_unwanted(false, cx);
                    if is_current {
                        replica.learn_voters_at_creation(&assignment.create_with);
                        replica.enter_reported_epoch(leader_epoch_min, cx);
                    }
                });
                self.set_target(partition, fx);
            }
            None if present && self.metadata.caught_up => {
                if image.partition(partition).is_none() || hasty {
                    self.delete_replica(partition, fx);
                } else {
                    let since = unwanted_since.unwrap_or(self.metadata.applied());
                    self.metadata.unwanted.insert(partition, since);
                    self.with_replica(partition, fx, |replica, cx| replica.set_unwanted(true, cx));
                    self.request_release(partition, fx);
                }
            }
            Some(_) | None => {}
        }
        if image.partition(partition).is_none() {
            self.leaders.remove(&partition);
            self.metadata.unreported.remove(&partition);
            self.metadata.epochs_to_report.remove(&partition);
            self.metadata.imbalanced.remove(&partition);
            self.metadata.topic_configs.remove(&partition.topic);
        }
    }

    /// Tells a leading replica its target, and the observers to keep up to date.
    pub(super) fn set_target(&mut self, partition: TopicPartition, fx: &mut Effects) {
        let image = Arc::clone(self.metadata.log.committed());
        let Some(wanted) = image.partition(partition) else {
            return;
        };
        let leads = self.replica(partition).is_some_and(Replica::is_leader);
        if leads && wanted.target.first() != Some(&self.voter()) {
            self.metadata.imbalanced.insert(partition);
        } else {
            self.metadata.imbalanced.remove(&partition);
        }
        let observers: Vec<Voter> = if partition == TopicPartition::METADATA {
            image.brokers().map(|broker| broker.voter()).collect()
        } else {
            Vec::new()
        };
        self.with_replica(partition, fx, |replica, cx| {
            replica.set_target(&wanted.target, &observers, cx)
        });
    }

    /// The peer addresses of all known brokers, this one included.
    pub(super) fn known_peers(&self) -> PeerAddresses {
        let mut peers = self.metadata.reported_by_peers.clone();
        peers.extend(self.metadata.image().peer_addresses());
        let own = self.setup.registration.peer_address.clone();
        peers.insert(self.me.broker, own);
        peers
    }

    /// Whether the image has every broker to link with: it is current, and has every voter of the metadata log. The
    /// voters that a cluster is formed with register one after the other, and a learner may register before the first
    /// of them; until the log has a voter change it does not know who votes.
    fn knows_all_peers(&self) -> bool {
        let voters = self
            .replica(TopicPartition::METADATA)
            .map_or(&[][..], Replica::voters);
        let mut brokers = voters.iter().map(|voter| voter.broker);
        self.metadata.caught_up
            && !voters.is_empty()
            && brokers.all(|id| self.metadata.image().broker(id).is_some())
    }

    /// Adds the addresses of brokers that a peer reports, until the image names all peers.
    pub(super) fn learn_peers(&mut self, peers: PeerAddresses, fx: &mut Effects) {
        if !self.knows_all_peers() {
            self.metadata.reported_by_peers.extend(peers);
            self.keep_peers(fx);
        }
    }

    fn keep_peers(&mut self, fx: &mut Effects) {
        let all = self.knows_all_peers();
        if all {
            self.metadata.reported_by_peers.clear();
        }
        let mut addresses = self.known_peers();
        addresses.remove(&self.me.broker);
        let peers = (addresses, all);
        if peers != self.metadata.peers {
            self.metadata.peers.clone_from(&peers);
            let (addresses, all) = peers;
            fx.push(Effect::Peers { addresses, all });
        }
    }

    fn save_snapshot(&mut self, fx: &mut Effects) {
        let interval = self.setup.snapshot_interval;
        if let Some((at, image)) = self.metadata.log.due_snapshot(interval) {
            fx.probe(Probe::SnapshotSaved);
            self.with_replica(TopicPartition::METADATA, fx, |replica, cx| {
                replica.save_snapshot(at, image.into(), cx)
            });
        }
    }

    /// A node is ready once its own image has this incarnation registered and unfenced.
    fn review_readiness(&mut self, fx: &mut Effects) {
        let active = self
            .registered()
            .is_some_and(|state| state == BrokerState::Active);
        let early = fx.mutant(Mutant::ReadyBeforeCaughtUp);
        if (active || early) && !self.metadata.ready {
            self.metadata.ready = true;
            fx.push(Effect::Ready);
        }
    }

    /// The state of this incarnation in the image; `None` where it is not registered.
    pub(super) fn registered(&self) -> Option<BrokerState> {
        let known = self.metadata.image().broker(self.me.broker)?;
        (known.registration == self.setup.registration).then_some(known.state)
    }

    /// Registers this incarnation as soon as a controller can be reached, since clients wait for it. Once per
    /// controller; housekeeping retries.
    pub(super) fn register_promptly(&mut self, fx: &mut Effects) {
        if self.metadata.caught_up {
            return;
        }
        let reached = self.controller_id().filter(|&id| {
            let mut peers = self.links.reachable();
            match id == self.me.broker {
                true => self.is_controller(),
                false => peers.any(|peer| peer.broker == id),
            }
        });
        if reached.is_some() && reached != self.metadata.asked_to_register {
            self.metadata.asked_to_register = reached;
            self.register(fx);
        }
    }

    /// Registers this incarnation with the controller, unless the image has it.
    pub(super) fn register(&mut self, fx: &mut Effects) {
        if self.registered().is_none() && self.me.cluster.is_some() && !self.stopping {
            let controller_request = ControllerRequest::Register(self.setup.registration.clone());
            self.send_to_controller(REGISTRATION, controller_request, fx);
        }
    }

    /// Sends a voter report with the leader epoch of a partition that this broker leads, unless the image has one:
    /// required before a replica is deleted in that epoch. Returns whether the image has one.
    pub(super) fn report_epoch(
        &mut self,
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        fx: &mut Effects,
    ) -> bool {
        let is_reported = reported_epoch(self.metadata.image(), partition) >= leader_epoch;
        if !is_reported {
            self.metadata.epochs_to_report.insert(partition);
            self.report_voters(partition, fx);
        }
        is_reported
    }

    /// Reports the committed voters of a partition that this broker leads, if the image has other voters, or must have
    /// this leader epoch and does not.
    pub(super) fn report_voters(&mut self, partition: TopicPartition, fx: &mut Effects) {
        let Some(replica) = self.replicas.get(&partition) else {
            return;
        };
        let leader_epoch = replica.leader_epoch();
        let (notes, voters) = replica.committed_voters();
        let known = self.metadata.log.committed().partition(partition);
        let known = known.and_then(|known| known.reported.as_ref());
        let is_reported = known.is_some_and(|known| known.leader_epoch >= leader_epoch);
        if is_reported {
            self.metadata.epochs_to_report.remove(&partition);
        }
        let is_known = known.map_or(0, |known| known.notes) == notes
            && !self.metadata.epochs_to_report.contains(&partition);
        if is_known || !replica.is_leader() || replica.high_watermark().is_none() {
            self.metadata.unreported.remove(&partition);
            self.metadata.epochs_to_report.remove(&partition);
            return;
        }
        let report = Some((leader_epoch, notes));
        if self.metadata.unreported.get(&partition) == Some(&report) {
            return;
        }
        let mut voters = voters.to_vec();
        voters.sort_unstable();
        let controller_request =
            ControllerRequest::ReportVoters(vec![crate::cluster::VoterReport {
                partition,
                leader_epoch,
                notes,
                voters,
            }]);
        let asked = self.send_to_controller(REGISTRATION, controller_request, fx);
        let sent = if asked { report } else { None };
        self.metadata.unreported.insert(partition, sent);
    }

    /// Resends the reports that the image still lacks.
    pub(super) fn retry_voter_reports(&mut self, fx: &mut Effects) {
        for partition in std::mem::take(&mut self.metadata.unreported).into_keys() {
            self.report_voters(partition, fx);
        }
    }
}

/// The leader epoch of the last voter report for a partition; 0 where there is none.
pub(super) fn reported_epoch(image: &ClusterImage, partition: TopicPartition) -> LeaderEpoch {
    let reported = image
        .partition(partition)
        .and_then(|it| it.reported.as_ref());
    reported.map_or(LeaderEpoch(0), |reported| reported.leader_epoch)
}

#[cfg(test)]
impl Broker {
    /// Applies a record as if it were committed.
    pub(super) fn learn(&mut self, record: &MetadataRecord, fx: &mut Effects) {
        self.metadata.log.learn(record);
        self.image_advanced(None, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{identity, node};
    use super::*;

    #[test]
    fn a_learner_that_registers_before_its_founder_keeps_the_link_to_it() {
        let mut fx = Effects::new();
        let mut broker = node(identity(3, 31), &mut fx);
        let founder = (BrokerId(1), "localhost:9191".to_owned());
        let reported_by_peers = PeerAddresses::from([founder]);
        broker.learn_peers(reported_by_peers.clone(), &mut fx);

        let registration = broker.setup.registration.clone();
        broker.learn(&MetadataRecord::RegisterBroker { registration }, &mut fx);
        assert!(broker.metadata.caught_up, "the image has this very start");
        assert_eq!(broker.metadata.peers, (reported_by_peers, false));
    }
}
