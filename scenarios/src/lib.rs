//! Failure scenarios: whole clusters in the simulator, told in the verbs of the field.
//!
//! A [`Scenario`] is a cluster with one topic of one partition, and every verb lets virtual time pass or changes
//! the world. It is driven by a story: one short file in `tests/`, with a seed, a claim asserted in code, and a
//! snapshot of what happened. The snapshot is the witness. The judges are the claim and the simulator's checkers,
//! which look at every step; [`Scenario::judge`] heals everything at the end and demands that every acknowledged
//! record can be read.
//!
//! A story can be told on a core with one broken clause, a *mutant*: [`Scenario::caught`] says what noticed it.

mod verdict;

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use varve_core::hooks::{Mutant, Probe};
use varve_core::ids::{Offset, PartitionIndex, Timestamp, TopicPartition, Voter};
use varve_core::replica::ReplicaView;
pub use varve_sim::client::OffsetQuery;
use varve_sim::client::{Consumer, Producer, Work};
use varve_sim::cluster::{Cluster, ClusterOptions, DiskOptions};
use varve_sim::disk::Fault;
pub use varve_sim::disk::Shortage;
use varve_sim::draw::Draws;
use varve_sim::history::{Fate, Value};
use varve_sim::nemesis::set;
use varve_sim::network::{NetworkOptions, Place};

use verdict::KeptTwice;

/// The topic of every scenario.
const TOPIC: &str = "t";
/// Everything that is not about patience is done within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// This many seconds.
#[must_use]
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// This many milliseconds.
#[must_use]
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// When a produce is answered, as Kafka's `acks` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never.
    None,
    /// When the leader has it.
    Leader,
    /// When it is committed.
    All,
}

/// A client of the cluster, which produces when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(u8);

/// Records that were produced together, in one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced(Vec<Value>);

/// What the producer knows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, its first record at this offset.
    Acknowledged(i64),
    /// Not acknowledged: it may be in the log or not.
    NotAcknowledged,
    /// Refused for good.
    Refused,
}

/// Everybody who is not on the other side of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest;

/// One side of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// These nodes.
    Nodes(Vec<u8>),
    /// All others.
    Rest,
}

impl From<u8> for Side {
    fn from(node: u8) -> Self {
        Self::Nodes(vec![node])
    }
}

impl<const N: usize> From<[u8; N]> for Side {
    fn from(nodes: [u8; N]) -> Self {
        Self::Nodes(nodes.to_vec())
    }
}

impl From<&[u8]> for Side {
    fn from(nodes: &[u8]) -> Self {
        Self::Nodes(nodes.to_vec())
    }
}

impl From<Rest> for Side {
    fn from(_: Rest) -> Self {
        Self::Rest
    }
}

impl Side {
    /// The nodes of this side, of a cluster of `nodes`, where the other side is `other`.
    fn nodes(&self, nodes: u8, other: &Self) -> Vec<u8> {
        match (self, other) {
            (Self::Nodes(mine), _) => mine.clone(),
            (Self::Rest, Self::Nodes(theirs)) => {
                (1..=nodes).filter(|node| !theirs.contains(node)).collect()
            }
            (Self::Rest, Self::Rest) => panic!("one side of a cut is named"),
        }
    }
}

/// A cluster and what is done to it.
pub struct Scenario {
    options: ClusterOptions,
    seed: u64,
    replicas: u8,
    partitions: i32,
    configs: Vec<(String, String)>,
    cluster: Option<Cluster>,
    partition: Option<TopicPartition>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("seed", &self.seed)
            .field("mutant", &self.options.mutant)
            .finish_non_exhaustive()
    }
}

// --- the cast -------------------------------------------------------------------------------------------------

impl Scenario {
    /// A cluster of this many nodes, all of which hold the one partition.
    #[must_use]
    pub fn new(nodes: u8) -> Self {
        Self {
            options: ClusterOptions::new(nodes),
            seed: 0,
            replicas: nodes,
            partitions: 1,
            configs: Vec::new(),
            cluster: None,
            partition: None,
        }
    }

