//! Which peers are alive: liveness per pair of brokers, not per partition.
//!
//! One [`Heartbeat`] per link covers every partition that two brokers share, so ten thousand idle partitions cost no
//! more than ten. The two directions of a link are judged separately:
//!
//! - *contact*: the peer's own messages arrive. A follower trusts its leader while it has contact with the leader's
//!   broker, in the incarnation that made the announcement, and that broker's disk does not hang.
//! - *proof*: the peer's heartbeats echo ours. For check-quorum a leader counts a voter from the moment at which it
//!   *sent* the heartbeat that was echoed, so delays in the network or a paused process never make a quorum look
//!   fresher than it is.
//!
//! The election timeout detects a silent machine. A process that has ended is detected at once: its own connection is
//! closed, and its machine refuses a new one. Neither sign suffices alone, since a network breaks connections, and a
//! listener may be unreachable while the process runs; see [`Link::process_has_ended`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{BrokerId, DirectoryId, Incarnation, Voter};
use crate::peer::{DirectoryState, Heartbeat, PeerIdentity};
use crate::time::Instant;

/// The intervals and timeouts of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often each link carries a heartbeat.
    pub heartbeat_interval: Duration,
    /// A follower starts an election after this long without contact with its leader, and a leader resigns after this
    /// long without a heartbeat echoed by a majority.
    pub election_timeout: Duration,
    /// A replica delays its election by a random part of this, drawn anew each time.
    pub election_jitter_max: Duration,
    /// Where all voters learn at the same time that they have no leader any more, they start their elections this far
    /// apart, in the order of the voters; each adds a random delay of up to half of it.
    pub election_stagger: Duration,
    /// A broker resigns all leaderships once the oldest order to its directory has waited this long.
    pub disk_stall_max: Duration,
    /// How long a voter may lag behind and still be in the ISR (Kafka's `replica.lag.time.max.ms`).
    pub replica_lag_time_max: Duration,
    /// How often a leader retries an unanswered message to a follower.
    pub retry_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            election_jitter_max: Duration::from_millis(300),
            election_stagger: Duration::from_millis(40),
            disk_stall_max: Duration::from_millis(3000),
            replica_lag_time_max: Duration::from_secs(30),
            retry_interval: Duration::from_millis(500),
        }
    }
}

/// The state of the two links with one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The peer that the outgoing link reaches; `None` while it is down.
    pub outgoing: Option<PeerIdentity>,
    /// The latest incarnation of the peer that either link has shown. Messages of earlier ones are ignored.
    pub incoming: Option<PeerIdentity>,
    /// The number of the present incoming connection.
    pub session: u64,
    /// When the first message of the present session arrived.
    pub session_since: Instant,
    /// Whether the present session's connection is closed.
    pub session_closed: bool,
    /// Whether the peer's machine has refused a connection since the outgoing link was last up and since the present
    /// session began: no process listens there.
    pub refused: bool,
    /// When the last message of the peer arrived.
    pub last_contact: Instant,
    /// The send time of our latest heartbeat that the peer's present incarnation has echoed.
    pub proven_at: Option<Instant>,
    /// How long the peer's disk has kept an order waiting, by its last heartbeat.
    pub disk_stalled: Duration,
    /// What the peer's directory takes, as it last said.
    pub directory: DirectoryState,
    /// `sent_at` of the peer's latest heartbeat, which our heartbeats echo.
    pub to_echo: Option<Instant>,
    /// When followers must check whether their leader has renewed its announcements on the present session.
    renewal_due: Option<Instant>,
    /// Whether the replicas that follow this peer have been told that it is silent.
    silent: bool,
    /// Whether leaders have been told that the peer has echoed nothing within the election timeout.
    unproven: bool,
}

/// A change of a link, for the replicas that depend on the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// The replicas that follow this peer should check whether they still trust it.
    Trust(BrokerId),
    /// Leaders should check whether they still have a quorum and which voters are in sync.
    Quorum(BrokerId),
    /// Leaders should restart replication to the peer: messages in flight in either direction may be lost.
    Renewed(BrokerId),
    /// The outgoing link leads to an earlier incarnation of the peer: it counts as down and must be dialled anew.
    Replaced(BrokerId),
    /// The peer accepts records again: leaders should resend what it has refused.
    Room(BrokerId),
}

