//! The facts that a broker is told.

use std::ops::Range;

use crate::effect::RequestId;
use crate::ids::{BrokerId, Offset, TopicPartition};
use crate::peer::{PeerIdentity, PeerMessage};
use crate::record::{Examined, RecordError};
use crate::store::{Completion, QueryId, QueryResult, StoreFailure};
use crate::wire::Request;

/// A fact. Told together with what the node's clocks show when it is taken in ([`crate::time::Now`]).
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "the large variants are the frequent ones, and inputs are passed one by one"
)]
pub enum Input {
    /// Nothing but that time has passed: a deadline may be due.
    Tick,
    /// A client's request.
    Request(Box<ClientRequest>),
    /// A client's connection is gone: its waiting requests need no answer any more.
    Disconnected(ConnectionId),
    /// The outgoing link to a peer is up: everything sent from here on arrives in order or the link goes down.
    LinkUp(PeerIdentity),
    /// The outgoing link to a peer is down: what was sent may be lost.
    LinkDown(BrokerId),
    /// A peer was dialled, and its machine refused at once: nothing listens at its address. Told at every such dial.
    DialRefused(BrokerId),
    /// The connection of one of a peer's sessions is closed. Told behind all that came on it.
    SessionClosed {
        /// Whose, as its hello said.
        from: PeerIdentity,
        /// Which.
        session: u64,
    },
    /// A peer has dialled this node, and its hello says this. Answered by [`Effect::AcceptPeer`] or [`Effect::RejectPeer`];
    /// nothing comes on the connection before that.
    ///
    /// [`Effect::AcceptPeer`]: crate::effect::Effect::AcceptPeer
    /// [`Effect::RejectPeer`]: crate::effect::Effect::RejectPeer
    Hello {
        /// Who it says to be.
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
        /// Numbers the incoming connections of that peer, ascending: a new one voids what the old one promised.
        session: u64,
        /// What it says.
        message: PeerMessage,
    },
    /// Orders that are done.
    Stored(Vec<Completion>),
    /// The directory refuses to go on.
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
    /// Stop in good order, no client being let in any more: hand leadership over, then let clients go. Ends with
    /// [`crate::effect::Effect::Stopped`].
    Stop,
    /// Clients have been let go, as ordered: none has a connection any more.
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

/// All that is known of a request but what it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// Its connection and number.
    pub id: RequestId,
    /// The API version that it was sent in and is answered in.
    pub api_version: i16,
    /// The client's name for itself.
    pub client_id: Option<String>,
    /// The client's address, for listings and logs.
    pub client_host: String,
    /// Index of the listener it came through, in the order of the configuration.
    pub listener: u16,
}

/// A decoded request with what its connection knows.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// Whose it is, and how it came.
    pub context: RequestContext,
    /// The request, of an API that is served. A produce request's records have been taken out and are in `examined`.
    pub body: Request,
    /// For a produce request, what was found in its partitions, topic by topic in the request's order.
    pub examined: Vec<Result<Examined, RecordError>>,
}
