//! Failure scenarios: whole clusters in the simulator, told in the verbs of the field.
//!
//! A [`Scenario`] is a cluster with one topic of one partition, and every verb lets virtual time pass or changes
//! the world. It is driven by a story: one short file in `tests/`, with a seed, a claim asserted in code, and a
//! snapshot of what happened. The snapshot is the witness. The judges are the claim and the simulator's checkers,
//! which look at every step; [`Scenario::judge`] heals everything at the end and demands that every acknowledged
//! record can be read.
//!
//! A story can be told on a core with one broken clause, a *mutant*: [`Scenario::caught`] says what noticed it.

mod clients;
mod disks;
mod network;
mod nodes;
mod verdict;
mod watching;

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use varve_core::hooks::Mutant;
use varve_core::ids::{PartitionIndex, TopicPartition};
use varve_core::peer::PeerVersions;
pub use varve_sim::client::OffsetQuery;
use varve_sim::cluster::{Cluster, ClusterOptions, DiskOptions};
pub use varve_sim::disk::Shortage;
use varve_sim::draw::Draws;
use varve_sim::history::Value;
use varve_sim::network::NetworkOptions;

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

    /// Every node runs the build before this one, until it is upgraded.
    #[must_use]
    pub const fn earlier_build(mut self) -> Self {
        self.options.peer_versions = PeerVersions::PREVIOUS_MINOR;
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
}

fn file_stem(at: &Location<'_>) -> String {
    std::path::Path::new(at.file())
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}