    /// Where everything random comes from.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Messages and syncs all take the same short time, so that only the story decides what comes first.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.options.network = NetworkOptions {
            delay_min: Duration::from_micros(500),
            delay_mean: Duration::ZERO,
            ..NetworkOptions::default()
        };
        self.options.disk = DiskOptions {
            sync_min: Duration::from_micros(500),
            sync_mean: Duration::ZERO,
            read_mean: Duration::ZERO,
            ..DiskOptions::default()
        };
        self
    }

    /// The partition has this many replicas; the first nodes that the placement chooses hold them.
    #[must_use]
    pub const fn replicas(mut self, replicas: u8) -> Self {
        self.replicas = replicas;
        self
    }

    /// The topic has this many partitions. The story is told of the first one.
    #[must_use]
    pub const fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Every store keeps this many bytes of its disk free for what is not records.
    #[must_use]
    pub const fn reserve(mut self, bytes: u64) -> Self {
        self.options.store.reserve_bytes = bytes;
        self
    }

    /// Every store keeps this many files open at most.
    #[must_use]
    pub const fn open_files(mut self, most: usize) -> Self {
        self.options.store.open_files_max = most;
        self
    }

    /// No more bytes of records than these wait for a disk before a follower takes no more.
    #[must_use]
    pub const fn unwritten_max(mut self, bytes: usize) -> Self {
        self.options.unwritten_bytes_max = bytes;
        self
    }

    /// Every broker saves a snapshot of the metadata after this many batches of them.
    #[must_use]
    pub const fn snapshots_every(mut self, batches: u64) -> Self {
        self.options.snapshot_interval = batches;
        self
    }

    /// Every store is scrubbed within this time.
    #[must_use]
    pub const fn scrubbed_within(mut self, interval: Duration) -> Self {
        self.options.store.scrub_interval = interval;
        self
    }

    /// A setting of every broker's configuration file.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.options.kafka.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A configuration of the topic.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.configs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same on a core with this clause of the protocol broken.
    #[must_use]
    pub const fn mutant(mut self, mutant: Mutant) -> Self {
        self.options.mutant = Some(mutant);
        self
    }

    /// Starts all nodes, creates the topic, and waits until its partition has a leader whom all replicas follow
    /// to the end. Returns the leader.
    pub fn elect_leader(&mut self) -> u8 {
        assert!(self.cluster.is_none(), "the cluster has been started");
        let mut cluster = Cluster::new(self.options.clone(), Draws::new(self.seed));
        cluster.start_all();
        self.cluster = Some(cluster);
        let admin = self.create_topic(TOPIC);
        self.run_until(|s| s.is_created(&admin), PATIENCE);
        self.partition = Some(self.find_partition());
        self.run_until(
            |s| {
                let mut processes = s
                    .cluster()
                    .nodes()
                    .iter()
                    .filter_map(|n| n.process.as_ref());
                processes.all(|process| process.ready)
            },
            PATIENCE,
        );
        self.run_until_converged(PATIENCE);
        self.leader()
    }

    /// The same, with a leader that is not the controller: whoever is both is paused until another is the controller, and
    /// gets its leadership back as the preferred replica.
    pub fn elect_leader_beside_controller(&mut self) -> u8 {
        let leader = self.elect_leader();
        while leader == self.controller() {
            self.pause(leader);
            self.run_until(|s| s.controller_other_than(leader), PATIENCE);
            self.resume(leader);
            self.run_until(|s| s.leader_if_any() == Some(leader), PATIENCE);
            self.run_until_converged(PATIENCE);
        }
        leader
    }

    /// The topic's id is looked up where everybody can: in the metadata.
    fn find_partition(&self) -> TopicPartition {
        let topic = self
            .cluster()
            .nodes()
            .iter()
            .filter_map(|node| node.process.as_ref())
            .find_map(|process| process.broker.image().topic_named(TOPIC))
            .map(|topic| topic.id)
            .expect("the topic has just been created");
        TopicPartition {
            topic,
            partition: PartitionIndex(0),
        }
    }

    /// A client that produces when it is told to, without retries and without a producer id.
    #[track_caller]
    pub fn client(&mut self) -> Client {
        self.client_that(None, |_| {})
    }

    /// Such a client that reaches no node but this one.
    #[track_caller]
    pub fn client_of(&mut self, node: u8) -> Client {
        self.client_that(Some(node), |_| {})
    }

    /// Such a client that takes this node for the leader, and need not ask whether it is.
    pub fn client_sure_of(&mut self, node: u8) -> Client {
        let work = Work::Produce(Box::new(plain_producer()));
        let client = Client(self.cluster_mut().add_client_of(node, TOPIC, work));
        self.take_for_leader(&client, node);
        client
    }

    /// A client hears of this node as the leader, whoever tells it: in the epoch in which the node thinks it leads.
    pub fn tell_of_leader(&mut self, client: &Client, node: u8) {
        self.told(format!("c{} is told that n{node} leads", client.0));
        self.take_for_leader(client, node);
    }

    fn take_for_leader(&mut self, client: &Client, node: u8) {
        for partition in self.all_partitions() {
            let view = self.cluster().view(node, partition);
            let leader_epoch = view.expect("it has a replica").leader_epoch.0;
            let client = self.cluster_mut().client_mut(client.0);
            client.take_for_leader(node, leader_epoch, partition);
        }
    }

    /// A client with a producer id (`enable.idempotence`) that tries again until it is answered.
    pub fn idempotent_client(&mut self) -> Client {
        let client = self.client_that(None, is_idempotent);
        self.run_until(|s| s.is_identified(&client), PATIENCE);
        client
    }

    /// Such a client that reaches no node but this one, and may still wait for its producer id.
    #[track_caller]
    pub fn idempotent_client_of(&mut self, node: u8) -> Client {
        self.client_that(Some(node), is_idempotent)
    }

    /// Whether a client has its producer id.
    #[must_use]
    pub fn is_identified(&self, client: &Client) -> bool {
        self.producer(*client).is_identified()
    }

    #[track_caller]
    fn client_that(&mut self, node: Option<u8>, settings: impl FnOnce(&mut Producer)) -> Client {
        let mut producer = plain_producer();
        settings(&mut producer);
        let work = Work::Produce(Box::new(producer));
        let cluster = self.cluster_mut();
        let client = Client(match node {
            Some(node) => cluster.add_client_of(node, TOPIC, work),
            None => cluster.add_client(TOPIC, work),
        });
        self.run_until(
            |s| {
                s.cluster().clients()[usize::from(client.0) - 1]
                    .leader_of(0)
                    .is_some()
            },
            PATIENCE,
        );
        client
    }
}

