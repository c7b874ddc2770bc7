//! The orders that a broker gives.

use bincode::{Decode, Encode};

use crate::hooks::{Hooks, Mutant, Probe};
use crate::ids::{BrokerId, ClusterId, LeaderEpoch, Offset, TopicPartition, Voter};
use crate::input::ConnectionId;
use crate::log::Position;
use crate::peer::{PeerAddresses, PeerMessage};
use crate::store::{Order, Query};
use crate::wire::{ApiKey, Response};

/// Names one request of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId {
    /// The connection.
    pub connection: ConnectionId,
    /// Numbers its requests in the order in which they came.
    pub number: u64,
}

/// An order to the driver, which executes effects in the order given. An input reports when one is *done*.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Change a replica's durable state. Done when `Input::Stored` names it.
    Store(Order),
    /// Look something up in a log. Done when `Input::QueryDone` names it.
    Query(Query),
    /// Send a message to a peer. It is lost where the outgoing link is down.
    Send {
        /// The addressee.
        to: BrokerId,
        /// What.
        message: PeerMessage,
    },
    /// Answer a request. Every request gets one answer, but for a produce with `acks=0`, which gets none.
    Respond {
        /// Which request.
        request: RequestId,
        /// The answer.
        response: Box<Response>,
    },
    /// Close a client's connection: its request has no valid response.
    Close(ConnectionId),
    /// Keep links to these peers. While `all` is false, keep those to the configured bootstrap addresses as well: peers
    /// that are known so far are only reported by others, and may know no further brokers.
    Peers {
        /// Their addresses.
        addresses: PeerAddresses,
        /// These are all brokers of the cluster.
        all: bool,
    },
    /// The outgoing link to this peer leads to an earlier incarnation: break it, and dial anew at once. It counts as
    /// down until `Input::LinkUp`.
    Redial(BrokerId),
    /// Close the connection of a peer's session: a message on it was refused, and a link delivers everything or breaks.
    /// The peer dials anew and resends what it must. `Input::SessionClosed` follows.
    CloseSession {
        /// Whose.
        from: BrokerId,
        /// Which.
        session: u64,
    },
    /// Accept the connection of this hello: the peer learns that its link is up, and its messages are read.
    AcceptPeer {
        /// Whose.
        from: BrokerId,
        /// The session that begins.
        session: u64,
    },
    /// Reject the connection of this hello, and tell the peer why.
    RejectPeer {
        /// Whose.
        from: BrokerId,
        /// The number of its session, which does not begin.
        session: u64,
        /// Why, in words for the operator of the peer.
        reason: String,
    },
    /// Write the cluster's id into the directory's identity: it has joined.
    Joined(ClusterId),
    /// The node is registered and has caught up with the metadata: accept clients.
    Ready,
    /// Close client connections: finish the requests in flight and the first request of new connections, and close each
    /// connection once it has none in flight. Done when `Input::ClientsClosed` says so.
    CloseClients,
    /// The controlled shutdown is complete. Nothing follows.
    Stopped,
    /// An event for the log and the trace. The driver carries nothing out. One kind is part of the contract, and checkers rest
    /// on it: whoever is elected says so by [`NoticeKind::Leads`] or [`NoticeKind::LeadsWithPossibleLoss`], once for the
    /// epoch, in the step that appends the epoch's opening.
    Notice(Notice),
}

