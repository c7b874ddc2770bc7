//! What goes wrong in a run, when, and to whom.
//!
//! Each fault exists in a run or does not, and has a rate of its own (swarm testing). The nth injection of a fault has
//! its time, target and length from draws of its own name, so that a run without one of them keeps all others.
//!
//! Everything about one fault stands in one row of a table (`fault::Fault`); the files are the kinds of faults:
//! `process`, `network`, `disk` (a disk as a whole), `damage` (single files), `operator` and `time`. This file is the schedule
//! that injects and ends them; `budget` says which may be injected now. A new fault is one new row.

mod fault;
mod budget;
mod process;
mod network;
mod disk;
mod damage;
mod operator;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::SimTime;
use crate::cluster::Cluster;
use crate::draw::{Draw, Draws, Subsystem};

pub use fault::FaultId;

use budget::Budget;
use fault::{End, Fault, Injected, Injection, Lengths, Occurrence};
use network::Blocks;

/// While the cluster is formed, injections are counted from here: their draws have names of their own.
const FORMATION: u64 = 1 << 32;

/// Set in the name of an event at which a fault ends.
const ENDS: u64 = 1 << 40;

/// A run's faults.
#[derive(Clone, Debug)]
pub struct Nemesis {
    draws: Draws,
    /// The faults that exist in this run, and the mean time between two injections of each.
    rates: Vec<(&'static Fault, Duration)>,
    /// No fault is injected from here on.
    until: SimTime,
    budget: Budget,
    injected: BTreeMap<FaultId, u32>,
    /// What has been injected and has not ended.
    active: BTreeSet<Occurrence>,
    blocks: Blocks,
}

impl Nemesis {
    /// Draws which faults exist and how often, and schedules the first of each.
    #[must_use]
    pub fn new(
        cluster: &mut Cluster,
        until: SimTime,
        replication_factor: i16,
        replicated: bool,
    ) -> Self {
        let rates = draw_rates(cluster.draws(), 1, fault::all());
        let budget = Budget::draw(cluster, replication_factor, replicated);
        Self::begin(cluster, rates, 0, until, budget)
    }

    /// The same for the time in which the cluster is formed: only what takes nothing but availability away.
    #[must_use]
    pub fn of_formation(cluster: &mut Cluster, until: SimTime) -> Self {
        let faults = fault::all().filter(|fault| fault.at_formation);
        let rates = draw_rates(cluster.draws(), 3, faults);
        Self::begin(cluster, rates, FORMATION, until, Budget::of_formation())
    }

    fn begin(
        cluster: &mut Cluster,
        rates: Vec<(&'static Fault, Duration)>,
        first: u64,
        until: SimTime,
        budget: Budget,
    ) -> Self {
        let this = Self {
            draws: cluster.draws().clone(),
            rates,
            until,
            budget,
            injected: BTreeMap::new(),
            active: BTreeSet::new(),
            blocks: Blocks::default(),
        };
        for (fault, _) in &this.rates {
            this.schedule(cluster, fault.id.nth(first));
        }
        this
    }

    /// How often each fault has been injected, those that never were apart.
    pub fn injected(&self) -> impl Iterator<Item = (FaultId, u32)> {
        self.injected.iter().map(|(&fault, &count)| (fault, count))
    }

    /// The node whose files have been damaged at rest, where one has. A start that is shown the wrong bytes may leave as it
    /// is what a power cut has torn: recovery writes nothing where it finds what it would write.
    #[must_use]
    pub fn damaged(&self) -> Option<u8> {
        self.budget.damaged()
    }

    fn schedule(&self, cluster: &mut Cluster, occurrence: Occurrence) {
        let mut rates = self.rates.iter();
        let Some((_, mean)) = rates.find(|(fault, _)| fault.id == occurrence.fault) else {
            return;
        };
        let after = self.draw(occurrence).exponential(*mean);
        let at = cluster.now() + after.max(Duration::from_millis(1));
        if at < self.until {
            cluster.schedule(at, occurrence.event());
        }
    }

    /// A fault is due to be injected, or to end.
    pub fn on_event(&mut self, cluster: &mut Cluster, event: u64) {
        let Some(occurrence) = Occurrence::of_event(event & !ENDS) else {
            return;
        };
        if event & ENDS != 0 {
            if self.active.remove(&occurrence) {
                self.end(cluster, occurrence);
            }
        } else if cluster.now() < self.until {
            self.inject(cluster, occurrence);
            self.schedule(cluster, occurrence.next());
        }
    }

    /// Injects a fault, where the budget allows it and there is anything that it can hit.
    fn inject(&mut self, cluster: &mut Cluster, occurrence: Occurrence) {
        let fault = occurrence.fault.row();
        let (node, mut draw) = self.draw_node(cluster, occurrence);
        let lengths = Lengths::draw(&mut draw);
        if !self.budget.allows(fault.cost, cluster, node) {
            return;
        }
        let injected = (fault.inject)(
            &mut self.injection(cluster, occurrence, node, draw),
            lengths,
        );
        match injected {
            Injected::Nothing => return,
            Injected::Once => {}
            Injected::For(length) => {
                self.active.insert(occurrence);
                let at = cluster.now() + length;
                cluster.schedule(at, occurrence.event() | ENDS);
            }
        }
        self.budget.charge(fault.cost, cluster, node);
        *self.injected.entry(occurrence.fault).or_default() += 1;
    }

    /// Ends a fault that is active no more.
    fn end(&mut self, cluster: &mut Cluster, occurrence: Occurrence) {
        let (node, draw) = self.draw_node(cluster, occurrence);
        match occurrence.fault.row().end {
            End::AtOnce => {}
            End::WithNode(end) | End::WithCluster(end) => {
                end(&mut self.injection(cluster, occurrence, node, draw));
            }
        }
    }

    /// All draws of an occurrence: first its time.
    fn draw(&self, occurrence: Occurrence) -> Draw {
        let Occurrence { fault, nth } = occurrence;
        self.draws.at(Subsystem::Nemesis, fault.entity(), nth)
    }

    /// The node of an occurrence, and its draws behind that.
    fn draw_node(&self, cluster: &Cluster, occurrence: Occurrence) -> (u8, Draw) {
        let mut draw = self.draw(occurrence);
        let _time = draw.any();
        let node = draw_number(&mut draw, cluster);
        (node, draw)
    }

    fn injection<'a>(
        &'a mut self,
        cluster: &'a mut Cluster,
        occurrence: Occurrence,
        node: u8,
        draw: Draw,
    ) -> Injection<'a> {
        Injection {
            cluster,
            budget: &self.budget,
            blocks: &mut self.blocks,
            occurrence,
            node,
            draw,
        }
    }

