//! What goes wrong in a run, when, and to whom.
//!
//! Each kind of fault exists in a run or does not, and has a rate of its own (swarm testing). The nth fault of a
//! kind has its time, target and length from draws of its own name, so that a run without one of them keeps all
//! others.
//!
//! **Budget.** Faults that only take availability away are not limited: the cluster may stand still. Faults that
//! take *durable* data away strike one node, the run's victim, and only where every partition keeps a majority
//! without it, none of which is a suspect; so any loss is a bug and never too many faults. Power, whose cut makes
//! suspects, stays on while a voter's directory is gone, or may not open any more. A topic with `flush = "replicated"` has its power
//! cut one node at a time, and only while nobody is a suspect. Indexes are hints, and may rot anywhere; a read that fails once costs nothing.
//! Of the journal and the checkpoints one place rots or cannot be read, and the next not before the node has started again, which writes
//! down anew what was there: so a checkpoint and the one before do not rot at once, nor do both copies of a vote.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use varve_core::broker::Broker;
use varve_core::ids::{TopicPartition, Voter};

use crate::checkers::show_partition;
use crate::clock::SimTime;
use crate::cluster::Cluster;
use crate::disk::{Fault as DiskFault, Shortage};
use crate::draw::{Draw, Draws, Subsystem};
use crate::network::Place;
use crate::node::{Node, show_nodes};

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident $text:literal),* $(,)?) => {
        /// A kind of fault. The order is part of what a seed means: append, never reorder.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$meta])* $kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name, as a run's summary has it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $text),* }
            }
        }
    };
}

