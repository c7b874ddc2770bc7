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

/// An order to the driver. A driver carries effects out in the order given; whether one is *done* comes back as an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Change a replica's durable state. Done when `Input::Stored` names it.
    Store(Order),
    /// Look something up in a log. Done when `Input::QueryDone` names it.
    Query(Query),
    /// Send to a peer, if its outgoing link is up; else it is lost.
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
    /// Close a client's connection: it asked for something that has no answer.
    Close(ConnectionId),
    /// Keep links to these peers, besides those to the configured bootstrap addresses until `all` of the cluster's are
    /// named: from then on to these alone. Whoever is named before that is hearsay, and may know nobody else.
    Peers {
        /// How they are reached.
        addresses: PeerAddresses,
        /// These are all there are.
        all: bool,
    },
    /// The outgoing link to this peer leads to a start of it that is over: break it, and dial anew at once. It counts as
    /// down; `Input::LinkUp` tells when it is up.
    Redial(BrokerId),
    /// Close the connection of one of a peer's sessions: something that came on it was refused, and a link delivers whole
    /// or breaks. The peer dials anew, and says again what it must. `Input::SessionClosed` follows.
    CloseSession {
        /// Whose.
        from: BrokerId,
        /// Which.
        session: u64,
    },
    /// Accept the connection of this hello: the peer learns that its link is up, and is listened to.
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
        /// The session that does not begin.
        session: u64,
        /// Why, for whoever runs the peer.
        reason: String,
    },
    /// Write the cluster's id into the directory's identity: it has joined.
    Joined(ClusterId),
    /// The node is registered and has caught up with the metadata: clients may come.
    Ready,
    /// Let clients go: answer what they have asked, and what whoever has just come asks first, and close each connection
    /// once nothing is asked on it. Done when `Input::ClientsClosed` says so.
    CloseClients,
    /// The node has stopped in good order. Nothing follows.
    Stopped,
    /// Something worth telling. Changes nothing.
    Notice(Notice),
}

/// What is worth telling people about, in the log and in a trace.
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
    /// A replica asks whether it would be elected, because of this.
    StartsElection(LeaderEpoch, TrustLost),
    /// A replica has been elected.
    Leads(LeaderEpoch),
    /// A replica has won only because every voter granted: acknowledged records may be lost.
    LeadsWithPossibleLoss(LeaderEpoch),
    /// A leader gives up.
    Resigns(LeaderEpoch, Resignation),
    /// A replica follows a leader.
    Follows(LeaderEpoch, BrokerId),
    /// A replica drops what its leader does not have.
    Truncates(Position),
    /// A leader has appended a change of the voters, which counts from now on and is not committed yet.
    VotersChanged(Vec<Voter>),
    /// Damage was found.
    Hole(Offset, Offset),
    /// Damage was repaired from a peer.
    HoleFilled(Offset, Offset),
    /// What was damaged, and all behind it, is given up: a majority never had it.
    HoleGivenUp(Offset, Offset),
    /// What was damaged, and all behind it, is given up: no voter has it, and one that may have acknowledged it is a suspect.
    HoleGivenUpWithPossibleLoss(Offset, Offset),
    /// A replica that may have lost acknowledged records says so with every vote.
    Suspect,
    /// A suspect has caught up.
    SuspectCleared,
    /// The node stops: another one runs as the same broker.
    DuplicateBrokerId(String),
    /// The directory has gone offline.
    DirectoryOffline(String),
    /// The disk is full.
    DiskFull,
    /// The leader's log has lost committed entries that this learner still has, up to here. The learner keeps them, and
    /// takes nothing from that leader.
    CommittedLost(Position),
    /// The controller has done what an administrator asked, and that is committed.
    Administered(Administration),
    /// A message was refused, for this reason.
    Refused(&'static str),
}

/// What the controller has done, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Administration {
    /// The API of the request.
    pub api_key: ApiKey,
    /// The topics that it has changed, ascending.
    pub topics: Vec<String>,
    /// The client's name for itself; none where a broker asked because a client has named a topic that was not there.
    pub client_id: Option<String>,
    /// The client's address; none as well where the broker that it asked runs an earlier version.
    pub client_host: Option<String>,
}

/// Why a replica no longer trusts its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustLost {
    /// It has none yet.
    NoLeader,
    /// Nothing was heard from the leader's broker for the election timeout.
    Silent,
    /// The leader's process has ended: its connection is closed, and nothing listens at its address.
    ProcessGone,
    /// The leader's broker was started again.
    Restarted,
    /// The leader's disk hangs.
    DiskStalled,
    /// The leader said that it does not lead any more.
    Resigned,
    /// The link came back and the leader has not renewed its announcement.
    NotRenewed,
    /// The leader asked this replica to take over.
    Transfer,
}

/// Why a leader gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resignation {
    /// Another replica has a higher epoch.
    HigherEpoch,
    /// No majority answered within the election timeout.
    QuorumLost,
    /// Its own disk hangs or is offline.
    Disk,
    /// It is no voter any more.
    Removed,
    /// It hands over.
    Transferred,
    /// It gives up what a majority never had and it has lost.
    Damaged,
}

/// Where a step puts its effects, and what the simulator has planted in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    list: Vec<Effect>,
    hooks: Hooks,
}

impl Effects {
    /// An empty buffer with nothing planted: the only one that production uses.
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

    /// Notes that a rare place was reached.
    pub fn probe(&mut self, probe: Probe) {
        self.hooks.hit(probe);
    }

    /// What was planted and reached.
    #[must_use]
    pub const fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Tells something.
    pub fn notice(&mut self, partition: Option<TopicPartition>, what: NoticeKind) {
        self.push(Effect::Notice(Notice { partition, what }));
    }
}
