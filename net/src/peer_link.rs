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

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use varve_core::ids::BrokerId;
use varve_core::log::Entry;
use varve_core::peer::{PeerAddresses, PeerIdentity, PeerMessage, ReplicaBody};
use varve_core::record::Batch;

use crate::frame::{Budget, FrameReader, write_segments};
use crate::peer_codec::{
    Hello, HelloReply, PeerDecodeError, decode_hello, decode_hello_reply, decode_message,
    encode_hello, encode_hello_reply, encode_message,
};
use crate::rt;

/// The longest frame that a peer may send.
const FRAME_MAX: usize = 256 << 20;

/// The longest greeting.
const GREETING_MAX: usize = 4 << 10;

/// How many messages may wait on a link, and how many bytes: more breaks it.
const QUEUE_MESSAGES_MAX: usize = 16 << 10;
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// How many messages go out in one write.
const BATCH_MAX: usize = 128;

/// How long a connection may take to come up, and a greeting to be answered.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long a peer may accept no byte before the link is given up.
const STALL_MAX: Duration = Duration::from_secs(5);

/// How long an incoming link may be silent: heartbeats come several times a second.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long a peer may be away before that is worth telling.
const GRACE: Duration = Duration::from_secs(5);

/// The wait before dialling again, doubled from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

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

/// The outgoing links of a node, as its driver keeps them.
#[derive(Debug)]
pub struct PeerLinks {
    context: LinkContext,
    /// Where links run: not on the driver's thread.
    runtime: tokio::runtime::Handle,
    bootstrap: Vec<String>,
    seed: ChaCha8Rng,
    next: u64,
    /// Links to addresses whose broker is not known yet.
    to_bootstrap: Vec<Link>,
    /// Links to brokers that core knows.
    to_brokers: BTreeMap<BrokerId, Link>,
    /// What core said last, without this node.
    addresses: PeerAddresses,
    /// Queues of the links that are up.
    up: BTreeMap<BrokerId, (LinkId, LinkQueue)>,
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    /// What core said; empty for a bootstrap link.
    address: String,
    /// It was dialled before core named its broker, and looks for no other address.
    adopted: bool,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerLinks {
    /// Dials the bootstrap addresses until core names the brokers. Links run as tasks of the runtime that this is called
    /// in.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn start(context: LinkContext, bootstrap: Vec<String>, seed: u64) -> Self {
        let mut links = Self {
            context,
            runtime: tokio::runtime::Handle::current(),
            bootstrap,
            seed: ChaCha8Rng::seed_from_u64(seed),
            next: 0,
            to_bootstrap: Vec::new(),
            to_brokers: BTreeMap::new(),
            addresses: PeerAddresses::new(),
            up: BTreeMap::new(),
        };
        for address in links.bootstrap.clone() {
            let link = links.dial(None, vec![address]);
            links.to_bootstrap.push(link);
        }
        links
    }

    /// Keeps links to these brokers and, unless these are `all`, to the bootstrap addresses. Returns the brokers whose
    /// link went down by it.
    #[must_use]
    pub fn keep(&mut self, addresses: &PeerAddresses, all: bool) -> Vec<BrokerId> {
        let own = self.context.own().broker;
        self.to_brokers.retain(|broker, link| {
            addresses
                .get(broker)
                .is_some_and(|address| *address == link.address)
        });
        self.addresses = addresses.clone();
        self.addresses.remove(&own);
        self.adopt_bootstrap_links();
        if all && !self.addresses.is_empty() {
            // The others have done their work.
            self.to_bootstrap.clear();
        }
        for broker in self.addresses.keys().copied().collect::<Vec<_>>() {
            if !self.to_brokers.contains_key(&broker) {
                self.dial_broker(broker);
            }
        }
        let alive: Vec<LinkId> = self
            .to_brokers
            .values()
            .chain(&self.to_bootstrap)
            .map(|link| link.id)
            .collect();
        let cut = self.up.extract_if(.., |_, (id, _)| !alive.contains(id));
        cut.map(|(broker, _)| broker).collect()
    }

