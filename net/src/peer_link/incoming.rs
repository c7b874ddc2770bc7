//! Incoming links: answers a peer's hello, and receives its messages until the connection ends.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use varve_core::peer::{PeerIdentity, PeerVersion};

use super::{
    CONNECT_MAX, GREETING_MAX, LinkContext, LinkEvent, Mismatch, Session, Verdict, check_hello,
    is_same_start, lock,
};
use crate::frame::{FrameReader, write_segments};
use crate::peer_codec::{HelloReply, decode_hello, decode_message, encode_hello_reply};

/// The longest frame that a peer may send.
const FRAME_MAX: usize = 256 << 20;

/// How long an incoming link may be silent: heartbeats come several times a second.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Serves one connection that a peer has dialled: answers the hello and receives messages until it ends.
pub async fn serve_peer<S>(stream: S, remote: String, context: LinkContext)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read, FRAME_MAX, context.budget.clone());
    let (from, version, session) =
        match timeout(CONNECT_MAX, accept_hello(&mut reader, &mut write, &context)).await {
            Ok(Ok(Some(accept_hello))) => accept_hello,
            Ok(Ok(None)) => {
                // A node that tests its own advertised address does this too.
                tracing::debug!(%remote, "a connection to the peer listener ended without a word");
                return;
            }
            Ok(Err(reason)) => {
                // A refused peer dials again and again.
                if reason.needs_operator()
                    && lock(&context.refusals).should_log(&reason.to_string())
                {
                    tracing::warn!(%remote, %reason, "refused a peer");
                } else {
                    tracing::debug!(%remote, %reason, "refused a peer");
                }
                return;
            }
            Err(_) => {
                tracing::warn!(%remote, "a connection to the peer listener said no hello in time");
                return;
            }
        };
    let Some(Session {
        number: session,
        end,
    }) = session
    else {
        return;
    };
    tracing::debug!(broker = from.broker.0, %remote, session, "a peer has linked to this node");
    let reason = tokio::select! {
        reason = receive(&mut reader, (from, version), session, &context) => reason,
        _ = end => "this node refuses what came on it".to_owned(),
    };
    tracing::debug!(broker = from.broker.0, %remote, session, %reason, "a peer's link has ended");
    // Where the driver has ended, the node has stopped.
    let closed = LinkEvent::SessionClosed { from, session };
    let _ = context.events.send(closed).await;
}

/// Why a connection is rejected.
#[derive(Debug)]
enum Rejection {
    /// The node belongs to another cluster or version, or expects another node.
    Mismatch(Mismatch),
    /// Another reason: an invalid hello, or one that the broker rejects.
    Words(String),
}

impl Rejection {
    /// Whether it needs an operator. A node that dials another one at an old address finds it at another address.
    const fn needs_operator(&self) -> bool {
        !matches!(self, Self::Mismatch(Mismatch::Broker { .. }))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch(mismatch) => mismatch.fmt(f),
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl<E: std::error::Error> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self::Words(error.to_string())
    }
}

/// Reads and answers a hello; `None` where the other side hangs up before it. A node that has dialled itself gets no
/// session.
async fn accept_hello<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    context: &LinkContext,
) -> Result<Option<(PeerIdentity, PeerVersion, Option<Session>)>, Rejection> {
    let Some(length) = reader.next_length().await? else {
        return Ok(None);
    };
    // A hello is short: a longer frame is not from a peer, and is not read.
    let judged = if length > GREETING_MAX {
        let words = format!("a hello of {length} bytes is no hello");
        Err(Rejection::Words(words))
    } else {
        let frame = reader.body(length).await?;
        let own = context.own();
        decode_hello(&frame.bytes)
            .map_err(Rejection::from)
            .and_then(|hello| match check_hello(&own, context.versions, &hello) {
                Ok(version) => Ok((own, hello.identity, version)),
                Err(mismatch) => Err(Rejection::Mismatch(mismatch)),
            })
    };
    let (reply, judged) = match judged {
        Ok((own, identity, version)) if is_same_start(&identity, &own) => {
            (HelloReply::Welcome(own), Ok((identity, version, None)))
        }
        Ok((own, identity, version)) => match submit_hello(identity, context).await? {
            Ok(session) => {
                let session = Some(session);
                (HelloReply::Welcome(own), Ok((identity, version, session)))
            }
            Err(reason) => (
                HelloReply::Duplicate(reason.clone()),
                Err(Rejection::Words(reason)),
            ),
        },
        Err(reason) => (HelloReply::Refused(reason.to_string()), Err(reason)),
    };
    let mut reply = VecDeque::from([encode_hello_reply(context.versions, &reply)]);
    write_segments(writer, &mut reply, || CONNECT_MAX).await?;
    judged.map(Some)
}

/// Passes a hello to the broker, which knows the other live peers, and waits for its verdict.
async fn submit_hello(identity: PeerIdentity, context: &LinkContext) -> Result<Verdict, Rejection> {
    let stops = || Rejection::Words("this node stops".to_owned());
    let (verdict, answer) = oneshot::channel();
    let hello = LinkEvent::Hello { identity, verdict };
    context.events.send(hello).await.map_err(|_| stops())?;
    answer.await.map_err(|_| stops())
}

async fn receive<R: AsyncRead + Unpin>(
    reader: &mut FrameReader<R>,
    (from, version): (PeerIdentity, PeerVersion),
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
        match decode_message(frame.bytes, version) {
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