// --- what administrators do -----------------------------------------------------------------------------------

impl Scenario {
    /// Asks for a second topic, like the first, until it has been created.
    pub fn create_topic(&mut self, name: &str) -> Client {
        let work = self.creation();
        Client(self.cluster_mut().add_client(name, work))
    }

    /// The same by an administrator who reaches no node but this one.
    pub fn create_topic_at(&mut self, node: u8, name: &str) -> Client {
        let work = self.creation();
        Client(self.cluster_mut().add_client_of(node, name, work))
    }

    fn creation(&self) -> Work {
        Work::CreateTopic {
            partitions: self.partitions,
            replication_factor: i16::from(self.replicas),
            configs: self.configs.clone(),
            done: false,
        }
    }

    /// A client that reaches no node but this one and asks it about a topic, again and again, until it knows who leads it.
    /// See [`Self::leader_known_to`].
    pub fn ask_about(&mut self, node: u8, topic: &str) -> Client {
        let work = Work::Produce(Box::new(Producer::new(0, secs(1))));
        Client(self.cluster_mut().add_client_of(node, topic, work))
    }

    /// Whether a client has a connection to a node.
    #[must_use]
    pub fn is_connected(&self, client: &Client, node: u8) -> bool {
        self.cluster().clients()[usize::from(client.0) - 1].is_connected(node)
    }

    /// Whether an administrator has been told that the topic is there.
    #[must_use]
    pub fn is_created(&self, admin: &Client) -> bool {
        self.cluster().clients()[usize::from(admin.0) - 1].is_done()
    }
}

// --- what clients do ------------------------------------------------------------------------------------------

impl Scenario {
    /// Sends a batch of this many records, and does not wait for the answer.
    pub fn produce(&mut self, client: &Client, records: u64, acks: Acks) -> Produced {
        self.producer_mut(*client).acks = match acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let values = self
            .cluster_mut()
            .produce(client.0, PartitionIndex(0), records);
        Produced(values)
    }

    /// Produces a batch of this many records, as often as it takes, until it is acknowledged by `acks=all`.
    #[track_caller]
    pub fn produce_acked(&mut self, client: &Client, records: u64) -> Produced {
        let retries = std::mem::replace(&mut self.producer_mut(*client).retries, true);
        let produced = self.produce(client, records, Acks::All);
        self.run_until(|s| s.is_acknowledged(&produced), PATIENCE);
        self.producer_mut(*client).retries = retries;
        produced
    }

    /// What the producer knows of it so far.
    #[must_use]
    pub fn outcome(&self, produced: &Produced) -> Outcome {
        let first = *produced.0.first().expect("a batch has a record");
        match self.cluster().history.fate(first) {
            Some(Fate::Acknowledged(offset)) => Outcome::Acknowledged(offset.0),
            Some(Fate::Refused) => Outcome::Refused,
            Some(Fate::Unknown) | None => Outcome::NotAcknowledged,
        }
    }

    /// Whether the producer has heard that it is acknowledged.
    #[must_use]
    pub fn is_acknowledged(&self, produced: &Produced) -> bool {
        matches!(self.outcome(produced), Outcome::Acknowledged(_))
    }

    /// Adds a consumer, which reads from offset 0 and goes on.
    pub fn consumer(&mut self) -> Client {
        Client(
            self.cluster_mut()
                .add_client(TOPIC, Work::Consume(Consumer::default())),
        )
    }

    /// Such a consumer that names no leader epoch in what it asks, as clients from before KIP-320.
    pub fn consumer_without_epochs(&mut self) -> Client {
        let work = Work::Consume(Consumer::without_epochs());
        Client(self.cluster_mut().add_client(TOPIC, work))
    }

    /// A consumer that begins beyond the ends of these partitions.
    pub fn consumer_beyond(&mut self, partitions: &[i32]) -> Client {
        let work = Work::Consume(Consumer::beyond(partitions));
        Client(self.cluster_mut().add_client(TOPIC, work))
    }

