//! A cluster in one thread: nodes, network, disks and clients, driven by one queue of events.
//!
//! An *event* is at most one [`Broker::step`]. After it the checkers look at what it ordered, and then the orders
//! are carried out one by one: a crash can come between any two of them. Everything that the real driver does
//! between broker and world is done here, in its simplest form; nothing here decides for a broker.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use varve_core::broker::{Broker, Setup};
use varve_core::cluster::{BrokerConfig, BrokerRegistration, ConfigMap, Endpoint};
use varve_core::effect::{Effect, Effects, RequestId};
use varve_core::hooks::{Hooks, Mutant, Probe};
use varve_core::ids::{BrokerId, ClusterId, DirectoryId, PartitionIndex, TopicPartition, Voter};
use varve_core::input::{ClientRequest, ConnectionId, Input};
use varve_core::links::Timing;
use varve_core::peer::{PeerIdentity, PeerMessage};
use varve_core::record::{Depth, Limits, examine};
use varve_core::replica::ReplicaView;
use varve_core::store::{
    Completion, Identity, LogStore, OpenError, Order, OrderKind, OrderSeq, Query, QueryResult,
    ReadError, Stage, StoreFailure, StoreOptions,
};
use varve_core::wire::{Request, Response};

use crate::checkers::{Checkers, Interruption, Step, Violation};
use crate::client::{Call, Client, ClientAction, Producer, Work};
use crate::clock::{EventQueue, NodeClock, SimTime};
use crate::disk::SimDisk;
use crate::draw::{Draw, Draws, Subsystem};
use crate::hash::StableHasher;
use crate::history::History;
use crate::network::{
    Connection, Happening, Listening, Network, NetworkEvent, NetworkOptions, Place, Sent, Way,
};
use crate::node::{ClientConnection, Deferred, DiskEvent, Link, Node, Process};
use crate::trace::Trace;

/// How the disks of a run behave where nothing is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// A group commit takes this and an exponential part with the mean below.
    pub sync_min: Duration,
    /// Mean of the exponential part.
    pub sync_mean: Duration,
    /// Mean latency of a read.
    pub read_mean: Duration,
    /// How many of a million operations take a long time.
    pub tail_per_million: u32,
    /// Mean of what these take in addition.
    pub tail_mean: Duration,
    /// Bytes of each disk.
    pub capacity: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            sync_min: Duration::from_micros(300),
            sync_mean: Duration::from_micros(300),
            read_mean: Duration::from_micros(200),
            tail_per_million: 0,
            tail_mean: Duration::from_millis(100),
            capacity: 64 << 20,
        }
    }
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Nodes.
    pub nodes: u8,
    /// The network.
    pub network: NetworkOptions,
    /// The disks.
    pub disk: DiskOptions,
    /// The stores.
    pub store: StoreOptions,
    /// How patient brokers are.
    pub timing: Timing,
    /// Configuration of all brokers.
    pub kafka: ConfigMap,
    /// A clause of the protocol that is broken on purpose.
    pub mutant: Option<Mutant>,
    /// Wall clocks are wrong by up to this.
    pub wall_skew_ms_max: u64,
    /// What the brokers' `metadata_voters_max` is.
    pub metadata_voters_max: usize,
}

impl ClusterOptions {
    /// A cluster of this many nodes where nothing goes wrong.
    #[must_use]
    pub fn new(nodes: u8) -> Self {
        Self {
            nodes,
            network: NetworkOptions::default(),
            disk: DiskOptions::default(),
            store: small_store(),
            timing: Timing::default(),
            kafka: ConfigMap::new(),
            mutant: None,
            wall_skew_ms_max: 0,
            metadata_voters_max: 3,
        }
    }
}

/// Store sizes that make files roll and checkpoints happen within a short run.
fn small_store() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 64 << 10,
        journal_files: 2,
        direct_append_bytes_min: 4 << 10,
        checkpoint_journal_bytes: 128 << 10,
        checkpoint_direct_bytes: 256 << 10,
        replicated_flush_max: Duration::from_millis(100),
        reserve_bytes: 1 << 20,
        segment_bytes: 64 << 10,
        index_interval_bytes: 256,
        ..StoreOptions::default()
    }
}

/// What travels on connections.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Between brokers.
    Peer(PeerMessage),
    /// From a client.
    Request(Call),
    /// To a client.
    Response(u64, Box<Response>),
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    Network(NetworkEvent),
    /// A broker's deadline.
    Tick {
        node: u8,
        run: u64,
        at: SimTime,
    },
    /// A node's wall clock is told.
    WallClock {
        node: u8,
        run: u64,
    },
    Disk {
        node: u8,
        run: u64,
        event: DiskEvent,
    },
    /// A link is to be dialled.
    Redial {
        node: u8,
        run: u64,
        peer: BrokerId,
    },
    /// A client wakes.
    Wake {
        client: u8,
        at: SimTime,
    },
    /// Something that the owner of the run has scheduled.
    Owner(u64),
}

/// What the owner of a run may see happening, in [`Cluster::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// An event.
    Event,
    /// An event that was scheduled with [`Cluster::schedule`].
    Owner(u64),
    /// Nothing is left to happen.
    Nothing,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    draws: Draws,
    queue: EventQueue<Event>,
    network: Network<Payload>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    client_wakes: Vec<Option<SimTime>>,
    /// The connection, or dial, of each client to each node.
    client_links: BTreeMap<(u8, u8), Connection>,
    /// What clients did and saw.
    pub history: History,
    /// The judges.
    pub checkers: Checkers,
    /// What is written down.
    pub trace: Trace,
    cluster: ClusterId,
    effects: Effects,
    violation: Option<Violation>,
    chain: StableHasher,
    steps: u64,
    happenings: Vec<Happening<Payload>>,
    /// Partitions that the present step touches.
    touched: Vec<TopicPartition>,
    views: Vec<(TopicPartition, ReplicaView)>,
    starts_refused: u64,
    /// Events since time last moved.
    events_at_once: u32,
}

/// When all wall clocks stood when a run begins: 2026-01-01 in milliseconds.
pub const WALL_START_MS: i64 = 1_767_225_600_000;

