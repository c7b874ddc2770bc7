//! The life of a node's process: it is started on what its disk holds, stopped in its tracks, killed, cut from its
//! power; and the node's disk is formatted, wiped and stalled.

use std::time::Duration;

use varve_core::broker::{Broker, Setup};
use varve_core::cluster::{BrokerConfig, BrokerRegistration, Endpoint};
use varve_core::hooks::Hooks;
use varve_core::ids::{BrokerId, DirectoryId, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::peer::{PeerIdentity, PeerVersions};
use varve_core::store::{DiskError, Identity, LogStore, OpenError, Order, OrderKind, OrderSeq};

use crate::checkers::Interruption;
use crate::clock::{NodeClock, SimTime};
use crate::cluster::{Cluster, DiskOptions, WALL_START_MS, id, network_events};
use crate::disk::{Shortage, SimDisk};
use crate::draw::{Draw, Subsystem};
use crate::network::{Listening, Place};
use crate::node::{Deferred, Node, Process};
use crate::panics::caught;
use crate::recording::Recording;

/// Names the draw of how a wall clock drifts; directories have the ordinals from 0.
const DRIFT: u64 = u64::MAX;

/// Names the draws of a node's builds, of which each start has one, from here down; what the broker draws has the ordinals
/// from 0.
const BUILD: u64 = u64::MAX;

impl Cluster {
    /// Starts a node's process on what its disk holds. A directory that cannot be opened any more comes back
    /// empty and under a new id.
    pub fn start(&mut self, number: u8) {
        let now = self.now();
        let broker = BrokerId(i32::from(number));
        let kafka = BrokerConfig::new(broker, self.options.kafka.clone())
            .expect("the owner of the run gives keys that exist");
        let store_options = self.options.store;
        let hooks = Hooks::with_mutant(self.options.mutant);
        let node = self.node_mut(number);
        if node.process.is_some() {
            return;
        }
        let clocks = node.clock.both(now);
        let (disk, boot) = (node.disk.clone(), node.boot_id());
        let opened = caught(|| LogStore::open_with_hooks(disk, store_options, boot, hooks));
        let opened = match opened {
            Ok(opened) => opened,
            Err(panic) => return self.panicked(number, "to open its directory", panic),
        };
        let (store, recovered) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Damaged(_) | OpenError::NotFormatted) => {
                self.trace
                    .fault(now, format!("n{number} cannot open its directory"));
                self.wipe(number);
                return self.start(number);
            }
            Err(OpenError::SyncFailed(_)) => {
                let text =
                    format!("n{number} has a directory with a failed sync: restart its machine");
                self.trace.fault(now, text);
                self.power_cut(number);
                return self.start(number);
            }
            Err(error) => {
                node.waits_for_resources =
                    matches!(error, OpenError::Disk(DiskError::OutOfResources(_)));
                self.trace
                    .fault(now, format!("n{number} does not start: {error}"));
                return;
            }
        };
        node.waits_for_resources = false;
        node.starts += 1;
        let run = node.starts;
        let fault = Interruption {
            power_was_cut: std::mem::take(&mut node.power_was_cut),
            damaged: node.disk.has_damaged(|path| path.ends_with(".log")),
            journal_damaged: node.disk.has_damaged(|path| {
                path.starts_with("journal/") || path.starts_with("checkpoint.")
            }),
        };
        node.paused = None;
        node.crash_after_effects = None;
        let identity = PeerIdentity {
            cluster: recovered.cluster,
            broker: recovered.broker,
            directory: recovered.directory,
            incarnation: recovered.incarnation,
        };
        if let Err(violation) = self.checkers.on_start(&recovered, fault) {
            self.fail(violation);
            return;
        }
        self.trace.started(now, number, &recovered);
        let setup = self.setup(&identity, kafka);
        let seed = self
            .draws
            .at(Subsystem::Broker, u64::from(number), run)
            .any();
        let peer_versions = self.draw_peer_versions(number, run);
        let mut effects = std::mem::take(&mut self.effects);
        let start =
            (self.options.records).then(|| (setup.clone(), recovered.clone(), seed, clocks));
        let started = caught(|| Broker::new(setup, recovered, seed, clocks, &mut effects));
        let broker = match started {
            Ok(broker) => broker,
            Err(panic) => {
                self.effects = effects;
                return self.panicked(number, "what its disk holds", panic);
            }
        };
        if let Some(start) = start {
            let recording = Recording::new(start, self.options.mutant, &effects);
            self.recordings.insert((number, run), recording);
        }
        self.node_mut(number).process =
            Some(Process::new(run, broker, store, identity, peer_versions));
        self.network
            .set_listening(Place::Node(number), Listening::ToPeers);
        self.after_step(number, effects);
        self.tell_meanwhile();
        // Until the broker says whom it wants, it is linked with everybody its configuration names.
        let peers: Vec<BrokerId> = (1..=self.options.nodes)
            .filter(|&peer| peer != number)
            .map(|peer| BrokerId(i32::from(peer)))
            .collect();
        for peer in peers {
            self.want_link(number, peer);
        }
        self.schedule_scrub(number);
    }

    /// Which build a start of a node is of: the next one or this one, where builds are mixed.
    fn draw_peer_versions(&mut self, number: u8, run: u64) -> PeerVersions {
        let builds = self.options.mixes_builds;
        let mut draw = (self.draws).at(Subsystem::Broker, u64::from(number), BUILD - run);
        let node = self.node_mut(number);
        if builds {
            node.peer_versions = if draw.chance(500_000) {
                PeerVersions::SUPPORTED
            } else {
                PeerVersions::PREVIOUS_MINOR
            };
        }
        node.peer_versions
    }

    /// Installs another build on a node, which speaks these versions with its peers from its next start on.
    pub fn install(&mut self, number: u8, peer_versions: PeerVersions) {
        self.node_mut(number).peer_versions = peer_versions;
    }

    fn setup(&self, me: &PeerIdentity, kafka: BrokerConfig) -> Setup {
        let host = format!("n{}", me.broker.0);
        Setup {
            registration: BrokerRegistration {
                broker: me.broker,
                directory: me.directory,
                incarnation: me.incarnation,
                rack: None,
                peer_address: format!("{host}:9192"),
                listeners: vec![Endpoint {
                    name: "PLAINTEXT".to_owned(),
                    host,
                    port: 9092,
                }],
            },
            timing: self.options.timing,
            kafka,
            metadata_voters_max: self.options.metadata_voters_max,
            snapshot_interval: self.options.snapshot_interval,
            session_timeout: Duration::from_secs(9),
            unwritten_bytes_max: self.options.unwritten_bytes_max,
        }
    }

    /// Starts all nodes.
    pub fn start_all(&mut self) {
        for number in 1..=self.options.nodes {
            self.start(number);
        }
    }

    /// Kills a node's process; what it wrote stays.
    pub fn kill(&mut self, number: u8) {
        self.end_process(number, true);
    }

    /// Cuts a node's power: its process is gone, and of what was not synced any subset.
    pub fn power_cut(&mut self, number: u8) {
        let node = self.node_mut(number);
        node.boot += 1;
        node.power_was_cut = true;
        self.end_process(number, false);
        self.node(number).disk.power_cut();
    }

    fn end_process(&mut self, number: u8, machine_up: bool) {
        let now = self.now();
        let node = self.node_mut(number);
        node.paused = None;
        node.crash_after_effects = None;
        if node.process.take().is_none() {
            return;
        }
        let broker = node.broker();
        self.checkers.seen.ended(broker);
        let node = self.node_mut(number);
        if machine_up {
            node.power_was_cut |= node.disk.kill();
        }
        let mut happenings = Vec::new();
        self.network.died(
            now,
            Place::Node(number),
            machine_up,
            &mut network_events(&mut self.queue),
            &mut happenings,
        );
        self.take_happenings(happenings);
    }

    /// Empties a node's disk, whose process does not run: it comes back under a new directory id.
    pub fn wipe(&mut self, number: u8) {
        let place = usize::from(number) - 1;
        let me = Voter {
            broker: self.nodes[place].broker(),
            directory: self.nodes[place].directory,
        };
        assert!(self.nodes[place].process.is_none(), "its process runs");
        self.checkers.seen.wiped(me);
        let node = &mut self.nodes[place];
        node.disk.wipe();
        let formats = node.formats;
        node.directory = DirectoryId(id(&mut self.draws.at(
            Subsystem::Identity,
            u64::from(number),
            formats,
        )));
        self.format(place, None);
    }

    /// Stops a node's process in its tracks.
    pub fn pause(&mut self, number: u8) {
        let node = self.node_mut(number);
        if node.process.is_some() && node.paused.is_none() {
            node.paused = Some(Vec::new());
        }
    }

    /// Lets it go on: what has reached it meanwhile is handed to it in order.
    pub fn resume(&mut self, number: u8) {
        let run = self.node(number).run();
        let Some(mut deferred) = self.node_mut(number).paused.take() else {
            return;
        };
        // Two connections are not ordered with each other: what came before on others may be read behind a hello.
        let entity = u64::from(number) << 8;
        let mut draw = self.draws.at(Subsystem::Process, entity, self.now().0);
        if draw.chance(500_000) {
            let is_hello = |it: &Deferred| matches!(it, Deferred::Input(Input::Hello { .. }));
            deferred.sort_by_key(|it| !is_hello(it));
        }
        for deferred in deferred {
            if self.node(number).run() != run {
                return;
            }
            match deferred {
                Deferred::Input(input) => self.tell(number, input),
                Deferred::Disk(event) => self.on_disk(number, event),
            }
        }
    }

    /// Asks a node to stop in good order.
    pub fn stop(&mut self, number: u8) {
        if self.node(number).process.is_some() {
            let place = Place::Node(number);
            self.network.set_listening(place, Listening::ToPeers);
        }
        self.tell(number, Input::Stop);
    }

    /// Crashes a node when this many more effects of its broker have been carried out.
    pub fn crash_after_effects(&mut self, number: u8, effects: u32) {
        let node = self.node_mut(number);
        if node.process.is_some() {
            node.crash_after_effects = Some(effects);
        }
    }

    /// A node's wall clock jumps, forth or back.
    pub fn jump_wall_clock(&mut self, number: u8, millis: i64) {
        let now = self.now();
        let clock = &mut self.node_mut(number).clock;
        let from = clock.wall(now);
        clock.wall_offset_ms += millis;
        let to = clock.wall(now);
        self.checkers.on_clock_jump(number, from, to);
    }

    /// A node's disk answers nothing for a while.
    pub fn stall_disk(&mut self, number: u8, duration: Duration) {
        let until = self.now() + duration;
        self.node_mut(number).disk_stalled_until = until;
    }

    /// Of a million operations on a node's disk that need a descriptor, or memory, so many do not get it.
    pub fn run_short(&mut self, number: u8, of: Shortage, per_million: u32) {
        self.node(number).disk.run_short(of, per_million);
    }

    /// A node has no descriptor for a new connection, to it or from it: dials run out of time. Those that are up stay.
    pub fn refuse_connections(&mut self, number: u8) {
        let place = Place::Node(number);
        self.network.set_without_descriptors(place, true);
    }

    /// A node has all the descriptors and memory that it needs.
    pub fn end_shortage(&mut self, number: u8) {
        let place = Place::Node(number);
        self.network.set_without_descriptors(place, false);
        let node = self.node_mut(number);
        node.disk.end_shortage();
        if std::mem::take(&mut node.waits_for_resources) {
            self.start(number);
        }
    }

    /// Changes how disks behave where nothing is wrong.
    pub fn set_disk_options(&mut self, options: DiskOptions) {
        self.options.disk = options;
        for node in &self.nodes {
            node.disk.set_capacity(options.capacity);
        }
    }

    pub(super) fn make_node(&self, number: u8) -> Node {
        let mut draw = self.draws.at(Subsystem::Identity, u64::from(number), 0);
        let mut drift = self.draws.at(Subsystem::Identity, u64::from(number), DRIFT);
        let skew = either_way(&mut draw, self.options.wall_skew_ms_max);
        let clock = NodeClock {
            monotonic_offset: Duration::from_secs(draw.between(1, 1_000_000)),
            wall_offset_ms: WALL_START_MS + skew,
            wall_drift_ppm: either_way(&mut drift, self.options.wall_drift_ppm_max),
        };
        Node {
            number,
            clock,
            disk: SimDisk::new(
                self.draws.clone(),
                u64::from(number),
                self.options.disk.capacity,
            ),
            directory: DirectoryId(id(&mut draw)),
            formats: 0,
            peer_versions: self.options.peer_versions,
            boot: 1,
            starts: 0,
            power_was_cut: false,
            process: None,
            paused: None,
            crash_after_effects: None,
            waits_for_resources: false,
            disk_stalled_until: SimTime::default(),
            disk_operations: 0,
        }
    }

    /// Formats a node's empty disk. Where it is one of the first voters of the metadata, it knows the cluster.
    pub(super) fn format(&mut self, place: usize, voters: Option<&[Voter]>) {
        let node = &mut self.nodes[place];
        node.formats += 1;
        let me = Voter {
            broker: node.broker(),
            directory: node.directory,
        };
        let founds = voters.is_some_and(|voters| voters.contains(&me));
        let identity = Identity {
            cluster: founds.then_some(self.cluster),
            broker: me.broker,
            directory: me.directory,
        };
        LogStore::format(&node.disk, identity).expect("an empty disk can be formatted");
        if let (true, Some(voters)) = (founds, voters) {
            let order = Order {
                replica: TopicPartition::METADATA,
                seq: OrderSeq(1),
                kind: OrderKind::Create {
                    voters: voters.to_vec(),
                },
            };
            let now = node.clock.instant(SimTime::default());
            let (mut store, _) =
                LogStore::open(node.disk.clone(), self.options.store, node.boot_id())
                    .expect("a formatted disk can be opened");
            store.execute(now, &order).expect("an empty disk has space");
            let ticket = store
                .begin_commit()
                .expect("nothing is wrong with it")
                .expect("something waits to be committed");
            let synced = ticket.sync();
            store
                .finish_commit(&ticket, synced)
                .expect("nothing is wrong with it");
            self.checkers.seen.founded(me, &order);
        }
    }
}

/// A number in `[-max, max]`.
fn either_way(draw: &mut Draw, max: u64) -> i64 {
    let max = i64::try_from(max).expect("clocks are wrong by less than that");
    i64::try_from(draw.below(max.unsigned_abs() * 2 + 1)).expect("it is below twice the most") - max
}