kinds! {
    /// A process is killed and started again.
    Kill "kill",
    /// A process dies between two effects of one step.
    CrashMidStep "crash between effects",
    /// One node loses power.
    PowerCut "power cut",
    /// All nodes lose power at once.
    PowerCutAll "power cut of all",
    /// A process is paused, while its clock goes on.
    Pause "pause",
    /// Nodes are cut off from the others, both ways.
    Partition "partition",
    /// What a node sends does not arrive, or what it is sent.
    OneWay "one-way partition",
    /// A connection breaks.
    Reset "reset",
    /// A direction of a link is held up for a short time.
    Clog "clog",
    /// A disk answers nothing for a while.
    DiskStall "disk stall",
    /// A node is asked to stop in good order, and is started again.
    Stop "stop",
    /// A disk is full for a while.
    DiskFull "disk full",
    /// A sync fails; the node comes back on the same directory, or on an empty one.
    SyncFails "failing sync",
    /// A directory is lost and comes back empty.
    Wipe "wipe",
    /// Bits of a segment rot.
    Rot "rot",
    /// A sector cannot be read.
    ReadError "read error",
    /// A client is cut off from a node.
    ClientCut "client cut",
    /// A wall clock jumps.
    ClockJump "clock jump",
    /// A node is killed again and again.
    RestartLoop "restart loop",
    /// A sector of a segment is reported written and is not.
    LostWrite "lost write",
    /// A sector of a segment is written over another one.
    MisdirectedWrite "misdirected write",
    /// A read of a segment gives what stood there before.
    StaleRead "stale read",
    /// A read of a segment gives what stands elsewhere.
    MisdirectedRead "misdirected read",
    /// A read fails once.
    ReadFails "failing read",
    /// Bits of a segment rot on the disk while the page cache has them whole.
    RotUnderCache "rot under the cache",
    /// Writes fail, a part of each done; the node comes back on the same directory, or on an empty one.
    WriteFails "failing write",
    /// Bits of an index rot.
    IndexRot "rot of an index",
    /// A process is killed, and bits of its journal rot before it is started again.
    JournalRot "rot of the journal",
    /// The same of a checkpoint.
    CheckpointRot "rot of a checkpoint",
    /// An operator wants a partition's replicas elsewhere.
    Move "planned move",
    /// A node's machine refuses new connections while its process runs, and those that it has with another break.
    Refuse "refused dials",
    /// A sector of an index cannot be read.
    IndexReadError "read error of an index",
    /// A process is killed, and a sector of its journal cannot be read when it is started again.
    JournalReadError "read error of the journal",
    /// The same of a checkpoint.
    CheckpointReadError "read error of a checkpoint",
    /// A node has no descriptor left, for files, for connections or for both, or no memory.
    Shortage "no descriptor or memory",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A run's faults.
#[derive(Clone, Debug)]
pub struct Nemesis {
    draws: Draws,
    rates: Vec<(Kind, Duration)>,
    until: SimTime,
    /// Whose disk may be damaged, where anybody's may.
    victim: Option<u8>,
    /// Records are acknowledged from memory.
    replicated: bool,
    replication_factor: i16,
    nodes: u8,
    /// The victim's start at which its journal or a checkpoint last rotted.
    rotten_at_start: Option<u64>,
    /// How often each kind has struck.
    pub struck: Vec<u32>,
    /// Faults that have struck and not ended, by name.
    in_force: BTreeSet<u64>,
    /// Blocks in force, by the fault that made them.
    blocks: Vec<(u64, Vec<(Place, Place)>)>,
}

/// Blocks of the journal.
const JOURNAL_BLOCK: usize = 4096;
/// Of so many groups, the latest, one rots.
const JOURNAL_GROUPS_ROTTEN: usize = 16;

/// What may strike while the cluster is formed.
const AT_FORMATION: &[Kind] = &[
    Kind::Kill,
    Kind::CrashMidStep,
    Kind::Pause,
    Kind::Partition,
    Kind::OneWay,
    Kind::Reset,
    Kind::Clog,
    Kind::DiskStall,
    Kind::Stop,
    Kind::ClientCut,
    Kind::ClockJump,
    Kind::RestartLoop,
    Kind::Shortage,
];
/// The first fault of each kind while the cluster is formed: these have names of their own.
const FORMATION: u64 = 1 << 32;

/// Set in an event's name where a fault ends.
const ENDS: u64 = 1 << 40;

/// The name of the nth fault of a kind.
const fn name(kind: Kind, nth: u64) -> u64 {
    (kind as u64) << 48 | nth
}

/// The fault of this name.
fn named(fault: u64) -> Option<(Kind, u64)> {
    let kind = usize::try_from(fault >> 48).ok()?;
    Some((*Kind::ALL.get(kind)?, fault & (ENDS - 1)))
}

impl Nemesis {
    /// Draws which faults exist and how often, and schedules the first of each kind.
    #[must_use]
    pub fn new(
        cluster: &mut Cluster,
        until: SimTime,
        replication_factor: i16,
        replicated: bool,
    ) -> Self {
        let rates = draw_rates(cluster.draws(), 1, Kind::ALL);
        let nodes = cluster.options().nodes;
        let mut draw = cluster.draws().at(Subsystem::Swarm, 2, 0);
        let may_damage = nodes >= 3 && replication_factor >= 3;
        let victim = may_damage.then(|| number(&mut draw, nodes));
        Self::begin(
            cluster,
            rates,
            0,
            until,
            victim,
            replicated,
            replication_factor,
        )
    }

    /// The same for the time in which the cluster is formed: only what takes nothing but availability away.
    #[must_use]
    pub fn of_formation(cluster: &mut Cluster, until: SimTime) -> Self {
        let rates = draw_rates(cluster.draws(), 3, AT_FORMATION);
        Self::begin(cluster, rates, FORMATION, until, None, false, 1)
    }

    fn begin(
        cluster: &mut Cluster,
        rates: Vec<(Kind, Duration)>,
        first: u64,
        until: SimTime,
        victim: Option<u8>,
        replicated: bool,
        replication_factor: i16,
    ) -> Self {
        let this = Self {
            draws: cluster.draws().clone(),
            rates,
            until,
            victim,
            replicated,
            replication_factor,
            nodes: cluster.options().nodes,
            rotten_at_start: None,
            struck: vec![0; Kind::ALL.len()],
            in_force: BTreeSet::new(),
            blocks: Vec::new(),
        };
        for &(kind, _) in &this.rates {
            this.schedule(cluster, kind, first);
        }
        this
    }

    /// The kinds that exist in this run.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.rates.iter().map(|(kind, _)| *kind)
    }

    /// The node whose files have been damaged at rest, where one has. A start that is shown the wrong bytes may leave as it
    /// is what a power cut has torn: recovery writes nothing where it finds what it would write.
    #[must_use]
    pub fn damaged(&self) -> Option<u8> {
        let at_rest = [
            Kind::Rot,
            Kind::ReadError,
            Kind::LostWrite,
            Kind::MisdirectedWrite,
            Kind::RotUnderCache,
            Kind::StaleRead,
            Kind::MisdirectedRead,
        ];
        self.victim
            .filter(|_| at_rest.iter().any(|&kind| self.struck[kind as usize] > 0))
    }

    fn draw(&self, kind: Kind, nth: u64) -> Draw {
        self.draws.at(Subsystem::Nemesis, kind as u64, nth)
    }

    fn schedule(&self, cluster: &mut Cluster, kind: Kind, nth: u64) {
        let Some((_, mean)) = self.rates.iter().find(|(known, _)| *known == kind) else {
            return;
        };
        let after = self.draw(kind, nth).exponential(*mean);
        let at = cluster.now() + after.max(Duration::from_millis(1));
        if at < self.until {
            cluster.schedule(at, name(kind, nth));
        }
    }

    /// A scheduled fault strikes or ends.
    pub fn on_event(&mut self, cluster: &mut Cluster, event: u64) {
        let ends = event & ENDS != 0;
        let event = event & !ENDS;
        let Some((kind, nth)) = named(event) else {
            return;
        };
        if ends {
            if self.in_force.remove(&event) {
                self.end(cluster, kind, nth);
            }
        } else if cluster.now() < self.until {
            self.strike(cluster, kind, nth);
            self.schedule(cluster, kind, nth + 1);
        }
    }

    fn ends_after(&mut self, cluster: &mut Cluster, kind: Kind, nth: u64, length: Duration) {
        let at = cluster.now() + length;
        self.in_force.insert(name(kind, nth));
        cluster.schedule(at, name(kind, nth) | ENDS);
    }

    /// Whether losing this node's directory, or a part of it, leaves every partition a majority that has all, and
    /// knows that it has.
    fn may_damage(&self, cluster: &Cluster, node: u8) -> bool {
        if self.victim != Some(node) {
            return false;
        }
        let me = cluster.node(node).broker();
        // With a voter gone for good a suspect could not be elected by all, nor its vote make up a majority.
        let doubtful = cluster
            .nodes()
            .iter()
            .any(|other| other.number != node && is_doubtful(cluster, other));
        !doubtful
            && voters_seen(cluster).all(|voters| {
                let is_voter = voters.iter().any(|voter| voter.broker == me);
                let lost = |voter: &&Voter| voter.broker == me || !is_present(cluster, **voter);
                !is_voter || voters.iter().filter(lost).count() * 2 < voters.len()
            })
    }

    /// Whether a power cut takes nothing but time: a replica whose last group was torn by it comes back as a suspect,
    /// and with another voter gone for good nobody could be elected.
    fn may_cut_power(&self, cluster: &Cluster) -> bool {
        // Its only checkpoint may be the one that has rotted: whether its directory opens is known when it starts.
        let may_be_lost = |node: u8| self.rotten_at_start == Some(cluster.node(node).starts);
        if self.victim.is_some_and(may_be_lost) {
            return false;
        }
        voters_seen(cluster).all(|voters| voters.iter().all(|it| is_present(cluster, *it)))
    }

    /// Whether a power cut of this node alone can lose nothing that was acknowledged from memory: not where its
    /// memory is the only one.
    fn memory_survives(&self, cluster: &Cluster, node: u8) -> bool {
        if !self.replicated {
            return true;
        }
        // What is damaged may be whole in the page cache, and turn out to be lost later.
        let is_sound =
            |other: &Node| !is_doubtful(cluster, other) && self.damaged() != Some(other.number);
        let others_sound = cluster
            .nodes()
            .iter()
            .all(|other| other.process.is_some() && (other.number == node || is_sound(other)));
        self.replication_factor >= 2 && others_sound
    }

    fn strike(&mut self, cluster: &mut Cluster, kind: Kind, nth: u64) {
        let mut draw = self.draw(kind, nth);
        let _ = draw.any();
        let node = number(&mut draw, self.nodes);
        let now = cluster.now();
        let short = Duration::from_millis(draw.between(5, 400));
        let long = Duration::from_millis(draw.between(300, 6000));
        let tell = |cluster: &mut Cluster, text: String| cluster.trace.fault(now, text);
        match kind {
            Kind::Kill => {
                tell(cluster, format!("kill n{node}"));
                cluster.kill(node);
                self.ends_after(
                    cluster,
                    kind,
                    nth,
                    if draw.chance(500_000) { short } else { long },
                );
            }
            Kind::CrashMidStep => {
                let effects = u32::try_from(draw.below(12)).unwrap_or(0);
                cluster.crash_after_effects(node, effects);
                self.ends_after(cluster, kind, nth, short + Duration::from_millis(200));
            }
            Kind::RestartLoop => {
                tell(cluster, format!("kill n{node}"));
                cluster.kill(node);
                self.ends_after(
                    cluster,
                    kind,
                    nth,
                    Duration::from_millis(draw.between(1, 30)),
                );
            }
            Kind::PowerCut => {
                if !self.may_cut_power(cluster) || !self.memory_survives(cluster, node) {
                    return;
                }
                tell(cluster, format!("power cut n{node}"));
                cluster.power_cut(node);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::PowerCutAll => {
                if self.replicated || !self.may_cut_power(cluster) {
                    return;
                }
                tell(cluster, "power cut of all".to_owned());
                for node in 1..=self.nodes {
                    cluster.power_cut(node);
                }
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::Pause => {
                if cluster.node(node).paused.is_some() {
                    return;
                }
                tell(cluster, format!("pause n{node}"));
                cluster.pause(node);
                self.ends_after(
                    cluster,
                    kind,
                    nth,
                    if draw.chance(300_000) { short } else { long },
                );
            }
            Kind::Partition => {
                let mut side: Vec<u8> = (1..=self.nodes).collect();
                draw.shuffle(&mut side);
                let size = draw.between(1, u64::from(self.nodes / 2).max(1));
                side.truncate(usize::try_from(size).unwrap_or(1));
                side.sort_unstable();
                let others: Vec<u8> = (1..=self.nodes).filter(|n| !side.contains(n)).collect();
                tell(
                    cluster,
                    format!("cut {} | {}", show_nodes(&side), show_nodes(&others)),
                );
                let mut pairs = Vec::new();
                for &one in &side {
                    for &other in &others {
                        pairs.push((Place::Node(one), Place::Node(other)));
                        pairs.push((Place::Node(other), Place::Node(one)));
                    }
                }
                self.block(cluster, kind, nth, pairs, long);
            }
            Kind::OneWay => {
                let outgoing = draw.chance(500_000);
                let mut pairs = Vec::new();
                for other in (1..=self.nodes).filter(|&other| other != node) {
                    let (from, to) = if outgoing {
                        (node, other)
                    } else {
                        (other, node)
                    };
                    if draw.chance(700_000) {
                        pairs.push((Place::Node(from), Place::Node(to)));
                    }
                }
                tell(
                    cluster,
                    format!(
                        "one way: n{node} {}",
                        if outgoing {
                            "is not heard"
                        } else {
                            "does not hear"
                        }
                    ),
                );
                self.block(cluster, kind, nth, pairs, long);
            }
            Kind::Reset => {
                let other = number(&mut draw, self.nodes);
                if other != node {
                    tell(cluster, format!("reset n{node} - n{other}"));
                    cluster.reset_between(Place::Node(node), Place::Node(other));
                }
            }
            Kind::Refuse => {
                let other = number(&mut draw, self.nodes);
                tell(cluster, format!("n{node} refuses new connections"));
                cluster.set_refusing(node, true);
                cluster.reset_between(Place::Node(node), Place::Node(other));
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::Clog => {
                let other = number(&mut draw, self.nodes);
                let pairs = vec![(Place::Node(node), Place::Node(other))];
                self.block(cluster, kind, nth, pairs, short * 2);
            }
            Kind::ClientCut => {
                let clients = cluster.clients().len() as u64;
                if clients == 0 {
                    return;
                }
                let client = u8::try_from(draw.between(1, clients)).unwrap_or(1);
                tell(cluster, format!("cut c{client} - n{node}"));
                let mut pairs = vec![(Place::Client(client), Place::Node(node))];
                if draw.chance(500_000) {
                    pairs.push((Place::Node(node), Place::Client(client)));
                }
                self.block(cluster, kind, nth, pairs, long);
            }
            Kind::DiskStall => {
                let length = if draw.chance(500_000) { short } else { long };
                tell(
                    cluster,
                    format!("disk of n{node} hangs for {}ms", length.as_millis()),
                );
                cluster.stall_disk(node, length);
            }
            Kind::Stop => {
                tell(cluster, format!("stop n{node}"));
                cluster.stop(node);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::DiskFull => {
                tell(cluster, format!("disk of n{node} is full"));
                let used = cluster.node(node).disk.used();
                // Less is free than the store keeps in reserve, but not nothing: other files fill the disk, and
                // the reserve is for votes and notes.
                let reserve = cluster.options().store.reserve_bytes;
                cluster.node(node).disk.set_capacity(used + reserve / 2);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::SyncFails => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                tell(cluster, format!("the next sync of n{node} fails"));
                let sticky = draw.chance(500_000);
                let fault = if sticky {
                    DiskFault::SyncsFail
                } else {
                    DiskFault::SyncFails
                };
                cluster.node(node).disk.arm("", fault);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::WriteFails => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                tell(cluster, format!("the next writes of n{node} fail"));
                cluster.node(node).disk.arm("", DiskFault::WritesFail);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::Wipe => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                tell(cluster, format!("n{node} loses its disk"));
                cluster.kill(node);
                cluster.wipe(node);
                self.ends_after(cluster, kind, nth, long);
            }
            Kind::Rot => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                let Some((path, offset)) = damage_place(cluster, node, &mut draw) else {
                    return;
                };
                tell(cluster, format!("a bit rots in n{node} {path} at {offset}"));
                let bit = u8::try_from(draw.below(8)).unwrap_or(0);
                cluster.node(node).disk.rot(&path, offset, bit);
            }
            Kind::IndexRot | Kind::IndexReadError => {
                let is_index = |path: &str| path.ends_with("index");
                let Some((path, offset)) = place_in(cluster, node, is_index, &mut draw) else {
                    return;
                };
                if kind == Kind::IndexReadError {
                    tell(cluster, format!("n{node} cannot read {path} at {offset}"));
                    cluster.node(node).disk.make_unreadable(&path, offset);
                } else {
                    tell(cluster, format!("a bit rots in n{node} {path} at {offset}"));
                    let bit = u8::try_from(draw.below(8)).unwrap_or(0);
                    cluster.node(node).disk.rot(&path, offset, bit);
                }
            }
            Kind::JournalRot
            | Kind::CheckpointRot
            | Kind::JournalReadError
            | Kind::CheckpointReadError => {
                let starts = cluster.node(node).starts;
                if !self.may_damage(cluster, node) || self.rotten_at_start == Some(starts) {
                    return;
                }
                let place = if matches!(kind, Kind::JournalRot | Kind::JournalReadError) {
                    journal_place(cluster, node, &mut draw)
                } else {
                    let is_checkpoint = |path: &str| path.starts_with("checkpoint.");
                    place_in(cluster, node, is_checkpoint, &mut draw)
                };
                let Some((path, offset)) = place else {
                    return;
                };
                cluster.kill(node);
                if matches!(kind, Kind::JournalRot | Kind::CheckpointRot) {
                    tell(
                        cluster,
                        format!("kill n{node}; a bit rots in {path} at {offset}"),
                    );
                    let bit = u8::try_from(draw.below(8)).unwrap_or(0);
                    cluster.node(node).disk.rot(&path, offset, bit);
                } else {
                    tell(
                        cluster,
                        format!("kill n{node}; it cannot read {path} at {offset}"),
                    );
                    cluster.node(node).disk.make_unreadable(&path, offset);
                }
                self.rotten_at_start = Some(starts);
                self.ends_after(cluster, kind, nth, short);
            }
            Kind::RotUnderCache => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                let Some((path, offset)) = damage_place(cluster, node, &mut draw) else {
                    return;
                };
                tell(
                    cluster,
                    format!("a bit rots under the cache in n{node} {path} at {offset}"),
                );
                let bit = u8::try_from(draw.below(8)).unwrap_or(0);
                cluster.node(node).disk.rot_under_cache(&path, offset, bit);
            }
            Kind::ReadError => {
                if !self.may_damage(cluster, node) {
                    return;
                }
                let Some((path, offset)) = damage_place(cluster, node, &mut draw) else {
                    return;
                };
                tell(cluster, format!("n{node} cannot read {path} at {offset}"));
                cluster.node(node).disk.make_unreadable(&path, offset);
            }
            Kind::LostWrite => {
                return self.arm(cluster, kind, DiskFault::LostWrite, node, &mut draw);
            }
            Kind::MisdirectedWrite => {
                return self.arm(cluster, kind, DiskFault::MisdirectedWrite, node, &mut draw);
            }
            Kind::StaleRead => {
                return self.arm(cluster, kind, DiskFault::StaleRead, node, &mut draw);
            }
            Kind::MisdirectedRead => {
                return self.arm(cluster, kind, DiskFault::MisdirectedRead, node, &mut draw);
            }
            Kind::ReadFails => {
                let Some((path, _)) = place_in(cluster, node, |_| true, &mut draw) else {
                    return;
                };
                tell(cluster, format!("{kind} ahead in n{node} {path}"));
                cluster.node(node).disk.arm(&path, DiskFault::ReadFails);
            }
            Kind::Move => {
                let partitions: Vec<TopicPartition> =
                    partitions_held(cluster).into_iter().collect();
                let Some(&partition) = draw.pick(&partitions) else {
                    return;
                };
                let mut nodes: Vec<u8> = (1..=self.nodes).collect();
                draw.shuffle(&mut nodes);
                nodes.truncate(usize::try_from(self.replication_factor).unwrap_or(1));
                let name = show_partition(partition);
                tell(
                    cluster,
                    format!("{name} is wanted on {}", show_nodes(&nodes)),
                );
                cluster.reassign(partition, &nodes);
            }
            Kind::Shortage => {
                let length = if draw.chance(500_000) { short } else { long };
                let per_million = if draw.chance(500_000) {
                    1_000_000
                } else {
                    300_000
                };
                let (what, of) = match draw.below(4) {
                    0 => ("descriptors for connections", None),
                    1 => ("descriptors for files", Some(Shortage::Descriptors)),
                    2 => ("descriptors", Some(Shortage::Descriptors)),
                    _memory => ("memory", Some(Shortage::Memory)),
                };
                let has_none = if per_million < 1_000_000 { "few" } else { "no" };
                tell(cluster, format!("n{node} has {has_none} {what}"));
                if let Some(of) = of {
                    cluster.run_short(node, of, per_million);
                }
                if matches!(what, "descriptors for connections" | "descriptors") {
                    cluster.refuse_connections(node);
                }
                self.ends_after(cluster, kind, nth, length);
            }
            Kind::ClockJump => {
                let jump = i64::try_from(draw.below(20_000)).unwrap_or(0) - 10_000;
                tell(cluster, format!("wall clock of n{node} jumps by {jump}ms"));
                cluster.jump_wall_clock(node, jump);
            }
        }
        self.struck[kind as usize] += 1;
    }

    /// Lets the next operation of this kind on one segment of the victim go wrong.
    fn arm(
        &mut self,
        cluster: &mut Cluster,
        kind: Kind,
        fault: DiskFault,
        node: u8,
        draw: &mut Draw,
    ) {
        if !self.may_damage(cluster, node) {
            return;
        }
        let Some((path, _)) = damage_place(cluster, node, draw) else {
            return;
        };
        let now = cluster.now();
        cluster
            .trace
            .fault(now, format!("{kind} ahead in n{node} {path}"));
        cluster.node(node).disk.arm(&path, fault);
        self.struck[kind as usize] += 1;
    }

    fn end(&mut self, cluster: &mut Cluster, kind: Kind, nth: u64) {
        let mut draw = self.draw(kind, nth);
        let _ = draw.any();
        let node = number(&mut draw, self.nodes);
        match kind {
            Kind::Kill
            | Kind::CrashMidStep
            | Kind::RestartLoop
            | Kind::PowerCut
            | Kind::Wipe
            | Kind::JournalRot
            | Kind::CheckpointRot
            | Kind::JournalReadError
            | Kind::CheckpointReadError => {
                cluster.start(node);
            }
            Kind::PowerCutAll => {
                for node in 1..=self.nodes {
                    cluster.start(node);
                }
            }
            Kind::Pause => cluster.resume(node),
            Kind::Refuse => cluster.set_refusing(node, false),
            Kind::Partition | Kind::OneWay | Kind::Clog | Kind::ClientCut => {
                self.unblock(cluster, name(kind, nth));
            }
            Kind::Stop => {
                // Whoever stops a node for good kills it in the end.
                cluster.kill(node);
                cluster.start(node);
            }
            Kind::DiskFull => {
                let capacity = cluster.options().disk.capacity;
                cluster.node(node).disk.set_capacity(capacity);
            }
            Kind::Shortage => cluster.end_shortage(node),
            Kind::SyncFails | Kind::WriteFails => {
                cluster.node(node).disk.disarm();
                cluster.kill(node);
                if draw.chance(500_000) && self.may_damage(cluster, node) {
                    cluster.wipe(node);
                }
                cluster.start(node);
            }
            Kind::Reset
            | Kind::DiskStall
            | Kind::Rot
            | Kind::ReadError
            | Kind::ClockJump
            | Kind::LostWrite
            | Kind::MisdirectedWrite
            | Kind::StaleRead
            | Kind::MisdirectedRead
            | Kind::ReadFails
            | Kind::RotUnderCache
            | Kind::IndexRot
            | Kind::IndexReadError
            | Kind::Move => {}
        }
    }

    fn block(
        &mut self,
        cluster: &mut Cluster,
        kind: Kind,
        nth: u64,
        pairs: Vec<(Place, Place)>,
        length: Duration,
    ) {
        for &(from, to) in &pairs {
            cluster.block(from, to);
        }
        self.blocks.push((name(kind, nth), pairs));
        self.ends_after(cluster, kind, nth, length);
    }

    fn unblock(&mut self, cluster: &mut Cluster, fault: u64) {
        let Some(place) = self.blocks.iter().position(|(known, _)| *known == fault) else {
            return;
        };
        let (_, pairs) = self.blocks.remove(place);
        for (from, to) in pairs {
            cluster.unblock(from, to);
        }
        if self.blocks.is_empty() {
            let now = cluster.now();
            cluster.trace.fault(now, "heal".to_owned());
        }
    }

    /// Everything that is wrong is made good: every fault in force ends, and what it leaves broken is mended.
    pub fn heal(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        cluster.trace.fault(now, "heal everything".to_owned());
        for fault in std::mem::take(&mut self.in_force) {
            if let Some((kind, nth)) = named(fault) {
                self.end(cluster, kind, nth);
            }
        }
        cluster.unblock_all();
        self.blocks.clear();
        for node in 1..=self.nodes {
            self.heal_node(cluster, node);
        }
    }

    /// What is wrong with one node is made good; what is wrong between nodes stays.
    pub fn heal_node(&mut self, cluster: &mut Cluster, node: u8) {
        for fault in self.in_force.clone() {
            if let Some((kind, nth)) = named(fault)
                && self.strikes_process_of(kind, nth) == Some(node)
            {
                self.in_force.remove(&fault);
                self.end(cluster, kind, nth);
            }
        }
        let now = cluster.now();
        let capacity = cluster.options().disk.capacity;
        let patient = cluster.node_mut(node);
        patient.crash_after_effects = None;
        patient.disk_stalled_until = now;
        let was_damaged = patient.disk.is_armed();
        patient.disk.disarm();
        patient.disk.set_capacity(capacity);
        cluster.resume(node);
        cluster.end_shortage(node);
        let ended = cluster
            .node(node)
            .process
            .as_ref()
            .is_none_or(|process| process.stopped || process.offline);
        if ended || was_damaged {
            cluster.kill(node);
            cluster.start(node);
        }
    }

    /// Whose process or disk a fault strikes, where that is one node's.
    fn strikes_process_of(&self, kind: Kind, nth: u64) -> Option<u8> {
        match kind {
            Kind::Kill
            | Kind::CrashMidStep
            | Kind::RestartLoop
            | Kind::PowerCut
            | Kind::Pause
            | Kind::Refuse
            | Kind::Stop
            | Kind::DiskFull
            | Kind::Shortage
            | Kind::SyncFails
            | Kind::WriteFails
            | Kind::Wipe
            | Kind::DiskStall
            | Kind::Rot
            | Kind::ReadError
            | Kind::LostWrite
            | Kind::MisdirectedWrite
            | Kind::StaleRead
            | Kind::MisdirectedRead
            | Kind::ReadFails
            | Kind::RotUnderCache
            | Kind::IndexRot
            | Kind::IndexReadError
            | Kind::JournalRot
            | Kind::CheckpointRot
            | Kind::JournalReadError
            | Kind::CheckpointReadError
            | Kind::ClockJump => {
                let mut draw = self.draw(kind, nth);
                let _ = draw.any();
                Some(number(&mut draw, self.nodes))
            }
            Kind::PowerCutAll
            | Kind::Partition
            | Kind::OneWay
            | Kind::Reset
            | Kind::Clog
            | Kind::Move
            | Kind::ClientCut => None,
        }
    }

    /// Lifts what blocks these nodes from each other and from clients.
    pub fn connect(&mut self, cluster: &mut Cluster, nodes: &BTreeSet<u8>) {
        let inside = |place: Place| match place {
            Place::Node(node) => nodes.contains(&node),
            Place::Client(_) => true,
        };
        for (_, pairs) in &mut self.blocks {
            for (from, to) in pairs.extract_if(.., |(from, to)| inside(*from) && inside(*to)) {
                cluster.unblock(from, to);
            }
        }
    }
}

/// Which of these kinds exist, and how often. A third of them do, so that one does not hide what another would show.
fn draw_rates(draws: &Draws, entity: u64, kinds: &[Kind]) -> Vec<(Kind, Duration)> {
    let mut rates = Vec::new();
    for &kind in kinds {
        let mut draw = draws.at(Subsystem::Swarm, entity, kind as u64);
        if draw.chance(333_333) {
            let mean = Duration::from_millis(draw.between(400, 8000));
            rates.push((kind, mean));
        }
    }
    rates
}

/// The partitions of topics of which a running node has a replica.
fn partitions_held(cluster: &Cluster) -> BTreeSet<TopicPartition> {
    let processes = cluster
        .nodes()
        .iter()
        .filter_map(|node| node.process.as_ref());
    let held =
        processes.flat_map(|process| process.broker.replicas().map(|(partition, _)| partition));
    held.filter(|&partition| partition != TopicPartition::METADATA)
        .collect()
}

/// The voters of every partition, as each running replica sees them, and as it knows them to be committed, since a change
/// that is not may be lost with the power; and as the logs of nodes that are down name them.
fn voters_seen(cluster: &Cluster) -> impl Iterator<Item = Vec<Voter>> {
    cluster
        .nodes()
        .iter()
        .flat_map(move |node| match &node.process {
            Some(process) => counted_by(&process.broker),
            None => {
                let named = cluster.checkers.seen.voters_in(directory_of(node));
                named.map(<[Voter]>::to_vec).collect()
            }
        })
}

fn counted_by(broker: &Broker) -> Vec<Vec<Voter>> {
    let replicas = broker.replicas().filter_map(|(id, _)| broker.replica(id));
    let voters = replicas.flat_map(|it| [it.voters(), it.committed_voters().1]);
    voters.map(<[Voter]>::to_vec).collect()
}

fn directory_of(node: &Node) -> Voter {
    Voter {
        broker: node.broker(),
        directory: node.directory,
    }
}

/// Whether a voter's directory is still there.
fn is_present(cluster: &Cluster, voter: Voter) -> bool {
    cluster
        .nodes()
        .iter()
        .any(|node| node.broker() == voter.broker && node.directory == voter.directory)
}

/// Whether a replica of this node may have lost what it acknowledged, or may turn out to when it starts: after a sync
/// that has failed, or is about to, its machine is restarted.
fn is_doubtful(cluster: &Cluster, node: &Node) -> bool {
    let is_offline = node.process.as_ref().is_some_and(|process| process.offline);
    node.power_was_cut
        || is_offline
        || node.disk.is_armed()
        || cluster.checkers.seen.is_suspect(directory_of(node))
}

/// A place in a file with records.
fn damage_place(cluster: &Cluster, node: u8, draw: &mut Draw) -> Option<(String, u64)> {
    place_in(cluster, node, |path| path.ends_with(".log"), draw)
}

/// A place in one of the latest groups of the journal, as `docs/format.md` has them: what stands before is mostly not
/// needed any more.
fn journal_place(cluster: &Cluster, node: u8, draw: &mut Draw) -> Option<(String, u64)> {
    let disk = &cluster.node(node).disk;
    let files = disk.files().into_iter();
    let mut groups: Vec<([u8; 16], String, u64)> = Vec::new();
    for (path, _) in files.filter(|(path, _)| path.starts_with("journal/")) {
        for (block, bytes) in disk.bytes(&path).chunks(JOURNAL_BLOCK).enumerate() {
            let number = bytes.get(16..32).and_then(<[u8]>::first_chunk);
            if let (Some(number), true) = (number, bytes.starts_with(b"VJG2")) {
                groups.push((*number, path.clone(), (block * JOURNAL_BLOCK) as u64));
            }
        }
    }
    // Incarnation and number, in the order of bytes.
    groups.sort_unstable();
    let latest = groups.len().saturating_sub(JOURNAL_GROUPS_ROTTEN);
    let (_, path, start) = draw.pick(&groups[latest..])?.clone();
    let length = disk.bytes(&path).len() as u64;
    // Most of a block is padding.
    let is_header = draw.chance(800_000);
    let within = draw.below(if is_header {
        512
    } else {
        2 * JOURNAL_BLOCK as u64
    });
    Some((path, (start + within).min(length - 1)))
}

/// A place in one of the files whose path is wanted.
fn place_in(
    cluster: &Cluster,
    node: u8,
    wanted: impl Fn(&str) -> bool,
    draw: &mut Draw,
) -> Option<(String, u64)> {
    let files: Vec<(String, u64)> = cluster
        .node(node)
        .disk
        .files()
        .into_iter()
        .filter(|(path, length)| wanted(path) && *length > 0)
        .collect();
    let (path, length) = draw.pick(&files)?.clone();
    Some((path, draw.below(length)))
}

fn number(draw: &mut Draw, nodes: u8) -> u8 {
    u8::try_from(draw.between(1, u64::from(nodes))).unwrap_or(1)
}