    /// How often such a consumer has been told that a position is out of range.
    #[must_use]
    pub fn out_of_range_told(&self, consumer: &Client) -> u64 {
        self.consumer_of(*consumer).out_of_range_told
    }

    /// How far a consumer has read: the next offset.
    #[must_use]
    pub fn read_up_to(&self, consumer: &Client) -> i64 {
        self.consumer_of(*consumer).position(0).0
    }

    /// Lets a consumer ask whom it takes for the leader, and does not wait for the answer.
    pub fn query(&mut self, consumer: &Client, query: OffsetQuery) {
        match &mut self.cluster_mut().client_mut(consumer.0).work {
            Work::Consume(consumer) => consumer.wants = Some(query),
            Work::Produce(_) | Work::CreateTopic { .. } => panic!("it is no consumer"),
        }
        self.cluster_mut().pump_client(consumer.0);
    }

    /// Whom a client takes for the leader, from what brokers have told it.
    #[must_use]
    pub fn leader_known_to(&self, client: &Client) -> Option<u8> {
        self.cluster().clients()[usize::from(client.0) - 1].leader_of(0)
    }

    /// Whom a node tells its clients of as the leader.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn leader_told_by(&self, node: u8) -> Option<u8> {
        let process = self.cluster().node(node).process.as_ref();
        let broker = &process.expect("the node runs").broker;
        let told = broker.told_leader(self.partition(), self.cluster().hooks())?;
        u8::try_from(told.0).ok()
    }

    fn consumer_of(&self, client: Client) -> &Consumer {
        match &self.cluster().clients()[usize::from(client.0) - 1].work {
            Work::Consume(consumer) => consumer,
            Work::Produce(_) | Work::CreateTopic { .. } => panic!("it is no consumer"),
        }
    }

    fn producer(&self, client: Client) -> &Producer {
        match &self.cluster().clients()[usize::from(client.0) - 1].work {
            Work::Produce(producer) => producer,
            Work::Consume(_) | Work::CreateTopic { .. } => panic!("it is no producer"),
        }
    }

    fn producer_mut(&mut self, client: Client) -> &mut Producer {
        match &mut self.cluster_mut().client_mut(client.0).work {
            Work::Produce(producer) => producer,
            Work::Consume(_) | Work::CreateTopic { .. } => panic!("it is no producer"),
        }
    }
}

// --- the network ----------------------------------------------------------------------------------------------

impl Scenario {
    /// Nothing gets from one side to the other any more, either way.
    pub fn cut(&mut self, one: impl Into<Side>, other: impl Into<Side>) {
        let (one, other) = self.sides(&one.into(), &other.into());
        self.told(format!("cut {} | {}", set(&one), set(&other)));
        self.block(&one, &other);
        self.block(&other, &one);
    }

    /// Nothing gets from the one side to the other any more; the other way stays open.
    pub fn cut_one_way(&mut self, from: impl Into<Side>, to: impl Into<Side>) {
        let (from, to) = self.sides(&from.into(), &to.into());
        self.told(format!("cut {} -> {}", set(&from), set(&to)));
        self.block(&from, &to);
    }

    /// The node in the middle is connected with these nodes, and nobody is with anybody else: with a majority of
    /// the voters on the star, nobody but the middle can be elected.
    pub fn connect_only(&mut self, middle: u8, rays: &[u8]) {
        self.told(format!("connect only n{middle} with {}", set(rays)));
        self.cluster_mut().unblock_all();
        let nodes = self.options.nodes;
        for one in 1..=nodes {
            for other in (1..=nodes).filter(|&other| other != one) {
                let on_star = |a, b: u8| a == middle && rays.contains(&b);
                if !on_star(one, other) && !on_star(other, one) {
                    self.block(&[one], &[other]);
                }
            }
        }
    }

    /// A client and a node do not reach each other any more.
    pub fn cut_client(&mut self, client: &Client, node: u8) {
        self.told(format!("cut c{} | n{node}", client.0));
        let (client, node) = (Place::Client(client.0), Place::Node(node));
        self.cluster_mut().block(client, node);
        self.cluster_mut().block(node, client);
    }

    /// A client reaches no node any more.
    pub fn cut_client_off(&mut self, client: &Client) {
        for node in 1..=self.options.nodes {
            self.cut_client(client, node);
        }
    }

    /// What the node answers does not reach the client any more; what the client asks arrives.
    pub fn cut_answers(&mut self, node: u8, client: &Client) {
        self.told(format!("cut n{node} -> c{}", client.0));
        let (node, client) = (Place::Node(node), Place::Client(client.0));
        self.cluster_mut().block(node, client);
    }

