//! What the network tells, and who is concerned: the ends of links between brokers, or a client and a broker.
//!
//! Faults of the network that the owner of the run asks for pass through here too.

use varve_core::ids::BrokerId;
use varve_core::input::Input;

use crate::cluster::links::REDIAL_AFTER_FAILURE;
use crate::cluster::{Cluster, Payload, network_events};
use crate::network::{Connection, Happening, NetworkOptions, Place, Sent, Way};

impl Cluster {
    /// Blocks what goes from one place to another.
    pub fn block(&mut self, from: Place, to: Place) {
        self.network.block(from, to);
    }

    /// Lifts such a block.
    pub fn unblock(&mut self, from: Place, to: Place) {
        let now = self.now();
        self.network
            .unblock(now, from, to, &mut network_events(&mut self.queue));
    }

    /// Lifts all blocks, and lets every machine take new connections.
    pub fn unblock_all(&mut self) {
        let now = self.now();
        for number in 1..=self.options.nodes {
            self.set_refusing(number, false);
        }
        self.network
            .unblock_all(now, &mut network_events(&mut self.queue));
    }

    /// Breaks the connections between two places.
    pub fn reset_between(&mut self, one: Place, other: Place) {
        let now = self.now();
        let between: Vec<Connection> = self
            .network
            .connections()
            .filter(|connection| {
                let ends = (connection.from, connection.to);
                ends == (one, other) || ends == (other, one)
            })
            .collect();
        for connection in between {
            self.network
                .reset(now, connection, &mut network_events(&mut self.queue));
        }
    }

    /// Lets a node's machine refuse new connections, though its process listens, or no longer.
    pub fn set_refusing(&mut self, number: u8, refuses: bool) {
        self.network.set_refusing(Place::Node(number), refuses);
        if refuses {
            self.checkers.seen.refuses(BrokerId(i32::from(number)));
        }
    }

    /// Changes how the network behaves where nothing is wrong.
    pub fn set_network_options(&mut self, options: NetworkOptions) {
        self.network.set_options(options);
    }

    /// Tells everybody concerned what has happened on the network.
    pub(super) fn take_happenings(&mut self, mut happenings: Vec<Happening<Payload>>) {
        for happening in happenings.drain(..) {
            match happening {
                Happening::Connected(connection) => self.on_connected(connection),
                Happening::DialFailed {
                    connection,
                    refused,
                } => self.on_dial_failed(connection, refused),
                Happening::Arrived {
                    connection,
                    way,
                    late,
                    payload,
                } => self.on_arrived(connection, way, late, payload),
                Happening::Broken(connection, place) => self.on_broken(connection, place),
                Happening::Lost {
                    connection,
                    way,
                    payload,
                } => {
                    let (from, to) = connection.ends(way);
                    self.trace.lost(self.queue.now(), from, to, &payload);
                }
            }
        }
        if self.happenings.capacity() < happenings.capacity() {
            self.happenings = happenings;
        }
    }

    fn on_connected(&mut self, connection: Connection) {
        match (connection.from, connection.to) {
            (Place::Node(caller), Place::Node(callee)) => {
                self.on_link_connected(caller, callee, connection);
            }
            (Place::Client(client), Place::Node(callee)) => {
                self.on_client_connected(client, callee, connection);
            }
            (Place::Node(_) | Place::Client(_), Place::Client(_)) => {}
        }
    }

    fn on_dial_failed(&mut self, connection: Connection, refused: bool) {
        match (connection.from, connection.to) {
            (Place::Node(caller), Place::Node(callee)) => {
                let peer = BrokerId(i32::from(callee));
                self.redial_later(caller, peer, connection, REDIAL_AFTER_FAILURE);
                if refused {
                    self.tell(caller, Input::DialRefused(peer));
                }
            }
            (Place::Client(client), Place::Node(callee)) => {
                self.client_lost(client, callee, connection);
            }
            (Place::Node(_) | Place::Client(_), Place::Client(_)) => {}
        }
    }

    /// One end learns that a connection is broken.
    fn on_broken(&mut self, connection: Connection, place: Place) {
        match (place, connection.to) {
            (Place::Client(client), Place::Node(callee)) => {
                self.client_lost(client, callee, connection);
            }
            (Place::Node(caller), Place::Node(callee)) if connection.from == place => {
                self.on_link_broken(caller, BrokerId(i32::from(callee)), connection);
            }
            (Place::Node(callee), _) => self.on_incoming_broken(callee, connection),
            (Place::Client(_), Place::Client(_)) => {}
        }
    }

    fn on_arrived(&mut self, connection: Connection, way: Way, late: bool, payload: Payload) {
        let now = self.now();
        let (from, to) = connection.ends(way);
        self.trace.arrived(now, from, to, late, &payload);
        match (from, to, payload) {
            (_, Place::Node(number), Payload::Peer(message)) => {
                self.on_peer_message(number, connection, message);
            }
            (_, Place::Node(number), Payload::Request(call)) => {
                self.on_request(number, connection, call);
            }
            (Place::Node(node), Place::Client(client), Payload::Response(call, response)) => {
                self.on_response(client, node, connection, call, *response);
            }
            (_, Place::Node(_), Payload::Response(..))
            | (_, Place::Client(_), Payload::Peer(_) | Payload::Request(_))
            | (Place::Client(_), Place::Client(_), Payload::Response(..)) => {
                unreachable!("requests go to nodes and responses come from them")
            }
        }
    }

    /// Hands a message over to the network.
    pub(super) fn send(&mut self, connection: Connection, way: Way, payload: Payload) {
        let now = self.now();
        let (from, to) = connection.ends(way);
        let kept = self.trace.is_on().then(|| payload.clone());
        let sent = self.network.send(
            now,
            connection,
            way,
            payload,
            &mut network_events(&mut self.queue),
        );
        match (kept, sent) {
            (Some(payload), Sent::Held) => self.trace.held_up(now, from, to, &payload),
            (Some(payload), Sent::Nowhere) => self.trace.lost(now, from, to, &payload),
            (Some(_), Sent::UnderWay) | (None, _) => {}
        }
    }

    /// Closes a connection at one of its ends.
    pub(super) fn close(&mut self, connection: Connection, place: Place) {
        let now = self.now();
        let mut happenings = Vec::new();
        self.network.close_from(
            now,
            connection,
            place,
            &mut network_events(&mut self.queue),
            &mut happenings,
        );
        self.take_happenings(happenings);
    }
}
