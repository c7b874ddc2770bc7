//! What can be known of every replica from outside: what it was ordered to store, what was reported durable,
//! and what is committed.
//!
//! Nothing here asks the broker what it believes, except how far it says that it has committed. A [`Shadow`] is
//! rebuilt from the orders that left the state machine and from the reports that came back, so a checker
//! compares what a broker says with what it did.

mod log;
mod metadata;
mod shadow;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use varve_core::cluster::{ClusterImage, MetadataRecord, decode_batch};
use varve_core::effect::Effect;
use varve_core::ids::{
    BrokerId, Incarnation, LeaderEpoch, LogClock, Offset, Timestamp, TopicId, TopicPartition, Voter,
};
use varve_core::input::Input;
use varve_core::log::{Entry, NoteKind, Position};
use varve_core::peer::{AppendReply, DirectoryState, PeerMessage, ReplicaBody};
use varve_core::producer::ProducerTable;
use varve_core::record::BatchHeader;
use varve_core::replica::ReplicaView;
use varve_core::store::{Completion, Flush, Order, OrderKind, OrderSeq, Recovered, Stage};

use crate::clock::SimTime;

pub use log::{Logged, epoch_before, index_of, voters_of};
pub use shadow::{Shadow, Stored};

use super::bounded::Queues;
use log::{digest_batch, digest_note};
use metadata::CommittedMetadata;
use shadow::Deed;
use topics::Topics;

/// One step of one broker, as the checkers see it.
#[derive(Debug)]
pub struct Step<'a> {
    /// When.
    pub at: SimTime,
    /// What the node's wall clock shows.
    pub wall: Timestamp,
    /// Which node.
    pub node: u8,
    /// The broker and its directory.
    pub me: Voter,
    /// What it ordered, as far as that was carried out: a crash may have come before the rest.
    pub effects: &'a [Effect],
    /// The replicas that the step touched, as they are after it.
    pub views: &'a [(TopicPartition, ReplicaView)],
    /// The end of the metadata that the broker has applied, exclusive.
    pub metadata: Offset,
    /// What it makes of them.
    pub image: &'a ClusterImage,
    /// What its directory takes.
    pub directory: DirectoryState,
    /// How much waits.
    pub queues: Queues,
    /// The broker crashed before it had carried everything out: its views speak of orders that were never given.
    pub crashed: bool,
}

impl Step<'_> {
    /// Whether the broker's replica of this partition leads after the step. An opening that names a replica may also come
    /// back to it, as to any follower, once it has been moved away and back.
    #[must_use]
    pub fn leads(&self, partition: TopicPartition) -> bool {
        let mut views = self.views.iter();
        views.any(|(id, view)| *id == partition && view.role == "leader")
    }

    /// Whether the step deletes the replica of this partition.
    #[must_use]
    pub fn deletes(&self, partition: TopicPartition) -> bool {
        self.effects.iter().any(|effect| match effect {
            Effect::Store(order) => order.replica == partition && order.kind == OrderKind::Delete,
            _other => false,
        })
    }

    /// Whether the step appends other voters.
    #[must_use]
    pub fn changes_voters(&self, partition: TopicPartition) -> bool {
        self.effects.iter().any(|effect| match effect {
            Effect::Store(Order {
                replica,
                kind: OrderKind::Append { entries, .. },
                ..
            }) if *replica == partition => entries.iter().any(|entry| voters_of(entry).is_some()),
            _other => false,
        })
    }
}

/// What has happened to a node since its process last ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    /// Its power was cut, or pages that a failed sync marked clean have left the cache.
    pub power_was_cut: bool,
    /// Some segment on its disk has been damaged at some time.
    pub damaged: bool,
    /// So has its journal, or a checkpoint.
    pub journal_damaged: bool,
}

/// What all replicas of a partition agree on.
#[derive(Clone, Debug, Default)]
pub struct CommittedLog {
    /// Its entries.
    pub log: Vec<Logged>,
    /// The leader epoch in which each of them was first known to be committed.
    in_epochs: Vec<LeaderEpoch>,
}