    /// The connection between a client and a node breaks; another can be made.
    pub fn reset_client(&mut self, client: &Client, node: u8) {
        self.told(format!("reset c{} - n{node}", client.0));
        let (client, node) = (Place::Client(client.0), Place::Node(node));
        self.cluster_mut().reset_between(client, node);
    }

    /// All connections between two nodes break, with everything under way on them; others can be made.
    pub fn reset(&mut self, one: u8, other: u8) {
        self.told(format!("reset n{one} - n{other}"));
        let (one, other) = (Place::Node(one), Place::Node(other));
        self.cluster_mut().reset_between(one, other);
    }

    /// The node's machine refuses new connections, though its process runs; those that there are stay.
    pub fn refuse_dials(&mut self, node: u8) {
        self.told(format!("n{node} refuses new connections"));
        self.cluster_mut().set_refusing(node, true);
    }

    /// From now on every message takes this long.
    pub fn messages_take(&mut self, length: Duration) {
        self.told(format!("messages take {}ms", length.as_millis()));
        self.cluster_mut().set_network_options(NetworkOptions {
            delay_min: length,
            delay_mean: Duration::ZERO,
            ..NetworkOptions::default()
        });
    }

    /// Everybody reaches everybody again.
    pub fn heal(&mut self) {
        self.told("heal".to_owned());
        self.cluster_mut().unblock_all();
    }

    fn sides(&self, one: &Side, other: &Side) -> (Vec<u8>, Vec<u8>) {
        let nodes = self.options.nodes;
        (one.nodes(nodes, other), other.nodes(nodes, one))
    }

    fn block(&mut self, from: &[u8], to: &[u8]) {
        for &from in from {
            for &to in to {
                self.cluster_mut().block(Place::Node(from), Place::Node(to));
            }
        }
    }
}

// --- the nodes ------------------------------------------------------------------------------------------------

impl Scenario {
    /// The node's process dies; what it wrote stays.
    pub fn kill(&mut self, node: u8) {
        self.told(format!("kill n{node}"));
        self.cluster_mut().kill(node);
    }

    /// The node's process dies and is started again at once.
    pub fn restart(&mut self, node: u8) {
        self.kill(node);
        self.start(node);
    }

    /// The node's process is started on what its disk has.
    pub fn start(&mut self, node: u8) {
        self.cluster_mut().start(node);
        self.check();
    }

    /// The node loses power, and any part of what its disk had not synced.
    pub fn power_cut(&mut self, node: u8) {
        self.told(format!("power cut n{node}"));
        self.cluster_mut().power_cut(node);
    }

    /// All nodes lose power at once.
    pub fn power_cut_all(&mut self) {
        self.told("power cut of all".to_owned());
        for node in 1..=self.options.nodes {
            self.cluster_mut().power_cut(node);
        }
    }

    /// The node dies in the middle of a step of its broker, when this many more effects have been carried out.
    pub fn crash_after_effects(&mut self, node: u8, effects: u32) {
        self.cluster_mut().crash_after_effects(node, effects);
    }

    /// An operator wants the partition's replicas on these nodes, the preferred leader first.
    pub fn reassign(&mut self, nodes: &[u8]) {
        self.told(format!("target {}", set(nodes)));
        let partition = self.partition();
        self.cluster_mut().reassign(partition, nodes);
    }

    /// Has this node lead all partitions of the topic.
    pub fn lead_all(&mut self, node: u8) {
        let others = (1..=self.replicas).filter(|&other| other != node);
        let target: Vec<u8> = std::iter::once(node).chain(others).collect();
        for partition in self.all_partitions() {
            self.cluster_mut().reassign(partition, &target);
        }
        let leads = |s: &Self, partition| {
            let view = s.cluster().view(node, partition);
            view.is_some_and(|view| view.role == "leader")
        };
        self.run_until(|s| s.all_partitions().all(|it| leads(s, it)), PATIENCE);
    }

    fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> + use<> {
        let first = self.partition();
        (0..self.partitions).map(move |index| TopicPartition {
            partition: PartitionIndex(index),
            ..first
        })
    }

    /// Whether a node runs and has a replica of the partition.
    #[must_use]
    pub fn has_replica(&self, node: u8) -> bool {
        self.cluster().view(node, self.partition()).is_some()
    }

    /// Nodes that run and have no replica of the partition, in order.
    #[must_use]
    pub fn others(&self) -> Vec<u8> {
        (1..=self.options.nodes)
            .filter(|&node| !self.has_replica(node))
            .collect()
    }

    /// The node dies and its log directory is lost; it will start on an empty one.
    pub fn wipe(&mut self, node: u8) {
        self.told(format!("n{node} loses its disk"));
        self.cluster_mut().kill(node);
        self.cluster_mut().wipe(node);
    }

    /// The node's process stands still, and its clock goes on.
    pub fn pause(&mut self, node: u8) {
        self.told(format!("pause n{node}"));
        self.cluster_mut().pause(node);
    }