/// An event for the node's log and the trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The partition it is about.
    pub partition: Option<TopicPartition>,
    /// What happened.
    pub what: NoticeKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// A replica starts an election with a pre-vote, for this reason.
    StartsElection(LeaderEpoch, LeaderLost),
    /// A replica has been elected.
    Leads(LeaderEpoch),
    /// A replica has won only because every voter granted: acknowledged records may be lost.
    LeadsWithPossibleLoss(LeaderEpoch),
    /// A leader resigns.
    Resigns(LeaderEpoch, Resignation),
    /// A replica follows a leader.
    Follows(LeaderEpoch, BrokerId),
    /// A replica truncates entries that its leader does not have.
    Truncates(Position),
    /// A leader has appended a change of the voters, which takes effect at once and is not committed yet.
    VotersChanged(Vec<Voter>),
    /// A hole was found.
    Hole(Offset, Offset),
    /// A hole was filled from a peer.
    HoleFilled(Offset, Offset),
    /// A hole and all entries behind it are given up: a majority never had them.
    HoleGivenUp(Offset, Offset),
    /// A hole and all entries behind it are given up: no voter has them, and a voter that may have acknowledged them is
    /// a suspect.
    HoleGivenUpWithPossibleLoss(Offset, Offset),
    /// A replica may have lost acknowledged records: it marks every vote as a suspect's.
    Suspect,
    /// A suspect has caught up.
    SuspectCleared,
    /// The node stops: another one runs with the same broker id.
    DuplicateBrokerId(String),
    /// The directory has gone offline.
    DirectoryOffline(String),
    /// The disk is full.
    DiskFull,
    /// The leader's log has lost committed entries that this learner still has, up to here. The learner keeps them, and
    /// takes nothing from that leader.
    CommittedLost(Position),
    /// An administrator's change is committed.
    Administered(Administration),
    /// A message was refused, for this reason.
    Refused(&'static str),
}

/// An administrative change, and the client that requested it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Administration {
    /// The API of the request.
    pub api_key: ApiKey,
    /// The topics that it has changed, ascending.
    pub topics: Vec<String>,
    /// The client id of the request; none where a broker creates a topic automatically.
    pub client_id: Option<String>,
    /// The client's address; none as well where the forwarding broker runs an earlier version.
    pub client_host: Option<String>,
}

/// Why a replica no longer trusts its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaderLost {
    /// It has no leader yet.
    NoLeader,
    /// No message of the leader's broker arrived for the election timeout.
    Silent,
    /// The leader's process has ended: its connection is closed, and nothing listens at its address.
    ProcessGone,
    /// The leader's broker was restarted.
    Restarted,
    /// The leader's disk hangs.
    DiskStalled,
    /// The leader announced that it has resigned.
    Resigned,
    /// The leader's broker has a new session, and the leader has not renewed its announcement on it.
    NotRenewed,
    /// The leader transfers leadership to this replica.
    Transfer,
}

/// Why a leader resigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resignation {
    /// Another replica has a higher epoch.
    HigherEpoch,
    /// No majority answered within the election timeout.
    QuorumLost,
    /// Its own disk hangs or is offline.
    Disk,
    /// It has been removed from the voters.
    Removed,
    /// It has transferred leadership.
    Transferred,
    /// It has a hole in entries that a majority never had, and gives them up.
    Damaged,
}

/// The buffer for the effects of a step, with the hooks that the simulator plants in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    list: Vec<Effect>,
    hooks: Hooks,
}

impl Effects {
    /// An empty buffer without hooks: the only one that production uses.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer for the simulator.
    #[must_use]
    pub fn with_hooks(hooks: Hooks) -> Self {
        Self {
            list: Vec::new(),
            hooks,
        }
    }

    /// Adds an effect behind all earlier ones.
    pub fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Answers a request.
    pub(crate) fn respond(&mut self, request: RequestId, response: impl Into<Response>) {
        self.push(Effect::Respond {
            request,
            response: Box::new(response.into()),
        });
    }

    /// The effects so far, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Effect] {
        &self.list
    }

    /// Takes the effects out, in order, and keeps the buffer's memory and hooks.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// Whether this clause is deliberately broken.
    #[must_use]
    pub fn mutant(&self, mutant: Mutant) -> bool {
        self.hooks.is(mutant)
    }

    /// Records that a rare place was reached.
    pub fn probe(&mut self, probe: Probe) {
        self.hooks.hit(probe);
    }

    /// The planted mutant and the reached probes.
    #[must_use]
    pub const fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Pushes a notice.
    pub fn notice(&mut self, partition: Option<TopicPartition>, what: NoticeKind) {
        self.push(Effect::Notice(Notice { partition, what }));
    }
}
