//! One run of one seed: a cluster, its clients, its faults, and what came of it.
//!
//! A run has two phases, as in TigerBeetle's simulator. In the *safety* phase everything that the seed has drawn
//! goes wrong. In the *liveness* phase ([`crate::liveness`]) what suffices is healed, and then everything, and
//! progress is demanded.

mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use varve_core::hooks::{Mutant, Probe};

use crate::checkers::Violation;
use crate::client::{Consumer, TopicCreator};
use crate::clock::SimTime;
use crate::cluster::{Cluster, ClusterOptions};
use crate::draw::Draws;
use crate::liveness::{HealedFirst, Liveness, Topic};
use crate::nemesis::{FaultId, Nemesis};
use crate::panics::caught;

use shape::{Shape, TopicShape};

/// What the owner of a run may choose; the rest is drawn.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// A clause of the protocol that is broken on purpose.
    pub mutant: Option<Mutant>,
    /// Write everything down.
    pub trace: bool,
    /// Record what brokers are told, and tell it to fresh ones at the end, which must order the same.
    pub replays: bool,
    /// Length of the safety phase; drawn where it is not given.
    pub safety: Option<Duration>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The clause of the protocol that was broken on purpose.
    pub mutant: Option<Mutant>,
    /// What does not hold, if anything.
    pub violation: Option<Violation>,
    /// Broker steps.
    pub steps: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// A hash of every step, in order.
    pub chain: u64,
    /// Rare places of core that were reached.
    pub probes: BTreeSet<Probe>,
    /// How often each fault was injected.
    pub faults: BTreeMap<FaultId, u32>,
    /// What was healed before everything was.
    pub healed_first: HealedFirst,
    /// Records produced, acknowledged and read.
    pub records: (usize, usize, usize),
    /// The cluster and its topic as they were drawn, in words.
    pub drawn: String,
    /// Everything else that was drawn but the faults: a line each.
    pub conditions: Vec<String>,
    /// The whole as text, where that was asked for.
    pub trace: Option<String>,
}

impl Outcome {
    /// The one command that replays it.
    #[must_use]
    pub fn command(&self) -> String {
        let seed = self.seed;
        match self.mutant {
            Some(mutant) => format!("varve sim run --seed {seed} --mutant {mutant}"),
            None => format!("varve sim run --seed {seed}"),
        }
    }
}

/// What is of interest among many; `{:#}` shows all that was drawn.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.drawn)?;
        if f.alternate() {
            for line in &self.conditions {
                writeln!(f, "  {line}")?;
            }
        }
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(fault, count)| format!("{fault} x{count}"))
            .collect();
        writeln!(
            f,
            "  faults: {}",
            if faults.is_empty() {
                "none".to_owned()
            } else {
                faults.join(", ")
            }
        )?;
        writeln!(f, "  healed first: {}", self.healed_first)?;
        writeln!(
            f,
            "  {} steps in {:.1} simulated seconds; {} records produced, {} acknowledged, {} read; state hash {:016x}",
            self.steps,
            self.simulated.as_secs_f64(),
            self.records.0,
            self.records.1,
            self.records.2,
            self.chain
        )?;
        match &self.violation {
            None => write!(f, "  all checkers passed"),
            Some(violation) => {
                writeln!(f, "  VIOLATION  {violation}")?;
                write!(f, "  replay with: {}", self.command())
            }
        }
    }
}

const SETUP_PATIENCE: Duration = Duration::from_secs(30);

/// Runs a seed. A panic in a broker is a violation like any other.
#[must_use]
pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let draws = Draws::new(seed);
    let mut shape = Shape::draw(&draws);
    shape.safety = options.safety.unwrap_or(shape.safety);
    let mut life = Life::new(&shape, draws, options);
    if let Err(panic) = caught(|| life.live(&shape)) {
        life.cluster.fail(Violation {
            checker: "SimulatorDoesNotPanic",
            what: panic,
        });
    }
    life.replay();
    life.outcome(seed, &shape)
}