    /// The node's process goes on, with everything that has reached it meanwhile.
    pub fn resume(&mut self, node: u8) {
        self.told(format!("resume n{node}"));
        self.cluster_mut().resume(node);
        self.check();
    }

    /// Asks the node to stop in good order.
    pub fn begin_stop(&mut self, node: u8) {
        self.told(format!("stop n{node}"));
        self.cluster_mut().stop(node);
    }

    /// The same, and waits until it has; then its process ends.
    pub fn stop(&mut self, node: u8) {
        self.begin_stop(node);
        self.run_until(
            |s| {
                let process = &s.cluster().node(node).process;
                process.as_ref().is_none_or(|process| process.stopped)
            },
            PATIENCE,
        );
        self.cluster_mut().kill(node);
    }

    /// The node's wall clock jumps, forth or back.
    pub fn jump_wall_clock(&mut self, node: u8, millis: i64) {
        self.told(format!("wall clock of n{node} jumps by {millis}ms"));
        self.cluster_mut().jump_wall_clock(node, millis);
    }

    /// The node's disk answers nothing for this long.
    pub fn stall_disk(&mut self, node: u8, length: Duration) {
        self.told(format!(
            "disk of n{node} hangs for {}ms",
            length.as_millis()
        ));
        self.cluster_mut().stall_disk(node, length);
    }

    /// From now on every sync takes this long, on all disks.
    pub fn syncs_take(&mut self, length: Duration) {
        let mut disk = self.options.disk;
        disk.sync_min = length;
        self.cluster_mut().set_disk_options(disk);
    }

    /// The node's next sync fails, once: its pages are clean afterwards and its bytes are nowhere.
    pub fn fail_fsync(&mut self, node: u8) {
        self.told(format!("the next sync of n{node} fails"));
        self.cluster().node(node).disk.arm("", Fault::SyncFails);
    }

    /// Other files fill the node's disk, but for half of what its store keeps in reserve.
    pub fn fill_disk(&mut self, node: u8) {
        self.told(format!("disk of n{node} is full"));
        let reserve = self.options.store.reserve_bytes;
        let disk = &self.cluster().node(node).disk;
        disk.set_capacity(disk.used() + reserve / 2);
    }

    /// The other files on the node's disk are gone.
    pub fn free_disk(&mut self, node: u8) {
        self.told(format!("disk of n{node} has room"));
        let capacity = self.options.disk.capacity;
        self.cluster().node(node).disk.set_capacity(capacity);
    }

    /// The node has no descriptor left for a file or a connection, or no memory.
    pub fn run_short(&mut self, node: u8, of: Shortage) {
        let what = match of {
            Shortage::Descriptors => "descriptor",
            Shortage::Memory => "memory",
        };
        self.told(format!("n{node} has no {what} left"));
        self.cluster_mut().run_short(node, of, 1_000_000);
        self.cluster_mut().refuse_connections(node);
    }

    /// It has all that it needs.
    pub fn end_shortage(&mut self, node: u8) {
        self.told(format!("n{node} has descriptors and memory"));
        self.cluster_mut().end_shortage(node);
    }

