//! One simulated node: its disk and clocks, which outlive its process, and the process with its broker, its log
//! store and its connections.
//!
//! A [`Node`] decides nothing. It keeps what the cluster's event loop needs to carry a broker's orders out the
//! way the real driver does: orders of the store run in the order given, everything queued is committed as one
//! group when the disk is idle, responses leave a connection in the order of its requests.

use std::collections::{BTreeMap, VecDeque};

use varve_core::broker::Broker;
use varve_core::ids::{BrokerId, DirectoryId};
use varve_core::input::{ConnectionId, Input};
use varve_core::peer::{PeerIdentity, PeerVersion, PeerVersions};
use varve_core::store::{
    BootId, CheckpointTicket, CommitTicket, LogStore, Order, Query, ScrubTicket, Scrubbed,
    StoreFailure,
};
use varve_core::wire::Response;

use crate::clock::{NodeClock, SimTime};
use crate::disk::SimDisk;
use crate::network::Connection;

/// A node: what is left of it while its process does not run, and the process.
#[derive(Debug)]
pub struct Node {
    /// Its number, from 1; its broker id is the same.
    pub number: u8,
    /// Its clocks.
    pub clock: NodeClock,
    /// Its log directory.
    pub disk: SimDisk,
    /// The directory's id.
    pub directory: DirectoryId,
    /// Directories that were formatted before, for the draw of the next id.
    pub formats: u64,
    /// The versions of the peer protocol that its build speaks, from its next start on.
    pub peer_versions: PeerVersions,
    /// The run of its operating system: changes with a power cut.
    pub boot: u64,
    /// Starts of its process.
    pub starts: u64,
    /// Power has been cut since the process last ran, or pages that a failed sync marked clean have left the cache.
    pub power_was_cut: bool,
    /// The process, while it runs.
    pub process: Option<Process>,
    /// The process is stopped in its tracks; what reaches it waits.
    pub paused: Option<Vec<Deferred>>,
    /// Crash when this many more effects have been carried out.
    pub crash_after_effects: Option<u32>,
    /// It was to be started and was too short of descriptors or memory for it: it is once it is not.
    pub waits_for_resources: bool,
    /// Everything on the disk waits until then.
    pub disk_stalled_until: SimTime,
    /// Syncs that are running or done, for the draws of their latencies.
    pub disk_operations: u64,
}

/// Something that happened to a paused process.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few processes are paused, and not for long"
)]
pub enum Deferred {
    /// It is told this.
    Input(Input),
    /// Its disk threads go on.
    Disk(DiskEvent),
}

/// What happens on a node's disk threads.
#[derive(Clone, Debug)]
pub enum DiskEvent {
    /// The queue is looked at.
    Start,
    /// The sync of a group commit is over.
    Synced,
    /// A checkpoint has been written.
    Checkpointed,
    /// A query has been looked up.
    Queried(Query),
    /// A step of the scrub may be due.
    Scrub,
    /// A step of the scrub has read this.
    Scrubbed(Scrubbed),
    /// Whether there is space again.
    SpaceCheck,
    /// The store has refused something outside its queue.
    Failed(StoreFailure),
}

impl DiskEvent {
    /// What happens, in words.
    pub(crate) const fn describe(&self) -> &'static str {
        match self {
            Self::Start => "to execute what is queued",
            Self::Synced => "that a group commit is synced",
            Self::Checkpointed => "that a checkpoint is written",
            Self::Queried(_) => "to look a query up",
            Self::Scrub => "to scrub",
            Self::Scrubbed(_) => "what the scrub has read",
            Self::SpaceCheck => "to look for space",
            Self::Failed(_) => "that its disk has failed",
        }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// Which start of the node it is: events of earlier ones are void.
    pub run: u64,
    /// The state machine.
    pub broker: Broker,
    /// The log store.
    pub store: LogStore<SimDisk>,
    /// What its hello says.
    pub identity: PeerIdentity,
    /// The versions of the peer protocol that it speaks.
    pub peer_versions: PeerVersions,
    /// When the next deadline event is scheduled.
    pub tick_at: Option<SimTime>,
    /// Orders that have not been executed.
    pub orders: VecDeque<Order>,
    /// The group commit that is being synced.
    pub committing: Option<CommitTicket<SimDisk>>,
    /// The checkpoint that is being written.
    pub checkpointing: Option<CheckpointTicket<SimDisk>>,
    /// The step of the scrub that is reading.
    pub scrubbing: Option<ScrubTicket<SimDisk>>,
    /// A look at the queue is scheduled.
    pub start_scheduled: bool,
    /// An append was refused, and space is looked for.
    pub has_refused: bool,
    /// Outgoing links, by peer.
    pub links: BTreeMap<BrokerId, Link>,
    /// Incoming links: who is at the other end, and which connection of that peer it is.
    pub incoming: BTreeMap<Connection, (PeerIdentity, u64)>,
    /// Incoming connections whose hello the broker has not answered, by peer and session.
    pub hellos: BTreeMap<(BrokerId, u64), (Connection, PeerIdentity, PeerVersion)>,
    /// Incoming connections of each peer so far.
    pub sessions: BTreeMap<BrokerId, u64>,
    /// Connections of clients.
    pub clients: BTreeMap<ConnectionId, ClientConnection>,
    /// The same, the other way round.
    pub client_ids: BTreeMap<Connection, ConnectionId>,
    /// The last id given.
    pub last_connection: u64,
    /// It has said that it is ready for clients.
    pub ready: bool,
    /// Its directory is offline until the next start.
    pub offline: bool,
    /// It has said that it has stopped in good order.
    pub stopped: bool,
    /// Its clients are being let go.
    pub closing_clients: bool,
}