/// A cluster's whole life. What is known of it is known wherever it ends.
struct Life<'a> {
    options: &'a RunOptions,
    cluster: Cluster,
    formation: Option<Nemesis>,
    nemesis: Option<Nemesis>,
    healed_first: HealedFirst,
}

impl<'a> Life<'a> {
    fn new(shape: &Shape, draws: Draws, options: &'a RunOptions) -> Self {
        let mut cluster_options = ClusterOptions::new(shape.nodes);
        cluster_options.mutant = options.mutant;
        cluster_options.records = options.replays;
        cluster_options.wall_skew_ms_max = 2000;
        cluster_options.wall_drift_ppm_max = 10_000;
        let expiration = shape.producer_expiration.as_millis().to_string();
        let name = "producer.id.expiration.ms".to_owned();
        cluster_options.kafka.insert(name, expiration);
        cluster_options.store.scrub_interval = shape.scrub_interval;
        cluster_options.snapshot_interval = shape.snapshot_interval;
        cluster_options.mixes_builds = shape.mixes_builds;
        if let Some(max) = shape.open_files_max {
            cluster_options.store.open_files_max = max;
        }
        if let Some(bytes) = shape.unwritten_bytes_max {
            cluster_options.unwritten_bytes_max = bytes;
        }
        let mut cluster = Cluster::new(cluster_options, draws);
        if options.trace {
            cluster.trace.begin(SimTime::default(), None);
        }
        Self {
            options,
            cluster,
            formation: None,
            nemesis: None,
            healed_first: HealedFirst::default(),
        }
    }

    /// Every start of every broker again.
    fn replay(&mut self) {
        let differs = self.cluster.recordings().find_map(|(node, recording)| {
            let differs = recording.replay().err()?;
            Some(format!("n{node}: {differs}"))
        });
        if let Some(what) = differs {
            let checker = "ReplaysOrderTheSame";
            self.cluster.fail(Violation { checker, what });
        }
    }

    fn live(&mut self, shape: &Shape) {
        let cluster = &mut self.cluster;
        if !set_up(cluster, shape, &mut self.formation) {
            return;
        }
        cluster.set_network_options(shape.network);
        cluster.set_disk_options(shape.disk);
        let topics: Vec<&str> = shape.topics.iter().map(|topic| topic.name).collect();
        let mut producers = Vec::new();
        for producer in &shape.producers {
            producers.push(cluster.add_client(&topics, producer.clone()));
        }
        let mut consumer = if shape.without_epochs {
            Consumer::without_epochs()
        } else {
            Consumer::default()
        };
        consumer.names_last_epoch = shape.names_last_epoch;
        cluster.add_client(&topics, consumer);
        let end = cluster.now() + shape.safety;
        let nemesis = self.nemesis.insert(Nemesis::new(
            cluster,
            end,
            shape.replication_factor,
            shape.topics.iter().any(|topic| topic.replicated),
        ));
        cluster.run_until(end, |cluster, name| nemesis.on_event(cluster, name));
        if cluster.violation().is_some() {
            return;
        }
        let topic = |topic: &TopicShape| Topic {
            name: topic.name,
            partitions: topic.partitions,
            insync_min: usize::try_from(topic.insync_min).unwrap_or(1),
        };
        let liveness = Liveness {
            cluster,
            nemesis,
            topics: shape.topics.iter().map(topic).collect(),
            producers,
        };
        self.healed_first = liveness.run();
    }