    /// Those that are up and lead to a broker that core has named become its link.
    fn adopt_bootstrap_links(&mut self) {
        for mut link in std::mem::take(&mut self.to_bootstrap) {
            let reached = self
                .up
                .iter()
                .find(|(_, (id, _))| *id == link.id)
                .map(|(&id, _)| id);
            if let Some(broker) = reached
                && let Some(address) = self.addresses.get(&broker)
            {
                link.address.clone_from(address);
                link.adopted = true;
                self.to_brokers.entry(broker).or_insert(link);
            } else {
                self.to_bootstrap.push(link);
            }
        }
    }

    /// A broker is looked for at its own address first and then at those bootstrap addresses that are nobody else's,
    /// since what the cluster remembers of it may be older than its present address.
    fn dial_broker(&mut self, broker: BrokerId) {
        let address = &self.addresses[&broker];
        let mut candidates = vec![address.clone()];
        let known: Vec<&String> = self.addresses.values().collect();
        candidates.extend(
            self.bootstrap
                .iter()
                .filter(|other| !known.contains(other))
                .cloned(),
        );
        let mut link = self.dial(Some(broker), candidates);
        link.address.clone_from(&self.addresses[&broker]);
        self.to_brokers.insert(broker, link);
    }

    /// Takes a link into use. Returns whether it is: a second link to a broker that has one is not.
    #[must_use]
    pub fn link_up(&mut self, link: LinkId, identity: &PeerIdentity, queue: LinkQueue) -> bool {
        let known = self
            .to_brokers
            .values()
            .chain(&self.to_bootstrap)
            .any(|own| own.id == link);
        if !known || self.up.contains_key(&identity.broker) {
            return false;
        }
        self.up.insert(identity.broker, (link, queue));
        true
    }

    /// Takes a link out of use. Returns whether it was in use.
    #[must_use]
    pub fn link_down(&mut self, link: LinkId, broker: BrokerId) -> bool {
        if self
            .to_brokers
            .get(&broker)
            .is_some_and(|own| own.id == link && own.adopted)
        {
            self.dial_broker(broker);
        }
        self.up
            .extract_if(..=broker, |&up, (id, _)| up == broker && *id == link)
            .next()
            .is_some()
    }

    /// Breaks a link that leads to a start of the peer that is over, and dials anew. No [`LinkEvent::Down`] that counts
    /// follows.
    pub fn redial(&mut self, broker: BrokerId) {
        self.up.remove(&broker);
        if self.to_brokers.remove(&broker).is_some() && self.addresses.contains_key(&broker) {
            self.dial_broker(broker);
        }
    }

    /// Sends on a link that is up; otherwise the message is lost. A link that cannot take it breaks.
    ///
    /// # Errors
    /// [`LinkBroken`] when it broke by this; no [`LinkEvent::Down`] that counts follows.
    pub fn send(&mut self, to: BrokerId, message: PeerMessage) -> Result<(), LinkBroken> {
        let Some((_, queue)) = self.up.get(&to) else {
            return Ok(());
        };
        queue.send(message).inspect_err(|LinkBroken| {
            tracing::warn!(
                broker = to.0,
                "the link to a peer broke: it takes no more messages"
            );
            self.up.remove(&to);
        })
    }

    fn dial(&mut self, expects: Option<BrokerId>, candidates: Vec<String>) -> Link {
        self.next += 1;
        let id = LinkId(self.next);
        let jitter = ChaCha8Rng::seed_from_u64(self.seed.next_u64());
        let task = self.runtime.spawn(maintain_link(
            id,
            expects,
            candidates,
            self.context.clone(),
            jitter,
        ));
        Link {
            id,
            address: String::new(),
            adopted: false,
            task,
        }
    }
}

