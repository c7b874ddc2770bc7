//! Who can be heard: liveness per pair of brokers, not per partition.
//!
//! One [`Heartbeat`] a link speaks for every partition that two brokers share, so ten thousand idle partitions
//! cost no more than ten. A link's two directions are judged apart:
//!
//! - *heard*: the peer's own heartbeats arrive. A follower trusts its leader while it hears the leader's broker,
//!   in the incarnation that made the announcement, with a disk that does not hang.
//! - *proven*: the peer's heartbeats echo ours. A leader counts a voter for check-quorum from the moment it
//!   *sent* what was echoed, so time lost on the way, or asleep, never makes a quorum look fresher than it is.
//!
//! A machine that falls silent is found by the election timeout. A process that has ended is found at once: its own
//! connection is closed, and its machine refuses a new one. Either alone proves nothing, since a network breaks
//! connections, and a listener may be unreachable while the process runs; see [`Link::process_has_ended`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{BrokerId, DirectoryId, Incarnation, Voter};
use crate::peer::{DirectoryState, Heartbeat, PeerIdentity};
use crate::time::Instant;

/// How patient a broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often each link carries a heartbeat.
    pub heartbeat_interval: Duration,
    /// How long nothing may be heard before a follower starts an election, and nothing proven before a leader resigns.
    pub election_timeout: Duration,
    /// A replica that starts an election waits up to this much longer, drawn anew each time.
    pub election_jitter_max: Duration,
    /// How far apart the voters start their elections, in the order of the voters, where all have learnt at the same
    /// time that their leader leads no more; each waits up to half of it longer, drawn anew each time.
    pub election_stagger: Duration,
    /// How long a directory's oldest order may wait before its leaderships are given up.
    pub disk_stall_max: Duration,
    /// How long a voter may lag behind and still be in the ISR (Kafka's `replica.lag.time.max.ms`).
    pub replica_lag_time_max: Duration,
    /// How often a leader asks again where a follower has not answered.
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

/// What is known of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whom the outgoing link reaches; `None` while it is down.
    pub outgoing: Option<PeerIdentity>,
    /// The latest start of the peer that either link has shown; what comes from an earlier one is ignored.
    pub incoming: Option<PeerIdentity>,
    /// Numbers the incoming link.
    pub session: u64,
    /// When the present session was first heard.
    pub session_since: Instant,
    /// Whether the present session's connection is closed.
    pub session_closed: bool,
    /// Whether the peer's machine has refused to connect since the outgoing link was last up, and since the present session
    /// was first heard: nothing listens there.
    pub refused: bool,
    /// When the peer was last heard.
    pub last_contact: Instant,
    /// When the latest of our heartbeats was sent that the peer's present incarnation has echoed.
    pub proven_at: Option<Instant>,
    /// How long the peer's disk keeps an order waiting, as it last said.
    pub disk_stalled: Duration,
    /// What the peer's directory takes, as it last said.
    pub directory: DirectoryState,
    /// `sent_at` of its latest heartbeat, which ours echo.
    pub to_echo: Option<Instant>,
    /// When followers must look whether their leader has renewed its announcements on the present session.
    renewal_due: Option<Instant>,
    /// Whether its followers have been told that it is silent.
    silent: bool,
    /// Whether leaders have been told that it proves nothing.
    unproven: bool,
}

/// What has changed for the replicas that depend on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Its followers should look whether they still trust it.
    Trust(BrokerId),
    /// Leaders should look whether they still have a quorum, and their ISR with it.
    Quorum(BrokerId),
    /// Leaders should begin anew with it: what was under way in either direction may be lost.
    Renewed(BrokerId),
    /// The outgoing link leads to a start of it that is over: it is down, and is to be dialled anew.
    Replaced(BrokerId),
    /// It takes records again: leaders should send what it has turned away.
    Room(BrokerId),
}

impl Link {
    /// Whether the peer's process has ended, as far as a peer can see: nothing can come from it any more, and its machine
    /// answers that nothing listens at its address.
    #[must_use]
    pub const fn process_has_ended(&self) -> bool {
        self.session_closed && self.refused && self.outgoing.is_none()
    }

