//! A cluster in one thread: nodes, network, disks and clients, driven by one queue of events.
//!
//! An *event* is at most one [`Broker::step`]. After it the checkers look at what it ordered, and then the orders
//! are carried out one by one: a crash can come between any two of them. Everything that the real driver does
//! between broker and world is done here, in its simplest form; nothing here decides for a broker.

mod options;
mod process;
mod step;
mod disk_driver;
mod connections;
mod links;
mod operator;
mod clients;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher as _;

use varve_core::broker::Broker;
use varve_core::cluster::BrokerConfig;
use varve_core::effect::Effects;
use varve_core::hooks::{Hooks, Probe};
use varve_core::ids::{BrokerId, ClusterId, TopicPartition, Voter};
use varve_core::input::Input;
use varve_core::peer::PeerMessage;
use varve_core::replica::ReplicaView;
use varve_core::wire::Response;

use crate::checkers::{Checkers, Violation};
use crate::client::{Call, Client};
use crate::clock::{EventQueue, SimTime};
use crate::draw::{Draw, Draws, Subsystem};
use crate::hash::StableHasher;
use crate::history::History;
use crate::network::{Connection, Happening, Network, NetworkEvent};
use crate::node::{DiskEvent, Node};
use crate::recording::Recording;
use crate::trace::Trace;

pub use options::{ClusterOptions, DiskOptions};

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
    Disk {
        node: u8,
        run: u64,
        event: DiskEvent,
    },
    /// No client has a connection to a node that is about to stop.
    ClientsClosed {
        node: u8,
        run: u64,
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
    /// What was recorded, by node and start.
    recordings: BTreeMap<(u8, u64), Recording>,
    /// Requests of the operator so far.
    operator_requests: u64,
    /// The effects of a step are being carried out.
    carries_out: bool,
    /// Inputs that those effects have caused, with the node and the start of it that they are for.
    told_meanwhile: VecDeque<(u8, u64, Input)>,
    violation: Option<Violation>,
    chain: StableHasher,
    steps: u64,
    happenings: Vec<Happening<Payload>>,
    /// Partitions that the present step touches.
    touched: Vec<TopicPartition>,
    views: Vec<(TopicPartition, ReplicaView)>,
    /// Events since time last moved.
    events_at_once: u32,
}

/// When all wall clocks stood when a run begins: 2026-01-01 in milliseconds.
pub const WALL_START_MS: i64 = 1_767_225_600_000;

/// More steps than the longest run makes where nobody asks the same thing again and again, but for those that its
/// records take: a run without pauses can produce more than ten thousand.
const STEPS_MAX: u64 = 150_000;
/// Steps that a record takes at most on the mean of a run: to five replicas, and to whoever waits for it.
const STEPS_PER_RECORD_MAX: u64 = 25;
/// More events at one time than any step can cause.
const EVENTS_AT_ONCE_MAX: u32 = 100_000;

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
            recordings: BTreeMap::new(),
            operator_requests: 0,
            carries_out: false,
            told_meanwhile: VecDeque::new(),
            violation: None,
            chain: StableHasher::default(),
            steps: 0,
            happenings: Vec::new(),
            touched: Vec::new(),
            views: Vec::new(),
            events_at_once: 0,
            options,
            draws,
        };
        for number in 1..=this.options.nodes {
            let node = this.make_node(number);
            this.nodes.push(node);
        }
        this.checkers.seen.clock_tick_min =
            BrokerConfig::new(BrokerId(1), this.options.kafka.clone())
                .expect("the owner of the run gives keys that exist")
                .clock_tick_min();
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

    /// What is planted in every step.
    #[must_use]
    pub const fn hooks(&self) -> &Hooks {
        self.effects.hooks()
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

    /// A client.
    #[must_use]
    pub fn client(&self, number: u8) -> &Client {
        &self.clients[usize::from(number) - 1]
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

    /// What was recorded of each start of each node, where that was wanted.
    pub fn recordings(&self) -> impl Iterator<Item = (u8, &Recording)> {
        let recordings = self.recordings.iter();
        recordings.map(|(&(node, _), recording)| (node, recording))
    }

    /// Schedules an event for the owner of the run.
    pub fn schedule(&mut self, at: SimTime, name: u64) {
        self.queue.at(at, Event::Owner(name));
    }

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
                self.network.on_event(
                    now,
                    event,
                    &mut network_events(&mut self.queue),
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
            Event::Disk { node, run, event } => {
                if self.node(node).run() == Some(run) {
                    self.on_disk(node, event);
                }
            }
            Event::ClientsClosed { node, run } => self.tell_run(node, run, Input::ClientsClosed),
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
        let records = self.history.produced().len() as u64;
        let steps_max = STEPS_MAX + STEPS_PER_RECORD_MAX * records;
        if self.steps > steps_max {
            let what =
                format!("{steps_max} steps are more than a run of {records} records can need");
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
}

/// Where the network schedules its own events.
fn network_events(queue: &mut EventQueue<Event>) -> impl FnMut(SimTime, NetworkEvent) {
    move |at, event| queue.at(at, Event::Network(event))
}

/// An id from a draw: never zero, which Kafka reserves.
fn id(draw: &mut Draw) -> u128 {
    u128::from(draw.any()) << 64 | u128::from(draw.any() | 1)
}
