//! The facts that a broker takes.

use std::ops::Range;

use crate::effect::RequestId;
use crate::ids::{BrokerId, Offset, TopicPartition};
use crate::peer::{PeerIdentity, PeerMessage};
use crate::record::{Examined, RecordError};
use crate::store::{Completion, QueryId, QueryResult, StoreFailure};
use crate::wire::Request;

/// A fact. It comes with the readings of the node's clocks at the moment at which it is taken ([`crate::time::Now`]).
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large variants are the frequent ones, and inputs are passed one by one"
)]
pub enum Input {
    /// Time has passed: a deadline may be due.
    Tick,
    /// A client's request.
    Request(Box<ClientRequest>),
    /// A client's connection is closed: its waiting requests need no response.
    Disconnected(ConnectionId),
    /// The outgoing link to a peer is up: everything sent from here on arrives in order or the link goes down.
    LinkUp(PeerIdentity),
    /// The outgoing link to a peer is down: what was sent may be lost.
    LinkDown(BrokerId),
    /// A peer was dialled, and its machine refused the connection: no process listens at its address. Comes with every
    /// such dial.
    DialRefused(BrokerId),
    /// The connection of a peer's session is closed. Comes behind every message of the session.
    SessionClosed {
        /// Whose, as its hello said.
        from: PeerIdentity,
        /// Which.
        session: u64,
    },
    /// A peer has dialled this node with this hello. Answered by [`Effect::AcceptPeer`] or [`Effect::RejectPeer`];
    /// nothing comes on the connection before that.
    ///
    /// [`Effect::AcceptPeer`]: crate::effect::Effect::AcceptPeer
    /// [`Effect::RejectPeer`]: crate::effect::Effect::RejectPeer
    Hello {
        /// The identity in its hello.
        from: PeerIdentity,
        /// The number of the session that the connection becomes where it is accepted.
        session: u64,
    },
    /// A peer has rejected this node for this reason: another node runs as the same broker.
    RejectedByPeer(String),
    /// A message from a peer.
    Peer {
        /// Who sent it, as its hello said.
        from: PeerIdentity,
        /// The number of the peer's incoming connection, ascending: messages of an earlier one are void.
        session: u64,
        /// The message.
        message: PeerMessage,
    },
    /// Orders that are done.
    Stored(Vec<Completion>),
    /// The directory has failed and is offline.
    StoreFailed(StoreFailure),
    /// The disk has room again, after orders were reported as refused.
    SpaceReturned,
    /// A query is answered.
    QueryDone {
        /// Which.
        id: QueryId,
        /// The answer.
        result: QueryResult,
    },
    /// The scrub has found holes, where nobody has read.
    HolesFound {
        /// In whose log.
        replica: TopicPartition,
        /// Which, ascending. The store has journalled them.
        holes: Vec<Range<Offset>>,
    },
    /// Begin a controlled shutdown: transfer leaderships, then close client connections. New clients are not accepted
    /// any more. Ends with [`crate::effect::Effect::Stopped`].
    Stop,
    /// All client connections are closed, as ordered.
    ClientsClosed,
}

/// Numbers a node's client connections within an incarnation.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    bincode::Encode,
    bincode::Decode,
)]
pub struct ConnectionId(pub u64);

/// Everything about a request except its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// Its connection and number.
    pub id: RequestId,
    /// The API version that it was sent in and is answered in.
    pub api_version: i16,
    /// Its client id.
    pub client_id: Option<String>,
    /// The client's address, for listings and logs.
    pub client_host: String,
    /// Index of the listener it came through, in the order of the configuration.
    pub listener: u16,
}

/// A decoded request with its context.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// Its connection, version and client.
    pub context: RequestContext,
    /// The request, of an API that is served. A produce request's records have been taken out and are in `examined`.
    pub body: Request,
    /// For a produce request, the examined batch of each partition, topic by topic in the request's order.
    pub examined: Vec<Result<Examined, RecordError>>,
}
