//! Links between brokers: one each way.
//!
//! A node dials every other and only *sends* on what it has dialled; what it *receives* comes in on connections
//! that the others dialled. A link delivers in order and whole, or it breaks: a queue that overflows, a peer that
//! stands still, a byte that does not decode all break it, and core is told, which then asks the peer anew what
//! it has. So nothing here repeats, acknowledges or reorders anything.
//!
//! A connection opens with a hello: magic, protocol version, cluster, broker, directory, incarnation. The dialled
//! node answers with its own, or refuses in words. [`judge`] says whether the two belong together; whether another
//! node runs as the same broker only core knows, which hears them all.

mod dial;
mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use varve_core::ids::BrokerId;
use varve_core::log::Entry;
use varve_core::peer::{PeerIdentity, PeerMessage, ReplicaBody};
use varve_core::record::Batch;

use crate::frame::Budget;
use crate::peer_codec::Hello;

pub use incoming::serve_peer;
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
    /// A node dials this one: may it?
    Hello {
        /// Who it says to be.
        identity: PeerIdentity,
        /// Takes the reason why not, if there is one.
        verdict: oneshot::Sender<Option<String>>,
    },
    /// A peer has turned this node away because another runs as the same broker, in these words.
    TurnedAway(String),
    /// A peer has sent something.
    Received {
        /// Who, as its hello said.
        from: PeerIdentity,
        /// Numbers the incoming connections of this node, ascending.
        session: u64,
        /// What.
        message: PeerMessage,
    },
}

/// What waits to be sent on a link that is up.
#[derive(Debug)]
pub struct LinkQueue {
    messages: mpsc::Sender<PeerMessage>,
    bytes: Arc<AtomicUsize>,
}

/// The queue was full, or the link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBroken;

impl LinkQueue {
    fn new() -> (Self, mpsc::Receiver<PeerMessage>, Arc<AtomicUsize>) {
        let (messages, receiver) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        (
            Self {
                messages,
                bytes: Arc::clone(&bytes),
            },
            receiver,
            bytes,
        )
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
    let PeerMessage::Replica(message) = message else {
        return SMALL;
    };
    match &message.body {
        ReplicaBody::Append(append) => {
            SMALL + append.entries.iter().map(Entry::weight).sum::<usize>()
        }
        ReplicaBody::FillReply { batches, .. } => {
            SMALL + batches.iter().map(Batch::size).sum::<usize>()
        }
        ReplicaBody::PreVote { .. }
        | ReplicaBody::PreVoteReply { .. }
        | ReplicaBody::Vote { .. }
        | ReplicaBody::VoteReply { .. }
        | ReplicaBody::AppendReply(_)
        | ReplicaBody::TransferLeadership
        | ReplicaBody::Resigned
        | ReplicaBody::FillRequest { .. } => SMALL,
    }
}

/// What all links of a node share.
#[derive(Clone, Debug)]
pub struct LinkContext {
    /// Who this node is; its cluster becomes known when it joins.
    pub identity: watch::Receiver<PeerIdentity>,
    /// Where events go.
    pub events: mpsc::Sender<LinkEvent>,
    /// The memory that incoming frames may take while they are read.
    pub budget: Budget,
    /// Numbers the incoming connections.
    pub sessions: Arc<AtomicU64>,
}

impl LinkContext {
    fn own(&self) -> PeerIdentity {
        *self.identity.borrow()
    }
}

/// Whether both are one start of one node. It may join its cluster between one hello and the next.
fn is_same_start(a: &PeerIdentity, b: &PeerIdentity) -> bool {
    (a.broker, a.directory, a.incarnation) == (b.broker, b.directory, b.incarnation)
}

/// Whether a node may link to this one.
///
/// # Errors
/// The reason why not, in words for the log of the node that dialled.
pub fn judge(own: &PeerIdentity, hello: &Hello) -> Result<(), String> {
    if is_same_start(&hello.identity, own) {
        return Ok(()); // it has dialled itself, and finds out by the answer
    }
    if let (Some(ours), Some(theirs)) = (own.cluster, hello.identity.cluster)
        && ours != theirs
    {
        return Err(format!(
            "broker {} belongs to cluster {ours}, broker {} to cluster {theirs}",
            own.broker, hello.identity.broker
        ));
    }
    if let Some(expected) = hello.expects.filter(|&expected| expected != own.broker) {
        return Err(format!(
            "this is broker {}, not broker {expected}",
            own.broker
        ));
    }
    Ok(())
}