/// Something that a step did to a log, for the checkers of that step.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Orders of one replica do not fit what was ordered before.
    Misfit(TopicPartition, Voter, String),
    /// Entries were dropped.
    Truncated {
        /// Where.
        partition: TopicPartition,
        /// Whose.
        replica: Voter,
        /// How many entries stay.
        kept: usize,
        /// What was dropped.
        dropped: Vec<Logged>,
    },
    /// The committed log has grown.
    Committed {
        /// Where.
        partition: TopicPartition,
        /// Who said so first.
        replica: Voter,
        /// Entries before.
        from: usize,
    },
    /// A replica has committed something else than another.
    Conflict(TopicPartition, Voter, String),
}

/// Everything that is known from outside.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    replicas: BTreeMap<TopicPartition, BTreeMap<Voter, Shadow>>,
    committed: BTreeMap<TopicPartition, CommittedLog>,
    /// Partitions whose records are acknowledged from memory.
    replicated: BTreeSet<TopicPartition>,
    /// Every batch header that was ever ordered, by its digest.
    headers: BTreeMap<u64, BatchHeader>,
    /// Every change of voters that was ever ordered of a log, by its note's digest.
    voter_changes: BTreeMap<u64, Vec<Voter>>,
    /// Every tick of a log's clock that was ever ordered, by its digest.
    ticks: BTreeMap<u64, LogClock>,
    /// How much time passes at least between two of them in one log.
    pub clock_tick_min: Duration,
    topics: Topics,
    metadata: CommittedMetadata,
    /// The processes that run, each with its directory: an empty one counts its starts anew.
    running: BTreeMap<BrokerId, (Voter, Incarnation)>,
    /// Brokers whose machine has been made to refuse connections.
    refusing: BTreeSet<BrokerId>,
    /// What the latest step did.
    pub facts: Vec<Fact>,
    /// Entries that a replica has given up in the latest step, since the disk has refused them.
    given_up: Vec<(TopicPartition, Voter, Vec<Logged>)>,
}

impl Observed {
    /// One replica.
    #[must_use]
    pub fn shadow(&self, partition: TopicPartition, replica: Voter) -> Option<&Shadow> {
        self.replicas.get(&partition)?.get(&replica)
    }

    /// Whether this batch stands in a replica's log, or stood there in the course of the latest step: a leader that hears
    /// at once that one append is written and that the next is refused sends on in between.
    #[must_use]
    pub fn has_batch(
        &self,
        partition: TopicPartition,
        replica: Voter,
        header: &BatchHeader,
    ) -> bool {
        let is_it = |logged: &Logged| {
            logged.offset == header.base_offset && logged.crc == header.crc.max(1)
        };
        let log = self.shadow(partition, replica);
        let log = log.map_or(&[][..], |shadow| &shadow.ordered.log);
        let place = log.partition_point(|logged| logged.offset < header.base_offset);
        let mut there = log[place..]
            .iter()
            .take_while(|logged| logged.offset == header.base_offset);
        let given_up = self.given_up.iter();
        let mut given_up = given_up.filter(|(of, by, _)| (*of, *by) == (partition, replica));
        there.any(is_it) || given_up.any(|(_, _, entries)| entries.iter().any(is_it))
    }

    /// All replicas of a partition that were ever seen.
    pub fn shadows(&self, partition: TopicPartition) -> impl Iterator<Item = (Voter, &Shadow)> {
        self.replicas
            .get(&partition)
            .into_iter()
            .flatten()
            .map(|(&voter, shadow)| (voter, shadow))
    }

