//! Links between brokers: one each way.
//!
//! A node dials every other node and only *sends* on the connections that it has dialled; it *receives* on connections
//! that the others have dialled. A link delivers everything in order, or it breaks: a queue that overflows, a stalled
//! peer, a byte that does not decode all break it. Core gets an input and then probes the peer's log again. So nothing
//! here repeats, acknowledges or reorders anything.
//!
//! A connection opens with a hello: magic, versions, cluster, broker, directory, incarnation. The dialled node answers
//! with its own, or refuses with a reason; a link uses the highest version that both support. [`check_hello`] checks
//! cluster, broker and versions; only core, which knows all live peers, can detect a duplicate broker id.

mod dial;
mod incoming;
mod outgoing;
mod log_throttle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use varve_core::ids::{BrokerId, ClusterId};
use varve_core::peer::{PeerIdentity, PeerMessage, PeerVersion, PeerVersions};
use varve_core::record::Batch;

use crate::frame::Budget;
use crate::peer_codec::Hello;

pub use dial::{Answerer, who_answers};
pub use incoming::serve_peer;
pub(crate) use log_throttle::LogThrottle;
pub use outgoing::PeerLinks;

/// The longest greeting.
const GREETING_MAX: usize = 4 << 10;

/// The most messages in the queue of a link: more break it.
const QUEUE_MESSAGES_MAX: usize = 16 << 10;
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// How long connecting may take, and how long the answer to a hello.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// The number of an outgoing link of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(u64);

/// The events of links.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large variant is the frequent one"
)]
pub enum LinkEvent {
    /// An outgoing link is up: messages go into its queue.
    Up {
        /// Which.
        link: LinkId,
        /// The identity of the peer.
        identity: PeerIdentity,
        /// Its queue; dropping it breaks the link.
        queue: LinkQueue,
    },
    /// An outgoing link is down; it is being dialled again.
    Down {
        /// Which.
        link: LinkId,
        /// The broker at its other end.
        broker: BrokerId,
    },
    /// The machine of a broker that was dialled at its own address has refused the connection.
    Refused(BrokerId),
    /// A node has dialled this one with this hello.
    Hello {
        /// The identity in its hello.
        identity: PeerIdentity,
        /// Receives the broker's answer.
        verdict: oneshot::Sender<Verdict>,
    },
    /// A peer has rejected this node for this reason: another node runs as the same broker.
    Rejected(String),
    /// A peer has sent a message.
    Received {
        /// The peer, as in its hello.
        from: PeerIdentity,
        /// Numbers the incoming connections of this node, ascending.
        session: u64,
        /// What.
        message: PeerMessage,
    },
    /// The connection of a session is closed: nothing more comes on it.
    SessionClosed {
        /// Whose, as its hello said.
        from: PeerIdentity,
        /// Which.
        session: u64,
    },
}

/// The broker's answer to a hello: a session, or the reason for the rejection.
pub type Verdict = Result<Session, String>;

/// An incoming connection that is accepted.
#[derive(Debug)]
pub struct Session {
    /// Numbers the incoming connections of this node, ascending.
    number: u64,
    /// Resolves when the connection must be closed.
    end: oneshot::Receiver<()>,
}

/// The sessions of a node, as its driver knows them.
#[derive(Debug, Default)]
pub struct Sessions {
    latest: u64,
    /// Connections whose hello is not answered yet.
    hellos: BTreeMap<u64, oneshot::Sender<Verdict>>,
    ends: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Sessions {
    /// Adds a hello. Returns the number of its session, which begins when the broker accepts it.
    pub fn hello(&mut self, verdict: oneshot::Sender<Verdict>) -> u64 {
        self.latest += 1;
        self.hellos.insert(self.latest, verdict);
        self.latest
    }

    /// The broker accepts the hello of this number. The connection may have closed meanwhile.
    pub fn accept(&mut self, number: u64) {
        self.ends.retain(|_, end| !end.is_closed());
        if let Some(verdict) = self.hellos.remove(&number) {
            let (sender, end) = oneshot::channel();
            self.ends.insert(number, sender);
            let _ = verdict.send(Ok(Session { number, end }));
        }
    }

    /// The broker rejects the hello of this number.
    pub fn reject(&mut self, number: u64, reason: String) {
        if let Some(verdict) = self.hellos.remove(&number) {
            let _ = verdict.send(Err(reason));
        }
    }

    /// Closes the connection of a session, unless it has ended.
    pub fn close(&mut self, number: u64) {
        self.ends.remove(&number);
    }
}

/// The send queue of a link that is up.
#[derive(Debug)]
pub struct LinkQueue {
    messages: mpsc::Sender<PeerMessage>,
    bytes: Arc<AtomicUsize>,
    /// Whether the driver uses the link.
    used: Arc<AtomicBool>,
}

/// The connection's end of a [`LinkQueue`].
#[derive(Debug)]
struct QueueEnd {
    messages: mpsc::Receiver<PeerMessage>,
    bytes: Arc<AtomicUsize>,
    used: Arc<AtomicBool>,
}

/// The queue was full, or the link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBroken;

impl LinkQueue {
    fn new() -> (Self, QueueEnd) {
        let (messages, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let (bytes, used) = (Arc::default(), Arc::default());
        let end = QueueEnd {
            messages: receiver,
            bytes: Arc::clone(&bytes),
            used: Arc::clone(&used),
        };
        let queue = Self {
            messages,
            bytes,
            used,
        };
        (queue, end)
    }

    /// Queues a message behind all earlier ones.
    ///
    /// # Errors
    /// [`LinkBroken`]: the caller must then drop the queue, which takes the link down.
    pub fn send(&self, message: PeerMessage) -> Result<(), LinkBroken> {
        let weight = weight(&message);
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > QUEUE_BYTES_MAX {
            return Err(LinkBroken);
        }
        self.messages.try_send(message).map_err(|_| LinkBroken)
    }
}

/// The approximate size of a queued message in bytes.
fn weight(message: &PeerMessage) -> usize {
    const SMALL: usize = 256;
    match message {
        PeerMessage::Replica(message) => {
            SMALL + message.body.batches().map(Batch::size).sum::<usize>()
        }
        PeerMessage::Heartbeat(_)
        | PeerMessage::Leaders(_)
        | PeerMessage::Peers(_)
        | PeerMessage::Release(_)
        | PeerMessage::Released { .. }
        | PeerMessage::ControllerRequest { .. }
        | PeerMessage::ControllerResponse { .. }
        | PeerMessage::ReadIndex { .. }
        | PeerMessage::ReadIndexReply(_) => SMALL,
    }
}

/// The context that all links of a node share.
#[derive(Clone, Debug)]
pub struct LinkContext {
    /// The identity of this node; its cluster is set when it joins one.
    pub identity: watch::Receiver<PeerIdentity>,
    /// The versions of the peer protocol that it speaks.
    pub versions: PeerVersions,
    /// The driver's queue of events.
    pub events: mpsc::Sender<LinkEvent>,
    /// The memory for incoming frames that are being read.
    pub budget: Budget,
    /// The nodes that have been reached.
    pub met: ReachedPeers,
    /// The throttle for messages about refused peers.
    refusals: Arc<Mutex<LogThrottle>>,
}

/// The nodes that this one has reached: part of the message about why it is not ready.
#[derive(Clone, Debug, Default)]
pub struct ReachedPeers(Arc<Mutex<BTreeMap<BrokerId, Option<ClusterId>>>>);

impl ReachedPeers {
    /// The nodes, each with its cluster at that time.
    #[must_use]
    pub fn all(&self) -> BTreeMap<BrokerId, Option<ClusterId>> {
        lock(&self.0).clone()
    }