    /// Bits rot in the segment that holds this offset of the partition: in the middle of its batch.
    pub fn rot(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        self.told(format!("bits rot on n{node} under offset {offset}"));
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// The same in the segment that holds this offset of the metadata.
    pub fn rot_metadata(&mut self, node: u8, offset: i64) {
        let metadata = TopicPartition::METADATA;
        let (path, bytes) = verdict::place_of(self.cluster(), node, metadata, Offset(offset));
        self.told(format!(
            "bits rot on n{node} under offset {offset} of the metadata"
        ));
        let at = bytes.start.midpoint(bytes.end);
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// Bits rot on the disk, while the page cache has them whole.
    pub fn rot_under_cache(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        let text = format!("bits rot on n{node} under offset {offset}, but not in its page cache");
        self.told(text);
        let disk = &self.cluster().node(node).disk;
        let rotted = disk.rot_under_cache(&path, at, 3);
        assert!(rotted, "{path} has a byte on the disk at {at}");
    }

    /// Bits rot in the base offset of this offset's batch, which Kafka's checksum does not cover.
    pub fn rot_header(&mut self, node: u8, offset: i64) {
        let place = verdict::place_of(self.cluster(), node, self.partition(), Offset(offset));
        let (path, bytes) = place;
        self.told(format!(
            "bits rot on n{node} in the header at offset {offset}"
        ));
        let rotted = self
            .cluster()
            .node(node)
            .disk
            .rot(&path, bytes.start + 4, 3);
        assert!(rotted, "{path} has a byte there");
    }

    /// Bits rot in the first copy of the last vote in the node's journal.
    pub fn rot_vote(&mut self, node: u8) {
        self.rot_record(node, KeptTwice::Vote, "in the record of its vote");
    }

    /// The same of the last change of the partition's voters.
    pub fn rot_voter_change(&mut self, node: u8) {
        let change = KeptTwice::VoterChange(self.partition());
        self.rot_record(node, change, "in the record of a change of voters");
    }

    fn rot_record(&mut self, node: u8, what: KeptTwice, place: &str) {
        let (path, at) = verdict::place_of_record(self.cluster(), node, what);
        self.told(format!("bits rot on n{node} {place}"));
        let rotted = self.cluster().node(node).disk.rot(&path, at, 3);
        assert!(rotted, "{path} has a byte at {at}");
    }

    /// The sector in the middle of this offset's batch cannot be read on this node until it is written again.
    pub fn make_unreadable(&mut self, node: u8, offset: i64) {
        let (path, at) = self.middle_of(node, offset);
        self.told(format!("n{node} cannot read under offset {offset}"));
        let found = self.cluster().node(node).disk.make_unreadable(&path, at);
        assert!(found, "{path} has a byte at {at}");
    }

    /// The next read of each of the node's files fails, once.
    pub fn fail_reads_once(&mut self, node: u8) {
        self.told(format!("the next read of every file of n{node} fails"));
        let disk = &self.cluster().node(node).disk;
        for (path, _) in disk.files() {
            disk.arm(&path, Fault::ReadFails);
        }
    }

    fn middle_of(&self, node: u8, offset: i64) -> (String, u64) {
        let offset = Offset(offset);
        let (path, bytes) = verdict::place_of(self.cluster(), node, self.partition(), offset);
        (path, bytes.start.midpoint(bytes.end))
    }

    /// Whether this node has the batch at this offset whole on its disk, whatever the page cache has.
    #[must_use]
    pub fn is_whole_on_disk(&self, node: u8, offset: i64) -> bool {
        verdict::is_whole_on_disk(self.cluster(), node, self.partition(), Offset(offset))
    }
}

// --- time and queries ----------------------------------------------------------------------------------------------

impl Scenario {
    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let cluster = self.cluster_mut();
        let end = cluster.now() + time;
        cluster.run_until(end, |_, _| {});
        self.check();
    }

    /// Lets time pass until this holds; it is looked at after every event.
    ///
    /// # Panics
    /// Where it does not hold within `timeout`.
    #[track_caller]
    pub fn run_until(&mut self, holds: impl Fn(&Self) -> bool, timeout: Duration) {
        let end = self.cluster().now() + timeout;
        while !holds(self) {
            if self.cluster().now() >= end {
                let at = Location::caller();
                self.fail(&format!(
                    "what {}:{} waits for does not happen within {}ms",
                    file_stem(at),
                    at.line(),
                    timeout.as_millis()
                ));
            }
            let cluster = self.cluster_mut();
            let next = cluster.next_at().map_or(end, |at| at.min(end));
            cluster.run_until(next, |_, _| {});
            self.check();
        }
    }

    /// Lets time pass until there is one leader, and all running replicas have, durably and committed, what the
    /// others have. The same of the metadata.
    #[track_caller]
    pub fn run_until_converged(&mut self, timeout: Duration) {
        self.run_until(|s| verdict::is_converged(s.cluster(), s.partition), timeout);
    }

    /// Who leads the partition: of all who say so, the one in the latest epoch.
    ///
    /// # Panics
    /// Where nobody does.
    #[must_use]
    pub fn leader(&self) -> u8 {
        self.leader_if_any().expect("the partition has a leader")
    }

    /// Who leads the partition, where anybody does.
    #[must_use]
    pub fn leader_if_any(&self) -> Option<u8> {
        self.leader_of(self.partition())
    }

    /// Who leads the metadata: the controller.
    ///
    /// # Panics
    /// Where nobody does.
    #[must_use]
    pub fn controller(&self) -> u8 {
        self.leader_of(TopicPartition::METADATA)
            .expect("the metadata have a leader")
    }

    /// Somebody else is the controller.
    #[must_use]
    pub fn controller_other_than(&self, old: u8) -> bool {
        self.leader_of(TopicPartition::METADATA)
            .is_some_and(|controller| controller != old)
    }

    fn leader_of(&self, partition: TopicPartition) -> Option<u8> {
        (1..=self.options.nodes)
            .filter_map(|node| Some((node, self.cluster().view(node, partition)?)))
            .filter(|(_, view)| view.role == "leader")
            .max_by_key(|(_, view)| view.leader_epoch)
            .map(|(node, _)| node)
    }

    /// Somebody else leads, in a later epoch, and its opening is committed.
    #[must_use]
    pub fn leader_other_than(&self, old: u8) -> bool {
        self.leader_if_any()
            .is_some_and(|leader| leader != old && self.view(leader).high_watermark.is_some())
    }

    /// The nodes that follow, in order.
    #[must_use]
    pub fn followers(&self) -> Vec<u8> {
        let leader = self.leader();
        (1..=self.options.nodes)
            .filter(|&node| node != leader && self.cluster().view(node, self.partition()).is_some())
            .collect()
    }

    /// The nodes that the leader says are in sync, in order.
    #[must_use]
    pub fn in_sync(&self) -> Vec<u8> {
        let process = self.cluster().node(self.leader()).process.as_ref();
        let replica = process.and_then(|process| process.broker.replica(self.partition()));
        let isr = replica.expect("the leader has a replica").isr().iter();
        isr.filter_map(|broker| u8::try_from(broker.0).ok())
            .collect()
    }

    /// The partition's replica on a node.
    ///
    /// # Panics
    /// Where the node does not run or has none.
    #[must_use]
    pub fn view(&self, node: u8) -> ReplicaView {
        self.cluster()
            .view(node, self.partition())
            .expect("the node runs and has a replica")
    }

    /// The metadata's replica on a node.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn view_of_metadata(&self, node: u8) -> ReplicaView {
        self.cluster()
            .view(node, TopicPartition::METADATA)
            .expect("the node runs")
    }