    /// All partitions that were ever seen.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.replicas.keys().copied()
    }

    /// What is committed of a partition.
    #[must_use]
    pub fn committed(&self, partition: TopicPartition) -> &[Logged] {
        self.committed
            .get(&partition)
            .map_or(&[], |committed| &committed.log)
    }

    /// What had been committed of a partition before this leader epoch.
    #[must_use]
    pub fn committed_before(&self, partition: TopicPartition, epoch: LeaderEpoch) -> &[Logged] {
        self.committed.get(&partition).map_or(&[], |committed| {
            let before = committed.in_epochs.iter().take_while(|&&it| it < epoch);
            &committed.log[..before.count()]
        })
    }

    /// Headers of the batches in a replica's log, in order, each with what the log's clock shows to it.
    fn batches(
        &self,
        partition: TopicPartition,
        replica: Voter,
    ) -> impl Iterator<Item = (&BatchHeader, LogClock)> {
        let shadow = self.shadow(partition, replica);
        let log = shadow.map_or(&[][..], |shadow| &shadow.ordered.log);
        let mut clock = LogClock::default();
        log.iter().filter_map(move |logged| {
            if logged.crc != 0 {
                return Some((self.headers.get(&logged.digest)?, clock));
            }
            clock = self.ticks.get(&logged.digest).copied().unwrap_or(clock);
            None
        })
    }

    /// Headers of the batches in a replica's log from this offset on, in order.
    #[must_use]
    pub fn headers_from(
        &self,
        partition: TopicPartition,
        replica: Voter,
        offset: Offset,
    ) -> Vec<BatchHeader> {
        let batches = self.batches(partition, replica).map(|(header, _)| *header);
        batches
            .filter(|header| header.base_offset >= offset)
            .collect()
    }

    /// What the batches before this offset of a replica's log tell of their producers.
    #[must_use]
    pub fn producers_at(
        &self,
        partition: TopicPartition,
        replica: Voter,
        offset: Offset,
    ) -> ProducerTable {
        let mut table = ProducerTable::default();
        for (header, clock) in self.batches(partition, replica) {
            if header.base_offset < offset {
                table.apply(header, clock);
            }
        }
        table
    }

    /// The ticks in a replica's log, in order, each by its digest.
    pub fn ticks(
        &self,
        partition: TopicPartition,
        replica: Voter,
    ) -> impl DoubleEndedIterator<Item = (u64, LogClock)> {
        let shadow = self.shadow(partition, replica);
        let log = shadow.map_or(&[][..], |shadow| &shadow.ordered.log);
        let notes = log.iter().filter(|logged| logged.crc == 0);
        notes.filter_map(|logged| Some((logged.digest, *self.ticks.get(&logged.digest)?)))
    }

    /// Header of the batch that begins at this offset of a replica's log.
    #[must_use]
    pub fn header_at(
        &self,
        partition: TopicPartition,
        replica: Voter,
        offset: Offset,
    ) -> Option<&BatchHeader> {
        let log = &self.shadow(partition, replica)?.ordered.log;
        let place = log.partition_point(|logged| logged.offset < offset);
        let logged = log[place..]
            .iter()
            .take_while(|logged| logged.offset == offset)
            .find(|logged| logged.crc != 0)?;
        self.headers.get(&logged.digest)
    }

    /// Whether a replica in this directory may have lost what it acknowledged, and has said so.
    #[must_use]
    pub fn is_suspect(&self, directory: Voter) -> bool {
        self.replicas.values().any(|replicas| {
            replicas
                .get(&directory)
                .is_some_and(|shadow| shadow.ordered.mark.is_suspect())
        })
    }

    /// The voters that each log in this directory names last, or was created with: as it was ordered, and as far as it is
    /// durable, since a node that is down may have lost the rest.
    pub fn voters_in(&self, directory: Voter) -> impl Iterator<Item = &[Voter]> {
        let replicas = self.replicas.values();
        let shadows = replicas.filter_map(move |replicas| replicas.get(&directory));
        shadows.flat_map(move |shadow| {
            let stored = [&shadow.ordered, &shadow.durable].into_iter();
            let stored = stored.filter(|stored| stored.exists);
            stored.map(move |stored| {
                let mut entries = stored.log.iter().rev();
                let last = entries.find_map(|logged| self.voter_changes.get(&logged.digest));
                last.unwrap_or(&stored.created_with).as_slice()
            })
        })
    }

    /// Whether records of this partition are acknowledged from memory (`flush = "replicated"`).
    #[must_use]
    pub fn is_replicated(&self, partition: TopicPartition) -> bool {
        self.replicated.contains(&partition)
    }

    /// How many voters must have a record before it is acknowledged by `acks=all` (`min.insync.replicas`).
    #[must_use]
    pub fn insync_min(&self, partition: TopicPartition) -> usize {
        self.topics.insync_min(partition.topic)
    }

    /// Whether the partition's topic has been deleted.
    #[must_use]
    pub fn is_removed(&self, partition: TopicPartition) -> bool {
        self.is_topic_removed(partition.topic)
    }

    /// Whether this topic has been deleted.
    #[must_use]
    pub fn is_topic_removed(&self, topic: TopicId) -> bool {
        self.topics.is_removed(topic)
    }

    /// The cluster as the committed metadata have it.
    #[must_use]
    pub const fn image(&self) -> &ClusterImage {
        self.metadata.image()
    }

    /// The cluster as the metadata have it up to this position; `None` where that is not committed.
    #[must_use]
    pub fn image_at(&self, position: Position) -> Option<ClusterImage> {
        let committed = self.committed(TopicPartition::METADATA);
        let index = index_of(committed, position)?;
        Some(self.metadata.image_of(&committed[..index]))
    }

    /// What the latest step has committed of the metadata, in order.
    #[must_use]
    pub fn metadata_news(&self) -> &[MetadataRecord] {
        self.metadata.news()
    }

    /// Hears what a broker is about to be told.
    pub fn take_input(&mut self, me: Voter, input: &Input) {
        self.given_up.clear();
        if let Input::Stored(completions) = input {
            for completion in completions {
                self.take_completion(me, completion);
            }
        }
    }

    /// A directory has been formatted with this as its first order, and that is durable.
    pub fn founded(&mut self, me: Voter, order: &Order) {
        self.take_order(me, order);
        self.take_completion(
            me,
            &Completion {
                replica: order.replica,
                seq: order.seq,
                position: Position::default(),
                stage: Stage::Durable,
            },
        );
        // The broker numbers its orders anew when it starts.
        self.shadow_mut(order.replica, me).written = OrderSeq::default();
    }

    /// Takes a step in.
    pub fn take(&mut self, step: &Step<'_>) {
        self.facts.clear();
        self.metadata.forget_news();
        for effect in step.effects {
            if let Effect::Store(order) = effect {
                self.take_order(step.me, order);
            }
            if let Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } = effect
                && let ReplicaBody::AppendReply(AppendReply::Matched {
                    appended, durable, ..
                }) = message.body
            {
                let shadow = self.shadow_mut(message.partition, step.me);
                shadow.acknowledges(appended, durable);
            }
        }
        for (partition, view) in step.views {
            self.take_view(step.me, *partition, view, step.crashed);
        }
    }

    fn shadow_mut(&mut self, partition: TopicPartition, replica: Voter) -> &mut Shadow {
        self.replicas
            .entry(partition)
            .or_default()
            .entry(replica)
            .or_default()
    }

    fn take_completion(&mut self, me: Voter, completion: &Completion) {
        let partition = completion.replica;
        let given_up = self.shadow_mut(partition, me).take_completion(completion);
        if !given_up.is_empty() {
            self.given_up.push((partition, me, given_up));
        }
    }

    /// A full disk has refused an order: it changes nothing, whether the replica hears of that or not.
    pub fn refused(&mut self, me: Voter, partition: TopicPartition, seq: OrderSeq) {
        self.shadow_mut(partition, me).refused(seq);
    }

    fn take_order(&mut self, me: Voter, order: &Order) {
        let partition = order.replica;
        let deed = self.shadow_mut(partition, me).take_order(order);
        self.facts.extend(deed.map(|deed| match deed {
            Deed::Misfit(what) => Fact::Misfit(partition, me, what),
            Deed::Truncated { kept, dropped } => Fact::Truncated {
                partition,
                replica: me,
                kept,
                dropped,
            },
        }));
        let OrderKind::Append { entries, flush, .. } = &order.kind else {
            return;
        };
        if *flush == Flush::Replicated {
            self.replicated.insert(partition);
        }
        for entry in entries {
            if let Entry::Note(note) = entry {
                let digest = digest_note(note);
                match &note.kind {
                    NoteKind::ClockTick(clock) => {
                        self.ticks.insert(digest, *clock);
                    }
                    NoteKind::Voters(voters) => {
                        self.voter_changes.insert(digest, voters.clone());
                    }
                    NoteKind::Opening { .. } | NoteKind::LogStart(_) => {}
                }
            }
            if let Entry::Batch(batch) = entry {
                let digest = digest_batch(&batch.header);
                let before = self.headers.insert(digest, batch.header);
                if partition == TopicPartition::METADATA && before.is_none() {
                    let records =
                        decode_batch(batch).expect("the controller writes what can be read");
                    self.topics.take(&records);
                    self.metadata.take(digest, records);
                }
            }
        }
    }

    /// Compares what the replica says is committed with what others said before.
    fn take_view(
        &mut self,
        me: Voter,
        partition: TopicPartition,
        view: &ReplicaView,
        crashed: bool,
    ) {
        let Some(shadow) = self
            .replicas
            .get_mut(&partition)
            .and_then(|replicas| replicas.get_mut(&me))
        else {
            return;
        };
        let Some(index) = shadow.ordered.index_of(view.committed) else {
            if crashed {
                return;
            }
            self.facts.push(Fact::Misfit(
                partition,
                me,
                format!(
                    "has committed {}, which is no position of its log",
                    view.committed
                ),
            ));
            return;
        };
        if index <= shadow.compared {
            return;
        }
        let committed = self.committed.entry(partition).or_default();
        let known = committed.log.len();
        for place in shadow.compared..index.min(known) {
            if shadow.ordered.log[place] != committed.log[place] {
                self.facts.push(Fact::Conflict(
                    partition,
                    me,
                    format!(
                        "has committed another entry at {} than others did",
                        committed.log[place].offset
                    ),
                ));
                return;
            }
        }
        shadow.compared = index;
        if index > known {
            committed
                .log
                .extend_from_slice(&shadow.ordered.log[known..index]);
            committed.in_epochs.resize(index, view.leader_epoch);
            if partition == TopicPartition::METADATA {
                self.metadata.follow(&committed.log);
            }
            self.facts.push(Fact::Committed {
                partition,
                replica: me,
                from: known,
            });
        }
    }

    /// A node starts on what its disk had. Every replica must be what it was when everything durable was done,
    /// or after some of the orders behind that, in their order.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn start(&mut self, recovered: &Recovered, fault: Interruption) -> Result<(), String> {
        let me = Voter {
            broker: recovered.broker,
            directory: recovered.directory,
        };
        self.running.insert(me.broker, (me, recovered.incarnation));
        for (&partition, replicas) in &mut self.replicas {
            let Some(shadow) = replicas.get_mut(&me) else {
                continue;
            };
            let found = recovered
                .replicas
                .iter()
                .find(|replica| replica.replica == partition);
            shadow.restart(found, fault)?;
        }
        let unknown = recovered
            .replicas
            .iter()
            .find(|replica| self.shadow(replica.replica, me).is_none());
        match unknown {
            Some(replica) => Err(format!(
                "recovery found a replica of {} that was never created",
                replica.replica.partition
            )),
            None => Ok(()),
        }
    }

    /// A broker's process has ended.
    pub fn ended(&mut self, broker: BrokerId) {
        self.running.remove(&broker);
    }

    /// Whether the process of this very start of a broker, on this directory, runs.
    #[must_use]
    pub fn runs(&self, voter: Voter, incarnation: Incarnation) -> bool {
        self.running.get(&voter.broker) == Some(&(voter, incarnation))
    }

    /// A broker's machine refuses connections, whether its process runs or not.
    pub fn refuses(&mut self, broker: BrokerId) {
        self.refusing.insert(broker);
    }

    /// Whether it ever did.
    #[must_use]
    pub fn has_refused(&self, broker: BrokerId) -> bool {
        self.refusing.contains(&broker)
    }

    /// A directory is gone for good. What it had acknowledged before counts: the leader was told so in good faith.
    pub fn wiped(&mut self, me: Voter) {
        for replicas in self.replicas.values_mut() {
            if let Some(shadow) = replicas.get_mut(&me) {
                shadow.gone = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