/// Dials, sends until the link breaks, and dials again, for ever.
async fn maintain_link(
    link: LinkId,
    expects: Option<BrokerId>,
    mut candidates: Vec<String>,
    context: LinkContext,
    mut jitter: ChaCha8Rng,
) {
    let mut backoff = BACKOFF_MIN;
    let mut told = String::new();
    let mut failing_since = tokio::time::Instant::now();
    loop {
        let mut own = None;
        for address in &candidates {
            match dial(address, expects, &context).await {
                Ok(Dialled::Self_) => own = Some(address.clone()),
                Ok(Dialled::Peer(stream, identity)) => {
                    tracing::info!(broker = identity.broker.0, %address, "linked to a peer");
                    backoff = BACKOFF_MIN;
                    told.clear();
                    let ended = carry(link, *stream, identity, &context).await;
                    tracing::info!(broker = identity.broker.0, %address, reason = %ended, "the link to a peer is down");
                    let down = LinkEvent::Down {
                        link,
                        broker: identity.broker,
                    };
                    if context.events.send(down).await.is_err() {
                        return;
                    }
                    failing_since = tokio::time::Instant::now();
                }
                Err(DialError::Duplicate(words)) => {
                    if context
                        .events
                        .send(LinkEvent::TurnedAway(words))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) => {
                    // Said once, and not while nodes start: a peer that is down is dialled again every second.
                    let words = format!("{address}: {error}");
                    if words == told || failing_since.elapsed() < GRACE {
                        tracing::debug!(reason = %words, "cannot link to a peer");
                    } else {
                        tracing::warn!(reason = %words, "cannot link to a peer, trying again");
                        told = words;
                    }
                }
            }
        }
        // An address that leads back here leads nowhere else later.
        candidates.retain(|address| own.as_ref() != Some(address));
        if candidates.is_empty() {
            return;
        }
        let share = jitter.next_u32() % 512;
        sleep(backoff / 2 + backoff * share / 1024).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

enum Dialled {
    /// The address leads back to this node.
    Self_,
    /// A peer, which has welcomed us.
    Peer(Box<TcpStream>, PeerIdentity),
}

/// Why a peer could not be linked to.
#[derive(Debug)]
pub enum DialError {
    /// It could not be reached.
    Io(io::Error),
    /// It did not answer in time.
    Timeout,
    /// It refused, in its words.
    Refused(String),
    /// It refused because another node runs as the same broker, in its words.
    Duplicate(String),
    /// It is another node than was meant, or no node at all.
    Unexpected(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Refused(reason) => write!(f, "the peer refused: {reason}"),
            Self::Duplicate(reason) | Self::Unexpected(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for DialError {}

async fn dial(
    address: &str,
    expects: Option<BrokerId>,
    context: &LinkContext,
) -> Result<Dialled, DialError> {
    let connected = timeout(CONNECT_MAX, TcpStream::connect(address));
    let mut stream = connected
        .await
        .map_err(|_| DialError::Timeout)?
        .map_err(DialError::Io)?;
    rt::prepare_stream(&stream);
    let own = context.own();
    let greeted = timeout(CONNECT_MAX, greet(&mut stream, own, expects, context));
    let identity = greeted.await.map_err(|_| DialError::Timeout)??;
    if is_same_start(&identity, &own) {
        return Ok(Dialled::Self_);
    }
    // The other side has judged us; we judge it by the same rules.
    let mirrored = Hello {
        identity,
        expects: None,
    };
    judge(&own, &mirrored).map_err(DialError::Unexpected)?;
    if let Some(expected) = expects.filter(|&expected| expected != identity.broker) {
        let reason = format!("this is broker {}, not broker {expected}", identity.broker);
        return Err(DialError::Unexpected(reason));
    }
    Ok(Dialled::Peer(Box::new(stream), identity))
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: PeerIdentity,
    expects: Option<BrokerId>,
    context: &LinkContext,
) -> Result<PeerIdentity, DialError> {
    let mut hello = VecDeque::from([encode_hello(&Hello { identity, expects })]);
    write_segments(stream, &mut hello, CONNECT_MAX)
        .await
        .map_err(DialError::Io)?;
    let mut reader = FrameReader::new(stream, GREETING_MAX, context.budget.clone());
    let unexpected = |reason: String| {
        DialError::Unexpected(format!("what answers is no varve peer listener: {reason}"))
    };
    let frame = match reader.frame().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(unexpected("it hung up".to_owned())),
        Err(error) => return Err(unexpected(error.to_string())),
    };
    match decode_hello_reply(&frame.bytes) {
        Ok(HelloReply::Welcome(identity)) => Ok(identity),
        Ok(HelloReply::Refused(reason)) => Err(DialError::Refused(reason)),
        Ok(HelloReply::Duplicate(reason)) => Err(DialError::Duplicate(reason)),
        Err(error) => Err(unexpected(error.to_string())),
    }
}

/// Why a link ended.
#[derive(Debug)]
enum Ended {
    /// The peer hung up.
    Closed,
    /// The driver has dropped the queue: it was full, or the peer is no longer one.
    Dropped,
    /// The socket failed, or the peer stood still.
    Io(io::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer hung up"),
            Self::Dropped => f.write_str("this node gave it up"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Sends what is queued until the link ends.
async fn carry<S: AsyncRead + AsyncWrite>(
    link: LinkId,
    stream: S,
    identity: PeerIdentity,
    context: &LinkContext,
) -> Ended {
    let (queue, mut messages, queued) = LinkQueue::new();
    if context
        .events
        .send(LinkEvent::Up {
            link,
            identity,
            queue,
        })
        .await
        .is_err()
    {
        return Ended::Dropped;
    }
    let (mut read, mut write) = tokio::io::split(stream);
    let mut batch = Vec::new();
    let mut segments = VecDeque::new();
    // The dialled side never sends: whatever comes, or the end, ends the link.
    let mut byte = [0];
    let mut closed = std::pin::pin!(read.read(&mut byte));
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => return Ended::Closed,
            received = messages.recv_many(&mut batch, BATCH_MAX) => {
                if received == 0 {
                    return Ended::Dropped;
                }
            }
        }
        let mut weights = 0;
        for message in batch.drain(..) {
            weights += weight(&message);
            encode_message(message, &mut segments);
        }
        if let Err(error) = write_segments(&mut write, &mut segments, STALL_MAX).await {
            return Ended::Io(error);
        }
        queued.fetch_sub(weights, Ordering::Relaxed);
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

/// Serves one connection that a peer has dialled: greets and receives until it ends.
pub async fn serve_peer<S>(stream: S, remote: String, context: LinkContext)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read, FRAME_MAX, context.budget.clone());
    let from = match timeout(CONNECT_MAX, welcome(&mut reader, &mut write, &context)).await {
        Ok(Ok(from)) => from,
        Ok(Err(reason)) => {
            tracing::info!(%remote, %reason, "refused a peer");
            return;
        }
        Err(_) => {
            tracing::warn!(%remote, "a connection to the peer listener said no hello in time");
            return;
        }
    };
    if is_same_start(&from, &context.own()) {
        return;
    }
    let session = context.sessions.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::debug!(broker = from.broker.0, %remote, session, "a peer has linked to this node");
    let reason = receive(&mut reader, from, session, &context).await;
    tracing::debug!(broker = from.broker.0, %remote, session, %reason, "a peer's link has ended");
}

async fn welcome<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    context: &LinkContext,
) -> Result<PeerIdentity, String> {
    let length = reader
        .next_length()
        .await
        .map_err(|error| error.to_string())?;
    let length = length.ok_or("it hung up before its hello")?;
    // A hello is short: whatever announces more is no peer, and what it sends is not worth reading.
    let judged = if length > GREETING_MAX {
        Err(format!("a hello of {length} bytes is no hello"))
    } else {
        let frame = reader
            .body(length)
            .await
            .map_err(|error| error.to_string())?;
        let own = context.own();
        decode_hello(&frame.bytes)
            .map_err(|error: PeerDecodeError| error.to_string())
            .and_then(|hello| judge(&own, &hello).map(|()| (own, hello.identity)))
    };
    let (reply, judged) = match judged {
        Ok((own, identity)) => match turned_away(identity, context).await? {
            None => (HelloReply::Welcome(own), Ok(identity)),
            Some(reason) => (HelloReply::Duplicate(reason.clone()), Err(reason)),
        },
        Err(reason) => (HelloReply::Refused(reason.clone()), Err(reason)),
    };
    let mut reply = VecDeque::from([encode_hello_reply(&reply)]);
    write_segments(writer, &mut reply, CONNECT_MAX)
        .await
        .map_err(|error| error.to_string())?;
    judged
}

/// What the broker, who hears the others, says of a node that dials.
async fn turned_away(
    identity: PeerIdentity,
    context: &LinkContext,
) -> Result<Option<String>, String> {
    if is_same_start(&identity, &context.own()) {
        return Ok(None);
    }
    let stops = || "this node stops".to_owned();
    let (verdict, answer) = oneshot::channel();
    let hello = LinkEvent::Hello { identity, verdict };
    context.events.send(hello).await.map_err(|_| stops())?;
    answer.await.map_err(|_| stops())
}

async fn receive<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    from: PeerIdentity,
    session: u64,
    context: &LinkContext,
) -> String {
    loop {
        let frame = match timeout(SILENCE_MAX, reader.frame()).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return "the peer hung up".to_owned(),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the peer was silent".to_owned(),
        };
        match decode_message(frame.bytes) {
            Ok(message) => {
                let event = LinkEvent::Received {
                    from,
                    session,
                    message,
                };
                if context.events.send(event).await.is_err() {
                    return "this node stops".to_owned();
                }
            }
            Err(error) => {
                tracing::error!(broker = from.broker.0, %error, "a peer's message cannot be read");
                return error.to_string();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use varve_core::ids::{ClusterId, DirectoryId, Incarnation};
    use varve_core::peer::Heartbeat;
    use varve_core::time::Instant;

    const SOON: Duration = Duration::from_secs(5);
    /// The directory of a node that every other turns away.
    const TWIN: DirectoryId = DirectoryId(77);

    fn identity(broker: i32) -> PeerIdentity {
        PeerIdentity {
            cluster: None,
            broker: BrokerId(broker),
            directory: DirectoryId(broker as u128),
            incarnation: Incarnation(1),
        }
    }

    /// A node's links, with a driver that the test plays.
    struct Node {
        context: LinkContext,
        events: mpsc::Receiver<LinkEvent>,
        address: String,
        _identity: watch::Sender<PeerIdentity>,
        _accepting: Abort,
    }

    struct Abort(JoinHandle<()>);

    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    impl Node {
        async fn new(own: PeerIdentity) -> Self {
            let (identity_sender, identity) = watch::channel(own);
            let (sender, mut told) = mpsc::channel(64);
            let (forward, events) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(event) = told.recv().await {
                    match event {
                        LinkEvent::Hello { identity, verdict } => {
                            let twin = identity.directory == TWIN;
                            let _ = verdict.send(twin.then(|| "it runs already".to_owned()));
                        }
                        event => forward.send(event).await.unwrap_or(()),
                    }
                }
            });
            let context = LinkContext {
                identity,
                events: sender,
                budget: Budget::new(1 << 24, SOON),
                sessions: Arc::default(),
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serving = context.clone();
            let accepting = tokio::spawn(async move {
                loop {
                    let (stream, remote) = listener.accept().await.unwrap();
                    tokio::spawn(serve_peer(stream, remote.to_string(), serving.clone()));
                }
            });
            Self {
                context,
                events,
                address,
                _identity: identity_sender,
                _accepting: Abort(accepting),
            }
        }

        fn links(&self, bootstrap: &[&str]) -> PeerLinks {
            let bootstrap = bootstrap
                .iter()
                .map(|&address| address.to_owned())
                .collect();
            PeerLinks::start(self.context.clone(), bootstrap, 1)
        }

        async fn event(&mut self) -> LinkEvent {
            timeout(SOON, self.events.recv()).await.unwrap().unwrap()
        }

        async fn up(&mut self, links: &mut PeerLinks) -> PeerIdentity {
            match self.event().await {
                LinkEvent::Up {
                    link,
                    identity,
                    queue,
                } => {
                    assert!(links.link_up(link, &identity, queue));
                    identity
                }
                other => panic!("a link was due, not {other:?}"),
            }
        }
    }

    fn heartbeat(n: u64) -> PeerMessage {
        PeerMessage::Heartbeat(Heartbeat {
            sent_at: Instant(n),
            echo: None,
            disk_stalled: Duration::ZERO,
            disk_full: false,
        })
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_with_their_senders_name() {
        let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
        let mut links = a.links(&[&b.address]);
        assert_eq!(a.up(&mut links).await, identity(2));
        for n in 0..1000 {
            links.send(BrokerId(2), heartbeat(n)).unwrap();
        }
        for n in 0..1000 {
            match b.event().await {
                LinkEvent::Received {
                    from,
                    session: 1,
                    message,
                } => {
                    assert_eq!((from, message), (identity(1), heartbeat(n)));
                }
                other => panic!("a message was due, not {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_broken_link_is_told_and_comes_back_as_another_session() {
        let (mut a, mut b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
        let mut links = a.links(&[&b.address]);
        a.up(&mut links).await;
        links.send(BrokerId(2), heartbeat(1)).unwrap();
        assert!(matches!(
            b.event().await,
            LinkEvent::Received { session: 1, .. }
        ));
        // The driver gives the queue up, as it does when it overflows.
        links.up.clear();
        assert!(matches!(
            a.event().await,
            LinkEvent::Down {
                broker: BrokerId(2),
                ..
            }
        ));
        a.up(&mut links).await;
        links.send(BrokerId(2), heartbeat(2)).unwrap();
        assert!(matches!(
            b.event().await,
            LinkEvent::Received { session: 2, .. }
        ));
    }

    #[tokio::test]
    async fn a_node_that_is_turned_away_is_told_so() {
        let b = Node::new(identity(2)).await;
        let mut a = Node::new(PeerIdentity {
            directory: TWIN,
            ..identity(1)
        })
        .await;
        let _links = a.links(&[&b.address]);
        match a.event().await {
            LinkEvent::TurnedAway(words) => assert_eq!(words, "it runs already"),
            other => panic!("a refusal was due, not {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_queue_that_overflows_breaks_the_link_instead_of_growing() {
        let (queue, _receiver, _) = LinkQueue::new();
        for n in 0..QUEUE_MESSAGES_MAX as u64 {
            queue.send(heartbeat(n)).unwrap();
        }
        assert_eq!(queue.send(heartbeat(0)), Err(LinkBroken));
    }

    #[tokio::test]
    async fn a_broker_that_moved_is_found_at_a_bootstrap_address() {
        let (mut a, b) = (Node::new(identity(1)).await, Node::new(identity(2)).await);
        let mut links = a.links(&[&a.address, &b.address]);
        let stale = PeerAddresses::from([
            (BrokerId(1), a.address.clone()),
            (BrokerId(2), "127.0.0.1:1".to_owned()),
        ]);
        assert_eq!(links.keep(&stale, true), []);
        assert_eq!(a.up(&mut links).await, identity(2));
        assert_eq!(links.keep(&stale, true), [], "what is kept goes on");
        assert_eq!(links.keep(&PeerAddresses::new(), true), [BrokerId(2)]);
    }

    #[test]
    fn nodes_that_do_not_belong_together_say_why() {
        let own = PeerIdentity {
            cluster: Some(ClusterId(1)),
            ..identity(1)
        };
        let says = |identity, expects| judge(&own, &Hello { identity, expects });
        assert_eq!(says(identity(2), None), Ok(()));
        assert_eq!(says(own, Some(BrokerId(1))), Ok(()));
        assert_eq!(
            says(identity(1), None),
            Ok(()),
            "it dialled itself and has joined since"
        );
        let other = PeerIdentity {
            cluster: Some(ClusterId(2)),
            ..identity(2)
        };
        assert!(
            says(other, None)
                .unwrap_err()
                .contains("belongs to cluster")
        );
        assert!(
            says(identity(2), Some(BrokerId(3)))
                .unwrap_err()
                .contains("not broker 3")
        );
    }

    #[tokio::test]
    async fn what_is_no_peer_is_told_so_and_dialling_no_peer_fails_in_words() {
        use tokio::io::AsyncWriteExt as _;
        let a = Node::new(identity(1)).await;
        let mut stream = TcpStream::connect(&a.address).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 18, 0, 0]).await.unwrap();
        let mut reply = Vec::new();
        timeout(SOON, stream.read_to_end(&mut reply))
            .await
            .unwrap()
            .unwrap();
        let Ok(HelloReply::Refused(reason)) = decode_hello_reply(&reply[4..]) else {
            panic!()
        };
        assert!(reason.contains("peer listener"), "{reason}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let hang_up = async { drop(listener.accept().await.unwrap()) };
        let (dialled, ()) = tokio::join!(dial(&address, None, &a.context), hang_up);
        assert!(matches!(
            dialled,
            Err(DialError::Unexpected(_) | DialError::Io(_))
        ));
    }
}