impl Link {
    /// Whether the peer's process has ended, as far as this broker can tell: both connections are closed, and the
    /// peer's machine refuses connections to its address.
    #[must_use]
    pub const fn process_has_ended(&self) -> bool {
        self.session_closed && self.refused && self.outgoing.is_none()
    }

    /// Whether a message of the peer has arrived within the election timeout.
    fn has_contact(&self, now: Instant, timing: &Timing) -> bool {
        self.incoming.is_some() && now.since(self.last_contact) < timing.election_timeout
    }

    /// Enters another incarnation of the peer: what the earlier one has sent and echoed is void.
    fn enter_incarnation(&mut self, peer: PeerIdentity) -> [LinkChange; 2] {
        self.incoming = Some(peer);
        self.proven_at = None;
        self.to_echo = None;
        self.disk_stalled = Duration::ZERO;
        self.directory = DirectoryState::Online;
        [
            LinkChange::Trust(peer.broker),
            LinkChange::Quorum(peer.broker),
        ]
    }
}

/// Whether `peer` supersedes `known`: it runs on another directory or is a later incarnation.
fn is_superseded(known: &PeerIdentity, peer: &PeerIdentity) -> bool {
    known.directory != peer.directory || known.incarnation < peer.incarnation
}

/// The links of a broker with all its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    peers: BTreeMap<BrokerId, Link>,
    started_at: Instant,
    /// Set by a mutant: a second node with the broker id of a live one is accepted.
    accepts_duplicates: bool,
    /// Set by a mutant: a refused connection counts although the peer has begun a session since.
    keeps_refusals: bool,
}

