//! The second phase of a run: what is broken is healed, and progress is demanded.
//!
//! As in TigerBeetle's simulator, half of the seeds heal a *core* first: some nodes that ought to suffice, while the
//! rest stays as broken as it is, or breaks for good. Within the core every partition must find a leader, take a
//! record with `acks=all` and give it to a consumer, and the cluster must be administered. Two excuses are listed:
//! a partition with fewer voters in the core than its topic's `min.insync.replicas` must answer, and may refuse; and
//! nothing more is demanded where a leader has changed voters before it could know which nodes had just broken, so that a
//! majority, or as many as `min.insync.replicas` asks for, is in the core no more.
//!
//! Then everything is healed, and within a bounded time every request must be answered, every record read, and every
//! log equal. What was drawn has a name of its own among the draws, and stands in the run's output.

mod convergence;
mod demands;
mod sufficient;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use varve_core::ids::{PartitionIndex, TopicPartition};

use crate::checkers::{Violation, show_partition};
use crate::client::{Consumer, NetworkClient, Producer};
use crate::cluster::{Cluster, DiskOptions};
use crate::draw::{Draw, Subsystem};
use crate::nemesis::Nemesis;
use crate::network::{NetworkOptions, Place};
use crate::node::{Node, show_nodes};

pub use convergence::compare_producers;
pub use sufficient::Core;

use convergence::{compare_replicas, unfinished};
use demands::Demands;
use sufficient::{heal_core, is_outdated, voters_within};

/// Whatever is demanded must have been done within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a scrub may take beyond its interval.
const SCRUB_PATIENCE: Duration = Duration::from_secs(2);
/// Within this whoever leads knows which nodes are silent: the election timeout, and some for slow clocks.
const SILENCE_NOTICE: Duration = Duration::from_millis(1500);
/// Within this it knows whose disk hangs: an idle disk is probed when it has had nothing to do for three seconds, and the
/// probe may wait for as long; and some for slow clocks.
const STALL_NOTICE: Duration = Duration::from_millis(7500);
/// How often the demands are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What is healed before everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealedFirst {
    /// Nothing: the run has not come so far.
    #[default]
    Nothing,
    /// Everything at once.
    Everything,
    /// A core, while the rest is broken.
    Core(HealedCore),
}

/// A core that has been healed while the rest is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealedCore {
    /// Its nodes.
    pub nodes: Core,
    /// The others.
    pub rest: Vec<(u8, Outage)>,
    /// Partitions with fewer voters in the core than `min.insync.replicas`.
    pub excused: Vec<TopicPartition>,
    /// The voters have been changed since, counting on nodes that had just broken.
    pub outdated: bool,
}

impl HealedCore {
    /// Those of `broken` whose outage may be unknown to a leader so long after it has begun.
    fn unnoticed(&self, broken: &Core, after: Duration) -> Core {
        let is_unnoticed = |(_, outage): &&(u8, Outage)| outage.notice() >= after;
        let unnoticed = self.rest.iter().filter(is_unnoticed).map(|(node, _)| *node);
        unnoticed.filter(|node| broken.contains(node)).collect()
    }

    /// What ends by itself goes on.
    fn keep_broken(&self, cluster: &mut Cluster) {
        for &(node, outage) in &self.rest {
            if outage == Outage::Stalled {
                outage.inject(cluster, &self.nodes, node);
            }
        }
    }
}

impl fmt::Display for HealedFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Everything => f.write_str("everything"),
            Self::Core(core) => core.fmt(f),
        }
    }
}

impl fmt::Display for HealedCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<u8> = self.nodes.iter().copied().collect();
        let rest: Vec<String> = self
            .rest
            .iter()
            .map(|(node, outage)| format!("n{node} {outage}"))
            .collect();
        write!(f, "{}, while {}", show_nodes(&nodes), rest.join(", "))?;
        if !self.excused.is_empty() {
            let excused: Vec<String> = self.excused.iter().copied().map(show_partition).collect();
            write!(f, "; min.insync.replicas excuses {}", excused.join(" "))?;
        }
        if self.outdated {
            f.write_str("; excused, since voters were changed before that was noticed")?;
        }
        Ok(())
    }
}

/// What keeps a node from taking part in its cluster while a core is to make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Its process does not run.
    Down,
    /// Its process is stopped in its tracks.
    Paused,
    /// Its disk answers nothing.
    Stalled,
    /// It is cut off from the core and from clients, both ways.
    CutOff,
    /// Nothing of the core reaches it.
    Deaf,
    /// Nothing that it sends reaches the core.
    Unheard,
}

impl Outage {
    const ALL: &[Self] = &[
        Self::Down,
        Self::Paused,
        Self::Stalled,
        Self::CutOff,
        Self::Deaf,
        Self::Unheard,
    ];

