//! One outgoing link: dials a peer, exchanges hellos, sends from the queue until the link breaks, and dials again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use varve_core::ids::BrokerId;
use varve_core::peer::{PeerIdentity, PeerVersion, PeerVersions};

use super::{
    CONNECT_MAX, GREETING_MAX, LinkContext, LinkEvent, LinkId, LinkQueue, LogThrottle, Mismatch,
    QueueEnd, check_hello, is_same_start, weight,
};
use crate::frame::{FrameReader, write_segments};
use crate::peer_codec::{Hello, HelloReply, decode_hello_reply, encode_hello, encode_message};
use crate::rt;

/// The most messages in one write.
const BATCH_MAX: usize = 128;

/// The link breaks when the peer accepts no byte for this long.
const STALL_MAX: Duration = Duration::from_secs(5);

/// How long a peer may be unreachable before that is logged as a warning.
const OUTAGE_LOG_DELAY: Duration = Duration::from_secs(5);

/// A link that was in use for this long resets the backoff.
const STABLE_MIN: Duration = Duration::from_millis(100);

/// The wait before dialling again, doubled from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Dials, sends until the link breaks, and dials again, for ever. The first of `candidates` is the peer's own address;
/// `wake` ends a wait before the next dial.
pub(super) async fn maintain_link(
    link: LinkId,
    expects: Option<BrokerId>,
    mut candidates: Vec<String>,
    context: LinkContext,
    mut jitter: ChaCha8Rng,
    wake: Arc<Notify>,
) {
    let mut backoff = BACKOFF_MIN;
    let mut throttle = LogThrottle::default();
    let mut failing_since = tokio::time::Instant::now();
    loop {
        let mut own = None;
        let mut broke = false;
        let mut refused = false;
        for (nth, address) in candidates.iter().enumerate() {
            match dial(address, expects, &context).await {
                Ok(Dialled::Self_) => own = Some(address.clone()),
                Ok(Dialled::Peer(stream, identity, version)) => {
                    context.met.note(&identity);
                    let up_since = tokio::time::Instant::now();
                    let (queue, end) = LinkQueue::new();
                    let used = Arc::clone(&end.used);
                    let ended =
                        send_queued(link, *stream, (identity, version), &context, queue, end).await;
                    if used.load(Ordering::Relaxed) {
                        tracing::info!(broker = identity.broker.0, %address, reason = %ended, "the link to a peer is down");
                        throttle.reset();
                        if up_since.elapsed() >= STABLE_MIN {
                            backoff = BACKOFF_MIN;
                            broke = true;
                        }
                    } else {
                        // Another link to this peer is in use. This one is its standby.
                        tracing::debug!(broker = identity.broker.0, %address, "a second link to a peer");
                    }
                    let down = LinkEvent::Down {
                        link,
                        broker: identity.broker,
                    };
                    if context.events.send(down).await.is_err() {
                        return;
                    }
                    failing_since = tokio::time::Instant::now();
                }
                Err(DialError::Duplicate(reason)) => {
                    if context
                        .events
                        .send(LinkEvent::Rejected(reason))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) => {
                    refused |= nth == 0 && error.is_refusal();
                    // No warning while nodes start, unless an operator is needed; and throttled, since a peer that is
                    // down is dialled every second.
                    let words = format!("{address}: {error}");
                    let too_early =
                        failing_since.elapsed() < OUTAGE_LOG_DELAY && !error.needs_operator();
                    if !too_early && throttle.should_log(&words) {
                        tracing::warn!(reason = %words, "cannot link to a peer, trying again");
                    } else {
                        tracing::debug!(reason = %words, "cannot link to a peer");
                    }
                }
            }
        }
        if broke {
            // Only a dial tells a broken connection from a process that has ended.
            continue;
        }
        if let (true, Some(broker)) = (refused, expects)
            && context
                .events
                .send(LinkEvent::Refused(broker))
                .await
                .is_err()
        {
            return;
        }
        // An address of this very node is not dialled again.
        candidates.retain(|address| own.as_ref() != Some(address));
        if candidates.is_empty() {
            return;
        }
        let share = jitter.next_u32() % 512;
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = sleep(backoff / 2 + backoff * share / 1024) => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

pub(super) enum Dialled {
    /// The address leads back to this node.
    Self_,
    /// A peer that has accepted the hello, and the version of the link.
    Peer(Box<TcpStream>, PeerIdentity, PeerVersion),
}

/// Why a peer could not be linked to.
#[derive(Debug)]
pub(super) enum DialError {
    /// It could not be reached.
    Io(io::Error),
    /// It did not answer in time.
    Timeout,
    /// It refused, for this reason.
    Refused(String),
    /// It refused because another node runs with the same broker id; with its message.
    Duplicate(String),
    /// It is another node than the expected one, or does not fit this one.
    Mismatch(Mismatch),
    /// It is no varve node.
    Unexpected(String),
}

impl DialError {
    /// Whether the machine has refused the connection: no process listens at the address.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether only an operator can resolve it.
    const fn needs_operator(&self) -> bool {
        match self {
            Self::Mismatch(Mismatch::Cluster { .. } | Mismatch::Versions { .. }) => true,
            Self::Io(_)
            | Self::Timeout
            | Self::Refused(_)
            | Self::Duplicate(_)
            | Self::Mismatch(Mismatch::Broker { .. })
            | Self::Unexpected(_) => false,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Refused(reason) => write!(f, "the peer refused: {reason}"),
            Self::Duplicate(reason) | Self::Unexpected(reason) => f.write_str(reason),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
        }
    }
}

impl std::error::Error for DialError {}

pub(super) async fn dial(
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
    let (versions, identity) = greeted.await.map_err(|_| DialError::Timeout)??;
    if is_same_start(&identity, &own) {
        return Ok(Dialled::Self_);
    }
    // The peer has checked our hello; its hello is checked by the same rules.
    let mirrored = Hello {
        versions,
        identity,
        expects: None,
    };
    let version = check_hello(&own, context.versions, &mirrored).map_err(DialError::Mismatch)?;
    if let Some(expected) = expects.filter(|&expected| expected != identity.broker) {
        let own = identity.broker;
        return Err(DialError::Mismatch(Mismatch::Broker { own, expected }));
    }
    Ok(Dialled::Peer(Box::new(stream), identity, version))
}

/// What answers at an address of a peer listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// This node.
    Itself,
    /// Another node, or something that is none; described for the operator.
    Other(String),
    /// Nobody, for this reason.
    Nobody(String),
}

/// Finds out what answers at an address.
pub async fn who_answers(address: &str, context: &LinkContext) -> Answerer {
    match dial(address, None, context).await {
        Ok(Dialled::Self_) => Answerer::Itself,
        Ok(Dialled::Peer(_, identity, _)) => Answerer::Other(format!("broker {}", identity.broker)),
        Err(DialError::Refused(words) | DialError::Duplicate(words)) => {
            Answerer::Other(format!("another node, which says: {words}"))
        }
        Err(DialError::Mismatch(mismatch)) => Answerer::Other(format!("another node: {mismatch}")),
        Err(DialError::Unexpected(words)) => Answerer::Other(words),
        Err(error @ (DialError::Io(_) | DialError::Timeout)) => Answerer::Nobody(error.to_string()),
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    identity: PeerIdentity,
    expects: Option<BrokerId>,
    context: &LinkContext,
) -> Result<(PeerVersions, PeerIdentity), DialError> {
    let hello = Hello {
        versions: context.versions,
        identity,
        expects,
    };
    let mut hello = VecDeque::from([encode_hello(&hello)]);
    write_segments(stream, &mut hello, || CONNECT_MAX)
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
        Ok((versions, HelloReply::Welcome(identity))) => Ok((versions, identity)),
        Ok((_, HelloReply::Refused(reason))) => Err(DialError::Refused(reason)),
        Ok((_, HelloReply::Duplicate(reason))) => Err(DialError::Duplicate(reason)),
        Err(error) => Err(unexpected(error.to_string())),
    }
}

/// Why a link ended.
#[derive(Debug)]
enum Ended {
    /// The peer hung up.
    Closed,
    /// The driver has dropped the queue: it was full, or the link is not needed.
    Dropped,
    /// The socket failed, or the peer stalled.
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
async fn send_queued<S: AsyncRead + AsyncWrite>(
    link: LinkId,
    stream: S,
    (identity, version): (PeerIdentity, PeerVersion),
    context: &LinkContext,
    queue: LinkQueue,
    end: QueueEnd,
) -> Ended {
    let (mut messages, queued) = (end.messages, end.bytes);
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
    // The dialled side never sends: any byte, or the end of the stream, ends the link.
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
            encode_message(message, version, &mut segments);
        }
        if let Err(error) = write_segments(&mut write, &mut segments, || STALL_MAX).await {
            return Ended::Io(error);
        }
        queued.fetch_sub(weights, Ordering::Relaxed);
    }
}