    fn note(&self, peer: &PeerIdentity) {
        lock(&self.0).insert(peer.broker, peer.cluster);
    }
}

/// Every change under these locks is a single step, so a task that panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LinkContext {
    /// The context of a node's links.
    #[must_use]
    pub fn new(
        identity: watch::Receiver<PeerIdentity>,
        versions: PeerVersions,
        events: mpsc::Sender<LinkEvent>,
        budget: Budget,
    ) -> Self {
        Self {
            identity,
            versions,
            events,
            budget,
            met: ReachedPeers::default(),
            refusals: Arc::default(),
        }
    }

    fn own(&self) -> PeerIdentity {
        *self.identity.borrow()
    }
}

/// Whether both are the same incarnation of the same node. Its cluster may differ: it may join one between two hellos.
fn is_same_start(a: &PeerIdentity, b: &PeerIdentity) -> bool {
    (a.broker, a.directory, a.incarnation) == (b.broker, b.directory, b.incarnation)
}

/// Why two nodes do not link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// They belong to different clusters.
    Cluster {
        /// This node, and its cluster.
        own: (BrokerId, ClusterId),
        /// The other one, and its cluster.
        other: (BrokerId, ClusterId),
    },
    /// They have no version of the peer protocol in common.
    Versions {
        /// The versions of this node.
        own: PeerVersions,
        /// The other node, and its versions.
        other: (BrokerId, PeerVersions),
    },
    /// The peer expects another node.
    Broker {
        /// This node.
        own: BrokerId,
        /// The expected node.
        expected: BrokerId,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster {
                own: (own, ours),
                other: (other, theirs),
            } => write!(
                f,
                "broker {own} belongs to cluster {ours}, broker {other} to cluster {theirs}: is an address wrong? If \
                 they are to be one cluster, only one node is formatted, and the others start on empty directories"
            ),
            Self::Versions {
                own,
                other: (other, theirs),
            } => write!(
                f,
                "broker {other} speaks versions {theirs} of the peer protocol, and this node {own}: a cluster is upgraded \
                 one minor version of varve at a time"
            ),
            Self::Broker { own, expected } => {
                write!(f, "this is broker {own}, not broker {expected}")
            }
        }
    }
}

impl std::error::Error for Mismatch {}

/// Checks whether a node may link to this one, which supports `versions`; returns the version of the link.
///
/// # Errors
/// The reason why not.
pub fn check_hello(
    own: &PeerIdentity,
    versions: PeerVersions,
    hello: &Hello,
) -> Result<PeerVersion, Mismatch> {
    if is_same_start(&hello.identity, own) {
        return Ok(versions.newest); // it has dialled itself, and finds out by the answer
    }
    if let (Some(ours), Some(theirs)) = (own.cluster, hello.identity.cluster)
        && ours != theirs
    {
        return Err(Mismatch::Cluster {
            own: (own.broker, ours),
            other: (hello.identity.broker, theirs),
        });
    }
    if let Some(expected) = hello.expects.filter(|&expected| expected != own.broker) {
        return Err(Mismatch::Broker {
            own: own.broker,
            expected,
        });
    }
    let common = versions.common(hello.versions);
    common.ok_or(Mismatch::Versions {
        own: versions,
        other: (hello.identity.broker, hello.versions),
    })
}
