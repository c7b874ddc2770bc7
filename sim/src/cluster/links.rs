//! The links of a node to its peers: dialled while they are wanted, up once the callee has let the caller in, and
//! dialled again when they break.
//!
//! A link carries messages one way, from who dialled it. The callee knows it as one of the *sessions* of that peer.

use std::collections::BTreeMap;
use std::time::Duration;

use varve_core::ids::BrokerId;
use varve_core::input::Input;
use varve_core::peer::{PeerIdentity, PeerMessage};

use crate::cluster::{Cluster, Event, Payload, network_events};
use crate::draw::Subsystem;
use crate::network::{Connection, Place, Way};
use crate::node::Link;

/// When a link that was up and broke is dialled again: soon, since only a dial tells a broken connection from a process
/// that has ended.
const REDIAL_AFTER_BREAK: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_millis(10));
/// When it is dialled again after a dial that failed.
pub(super) const REDIAL_AFTER_FAILURE: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(120));

impl Cluster {
    /// The node's broker names its peers: all there are, or some that it has heard of.
    pub(super) fn set_peers(
        &mut self,
        number: u8,
        addresses: &BTreeMap<BrokerId, String>,
        all: bool,
    ) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let dropped: Vec<BrokerId> = process
            .links
            .keys()
            .copied()
            .filter(|peer| all && !addresses.contains_key(peer))
            .collect();
        for peer in dropped {
            self.drop_link(number, peer);
        }
        for &peer in addresses.keys() {
            if peer.0 != i32::from(number) {
                self.want_link(number, peer);
            }
        }
    }

    /// The node's broker wants this link made anew; broken at its own word, it is not told that it is down.
    pub(super) fn redial(&mut self, number: u8, peer: BrokerId) {
        if let Some(process) = &mut self.node_mut(number).process
            && let Some(link) = process.links.get_mut(&peer)
        {
            link.up = None;
        }
        self.drop_link(number, peer);
        self.want_link(number, peer);
    }

    /// The node wants a link to this peer from now on.
    pub(super) fn want_link(&mut self, number: u8, peer: BrokerId) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        if process.links.contains_key(&peer) {
            return;
        }
        process.links.insert(
            peer,
            Link {
                connection: None,
                up: None,
            },
        );
        self.dial_peer(number, peer);
    }

    /// Dials a peer whose link is wanted and has no connection.
    pub(super) fn dial_peer(&mut self, number: u8, peer: BrokerId) {
        let now = self.now();
        let Ok(callee) = u8::try_from(peer.0) else {
            return;
        };
        let idle = self.node(number).process.as_ref().is_some_and(|process| {
            process
                .links
                .get(&peer)
                .is_some_and(|link| link.connection.is_none())
        });
        if !idle || callee == 0 || callee > self.options.nodes {
            return;
        }
        let connection = self.network.dial(
            now,
            Place::Node(number),
            Place::Node(callee),
            &mut network_events(&mut self.queue),
        );
        if let Some(process) = &mut self.node_mut(number).process
            && let Some(link) = process.links.get_mut(&peer)
        {
            link.connection = Some(connection);
        }
    }

    /// The link of this connection is to be dialled again, a time from now that is drawn between these.
    pub(super) fn redial_later(
        &mut self,
        number: u8,
        peer: BrokerId,
        connection: Connection,
        (soonest, latest): (Duration, Duration),
    ) {
        let nth = u64::from(connection.nth);
        let mut draw = self.draws.at(
            Subsystem::Process,
            u64::from(number) << 8 | u64::from(peer.0.unsigned_abs() & 0xff),
            nth,
        );
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let run = process.run;
        let Some(link) = process.links.get_mut(&peer) else {
            return;
        };
        if link.connection != Some(connection) {
            return;
        }
        link.connection = None;
        link.up = None;
        let delay = draw.duration(soonest, latest);
        self.queue.after(
            delay,
            Event::Redial {
                node: number,
                run,
                peer,
            },
        );
    }

    fn drop_link(&mut self, number: u8, peer: BrokerId) {
        let link = self
            .node_mut(number)
            .process
            .as_mut()
            .and_then(|process| process.links.remove(&peer));
        if let Some(Link {
            connection: Some(connection),
            up,
        }) = link
        {
            self.close(connection, Place::Node(number));
            if up.is_some() {
                self.tell(number, Input::LinkDown(peer));
            }
        }
    }

    /// Sends to a peer, where the link is up.
    pub(super) fn send_to_peer(&mut self, number: u8, to: BrokerId, message: PeerMessage) {
        let link = self
            .node(number)
            .process
            .as_ref()
            .and_then(|process| process.links.get(&to))
            .and_then(|link| Some((link.up?, link.connection?)));
        let Ok(callee) = u8::try_from(to.0) else {
            return;
        };
        let Some((version, connection)) = link else {
            let payload = Payload::Peer(message);
            let (from, to) = (Place::Node(number), Place::Node(callee));
            self.trace.lost(self.queue.now(), from, to, &payload);
            return;
        };
        let heard = message.for_version(version);
        self.send(connection, Way::Forth, Payload::Peer(heard));
    }

    /// A dial has reached the callee, whose broker hears the caller's hello.
    pub(super) fn on_link_connected(&mut self, caller: u8, callee: u8, connection: Connection) {
        let Some(process) = &self.node(caller).process else {
            return;
        };
        let (dialler, versions) = (process.identity, process.peer_versions);
        if let Some(process) = &mut self.node_mut(callee).process {
            let Some(version) = process.peer_versions.common(versions) else {
                self.close(connection, connection.to);
                return;
            };
            let session = process.sessions.entry(dialler.broker).or_default();
            *session += 1;
            let session = *session;
            let hello = (dialler.broker, session);
            process.hellos.insert(hello, (connection, dialler, version));
            let from = dialler;
            self.tell(callee, Input::Hello { from, session });
        }
    }

    /// The node's broker accepts a hello: who has dialled learns that the link is up.
    pub(super) fn accept_peer(&mut self, number: u8, from: BrokerId, session: u64) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let me = process.identity;
        let Some((connection, dialler, version)) = process.hellos.remove(&(from, session)) else {
            return;
        };
        process.incoming.insert(connection, (dialler, session));
        let Some((caller, link)) = self.dialled_link(me.broker, connection) else {
            return;
        };
        link.up = Some(version);
        self.tell(caller, Input::LinkUp(me));
    }

    /// The node's broker rejects a hello: who has dialled learns why.
    pub(super) fn reject_peer(&mut self, number: u8, from: BrokerId, session: u64, reason: String) {
        let Some(process) = &mut self.node_mut(number).process else {
            return;
        };
        let me = process.identity;
        let Some((connection, ..)) = process.hellos.remove(&(from, session)) else {
            return;
        };
        let caller = self.dialled_link(me.broker, connection);
        let caller = caller.map(|(caller, _)| caller);
        self.close(connection, connection.to);
        if let Some(caller) = caller {
            self.tell(caller, Input::RejectedByPeer(reason));
        }
    }

    /// Who has dialled this broker by this connection, and its link, where it still wants that.
    fn dialled_link(
        &mut self,
        callee: BrokerId,
        connection: Connection,
    ) -> Option<(u8, &mut Link)> {
        let Place::Node(caller) = connection.from else {
            return None;
        };
        let process = self.node_mut(caller).process.as_mut()?;
        let link = process.links.get_mut(&callee)?;
        (link.connection == Some(connection)).then_some((caller, link))
    }

    /// Who has dialled learns that the link is broken.
    pub(super) fn on_link_broken(&mut self, number: u8, peer: BrokerId, connection: Connection) {
        let was_up = self.node(number).process.as_ref().is_some_and(|process| {
            process
                .links
                .get(&peer)
                .is_some_and(|link| link.up.is_some() && link.connection == Some(connection))
        });
        let patience = if was_up {
            REDIAL_AFTER_BREAK
        } else {
            REDIAL_AFTER_FAILURE
        };
        self.redial_later(number, peer, connection, patience);
        if was_up {
            self.tell(number, Input::LinkDown(peer));
        }
    }

    /// The node's broker closes the connection of a peer's session.
    pub(super) fn close_session(&mut self, number: u8, from: BrokerId, session: u64) {
        let Some(process) = &self.node(number).process else {
            return;
        };
        let mut incoming = process.incoming.iter();
        let is_meant =
            |&(_, &(peer, nth)): &(_, &(PeerIdentity, u64))| (peer.broker, nth) == (from, session);
        if let Some((&connection, _)) = incoming.find(is_meant) {
            self.close(connection, Place::Node(number));
            self.on_incoming_broken(number, connection);
        }
    }

    /// A message of a peer arrives, on one of its sessions.
    pub(super) fn on_peer_message(
        &mut self,
        number: u8,
        connection: Connection,
        message: PeerMessage,
    ) {
        let Some(process) = &self.node(number).process else {
            return;
        };
        let Some(&(from, session)) = process.incoming.get(&connection) else {
            return;
        };
        self.tell(
            number,
            Input::Peer {
                from,
                session,
                message,
            },
        );
    }
}