    /// Whether the peer has been heard within the election timeout.
    fn has_contact(&self, now: Instant, timing: &Timing) -> bool {
        self.incoming.is_some() && now.since(self.last_contact) < timing.election_timeout
    }

    /// Another start of the peer speaks: what an earlier one has said and echoed is void.
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

/// Whether `known` is a start that is over where `peer` speaks.
fn is_superseded(known: &PeerIdentity, peer: &PeerIdentity) -> bool {
    known.directory != peer.directory || known.incarnation < peer.incarnation
}

/// Every peer of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    peers: BTreeMap<BrokerId, Link>,
    started_at: Instant,
    /// What must never be: a second node is let in under the id of one that is heard.
    accepts_duplicates: bool,
    /// What must never be: what the machine of a peer has refused before its present session counts.
    keeps_refusals: bool,
}

impl Links {
    /// Knows nobody yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            started_at: now,
            accepts_duplicates: false,
            keeps_refusals: false,
        }
    }

    /// The same, but for a clause that a mutant breaks.
    #[must_use]
    pub(crate) const fn accepting_duplicates(mut self, broken: bool) -> Self {
        self.accepts_duplicates = broken;
        self
    }

    /// The same, but for another.
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

    /// Whether messages to this very replica's directory can be sent at present.
    #[must_use]
    pub fn reaches(&self, voter: Voter) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.outgoing)
            .is_some_and(|peer| peer.voter() == voter)
    }

    /// Whether this very start of the voter's broker is the latest that is known.
    #[must_use]
    pub fn is_latest_incarnation(&self, voter: Voter, incarnation: Incarnation) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.incoming)
            .is_some_and(|peer| peer.voter() == voter && peer.incarnation == incarnation)
    }

    /// Whether the voter's broker speaks from another directory.
    #[must_use]
    pub fn is_replaced(&self, voter: Voter) -> bool {
        self.get(voter.broker)
            .and_then(|link| link.incoming)
            .is_some_and(|peer| peer.voter() != voter)
    }

    /// When this very start of the voter's broker was last heard, or might have been: not since another start of it
    /// speaks. `None` where the broker was never heard.
    #[must_use]
    pub fn last_contact(&self, voter: Voter, incarnation: Incarnation) -> Option<Instant> {
        let link = self.get(voter.broker)?;
        if self.is_latest_incarnation(voter, incarnation) {
            Some(link.last_contact)
        } else {
            Some(link.session_since)
        }
    }

    /// The directory on which the same broker runs already, heard within the election timeout, where `peer` speaks
    /// from another: two nodes are configured as one.
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

    /// Whether this very replica's directory is offline, as its broker has said.
    #[must_use]
    pub fn is_offline(&self, voter: Voter) -> bool {
        self.get(voter.broker).is_some_and(|link| {
            let is_current = link.incoming.is_some_and(|peer| peer.voter() == voter);
            is_current && link.directory == DirectoryState::Offline
        })
    }

    /// Whether the peer's disk keeps an order waiting for too long, as it last said.
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

    /// Whether the peer has been heard within the election timeout, and its process has not ended since.
    #[must_use]
    pub fn is_alive(&self, broker: BrokerId, now: Instant, timing: &Timing) -> bool {
        self.get(broker)
            .is_some_and(|link| link.has_contact(now, timing) && !link.process_has_ended())
    }

    /// When what the voter last echoed was sent; the broker's start where it has echoed nothing yet in this
    /// directory.
    #[must_use]
    pub fn proven_at(&self, voter: Voter) -> Option<Instant> {
        let link = self.get(voter.broker)?;
        let same = link.incoming.is_some_and(|peer| peer.voter() == voter);
        if same { link.proven_at } else { None }
    }

    /// The outgoing link is up. It may show first that the peer was started again.
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

    /// The connection of a session is closed: nothing more comes on it.
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

    /// Something came in. Returns `None` where it must be ignored: it comes from an incarnation, or a connection of
    /// it, that a later one has replaced, or from a second node that calls itself by the name of one that runs.
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
            // Nobody is at its other end any more, and a machine that lost its power has not said so.
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

    /// A heartbeat came in.
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

    /// Peers that have just gone silent or unproven.
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

    /// When [`Self::expire`] next has something to say.
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

    /// The peer's present incarnation as its incoming link says.
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