/// An outgoing link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The connection, or the dial that is to become it.
    pub connection: Option<Connection>,
    /// The version that it speaks, while it is up.
    pub up: Option<PeerVersion>,
}

/// A client's connection.
#[derive(Debug)]
pub struct ClientConnection {
    /// Which.
    pub connection: Connection,
    /// Requests that have not been answered, in order, each with its answer where that must wait for others.
    pub answers: VecDeque<(u64, Option<Box<Response>>)>,
    /// Requests so far.
    pub requests: u64,
    /// Of requests that have not been answered: how the client calls them.
    pub numbers: BTreeMap<u64, u64>,
}

impl Node {
    /// Its broker id.
    #[must_use]
    pub const fn broker(&self) -> BrokerId {
        BrokerId(self.number as i32)
    }

    /// The run of its operating system, as the store is told.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        BootId(u128::from(self.number) << 64 | u128::from(self.boot))
    }

    /// Its process runs and is not paused.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some() && self.paused.is_none()
    }

    /// Counts the effects of a step towards a crash that has been ordered. Where it comes among these, or right
    /// behind them: how many are carried out before it.
    pub fn crashes_within(&mut self, effects: usize) -> Option<usize> {
        let left = self.crash_after_effects.as_mut()?;
        let before = usize::try_from(*left).unwrap_or(usize::MAX);
        if before <= effects {
            self.crash_after_effects = None;
            return Some(before);
        }
        *left = u32::try_from(before - effects).unwrap_or(u32::MAX);
        None
    }

    /// The run of its process, where there is one.
    #[must_use]
    pub fn run(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.run)
    }
}

impl Process {
    /// A process that has just been started, with this broker on this store.
    #[must_use]
    pub fn new(
        run: u64,
        broker: Broker,
        store: LogStore<SimDisk>,
        identity: PeerIdentity,
        peer_versions: PeerVersions,
    ) -> Self {
        Self {
            run,
            broker,
            store,
            identity,
            peer_versions,
            tick_at: None,
            orders: VecDeque::new(),
            committing: None,
            checkpointing: None,
            scrubbing: None,
            start_scheduled: false,
            has_refused: false,
            links: BTreeMap::new(),
            incoming: BTreeMap::new(),
            hellos: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            client_ids: BTreeMap::new(),
            last_connection: 0,
            ready: false,
            offline: false,
            stopped: false,
            closing_clients: false,
        }
    }
}

impl ClientConnection {
    /// Takes an answer, and returns all that may leave now, in order.
    pub fn answer(&mut self, number: u64, response: Box<Response>) -> Vec<(u64, Box<Response>)> {
        if let Some(waiting) = self.answers.iter_mut().find(|(known, _)| *known == number) {
            waiting.1 = Some(response);
        }
        let mut leaving = Vec::new();
        while let Some((_, Some(_))) = self.answers.front() {
            if let Some((number, Some(response))) = self.answers.pop_front() {
                leaving.push((number, response));
            }
        }
        leaving
    }
}

/// Nodes as a set: `{n1 n2}`.
#[must_use]
pub fn show_nodes(nodes: &[u8]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
    format!("{{{}}}", names.join(" "))
}