impl Links {
    /// No peers yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            started_at: now,
            accepts_duplicates: false,
            keeps_refusals: false,
        }
    }

    /// Plants the mutant `LetsNamesakesIn`.
    #[must_use]
    pub(crate) const fn accepting_duplicates(mut self, broken: bool) -> Self {
        self.accepts_duplicates = broken;
        self
    }

    /// Plants the mutant `KeepsRefusals`.
    #[must_use]
    pub(crate) const fn keeping_refusals(mut self, broken: bool) -> Self {
        self.keeps_refusals = broken;
        self
    }

    /// One peer.
    #[must_use]
    pub fn get(&self, broker: BrokerId) -> Option<&Link> {
        self.peers.get(&broker)
    }

    /// All peers whose outgoing link is up.
    pub fn reachable(&self) -> impl Iterator<Item = PeerIdentity> {
        self.peers.values().filter_map(|link| link.outgoing)
    }

    /// Whether the outgoing link reaches this voter's broker on this voter's directory.
    #[must_use]
    pub fn reaches(&self, voter: Voter) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.outgoing)
            .is_some_and(|peer| peer.voter() == voter)
    }

    /// Whether this is the latest known incarnation of the voter's broker, on the voter's directory.
    #[must_use]
    pub fn is_latest_incarnation(&self, voter: Voter, incarnation: Incarnation) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.incoming)
            .is_some_and(|peer| peer.voter() == voter && peer.incarnation == incarnation)
    }

    /// Whether the voter's broker runs on another directory.
    #[must_use]
    pub fn is_replaced(&self, voter: Voter) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.incoming)
            .is_some_and(|peer| peer.voter() != voter)
    }

    /// The latest moment at which a message of this incarnation of the voter's broker can have arrived: its last
    /// message, or the session of another incarnation. `None` where no message of the broker has arrived.
    #[must_use]
    pub fn last_contact(&self, voter: Voter, incarnation: Incarnation) -> Option<Instant> {
        let link = self.get(voter.broker)?;
        if self.is_latest_incarnation(voter, incarnation) {
            Some(link.last_contact)
        } else {
            Some(link.session_since)
        }
    }

    /// The other directory on which the broker of `peer` runs already, where a message of it has arrived within the
    /// election timeout: two nodes are configured with one broker id.
    #[must_use]
    pub fn duplicate_directory(
        &self,
        peer: &PeerIdentity,
        now: Instant,
        timing: &Timing,
    ) -> Option<DirectoryId> {
        let link = self.get(peer.broker)?;
        let known = link.incoming?;
        let has_contact = link.has_contact(now, timing) && !self.accepts_duplicates;
        (known.directory != peer.directory && has_contact).then_some(known.directory)
    }

    /// What the peer's directory takes, as it last said.
    #[must_use]
    pub fn directory(&self, broker: BrokerId) -> DirectoryState {
        self.get(broker)
            .map_or(DirectoryState::Online, |link| link.directory)
    }

    /// Whether the voter's directory is offline, by its broker's last heartbeat.
    #[must_use]
    pub fn is_offline(&self, voter: Voter) -> bool {
        self.get(voter.broker).is_some_and(|link| {
            let is_current = link.incoming.is_some_and(|peer| peer.voter() == voter);
            is_current && link.directory == DirectoryState::Offline
        })
    }

    /// Whether the peer's disk hangs, by its last heartbeat.
    #[must_use]
    pub fn disk_hangs(&self, broker: BrokerId, timing: &Timing) -> bool {
        self.get(broker)
            .is_some_and(|link| link.disk_stalled >= timing.disk_stall_max)
    }

    /// Whether either connection with the peer is broken.
    #[must_use]
    pub fn is_broken(&self, broker: BrokerId) -> bool {
        self.get(broker)
            .is_none_or(|link| link.session_closed || link.outgoing.is_none())
    }

    /// Whether a message of the peer has arrived within the election timeout, and its process has not ended since.
    #[must_use]
    pub fn is_alive(&self, broker: BrokerId, now: Instant, timing: &Timing) -> bool {
        self.get(broker)
            .is_some_and(|link| link.has_contact(now, timing) && !link.process_has_ended())
    }

    /// The send time of the heartbeat that the voter last echoed; the start of this broker where the voter has echoed
    /// none on this directory.
    #[must_use]
    pub fn proven_at(&self, voter: Voter) -> Option<Instant> {
        let link = self.get(voter.broker)?;
        let same = link.incoming.is_some_and(|peer| peer.voter() == voter);
        if same { link.proven_at } else { None }
    }

    /// The outgoing link is up. It may be the first sign that the peer was restarted.
    pub(crate) fn up(
        &mut self,
        peer: PeerIdentity,
        now: Instant,
        timing: &Timing,
    ) -> Vec<LinkChange> {
        let other = self.duplicate_directory(&peer, now, timing);
        let link = self.link(peer.broker, now);
        let mut changes = Vec::new();
        if other.is_none()
            && link
                .incoming
                .is_some_and(|known| is_superseded(&known, &peer))
        {
            changes.extend(link.enter_incarnation(peer));
        }
        link.outgoing = Some(peer);
        link.refused = false;
        changes.push(LinkChange::Renewed(peer.broker));
        changes
    }

    /// The outgoing link is down.
    pub(crate) fn down(&mut self, peer: BrokerId, now: Instant) -> LinkChange {
        self.link(peer, now).outgoing = None;
        LinkChange::Quorum(peer)
    }

    /// The peer's machine refuses to connect.
    pub(crate) fn refused(&mut self, peer: BrokerId, now: Instant) -> Option<LinkChange> {
        let link = self.link(peer, now);
        let had_ended = link.process_has_ended();
        link.refused = true;
        (link.process_has_ended() && !had_ended).then_some(LinkChange::Trust(peer))
    }

    /// The connection of a session is closed.
    pub(crate) fn session_closed(
        &mut self,
        peer: PeerIdentity,
        session: u64,
    ) -> Option<LinkChange> {
        let link = self.peers.get_mut(&peer.broker)?;
        if link.incoming != Some(peer) || link.session != session {
            return None; // a later one has replaced it
        }
        let had_ended = link.process_has_ended();
        link.session_closed = true;
        (link.process_has_ended() && !had_ended).then_some(LinkChange::Trust(peer.broker))
    }

    /// A message has arrived. Returns `None` where it must be ignored: its incarnation or session is superseded, or it
    /// comes from a second node with the broker id of a live one.
    pub(crate) fn on_message(
        &mut self,
        from: PeerIdentity,
        session: u64,
        now: Instant,
        timing: &Timing,
    ) -> Option<Vec<LinkChange>> {
        if self.duplicate_directory(&from, now, timing).is_some() {
            return None;
        }
        let keeps_refusals = self.keeps_refusals;
        let link = self.link(from.broker, now);
        let mut changes = Vec::new();
        if let Some(known) = link.incoming {
            let older = known.directory == from.directory && from.incarnation < known.incarnation;
            if older || session < link.session {
                return None;
            }
            if is_superseded(&known, &from) {
                changes.extend(link.enter_incarnation(from));
            }
        }
        if link
            .outgoing
            .is_some_and(|known| is_superseded(&known, &from))
        {
            // The process at its other end has been replaced, and a machine that lost its power closes no connections.
            link.outgoing = None;
            changes.push(LinkChange::Replaced(from.broker));
        }
        if link.incoming.is_none() || session > link.session {
            link.session = session;
            link.session_since = now;
            link.refused &= keeps_refusals;
            link.renewal_due = Some(now + timing.election_timeout);
            changes.push(LinkChange::Renewed(from.broker));
        }
        link.incoming = Some(from);
        link.session_closed = false;
        link.last_contact = now;
        link.silent = false;
        Some(changes)
    }

    /// A heartbeat has arrived.
    pub(crate) fn on_heartbeat(
        &mut self,
        from: BrokerId,
        heartbeat: &Heartbeat,
        now: Instant,
        timing: &Timing,
    ) -> Vec<LinkChange> {
        let link = self.link(from, now);
        let before = link.directory;
        let hung_before = link.disk_stalled >= timing.disk_stall_max;
        link.to_echo = Some(heartbeat.sent_at);
        link.disk_stalled = heartbeat.disk_stalled;
        link.directory = heartbeat.directory;
        if heartbeat.echo > link.proven_at {
            link.proven_at = heartbeat.echo;
            link.unproven = false;
        }
        let hangs = heartbeat.disk_stalled >= timing.disk_stall_max;
        let mut changes = Vec::new();
        if hangs && !hung_before {
            changes.push(LinkChange::Trust(from));
        }
        if heartbeat.directory == DirectoryState::Offline && before != DirectoryState::Offline {
            changes.push(LinkChange::Quorum(from));
        }
        if heartbeat.directory.takes_records() && !before.takes_records() {
            changes.push(LinkChange::Room(from));
        }
        changes
    }

    /// The heartbeat to send to a peer.
    #[must_use]
    pub(crate) fn heartbeat_to(
        &self,
        peer: BrokerId,
        now: Instant,
        disk_stalled: Duration,
        directory: DirectoryState,
    ) -> Heartbeat {
        Heartbeat {
            sent_at: now,
            echo: self.get(peer).and_then(|link| link.to_echo),
            disk_stalled,
            directory,
        }
    }

    /// Peers whose contact or proof has just timed out.
    pub(crate) fn expire(&mut self, now: Instant, timing: &Timing) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        let started_at = self.started_at;
        for (&broker, link) in &mut self.peers {
            if !link.silent && now.since(link.last_contact) >= timing.election_timeout {
                link.silent = true;
                changes.push(LinkChange::Trust(broker));
            }
            if link.renewal_due.is_some_and(|due| due <= now) {
                link.renewal_due = None;
                changes.push(LinkChange::Trust(broker));
            }
            let proven_at = link.proven_at.unwrap_or(started_at);
            if !link.unproven && now.since(proven_at) >= timing.election_timeout {
                link.unproven = true;
                changes.push(LinkChange::Quorum(broker));
            }
        }
        changes
    }

    /// When [`Self::expire`] is next due.
    #[must_use]
    pub(crate) fn next_deadline(&self, timing: &Timing) -> Option<Instant> {
        let silent =
            |link: &Link| (!link.silent).then_some(link.last_contact + timing.election_timeout);
        let unproven = |link: &Link| {
            let proven_at = link.proven_at.unwrap_or(self.started_at);
            (!link.unproven).then_some(proven_at + timing.election_timeout)
        };
        self.peers
            .values()
            .flat_map(|link| [silent(link), unproven(link), link.renewal_due])
            .flatten()
            .min()
    }

    /// The peer's latest known incarnation.
    #[must_use]
    pub fn incarnation(&self, broker: BrokerId) -> Option<Incarnation> {
        self.get(broker)
            .and_then(|link| link.incoming)
            .map(|peer| peer.incarnation)
    }

    fn link(&mut self, broker: BrokerId, now: Instant) -> &mut Link {
        self.peers.entry(broker).or_insert(Link {
            outgoing: None,
            incoming: None,
            session: 0,
            session_since: now,
            session_closed: false,
            refused: false,
            last_contact: now,
            proven_at: None,
            disk_stalled: Duration::ZERO,
            directory: DirectoryState::Online,
            to_echo: None,
            renewal_due: None,
            silent: true,
            unproven: true,
        })
    }
}