const WALL_CLOCK_INTERVAL: Duration = Duration::from_millis(700);
/// More steps than the longest run makes where nobody asks the same thing again and again.
const STEPS_MAX: u64 = 150_000;
/// More events at one time than any step can cause.
const EVENTS_AT_ONCE_MAX: u32 = 100_000;
const SPACE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Cluster {
    /// A cluster whose nodes are formatted and not started.
    ///
    /// # Panics
    /// Where an empty disk cannot be formatted: a bug of the store.
    #[must_use]
    pub fn new(options: ClusterOptions, draws: Draws) -> Self {
        let network = Network::new(draws.clone(), options.network);
        let cluster = ClusterId(id(&mut draws.at(Subsystem::Identity, 0, 0)));
        let mut this = Self {
            queue: EventQueue::default(),
            network,
            nodes: Vec::new(),
            clients: Vec::new(),
            client_wakes: Vec::new(),
            client_links: BTreeMap::new(),
            history: History::default(),
            checkers: Checkers::default(),
            trace: Trace::default(),
            cluster,
            effects: Effects::with_hooks(Hooks::with_mutant(options.mutant)),
            violation: None,
            chain: StableHasher::default(),
            steps: 0,
            happenings: Vec::new(),
            touched: Vec::new(),
            views: Vec::new(),
            starts_refused: 0,
            events_at_once: 0,
            options,
            draws,
        };
        for number in 1..=this.options.nodes {
            let node = this.make_node(number);
            this.nodes.push(node);
        }
        let voters: Vec<Voter> = this
            .nodes
            .iter()
            .take(this.options.metadata_voters_max)
            .map(|node| Voter {
                broker: node.broker(),
                directory: node.directory,
            })
            .collect();
        for place in 0..this.nodes.len() {
            this.format(place, Some(&voters));
        }
        this
    }

    fn make_node(&self, number: u8) -> Node {
        let mut draw = self.draws.at(Subsystem::Identity, u64::from(number), 0);
        let skew = i64::try_from(draw.below(self.options.wall_skew_ms_max * 2 + 1)).unwrap_or(0)
            - i64::try_from(self.options.wall_skew_ms_max).unwrap_or(0);
        let clock = NodeClock {
            monotonic_offset: Duration::from_secs(draw.between(1, 1_000_000)),
            wall_offset_ms: WALL_START_MS + skew,
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
            boot: 1,
            starts: 0,
            power_was_cut: false,
            process: None,
            paused: None,
            crash_after_effects: None,
            disk_stalled_until: SimTime::default(),
            disk_operations: 0,
        }
    }

    /// Formats a node's empty disk. Where it is one of the first voters of the metadata, it knows the cluster.
    fn format(&mut self, place: usize, voters: Option<&[Voter]>) {
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

    /// What it is made of.
    #[must_use]
    pub const fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// The draws of the run.
    #[must_use]
    pub const fn draws(&self) -> &Draws {
        &self.draws
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> SimTime {
        self.queue.now()
    }

    /// Broker steps so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// A hash of every step so far, in order.
    #[must_use]
    pub fn chain(&self) -> u64 {
        self.chain.finish()
    }

    /// What is wrong, once something is.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Rare places that the run has reached.
    pub fn probes(&self) -> impl Iterator<Item = Probe> {
        self.effects.hooks().reached()
    }

    /// The nodes, from number 1.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its number.
    #[must_use]
    pub fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(number) - 1]
    }

    /// A node by its number.
    pub fn node_mut(&mut self, number: u8) -> &mut Node {
        &mut self.nodes[usize::from(number) - 1]
    }

    /// The clients, from number 1.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// A client by its number.
    pub fn client_mut(&mut self, number: u8) -> &mut Client {
        &mut self.clients[usize::from(number) - 1]
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network<Payload> {
        &self.network
    }

    /// A running broker.
    #[must_use]
    pub fn broker(&self, number: u8) -> Option<&Broker> {
        self.node(number)
            .process
            .as_ref()
            .map(|process| &process.broker)
    }

    /// A replica as it is seen on a node.
    #[must_use]
    pub fn view(&self, number: u8, partition: TopicPartition) -> Option<ReplicaView> {
        Some(self.broker(number)?.replica(partition)?.view())
    }

    /// Records a violation that the owner of the run has found.
    pub fn fail(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// An operator wants a partition's replicas on these nodes, the most preferred leader first. The controller
    /// learns of it when it next looks around.
    pub fn retarget(&mut self, partition: TopicPartition, nodes: &[u8]) {
        let voter = |&number: &u8| {
            let node = self.node(number);
            Voter {
                broker: node.broker(),
                directory: node.directory,
            }
        };
        let voters = nodes.iter().map(voter).collect();
        self.effects.hooks_mut().plant_target(partition, voters);
    }

    /// Schedules an event for the owner of the run.
    pub fn schedule(&mut self, at: SimTime, name: u64) {
        self.queue.at(at, Event::Owner(name));
    }

    // --- time ---------------------------------------------------------------------------------------------

    /// When the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<SimTime> {
        self.queue.next_at()
    }

    /// Lets one event happen.
    pub fn step(&mut self) -> Happened {
        let before = self.queue.now();
        let Some(event) = self.queue.pop() else {
            return Happened::Nothing;
        };
        self.events_at_once = if self.queue.now() == before {
            self.events_at_once + 1
        } else {
            0
        };
        if self.events_at_once > EVENTS_AT_ONCE_MAX {
            let what =
                format!("{EVENTS_AT_ONCE_MAX} events happen at {before} and time stands still");
            self.fail(Violation {
                checker: "TimePasses",
                what,
            });
        }
        match event {
            Event::Network(event) => {
                let now = self.queue.now();
                let mut happenings = std::mem::take(&mut self.happenings);
                let queue = &mut self.queue;
                self.network.on_event(
                    now,
                    event,
                    &mut |at, event| queue.at(at, Event::Network(event)),
                    &mut happenings,
                );
                self.take_happenings(happenings);
            }
            Event::Tick { node, run, at } => {
                if let Some(process) = &mut self.node_mut(node).process
                    && process.run == run
                    && process.tick_at == Some(at)
                {
                    process.tick_at = None;
                    self.tell(node, Input::Tick);
                }
            }
            Event::WallClock { node, run } => {
                if self.node(node).run() == Some(run) {
                    let wall = self.node(node).clock.wall(self.now());
                    self.queue
                        .after(WALL_CLOCK_INTERVAL, Event::WallClock { node, run });
                    self.tell(node, Input::WallClock(wall));
                }
            }
            Event::Disk { node, run, event } => {
                if self.node(node).run() == Some(run) {
                    self.on_disk(node, event);
                }
            }
            Event::Redial { node, run, peer } => {
                if self.node(node).run() == Some(run) {
                    self.dial_peer(node, peer);
                }
            }
            Event::Wake { client, at } => {
                if self.client_wakes[usize::from(client) - 1] == Some(at) {
                    self.client_wakes[usize::from(client) - 1] = None;
                    self.pump_client(client);
                }
            }
            Event::Owner(name) => return Happened::Owner(name),
        }
        Happened::Event
    }

    /// Lets time pass up to `end`, or to the first violation, and hands the owner's events to `owner`.
    pub fn run_until(&mut self, end: SimTime, mut owner: impl FnMut(&mut Self, u64)) {
        if self.steps > STEPS_MAX {
            let what = format!("{STEPS_MAX} steps are more than a run of this length can need");
            self.fail(Violation {
                checker: "NothingSpins",
                what,
            });
        }
        while self.violation.is_none() && self.next_at().is_some_and(|at| at <= end) {
            if let Happened::Owner(name) = self.step() {
                owner(self, name);
            }
        }
        if self.violation.is_none() {
            self.queue.advance_to(end);
        }
    }

    // --- nodes --------------------------------------------------------------------------------------------

    /// Starts a node's process on what its disk holds. A directory that cannot be opened any more comes back
    /// empty and under a new id.
    pub fn start(&mut self, number: u8) {
        let now = self.now();
        let broker = BrokerId(i32::from(number));
        let kafka = BrokerConfig::new(broker, self.options.kafka.clone())
            .expect("the owner of the run gives keys that exist");
        let store_options = StoreOptions {
            producer_expiry: kafka.producer_expiry(),
            ..self.options.store
        };
        let hooks = Hooks::with_mutant(self.options.mutant);
        let node = self.node_mut(number);
        if node.process.is_some() {
            return;
        }
        let instant = node.clock.instant(now);
        let (disk, boot) = (node.disk.clone(), node.boot_id());
        let opened = LogStore::open_with_hooks(disk, store_options, boot, hooks);
        let (store, recovered) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Damaged(_) | OpenError::NotFormatted) => {
                self.trace
                    .fault(now, format!("n{number} cannot open its directory"));
                self.wipe(number);
                return self.start(number);
            }
            Err(error) => {
                self.starts_refused += 1;
                self.trace
                    .fault(now, format!("n{number} does not start: {error}"));
                return;
            }
        };
        node.starts += 1;
        let run = node.starts;
        let fault = Interruption {
            power_was_cut: std::mem::take(&mut node.power_was_cut),
            damaged: node.disk.counts().sectors_damaged > 0,
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
        let setup = Setup {
            registration: BrokerRegistration {
                broker: identity.broker,
                directory: identity.directory,
                incarnation: identity.incarnation,
                rack: None,
                listeners: vec![Endpoint {
                    name: "PLAINTEXT".to_owned(),
                    host: format!("n{number}"),
                    port: 9092,
                }],
                peer_address: format!("n{number}:9192"),
            },
            timing: self.options.timing,
            kafka,
            metadata_voters_max: self.options.metadata_voters_max,
            session_timeout: Duration::from_secs(9),
        };
        let seed = self
            .draws
            .at(Subsystem::Broker, u64::from(number), run)
            .any();
        let mut effects = std::mem::take(&mut self.effects);
        let broker = Broker::new(setup, recovered, seed, instant, &mut effects);
        let node = self.node_mut(number);
        node.process = Some(Process {
            run,
            broker,
            store,
            identity,
            tick_at: None,
            orders: std::collections::VecDeque::new(),
            committing: None,
            checkpointing: None,
            start_scheduled: false,
            is_full: false,
            links: BTreeMap::new(),
            incoming: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            client_ids: BTreeMap::new(),
            last_connection: 0,
            ready: false,
            offline: false,
            stopped: false,
        });
        self.network
            .set_listening(Place::Node(number), Listening::Yes);
        self.after_step(number, effects);
        // Until the broker says whom it wants, it is linked with everybody its configuration names.
        let peers: Vec<BrokerId> = (1..=self.options.nodes)
            .filter(|&peer| peer != number)
            .map(|peer| BrokerId(i32::from(peer)))
            .collect();
        for peer in peers {
            self.want_link(number, peer);
        }
        let wall = self.node(number).clock.wall(now);
        self.queue
            .after(WALL_CLOCK_INTERVAL, Event::WallClock { node: number, run });
        self.tell(number, Input::WallClock(wall));
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
        if machine_up {
            node.power_was_cut |= node.disk.kill();
        }
        let mut happenings = Vec::new();
        let queue = &mut self.queue;
        self.network.died(
            now,
            Place::Node(number),
            machine_up,
            &mut |at, event| queue.at(at, Event::Network(event)),
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
        let Some(deferred) = self.node_mut(number).paused.take() else {
            return;
        };
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
        self.tell(number, Input::Stop);
    }

    /// Crashes a node when this many more effects of its broker have been carried out.
    pub fn crash_after_effects(&mut self, number: u8, effects: u32) {
        let node = self.node_mut(number);
        if node.process.is_some() {
            node.crash_after_effects = Some(effects);
        }
    }

    /// A node's disk answers nothing for a while.
    pub fn stall_disk(&mut self, number: u8, duration: Duration) {
        let until = self.now() + duration;
        self.node_mut(number).disk_stalled_until = until;
    }

    // --- network ------------------------------------------------------------------------------------------

    /// Blocks what goes from one place to another.
    pub fn block(&mut self, from: Place, to: Place) {
        self.network.block(from, to);
    }

    /// Lifts such a block.
    pub fn unblock(&mut self, from: Place, to: Place) {
        let now = self.now();
        let queue = &mut self.queue;
        self.network.unblock(now, from, to, &mut |at, event| {
            queue.at(at, Event::Network(event));
        });
    }

    /// Lifts all blocks.
    pub fn unblock_all(&mut self) {
        let now = self.now();
        let queue = &mut self.queue;
        self.network.unblock_all(now, &mut |at, event| {
            queue.at(at, Event::Network(event));
        });
    }

    /// Breaks the connections between two places.
    pub fn reset_between(&mut self, one: Place, other: Place) {
        let now = self.now();
        let between: Vec<Connection> = self
            .network
            .connections()
            .filter(|connection| {
                let ends = (connection.from, connection.to);
                ends == (one, other) || ends == (other, one)
            })
            .collect();
        for connection in between {
            let queue = &mut self.queue;
            self.network.reset(now, connection, &mut |at, event| {
                queue.at(at, Event::Network(event));
            });
        }
    }

    /// Changes how the network behaves where nothing is wrong.
    pub fn set_network_options(&mut self, options: NetworkOptions) {
        self.network.set_options(options);
    }

    /// Changes how disks behave where nothing is wrong.
    pub fn set_disk_options(&mut self, options: DiskOptions) {
        self.options.disk = options;
        for node in &self.nodes {
            node.disk.set_capacity(options.capacity);
        }
    }

    fn take_happenings(&mut self, mut happenings: Vec<Happening<Payload>>) {
        for happening in happenings.drain(..) {
            match happening {
                Happening::Connected(connection) => self.on_connected(connection),
                Happening::DialFailed(connection) => self.on_dial_failed(connection),
                Happening::Arrived {
                    connection,
                    way,
                    late,
                    payload,
                } => self.on_arrived(connection, way, late, payload),
                Happening::Broken(connection, place) => self.on_broken(connection, place),
                Happening::Lost {
                    connection,
                    way,
                    payload,
                } => {
                    let (from, to) = connection.ends(way);
                    self.trace.lost(self.queue.now(), from, to, &payload);
                }
            }
        }
        if self.happenings.capacity() < happenings.capacity() {
            self.happenings = happenings;
        }
    }

    fn on_connected(&mut self, connection: Connection) {
        let Place::Node(callee) = connection.to else {
            return;
        };
        match connection.from {
            Place::Node(caller) => {
                let (Some(dialler), Some(dialled)) = (
                    self.node(caller)
                        .process
                        .as_ref()
                        .map(|process| process.identity),
                    self.node(callee)
                        .process
                        .as_ref()
                        .map(|process| process.identity),
                ) else {
                    return;
                };
                let now = self.now();
                let node = self.node(callee);
                let refusal = node.process.as_ref().and_then(|process| {
                    process.broker.turns_away(node.clock.instant(now), &dialler)
                });
                if let Some(words) = refusal {
                    self.close(connection, connection.to);
                    self.tell(caller, Input::TurnedAway(words));
                    return;
                }
                if let Some(process) = &mut self.node_mut(callee).process {
                    let session = process.sessions.entry(dialler.broker).or_default();
                    *session += 1;
                    let session = *session;
                    process.incoming.insert(connection, (dialler, session));
                }
                let Some(process) = &mut self.node_mut(caller).process else {
                    return;
                };
                let Some(link) = process.links.get_mut(&dialled.broker) else {
                    return;
                };
                if link.connection == Some(connection) {
                    link.up = true;
                    self.tell(caller, Input::LinkUp(dialled));
                }
            }
            Place::Client(client) => {
                if let Some(process) = &mut self.node_mut(callee).process {
                    process.last_connection += 1;
                    let id = ConnectionId(process.last_connection);
                    process.client_ids.insert(connection, id);
                    process.clients.insert(
                        id,
                        ClientConnection {
                            connection,
                            answers: std::collections::VecDeque::new(),
                            requests: 0,
                            numbers: BTreeMap::new(),
                        },
                    );
                }
                if self.client_links.get(&(client, callee)) == Some(&connection) {
                    self.client_mut(client).on_connected(callee);
                    self.pump_client(client);
                }
            }
        }
    }

    fn on_dial_failed(&mut self, connection: Connection) {
        let Place::Node(callee) = connection.to else {
            return;
        };
        match connection.from {
            Place::Node(caller) => {
                let peer = BrokerId(i32::from(callee));
                self.redial_later(caller, peer, connection);
            }
            Place::Client(client) => self.client_lost(client, callee, connection),
        }
    }

    fn on_broken(&mut self, connection: Connection, place: Place) {
        match place {
            Place::Client(client) => {
                if let Place::Node(callee) = connection.to {
                    self.client_lost(client, callee, connection);
                }
            }
            Place::Node(number) if connection.from == place => {
                let Place::Node(callee) = connection.to else {
                    return;
                };
                let peer = BrokerId(i32::from(callee));
                let was_up = self.node(number).process.as_ref().is_some_and(|process| {
                    process
                        .links
                        .get(&peer)
                        .is_some_and(|link| link.up && link.connection == Some(connection))
                });
                self.redial_later(number, peer, connection);
                if was_up {
                    self.tell(number, Input::LinkDown(peer));
                }
            }
            Place::Node(number) => {
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                process.incoming.remove(&connection);
                if let Some(id) = process.client_ids.remove(&connection) {
                    process.clients.remove(&id);
                    self.tell(number, Input::Disconnected(id));
                }
            }
        }
    }

    fn on_arrived(&mut self, connection: Connection, way: Way, late: bool, payload: Payload) {
        let now = self.now();
        let (from, to) = connection.ends(way);
        self.trace.arrived(now, from, to, late, &payload);
        match (to, payload) {
            (Place::Node(number), Payload::Peer(message)) => {
                let Some(process) = &self.node(number).process else {
                    return;
                };
                let Some(&(from, session)) = process.incoming.get(&connection) else {
                    return;
                };
                self.tell(
                    number,
                    Input::Peer {
                        from,
                        session,
                        message,
                    },
                );
            }
            (Place::Node(number), Payload::Request(call)) => {
                self.on_request(number, connection, call);
            }
            (Place::Client(client), Payload::Response(call, response)) => {
                let Place::Node(node) = from else {
                    return;
                };
                if self.client_links.get(&(client, node)) != Some(&connection) {
                    return;
                }
                let place = usize::from(client) - 1;
                let mut actions = Vec::new();
                self.clients[place].on_response(
                    now,
                    node,
                    call,
                    *response,
                    &mut self.history,
                    &mut actions,
                );
                self.do_actions(client, actions);
                self.pump_client(client);
            }
            (Place::Node(_), Payload::Response(..))
            | (Place::Client(_), Payload::Peer(_) | Payload::Request(_)) => {
                unreachable!("requests go to nodes and responses to clients")
            }
        }
    }

    fn on_request(&mut self, number: u8, connection: Connection, call: Call) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(&id) = process.client_ids.get(&connection) else {
            return;
        };
        let Some(client) = process.clients.get_mut(&id) else {
            return;
        };
        client.requests += 1;
        let request = RequestId {
            connection: id,
            number: client.requests,
        };
        let Call {
            number: call_number,
            api_version,
            mut body,
        } = call;
        let mut examined = Vec::new();
        let mut answered = true;
        if let Request::Produce(produce) = &mut body {
            answered = produce.acks != 0;
            for data in produce
                .topic_data
                .iter_mut()
                .flat_map(|topic| &mut topic.partition_data)
            {
                let bytes = data.records.take().unwrap_or_default().to_bytes();
                examined.push(examine(
                    bytes,
                    api_version,
                    Depth::default(),
                    Limits::default(),
                ));
            }
        }
        if answered {
            client.answers.push_back((call_number, None));
        }
        client.numbers.insert(request.number, call_number);
        let request = ClientRequest {
            id: request,
            api_version,
            client_id: Some(format!("{}", connection.from)),
            client_host: format!("{}", connection.from),
            listener: 0,
            body,
            examined,
        };
        self.tell(number, Input::Request(Box::new(request)));
    }

    /// The node wants a link to this peer from now on.
    fn want_link(&mut self, number: u8, peer: BrokerId) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if process.links.contains_key(&peer) {
            return;
        }
        process.links.insert(
            peer,
            Link {
                connection: None,
                up: false,
            },
        );
        self.dial_peer(number, peer);
    }

    fn dial_peer(&mut self, number: u8, peer: BrokerId) {
        let now = self.now();
        let Ok(callee) = u8::try_from(peer.0) else {
            return;
        };
        let idle = self.node(number).process.as_ref().is_some_and(|process| {
            process
                .links
                .get(&peer)
                .is_some_and(|link| link.connection.is_none())
        });
        if !idle || callee == 0 || callee > self.options.nodes {
            return;
        }
        let queue = &mut self.queue;
        let connection = self.network.dial(
            now,
            Place::Node(number),
            Place::Node(callee),
            &mut |at, event| queue.at(at, Event::Network(event)),
        );
        if let Some(process) = &mut self.node_mut(number).process
            && let Some(link) = process.links.get_mut(&peer)
        {
            link.connection = Some(connection);
        }
    }

    fn redial_later(&mut self, number: u8, peer: BrokerId, connection: Connection) {
        let nth = u64::from(connection.nth);
        let mut draw = self.draws.at(
            Subsystem::Process,
            u64::from(number) << 8 | u64::from(peer.0.unsigned_abs() & 0xff),
            nth,
        );
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let run = process.run;
        let Some(link) = process.links.get_mut(&peer) else {
            return;
        };
        if link.connection != Some(connection) {
            return;
        }
        link.connection = None;
        link.up = false;
        let delay = draw.duration(Duration::from_millis(20), Duration::from_millis(120));
        self.queue.after(
            delay,
            Event::Redial {
                node: number,
                run,
                peer,
            },
        );
    }

    // --- the broker ---------------------------------------------------------------------------------------

    /// Tells a broker something, or lets it wait where the process is paused.
    fn tell(&mut self, number: u8, input: Input) {
        if self.violation.is_some() {
            return;
        }
        let now = self.now();
        let node = self.node_mut(number);
        if let Some(deferred) = &mut node.paused {
            deferred.push(Deferred::Input(input));
            return;
        }
        let instant = node.clock.instant(now);
        let Some(process) = &mut node.process else {
            return;
        };
        let me = process.identity.voter();
        self.touched.clear();
        touched_by_input(&input, &mut self.touched);
        self.checkers.on_input(number, me, &input);
        let mut effects = std::mem::take(&mut self.effects);
        let process = self.nodes[usize::from(number) - 1]
            .process
            .as_mut()
            .expect("it was just there");
        process.broker.step(instant, input, &mut effects);
        self.after_step(number, effects);
    }

    /// Judges what a step ordered, and carries it out.
    fn after_step(&mut self, number: u8, mut effects: Effects) {
        let now = self.now();
        self.steps += 1;
        let place = usize::from(number) - 1;
        let node = &mut self.nodes[place];
        let length = u32::try_from(effects.as_slice().len()).unwrap_or(u32::MAX);
        let crash = match &mut node.crash_after_effects {
            Some(left) if *left <= length => node.crash_after_effects.take(),
            Some(left) => {
                *left -= length;
                None
            }
            None => None,
        };
        let done = crash.map_or(effects.as_slice().len(), |done| done as usize);
        let carried = &effects.as_slice()[..done];
        let process = node.process.as_ref().expect("it has just made a step");
        touched_by_effects(carried, &mut self.touched);
        let mut views = std::mem::take(&mut self.views);
        views.clear();
        for &partition in &self.touched {
            if let Some(replica) = process.broker.replica(partition) {
                views.push((partition, replica.view()));
            }
        }
        self.touched.clear();
        let step = Step {
            at: now,
            node: number,
            me: process.identity.voter(),
            effects: carried,
            views: &views,
            crashed: crash.is_some(),
        };
        if let Err(violation) = self.checkers.on_step(&step) {
            self.violation.get_or_insert(violation);
        }
        if let Some(violation) = self.history.take_violation() {
            self.violation.get_or_insert(violation);
        }
        self.trace.step(&step);
        now.hash(&mut self.chain);
        number.hash(&mut self.chain);
        carried.len().hash(&mut self.chain);
        for (partition, view) in &views {
            partition.hash(&mut self.chain);
            view.hash(&mut self.chain);
        }
        self.views = views;
        let run = process.run;
        for effect in effects.drain().take(done) {
            self.carry_out(number, effect);
        }
        self.effects = effects;
        if crash.is_some() {
            self.trace.fault(now, format!("n{number} crashes"));
            self.kill(number);
            return;
        }
        let stopped = self
            .node(number)
            .process
            .as_ref()
            .is_some_and(|process| process.stopped);
        if stopped {
            // The driver's last act: a clean stop leaves a checkpoint, and the process ends.
            self.leave_checkpoint(number);
            self.kill(number);
            return;
        }
        self.schedule_tick(number, run);
    }

    fn leave_checkpoint(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if process.checkpointing.is_none()
            && let Ok(Some(ticket)) = process.store.force_checkpoint()
        {
            // Whatever comes of it, the next start recovers from what is there.
            let ran = ticket.run();
            let _ = process.store.finish_checkpoint(&ticket, ran);
        }
    }

    fn schedule_tick(&mut self, number: u8, run: u64) {
        let node = &mut self.nodes[usize::from(number) - 1];
        let clock = node.clock;
        let Some(process) = &mut node.process else {
            return;
        };
        let Some(deadline) = process.broker.next_deadline() else {
            return;
        };
        let at = clock.sim_time(deadline).max(self.queue.now());
        if process.tick_at.is_none_or(|known| at < known) {
            process.tick_at = Some(at);
            self.queue.at(
                at,
                Event::Tick {
                    node: number,
                    run,
                    at,
                },
            );
        }
    }

    fn carry_out(&mut self, number: u8, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Store(order) => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.orders.push_back(order);
                    self.look_at_queue(number);
                }
            }
            Effect::Query(query) => self.query(number, query),
            Effect::Send { to, message } => self.send_to_peer(number, to, message),
            Effect::Respond { request, response } => self.respond(number, request, response),
            Effect::Close(id) => {
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                if let Some(client) = process.clients.remove(&id) {
                    process.client_ids.remove(&client.connection);
                    self.close(client.connection, Place::Node(number));
                }
            }
            Effect::Peers { addresses, all } => {
                let peers: Vec<BrokerId> = addresses
                    .keys()
                    .copied()
                    .filter(|peer| peer.0 != i32::from(number))
                    .collect();
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                let dropped: Vec<BrokerId> = process
                    .links
                    .keys()
                    .copied()
                    .filter(|peer| all && !peers.contains(peer))
                    .collect();
                for peer in dropped {
                    self.drop_link(number, peer);
                }
                for peer in peers {
                    self.want_link(number, peer);
                }
            }
            Effect::Redial(peer) => {
                let process = &mut self.node_mut(number).process;
                // Broken at core's word, it is not told of it.
                if let Some(process) = process
                    && let Some(link) = process.links.get_mut(&peer)
                {
                    link.up = false;
                }
                self.drop_link(number, peer);
                self.want_link(number, peer);
            }
            Effect::Joined(cluster) => {
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                let joined = process.store.join(cluster);
                process.identity.cluster = Some(cluster);
                if let Err(failure) = joined {
                    self.tell_later(number, failure);
                }
            }
            Effect::Ready => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.ready = true;
                }
                self.trace.told(now, number, "ready for clients");
            }
            Effect::Stopped => {
                if let Some(process) = &mut self.node_mut(number).process {
                    process.stopped = true;
                }
                self.trace.told(now, number, "stopped in good order");
            }
            Effect::Notice(_) => {}
        }
    }

    fn drop_link(&mut self, number: u8, peer: BrokerId) {
        let link = self
            .node_mut(number)
            .process
            .as_mut()
            .and_then(|process| process.links.remove(&peer));
        if let Some(Link {
            connection: Some(connection),
            up,
        }) = link
        {
            self.close(connection, Place::Node(number));
            if up {
                self.tell(number, Input::LinkDown(peer));
            }
        }
    }

    fn close(&mut self, connection: Connection, place: Place) {
        let now = self.now();
        let mut happenings = Vec::new();
        let queue = &mut self.queue;
        self.network.close_from(
            now,
            connection,
            place,
            &mut |at, event| queue.at(at, Event::Network(event)),
            &mut happenings,
        );
        self.take_happenings(happenings);
    }

    fn send_to_peer(&mut self, number: u8, to: BrokerId, message: PeerMessage) {
        let link = self
            .node(number)
            .process
            .as_ref()
            .and_then(|process| process.links.get(&to))
            .filter(|link| link.up)
            .and_then(|link| link.connection);
        let Ok(callee) = u8::try_from(to.0) else {
            return;
        };
        let Some(connection) = link else {
            let payload = Payload::Peer(message);
            let (from, to) = (Place::Node(number), Place::Node(callee));
            self.trace.lost(self.queue.now(), from, to, &payload);
            return;
        };
        self.send(connection, Way::Forth, Payload::Peer(message));
    }

    fn send(&mut self, connection: Connection, way: Way, payload: Payload) {
        let now = self.now();
        let (from, to) = connection.ends(way);
        let kept = self.trace.is_on().then(|| payload.clone());
        let queue = &mut self.queue;
        let sent = self
            .network
            .send(now, connection, way, payload, &mut |at, event| {
                queue.at(at, Event::Network(event));
            });
        if let (Some(payload), Sent::Held | Sent::Nowhere) = (kept, sent) {
            self.trace.lost(now, from, to, &payload);
        }
    }

    fn respond(&mut self, number: u8, request: RequestId, response: Box<Response>) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(client) = process.clients.get_mut(&request.connection) else {
            return;
        };
        let Some(call) = client.numbers.remove(&request.number) else {
            self.fail(Violation {
                checker: "EveryRequestIsAnsweredOnce",
                what: format!("n{number} answers a request that it was not asked"),
            });
            return;
        };
        let connection = client.connection;
        for (call, response) in client.answer(call, response) {
            self.send(connection, Way::Back, Payload::Response(call, response));
        }
    }

    /// The store has failed outside a disk event: the broker hears of it behind the present step.
    fn tell_later(&mut self, number: u8, failure: StoreFailure) {
        if let Some(run) = self.node(number).run() {
            self.queue.after(
                Duration::ZERO,
                Event::Disk {
                    node: number,
                    run,
                    event: DiskEvent::Failed(failure),
                },
            );
        }
    }

    // --- the disk -----------------------------------------------------------------------------------------

    fn look_at_queue(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let at = now.max(node.disk_stalled_until);
        let Some(process) = &mut node.process else {
            return;
        };
        if process.committing.is_some() || process.start_scheduled {
            return;
        }
        process.start_scheduled = true;
        let run = process.run;
        self.queue.at(
            at,
            Event::Disk {
                node: number,
                run,
                event: DiskEvent::Start,
            },
        );
    }

    fn latency(&mut self, number: u8, mean: Duration, min: Duration) -> Duration {
        let options = self.options.disk;
        let node = self.node_mut(number);
        node.disk_operations += 1;
        let ordinal = node.disk_operations;
        let mut draw = self
            .draws
            .at(Subsystem::DiskQueue, u64::from(number), ordinal);
        let mut latency = min + draw.exponential(mean);
        if draw.chance(options.tail_per_million) {
            latency += draw.exponential(options.tail_mean);
        }
        latency
    }

    fn query(&mut self, number: u8, query: Query) {
        let latency = self.latency(number, self.options.disk.read_mean, Duration::ZERO);
        let now = self.now();
        let node = self.node(number);
        let at = (now + latency).max(node.disk_stalled_until);
        if let Some(run) = node.run() {
            self.queue.at(
                at,
                Event::Disk {
                    node: number,
                    run,
                    event: DiskEvent::Queried(query),
                },
            );
        }
    }

    fn on_disk(&mut self, number: u8, event: DiskEvent) {
        let now = self.now();
        let node = self.node_mut(number);
        if let Some(deferred) = &mut node.paused {
            deferred.push(Deferred::Disk(event));
            return;
        }
        if node.disk_stalled_until > now {
            let (at, run) = (node.disk_stalled_until, node.run());
            if let Some(run) = run {
                self.queue.at(
                    at,
                    Event::Disk {
                        node: number,
                        run,
                        event,
                    },
                );
            }
            return;
        }
        match event {
            DiskEvent::Start => self.run_orders(number),
            DiskEvent::Synced => self.end_commit(number),
            DiskEvent::Checkpointed => self.end_checkpoint(number),
            DiskEvent::Queried(query) => {
                let Some(process) = &mut self.node_mut(number).process else {
                    return;
                };
                let mut result = process.store.query(&query);
                if let QueryResult::Failed(ReadError::Hole(range)) = &result {
                    // As the driver does: a hole is journalled before anybody hears of it.
                    let found = process.store.examine(query.replica, range.clone());
                    result = match found.unwrap_or_default().into_iter().next() {
                        Some(hole) => QueryResult::Failed(ReadError::Hole(hole)),
                        None => process.store.query(&query),
                    };
                    self.look_at_queue(number);
                }
                if let QueryResult::Failed(error) = &result {
                    let text = format!("n{number}: {} fails: {error:?}", query.kind);
                    self.trace.fault(now, text);
                }
                self.tell(
                    number,
                    Input::QueryDone {
                        id: query.id,
                        result,
                    },
                );
            }
            DiskEvent::SpaceCheck => self.check_space(number),
            DiskEvent::Failed(failure) => self.tell(number, Input::StoreFailed(failure)),
        }
    }

    /// Executes everything that is queued, and begins one group commit for it.
    fn run_orders(&mut self, number: u8) {
        let now = self.now();
        let node = self.node_mut(number);
        let instant = node.clock.instant(now);
        let Some(process) = &mut node.process else {
            return;
        };
        process.start_scheduled = false;
        let mut written = Vec::new();
        let mut failure = None;
        while let Some(order) = process.orders.pop_front() {
            match process.store.execute(instant, &order) {
                Ok(None) => {}
                Ok(Some(completion)) => written.push(completion),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let me = process.identity.voter();
        let begun = if process.store.is_commit_due(instant) {
            process.store.begin_commit()
        } else {
            Ok(None)
        };
        let run = process.run;
        match begun {
            Ok(Some(ticket)) => {
                process.committing = Some(ticket);
                let options = self.options.disk;
                let latency = self.latency(number, options.sync_mean, options.sync_min);
                self.queue.after(
                    latency,
                    Event::Disk {
                        node: number,
                        run,
                        event: DiskEvent::Synced,
                    },
                );
            }
            Ok(None) => {
                // What may wait is made durable when it has waited long enough.
                if let Some(due) = process.store.next_flush_deadline() {
                    let clock = self.node(number).clock;
                    let at = clock.sim_time(due).max(now);
                    if let Some(process) = &mut self.node_mut(number).process {
                        process.start_scheduled = true;
                    }
                    self.queue.at(
                        at,
                        Event::Disk {
                            node: number,
                            run,
                            event: DiskEvent::Start,
                        },
                    );
                }
            }
            Err(error) => failure = Some(error),
        }
        let refused = written
            .iter()
            .filter(|completion| completion.stage == Stage::Refused);
        let mut is_full = false;
        for completion in refused {
            is_full = true;
            self.checkers
                .seen
                .refused(me, completion.replica, completion.seq);
        }
        if is_full {
            self.on_disk_full(number);
        }
        self.deliver(number, run, written);
        if let Some(failure) = failure {
            self.on_failure(number, failure);
        }
    }

    /// Looks for space now and then until there is some.
    fn on_disk_full(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if std::mem::replace(&mut process.is_full, true) {
            return;
        }
        let event = Event::Disk {
            node: number,
            run: process.run,
            event: DiskEvent::SpaceCheck,
        };
        self.queue.after(SPACE_CHECK_INTERVAL, event);
    }

    fn on_failure(&mut self, number: u8, failure: StoreFailure) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        process.offline = true;
        self.tell(number, Input::StoreFailed(failure));
    }

    fn check_space(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let run = process.run;
        match process.store.has_space() {
            Ok(true) => {
                process.is_full = false;
                self.tell(number, Input::SpaceReturned);
            }
            Ok(false) => self.queue.after(
                SPACE_CHECK_INTERVAL,
                Event::Disk {
                    node: number,
                    run,
                    event: DiskEvent::SpaceCheck,
                },
            ),
            Err(failure) => self.on_failure(number, failure),
        }
    }

    fn end_commit(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let run = process.run;
        let Some(ticket) = process.committing.take() else {
            return;
        };
        let synced = ticket.sync();
        match process.store.finish_commit(&ticket, synced) {
            Ok(completions) => self.deliver(number, run, completions),
            Err(failure) => {
                self.on_failure(number, failure);
                return;
            }
        }
        let Some(process) = self
            .node_mut(number)
            .process
            .as_mut()
            .filter(|process| process.run == run)
        else {
            return;
        };
        if process.checkpointing.is_none() {
            match process.store.begin_checkpoint() {
                Ok(Some(ticket)) => {
                    process.checkpointing = Some(ticket);
                    let options = self.options.disk;
                    let latency = self.latency(number, options.sync_mean * 5, options.sync_min);
                    self.queue.after(
                        latency,
                        Event::Disk {
                            node: number,
                            run,
                            event: DiskEvent::Checkpointed,
                        },
                    );
                }
                Ok(None) => {}
                Err(failure) => {
                    self.on_failure(number, failure);
                    return;
                }
            }
        }
        self.look_at_queue(number);
    }

    fn end_checkpoint(&mut self, number: u8) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let Some(ticket) = process.checkpointing.take() else {
            return;
        };
        let ran = ticket.run();
        if let Err(failure) = process.store.finish_checkpoint(&ticket, ran) {
            self.on_failure(number, failure);
        }
    }

    /// Hands completions to the broker: those of one replica in order, replicas in a drawn order and one or
    /// several at a time.
    fn deliver(&mut self, number: u8, run: u64, completions: Vec<Completion>) {
        if completions.is_empty() {
            return;
        }
        let node = self.node_mut(number);
        node.disk_operations += 1;
        let ordinal = node.disk_operations;
        let mut draw = self
            .draws
            .at(Subsystem::DiskQueue, u64::from(number), ordinal);
        let mut groups: Vec<Vec<Completion>> = Vec::new();
        for completion in completions {
            match groups
                .iter_mut()
                .find(|group| group[0].replica == completion.replica)
            {
                Some(group) => group.push(completion),
                None => groups.push(vec![completion]),
            }
        }
        draw.shuffle(&mut groups);
        let mut batch = Vec::new();
        for group in groups {
            batch.extend(group);
            if draw.chance(500_000) {
                self.tell_run(number, run, Input::Stored(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            self.tell_run(number, run, Input::Stored(batch));
        }
    }

    /// Tells a broker something unless its process has been replaced meanwhile.
    fn tell_run(&mut self, number: u8, run: u64, input: Input) {
        if self.node(number).run() == Some(run) {
            self.tell(number, input);
        }
    }

    // --- clients ------------------------------------------------------------------------------------------

    /// Adds a client and wakes it.
    pub fn add_client(&mut self, topic: &str, work: Work) -> u8 {
        let client = self.make_client(topic, work);
        self.admit(client)
    }

    /// Adds a client that reaches only this node, and wakes it.
    pub fn add_client_of(&mut self, node: u8, topic: &str, work: Work) -> u8 {
        let client = self.make_client(topic, work).that_reaches_only(node);
        self.admit(client)
    }

    fn make_client(&self, topic: &str, work: Work) -> Client {
        let number = u8::try_from(self.clients.len() + 1).expect("a run has few clients");
        Client::new(
            number,
            self.options.nodes,
            topic,
            work,
            self.draws.clone(),
            WALL_START_MS,
        )
    }

    fn admit(&mut self, client: Client) -> u8 {
        let number = client.number;
        self.clients.push(client);
        self.client_wakes.push(None);
        self.pump_client(number);
        number
    }

    /// A client does what it can do now.
    pub fn pump_client(&mut self, number: u8) {
        let now = self.now();
        let place = usize::from(number) - 1;
        let mut actions = Vec::new();
        let wake = self.clients[place].pump(now, &mut self.history, &mut actions);
        self.do_actions(number, actions);
        if let Some(at) = wake
            && self.client_wakes[place].is_none_or(|known| at < known || known <= now)
        {
            self.client_wakes[place] = Some(at);
            self.queue.at(at, Event::Wake { client: number, at });
        }
        if let Some(violation) = self.history.take_violation() {
            self.fail(violation);
        }
    }

    /// Queues a batch for a producer and sends it if that can be done.
    pub fn produce(
        &mut self,
        client: u8,
        partition: PartitionIndex,
        records: u64,
    ) -> Vec<crate::history::Value> {
        let now = self.now();
        let wall = WALL_START_MS + i64::try_from(now.millis()).unwrap_or(0);
        let place = usize::from(client) - 1;
        let values = match &mut self.clients[place].work {
            Work::Produce(producer) => Producer::queue_batch(
                producer,
                client,
                partition.0,
                records,
                now,
                wall,
                &mut self.history,
            ),
            Work::CreateTopic { .. } | Work::Consume(_) => Vec::new(),
        };
        self.pump_client(client);
        values
    }

    fn do_actions(&mut self, client: u8, actions: Vec<ClientAction>) {
        let now = self.now();
        for action in actions {
            match action {
                ClientAction::Dial(node) => {
                    let queue = &mut self.queue;
                    let connection = self.network.dial(
                        now,
                        Place::Client(client),
                        Place::Node(node),
                        &mut |at, event| queue.at(at, Event::Network(event)),
                    );
                    self.client_links.insert((client, node), connection);
                }
                ClientAction::Send(node, call) => {
                    if let Some(&connection) = self.client_links.get(&(client, node)) {
                        self.send(connection, Way::Forth, Payload::Request(call));
                    }
                }
                ClientAction::Close(node) => {
                    if let Some(connection) = self.client_links.remove(&(client, node)) {
                        self.close(connection, Place::Client(client));
                    }
                }
                ClientAction::Told(_) => {}
            }
        }
    }

    fn client_lost(&mut self, client: u8, node: u8, connection: Connection) {
        let now = self.now();
        if self.client_links.get(&(client, node)) != Some(&connection) {
            return;
        }
        self.client_links.remove(&(client, node));
        self.client_mut(client).on_broken(now, node);
        self.pump_client(client);
    }
}

/// An id from a draw: never zero, which Kafka reserves.
fn id(draw: &mut Draw) -> u128 {
    u128::from(draw.any()) << 64 | u128::from(draw.any() | 1)
}

/// Partitions whose replica this input touches, each once.
fn touched_by_input(input: &Input, touched: &mut Vec<TopicPartition>) {
    match input {
        Input::Peer {
            message: PeerMessage::Replica(message),
            ..
        } => touch(message.partition, touched),
        Input::Stored(completions) => {
            for completion in completions {
                touch(completion.replica, touched);
            }
        }
        Input::Tick
        | Input::WallClock(_)
        | Input::Request(_)
        | Input::Disconnected(_)
        | Input::LinkUp(_)
        | Input::LinkDown(_)
        | Input::TurnedAway(_)
        | Input::Peer { .. }
        | Input::StoreFailed(_)
        | Input::SpaceReturned
        | Input::QueryDone { .. }
        | Input::Stop => {}
    }
}

fn touched_by_effects(effects: &[Effect], touched: &mut Vec<TopicPartition>) {
    for effect in effects {
        match effect {
            Effect::Store(order) => touch(order.replica, touched),
            Effect::Query(query) => touch(query.replica, touched),
            Effect::Send {
                message: PeerMessage::Replica(message),
                ..
            } => touch(message.partition, touched),
            Effect::Notice(notice) => {
                if let Some(partition) = notice.partition {
                    touch(partition, touched);
                }
            }
            Effect::Respond { response, .. } => match &**response {
                Response::Fetch(response) => {
                    for topic in &response.responses {
                        for data in &topic.partitions {
                            touch(
                                TopicPartition {
                                    topic: topic.topic_id,
                                    partition: PartitionIndex(data.partition_index),
                                },
                                touched,
                            );
                        }
                    }
                }
                Response::Produce(response) => {
                    for topic in &response.responses {
                        for data in &topic.partition_responses {
                            touch(
                                TopicPartition {
                                    topic: topic.topic_id,
                                    partition: PartitionIndex(data.index),
                                },
                                touched,
                            );
                        }
                    }
                }
                _other_answers => {}
            },
            Effect::Send { .. }
            | Effect::Close(_)
            | Effect::Peers { .. }
            | Effect::Redial(_)
            | Effect::Joined(_)
            | Effect::Ready
            | Effect::Stopped => {}
        }
    }
}

fn touch(partition: TopicPartition, touched: &mut Vec<TopicPartition>) {
    if !touched.contains(&partition) {
        touched.push(partition);
    }
}