    fn outcome(self, seed: u64, shape: &Shape) -> Outcome {
        let cluster = self.cluster;
        let mut faults = BTreeMap::new();
        for nemesis in self.formation.iter().chain(&self.nemesis) {
            for (fault, count) in nemesis.injected() {
                *faults.entry(fault).or_default() += count;
            }
        }
        let trace = self.options.trace;
        Outcome {
            seed,
            mutant: self.options.mutant,
            violation: cluster.violation().cloned(),
            steps: cluster.steps(),
            simulated: cluster.now().since(SimTime::default()),
            chain: cluster.chain(),
            probes: cluster.probes().collect(),
            faults,
            healed_first: self.healed_first,
            records: (
                cluster.history.produced().len(),
                cluster.history.acknowledged_count(),
                cluster.history.read_count(),
            ),
            drawn: shape.describe(),
            conditions: shape.conditions(),
            trace: trace.then(|| cluster.trace.render(&cluster.checkers.seen)),
        }
    }
}

/// Starts the cluster and creates the topics: while nothing is wrong, or while faults are injected that
/// take only availability away, and then end.
fn set_up(cluster: &mut Cluster, shape: &Shape, formation: &mut Option<Nemesis>) -> bool {
    cluster.start_all();
    let create = |topic: &TopicShape| {
        let replicas = shape.replication_factor;
        let creator = TopicCreator::new(topic.partitions, replicas, topic.configs());
        cluster.add_client(&[topic.name], creator)
    };
    let admins: Vec<u8> = shape.topics.iter().map(create).collect();
    if let Some(length) = shape.formation {
        cluster.set_network_options(shape.network);
        cluster.set_disk_options(shape.disk);
        let end = cluster.now() + length;
        let nemesis = formation.insert(Nemesis::of_formation(cluster, end));
        cluster.run_until(end, |cluster, name| nemesis.on_event(cluster, name));
        if cluster.violation().is_none() {
            nemesis.heal(cluster);
        }
    }
    let end = cluster.now() + SETUP_PATIENCE;
    while cluster.violation().is_none() && cluster.now() < end {
        let next = cluster.now() + Duration::from_millis(20);
        cluster.run_until(next, |_, _| {});
        if admins.iter().all(|&admin| cluster.client(admin).is_done()) {
            return true;
        }
    }
    if cluster.violation().is_none() {
        let what = format!(
            "not every topic can be created within {SETUP_PATIENCE:?} although nothing is wrong any more"
        );
        cluster.fail(Violation {
            checker: "EveryRequestIsAnswered",
            what,
        });
    }
    false
}

/// What came of many runs, whose order shows in that of the failures only.
#[derive(Clone, Debug, Default)]
pub struct FuzzSummary {
    /// Runs.
    pub runs: u64,
    /// Broker steps.
    pub steps: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Runs in which each probe was reached.
    pub probes: BTreeMap<Probe, u64>,
    /// How often each fault was injected.
    pub faults: BTreeMap<FaultId, u64>,
    /// Runs that demanded progress of a core before everything was healed.
    pub cores: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// The runs that failed.
    pub failures: Vec<Outcome>,
}

impl FuzzSummary {
    /// Counts a run.
    pub fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.steps += outcome.steps;
        self.simulated += outcome.simulated;
        self.acknowledged += outcome.records.1 as u64;
        if matches!(outcome.healed_first, HealedFirst::Core(_)) {
            self.cores += 1;
        }
        for &probe in &outcome.probes {
            *self.probes.entry(probe).or_default() += 1;
        }
        for (&fault, &count) in &outcome.faults {
            *self.faults.entry(fault).or_default() += u64::from(count);
        }
        if outcome.violation.is_some() {
            self.failures.push(outcome);
        }
    }

    /// Probes that no run has reached.
    pub fn missed(&self) -> impl Iterator<Item = Probe> {
        Probe::ALL
            .iter()
            .copied()
            .filter(|probe| !self.probes.contains_key(probe))
    }
}

impl fmt::Display for FuzzSummary {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "{} seeds, {} failed; {} steps, {:.0} simulated seconds, {faults} faults, {} cores, {} records acknowledged; probes {} of {}",
            self.runs,
            self.failures.len(),
            self.steps,
            self.simulated.as_secs_f64(),
            self.cores,
            self.acknowledged,
            self.probes.len(),
            Probe::ALL.len()
        )
    }
}