    /// The end of the node's log: the next offset.
    #[must_use]
    pub fn log_end_offset(&self, node: u8) -> i64 {
        self.view(node).end.end_offset.0
    }

    /// What the node's wall clock shows.
    #[must_use]
    pub fn wall_clock(&self, node: u8) -> Timestamp {
        let cluster = self.cluster();
        cluster.node(node).clock.wall(cluster.now())
    }

    /// The greatest timestamp of the batch that begins at this offset of the node's log.
    ///
    /// # Panics
    /// Where none does.
    #[must_use]
    pub fn timestamp_at(&self, node: u8, offset: i64) -> Timestamp {
        let seen = &self.cluster().checkers.seen;
        let header = seen.header_at(self.partition(), self.voter(node), Offset(offset));
        header.expect("a batch begins there").max_timestamp
    }

    /// How many idempotent producers the node's replica knows.
    ///
    /// # Panics
    /// Where the node does not run or has none.
    #[must_use]
    pub fn producers_known(&self, node: u8) -> usize {
        let broker = self.cluster().broker(node).expect("the node runs");
        let replica = broker.replica(self.partition());
        replica.expect("it has a replica").producers().table().len()
    }

    /// How far the node has applied the metadata: the next offset.
    ///
    /// # Panics
    /// Where the node does not run.
    #[must_use]
    pub fn metadata_offset(&self, node: u8) -> i64 {
        let broker = self.cluster().broker(node);
        broker.expect("the node runs").metadata_offset().0
    }

    /// The node as voters are named.
    #[must_use]
    pub fn voter(&self, node: u8) -> Voter {
        let node = self.cluster().node(node);
        Voter {
            broker: node.broker(),
            directory: node.directory,
        }
    }

    /// Whether a rare place of the core was reached.
    #[must_use]
    pub fn reached(&self, probe: Probe) -> bool {
        self.cluster().probes().any(|reached| reached == probe)
    }

    /// The cluster itself.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("a leader has been elected")
    }

    /// The cluster itself, for what has no verb.
    pub fn cluster_mut(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a leader has been elected")
    }

    fn partition(&self) -> TopicPartition {
        self.partition.expect("a leader has been elected")
    }

    /// The interesting part starts here: everything so far comes to rest, and its trace is forgotten.
    pub fn trace(&mut self) {
        self.run_until_converged(PATIENCE);
        self.trace_from_here();
    }

    /// The interesting part starts here, in the middle of what goes wrong.
    pub fn trace_from_here(&mut self) {
        self.trace_of(self.partition());
    }

    /// The interesting part starts here, and is what becomes of the metadata.
    pub fn trace_metadata(&mut self) {
        self.run_until_converged(PATIENCE);
        self.trace_of(TopicPartition::METADATA);
    }

    fn trace_of(&mut self, partition: TopicPartition) {
        let nodes = self.options.nodes;
        let cluster = self.cluster_mut();
        let now = cluster.now();
        cluster.trace.begin(now, Some(partition));
        for node in 1..=nodes {
            if let Some(view) = cluster.view(node, partition) {
                cluster.trace.state(now, node, partition, &view);
            }
        }
    }

    /// The interesting part ends here; the story, its claim and the checkers go on.
    pub fn trace_ends(&mut self) {
        self.cluster_mut().trace.end();
    }

    fn told(&mut self, text: String) {
        let cluster = self.cluster_mut();
        let now = cluster.now();
        cluster.trace.fault(now, text);
    }
}

fn plain_producer() -> Producer {
    let mut producer = Producer::new(0, secs(1));
    producer.idempotent = false;
    producer.retries = false;
    producer.timeout_ms = 2000;
    producer
}

fn is_idempotent(producer: &mut Producer) {
    producer.idempotent = true;
    producer.retries = true;
}

fn file_stem(at: &Location<'_>) -> String {
    std::path::Path::new(at.file())
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