    /// Everything that is wrong is made good: every active fault ends, and what it leaves broken is mended.
    pub fn heal(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        cluster.trace.fault(now, "heal everything".to_owned());
        while let Some(occurrence) = self.active.pop_first() {
            self.end(cluster, occurrence);
        }
        cluster.unblock_all();
        self.blocks.clear();
        for node in 1..=cluster.options().nodes {
            self.heal_node(cluster, node);
        }
    }

    /// What is wrong with one node is made good; what is wrong between nodes stays.
    pub fn heal_node(&mut self, cluster: &mut Cluster, node: u8) {
        let is_of_node = |occurrence: &Occurrence| {
            matches!(occurrence.fault.row().end, End::WithNode(_))
                && self.draw_node(cluster, *occurrence).0 == node
        };
        let of_node: Vec<Occurrence> = self.active.iter().copied().filter(is_of_node).collect();
        for occurrence in of_node {
            self.active.remove(&occurrence);
            self.end(cluster, occurrence);
        }
        let now = cluster.now();
        let capacity = cluster.options().disk.capacity;
        let state = cluster.node_mut(node);
        state.crash_after_effects = None;
        state.disk_stalled_until = now;
        let was_damaged = state.disk.is_armed();
        state.disk.disarm();
        state.disk.set_capacity(capacity);
        cluster.resume(node);
        cluster.end_shortage(node);
        let process = cluster.node(node).process.as_ref();
        let has_ended = process.is_none_or(|process| process.stopped || process.offline);
        if has_ended || was_damaged {
            cluster.kill(node);
            cluster.start(node);
        }
    }

    /// Lifts what blocks these nodes from each other and from clients.
    pub fn connect(&mut self, cluster: &mut Cluster, nodes: &BTreeSet<u8>) {
        self.blocks.lift_among(cluster, nodes);
    }
}

/// Which of these faults exist, and how often. A third of them do, so that one does not hide what another would show.
fn draw_rates(
    draws: &Draws,
    entity: u64,
    faults: impl Iterator<Item = &'static Fault>,
) -> Vec<(&'static Fault, Duration)> {
    let mut rates = Vec::new();
    for fault in faults {
        let mut draw = draws.at(Subsystem::Swarm, entity, fault.id.entity());
        if draw.chance(333_333) {
            let mean = Duration::from_millis(draw.between(400, 8000));
            rates.push((fault, mean));
        }
    }
    rates
}

/// The number of a node.
fn draw_number(draw: &mut Draw, cluster: &Cluster) -> u8 {
    let nodes = u64::from(cluster.options().nodes);
    u8::try_from(draw.between(1, nodes)).unwrap_or(1)
}