    /// Within this whoever leads knows that a node has it.
    const fn notice(self) -> Duration {
        match self {
            Self::Stalled => STALL_NOTICE,
            Self::Down | Self::Paused | Self::CutOff | Self::Deaf | Self::Unheard => SILENCE_NOTICE,
        }
    }

    /// Breaks a node in this way.
    fn inject(self, cluster: &mut Cluster, core: &Core, node: u8) {
        let clients = 1..=u8::try_from(cluster.clients().len()).unwrap_or(u8::MAX);
        let core = || core.iter().map(|&other| Place::Node(other));
        let (deaf_to, unheard_by): (Vec<Place>, Vec<Place>) = match self {
            Self::Down => {
                cluster.kill(node);
                return;
            }
            Self::Paused => {
                cluster.pause(node);
                return;
            }
            Self::Stalled => {
                cluster.stall_disk(node, LOOK_INTERVAL * 2);
                return;
            }
            Self::CutOff => {
                let all: Vec<Place> = core().chain(clients.map(Place::Client)).collect();
                (all.clone(), all)
            }
            Self::Deaf => (core().collect(), Vec::new()),
            Self::Unheard => (Vec::new(), core().collect()),
        };
        for other in deaf_to {
            cluster.block(other, Place::Node(node));
        }
        for other in unheard_by {
            cluster.block(Place::Node(node), other);
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "is down",
            Self::Paused => "is paused",
            Self::Stalled => "has a disk that hangs",
            Self::CutOff => "is cut off",
            Self::Deaf => "does not hear it",
            Self::Unheard => "is not heard by it",
        })
    }
}

/// A topic that clients have been writing to.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// Its `min.insync.replicas`.
    pub insync_min: usize,
}

/// The second phase.
#[derive(Debug)]
pub struct Liveness<'a> {
    /// The cluster, as the first phase has left it.
    pub cluster: &'a mut Cluster,
    /// What is broken in it.
    pub nemesis: &'a mut Nemesis,
    /// The topics that clients have been writing to.
    pub topics: Vec<Topic>,
    /// Who has been writing.
    pub producers: Vec<u8>,
}

impl Liveness<'_> {
    /// Heals, demands and judges. What does not hold is the cluster's violation.
    pub fn run(mut self) -> HealedFirst {
        self.cluster.set_network_options(NetworkOptions::default());
        self.cluster.set_disk_options(DiskOptions::default());
        for &number in &self.producers {
            let producer: &mut Producer = self.cluster.client_mut(number).work_mut();
            producer.batches_left = 0;
        }
        let healed = self.heal_core();
        if self.cluster.violation().is_none() {
            self.nemesis.heal(self.cluster);
            self.converge();
        }
        healed
    }

    fn names(&self) -> Vec<&'static str> {
        self.topics.iter().map(|topic| topic.name).collect()
    }

    /// Where a core is to be healed first, heals it and demands progress of it.
    fn heal_core(&mut self) -> HealedFirst {
        let mut draw = self.cluster.draws().at(Subsystem::Swarm, 3, 0);
        let mut clients = self.cluster.clients().iter();
        let known = clients.find_map(|client| partitions_of(&client.network, &self.topics).ok());
        let Some(insync_mins) = known.filter(|_| draw.chance(500_000)) else {
            return HealedFirst::Everything;
        };
        let partitions: Vec<TopicPartition> = insync_mins.keys().copied().collect();
        let Some(core) = heal_core(self.cluster, self.nemesis, &mut draw, &partitions) else {
            return HealedFirst::Everything;
        };
        let is_excused = |partition: &&TopicPartition| {
            voters_within(self.cluster, &core, **partition) < insync_mins[partition]
        };
        let excused: Vec<TopicPartition> = partitions.iter().filter(is_excused).copied().collect();
        let demands = Demands::new(
            self.cluster,
            &self.names(),
            partitions.clone(),
            &self.producers,
            &excused,
        );
        let broken: Core = well_outside(self.cluster, &core).collect();
        let mut core = HealedCore {
            rest: break_rest(self.cluster, &core, &mut draw),
            nodes: core,
            excused,
            outdated: false,
        };
        let began = self.cluster.now();
        self.cluster.trace.fault(began, format!("heal {core}"));
        let nemesis = &*self.nemesis;
        let mut notices = vec![STALL_NOTICE, SILENCE_NOTICE];
        wait_for(
            self.cluster,
            "CoresMakeProgress",
            &format!("after healing {core}"),
            |cluster| {
                core.keep_broken(cluster);
                let now = cluster.now();
                if let Some(after) = notices.pop_if(|after| began + *after <= now) {
                    let unnoticed = core.unnoticed(&broken, after);
                    let needed = |partition| match core.excused.contains(&partition) {
                        true => 0,
                        false => insync_mins[&partition],
                    };
                    let nodes = &core.nodes;
                    let outdated =
                        is_outdated(cluster, nemesis, nodes, &unnoticed, &partitions, needed);
                    core.outdated |= outdated;
                }
                let unmet = (!core.outdated).then(|| demands.unmet(cluster, &core.nodes));
                unmet.flatten()
            },
        );
        HealedFirst::Core(core)
    }

    /// With everything healed, demands that all is answered, read and equal, and judges the clients' history.
    fn converge(&mut self) {
        let reader = self.cluster.add_client(&self.names(), Consumer::default());
        wait_for(
            self.cluster,
            "HealedClustersMakeProgress",
            "after everything was healed",
            |cluster| unfinished(cluster, &self.producers, reader, &self.topics),
        );
        if self.cluster.violation().is_some() {
            return;
        }
        let judged = self.cluster.history.judge();
        if let Err(violation) = judged.and_then(|()| self.compare()) {
            self.cluster.fail(violation);
        }
    }

    /// Demands that all replicas are the same. Damage that nobody has read yet is excused, since it is found when
    /// somebody does; but where there is a scrub, that finds it in time, on the disk and under the page cache.
    fn compare(&mut self) -> Result<(), Violation> {
        compare_producers(self.cluster)?;
        let interval = self.cluster.options().store.scrub_interval;
        if interval.is_zero() {
            return compare_replicas(self.cluster, self.nemesis.damaged());
        }
        wait_for(
            self.cluster,
            "ScrubsFindDamage",
            "after everything was read",
            |cluster| Some(compare_replicas(cluster, None).err()?.what),
        );
        // KeptTwice what a round takes, and some for its reads.
        let round = self.cluster.now() + interval * 2 + SCRUB_PATIENCE;
        self.cluster.run_until(round, |_, _| {});
        for node in self.cluster.nodes() {
            node.disk.drop_cache();
        }
        match self.cluster.violation() {
            Some(_) => Ok(()),
            None => compare_replicas(self.cluster, None),
        }
    }
}

