//! Links between brokers: one each way.
//!
//! A node dials every other and only *sends* on what it has dialled; what it *receives* comes in on connections
//! that the others dialled. A link delivers in order and whole, or it breaks: a queue that overflows, a peer that
//! stands still, a byte that does not decode all break it, and core is told, which then asks the peer anew what
//! it has. So nothing here repeats, acknowledges or reorders anything.
//!
//! A connection opens with a hello: magic, versions, cluster, broker, directory, incarnation. The dialled node answers
//! with its own, or refuses in words; a link speaks the highest version that both know. [`check_hello`] says whether the two belong together; whether another
//! node runs as the same broker only core knows, which hears them all.

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

/// How many messages may wait on a link, and how many bytes: more breaks it.
const QUEUE_MESSAGES_MAX: usize = 16 << 10;
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// How long a connection may take to come up, and a greeting to be answered.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Numbers the outgoing links of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(u64);

/// What happens on links.
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
        /// Who is at the other end.
        identity: PeerIdentity,
        /// Its queue; dropping it breaks the link.
        queue: LinkQueue,
    },
    /// An outgoing link is down; it is being dialled again.
    Down {
        /// Which.
        link: LinkId,
        /// Who was at the other end.
        broker: BrokerId,
    },
    /// A broker that was dialled at its own address is not there: its machine refuses to connect.
    Refused(BrokerId),
    /// A node has dialled this one, and says this hello.
    Hello {
        /// Who it says to be.
        identity: PeerIdentity,
        /// Takes the broker's answer.
        verdict: oneshot::Sender<Verdict>,
    },
    /// A peer has rejected this node for this reason: another node runs as the same broker.
    Rejected(String),
    /// A peer has sent something.
    Received {
        /// Who, as its hello said.
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

/// What the broker answers to a hello: a session, or the reason why not.
pub type Verdict = Result<Session, String>;

/// An incoming connection that is accepted.
#[derive(Debug)]
pub struct Session {
    /// Numbers the incoming connections of this node, ascending.
    number: u64,
    /// Told, or dropped, when the connection is to be closed.
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
    /// A hello has come. Returns the number of the session that begins where it is accepted.
    pub fn hello(&mut self, verdict: oneshot::Sender<Verdict>) -> u64 {
        self.latest += 1;
        self.hellos.insert(self.latest, verdict);
        self.latest
    }

    /// The broker accepts the hello of this number. Where nobody waits for that any more, the connection is gone.
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

    /// Closes the connection of one, unless it has ended.
    pub fn close(&mut self, number: u64) {
        self.ends.remove(&number);
    }
}

/// What waits to be sent on a link that is up.
#[derive(Debug)]
pub struct LinkQueue {
    messages: mpsc::Sender<PeerMessage>,
    bytes: Arc<AtomicUsize>,
    /// Whether the driver has taken the link into use.
    used: Arc<AtomicBool>,
}

/// Where a [`LinkQueue`] ends: in the connection.
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
    /// [`LinkBroken`]: the queue is then to be dropped, which takes the link down.
    pub fn send(&self, message: PeerMessage) -> Result<(), LinkBroken> {
        let weight = weight(&message);
        if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > QUEUE_BYTES_MAX {
            return Err(LinkBroken);
        }
        self.messages.try_send(message).map_err(|_| LinkBroken)
    }
}

/// Bytes that a message holds while it waits, roughly.
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

/// What all links of a node share.
#[derive(Clone, Debug)]
pub struct LinkContext {
    /// Who this node is; its cluster becomes known when it joins.
    pub identity: watch::Receiver<PeerIdentity>,
    /// The versions of the peer protocol that it speaks.
    pub versions: PeerVersions,
    /// Where events go.
    pub events: mpsc::Sender<LinkEvent>,
    /// The memory that incoming frames may take while they are read.
    pub budget: Budget,
    /// Who has been reached.
    pub met: ReachedPeers,
    /// What peers that dial were refused for.
    refusals: Arc<Mutex<LogThrottle>>,
}

/// The nodes that this one has reached, for whoever wonders why it is not ready.
#[derive(Clone, Debug, Default)]
pub struct ReachedPeers(Arc<Mutex<BTreeMap<BrokerId, Option<ClusterId>>>>);

impl ReachedPeers {
    /// Each with its cluster, where it belonged to one when it was reached.
    #[must_use]
    pub fn all(&self) -> BTreeMap<BrokerId, Option<ClusterId>> {
        lock(&self.0).clone()
    }

    fn note(&self, peer: &PeerIdentity) {
        lock(&self.0).insert(peer.broker, peer.cluster);
    }
}

/// What is locked here is whole at every moment, so a task that panicked meanwhile has spoilt nothing.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LinkContext {
    /// What the links of a node share.
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

/// Whether both are one start of one node. It may join its cluster between one hello and the next.
fn is_same_start(a: &PeerIdentity, b: &PeerIdentity) -> bool {
    (a.broker, a.directory, a.incarnation) == (b.broker, b.directory, b.incarnation)
}

/// Why two nodes do not link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// They belong to two clusters.
    Cluster {
        /// This node, and its cluster.
        own: (BrokerId, ClusterId),
        /// The other one, and its cluster.
        other: (BrokerId, ClusterId),
    },
    /// They have no version of the peer protocol in common.
    Versions {
        /// What this node speaks.
        own: PeerVersions,
        /// The other one, and what it speaks.
        other: (BrokerId, PeerVersions),
    },
    /// Another node was meant.
    Broker {
        /// This node.
        own: BrokerId,
        /// The one that was meant.
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

/// Whether a node may link to this one, which speaks these versions; returns the version that the link speaks.
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