/// The metadata and the partitions of these topics, each with its `min.insync.replicas`; nothing is written to the
/// metadata, which need none.
///
/// # Errors
/// The name of a topic that the client has not heard of.
fn partitions_of(
    client: &NetworkClient,
    topics: &[Topic],
) -> Result<BTreeMap<TopicPartition, usize>, &'static str> {
    let mut all = BTreeMap::from([(TopicPartition::METADATA, 0)]);
    for topic in topics {
        let id = client.topic_id(topic.name).ok_or(topic.name)?;
        let partition = |index| TopicPartition {
            topic: id,
            partition: PartitionIndex(index),
        };
        let partitions = (0..topic.partitions).map(partition);
        all.extend(partitions.map(|partition| (partition, topic.insync_min)));
    }
    Ok(all)
}

/// Nodes outside of a core that are well.
fn well_outside(cluster: &Cluster, core: &Core) -> impl Iterator<Item = u8> {
    let is_well = |node: &&Node| node.process.is_some() && node.paused.is_none();
    let outside = move |node: &&Node| !core.contains(&node.number);
    let nodes = cluster.nodes().iter().filter(is_well).filter(outside);
    nodes.map(|node| node.number)
}

/// Sees to it that no node outside of a core can take part: each stays as broken as it is or, where it is well, breaks
/// in a drawn way.
fn break_rest(cluster: &mut Cluster, core: &Core, draw: &mut Draw) -> Vec<(u8, Outage)> {
    let outside: Vec<u8> = cluster
        .nodes()
        .iter()
        .map(|node| node.number)
        .filter(|node| !core.contains(node))
        .collect();
    let mut rest = Vec::new();
    for node in outside {
        let drawn = *draw.pick(Outage::ALL).expect("there are some");
        let outage = match cluster.node(node) {
            down if down.process.is_none() => Outage::Down,
            paused if paused.paused.is_some() => Outage::Paused,
            _well => drawn,
        };
        outage.inject(cluster, core, node);
        rest.push((node, outage));
    }
    rest
}

/// Lets time pass until nothing is unmet any more, or for too long.
fn wait_for(
    cluster: &mut Cluster,
    checker: &'static str,
    when: &str,
    mut unmet: impl FnMut(&mut Cluster) -> Option<String>,
) {
    let end = cluster.now() + PATIENCE;
    loop {
        let next = cluster.now() + LOOK_INTERVAL;
        cluster.run_until(next, |_, _| {});
        if cluster.violation().is_some() {
            return;
        }
        let Some(what) = unmet(cluster) else {
            return;
        };
        if cluster.now() >= end {
            cluster.fail(Violation {
                checker,
                what: format!("{PATIENCE:?} {when}, {what}"),
            });
            return;
        }
    }
}
