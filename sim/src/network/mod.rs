//! Connections between nodes and clients: FIFO, delayed, and broken in the ways in which TCP breaks.
//!
//! A connection delivers in order and whole or breaks; no single message is ever lost from its middle. Two
//! connections are not ordered with each other. A direction between two places can be *blocked*: what is sent
//! waits, silently, until the block is lifted (and arrives late) or the sender's patience ends and the
//! connection breaks. When a connection breaks, a prefix of what was under way may still arrive, even after the
//! sender has been told, and each end is told in its own time.
//!
//! What is carried is the caller's. The network only tells what happened ([`Happening`]) and asks to be
//! called back ([`NetworkEvent`]).

mod connection;
mod blocks;
mod breaks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::SimTime;
use crate::draw::{Draw, Draws, Subsystem};

pub use connection::{Connection, Place, Way};

use connection::{Aspect, Pipe, State, Waiting};

/// How the network of a run behaves where nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// No message takes less.
    pub delay_min: Duration,
    /// Mean of the exponential part of the delay.
    pub delay_mean: Duration,
    /// How many of a million messages take a long time.
    pub tail_per_million: u32,
    /// Mean of what these take in addition.
    pub tail_mean: Duration,
    /// How many of a million messages break their connection.
    pub reset_per_million: u32,
    /// How long a sender waits for a blocked direction before it gives the connection up, at the least.
    pub patience_min: Duration,
    /// And at the most.
    pub patience_max: Duration,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(200),
            delay_mean: Duration::from_micros(300),
            tail_per_million: 0,
            tail_mean: Duration::from_millis(50),
            reset_per_million: 0,
            patience_min: Duration::from_millis(1500),
            patience_max: Duration::from_millis(3000),
        }
    }
}

/// When the network wants to be called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// The front message of this direction is due.
    Due(Connection, Way),
    /// A dial has an outcome.
    Dialled(Connection),
    /// This end learns that its connection is broken.
    Told(Connection, Place),
    /// The sender's patience with this direction may have ended; the number tells blocks apart.
    Impatient(Connection, Way, u64),
}

/// What the network tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening<P> {
    /// A connection is up: told to both ends at once, by naming it.
    Connected(Connection),
    /// A dial was refused or ran out of time.
    DialFailed {
        /// Which.
        connection: Connection,
        /// The machine that was dialled said so: nothing listens there.
        refused: bool,
    },
    /// A message arrives.
    Arrived {
        /// On which connection.
        connection: Connection,
        /// Which way it went.
        way: Way,
        /// It was held up, or its sender has given the connection up.
        late: bool,
        /// The message.
        payload: P,
    },
    /// An end learns that the connection is broken.
    Broken(Connection, Place),
    /// A message will never arrive.
    Lost {
        /// On which connection.
        connection: Connection,
        /// Which way it was going.
        way: Way,
        /// The message.
        payload: P,
    },
}

/// What became of a message when it was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is under way.
    UnderWay,
    /// It waits at a block.
    Held,
    /// There is no such connection any more.
    Nowhere,
}

/// All connections of a run.
#[derive(Clone, Debug)]
pub struct Network<P> {
    draws: Draws,
    options: NetworkOptions,
    connections: BTreeMap<Connection, State<P>>,
    dials: BTreeMap<(Place, Place), u32>,
    /// How many blocks stand in each direction between two places.
    blocks: BTreeMap<(Place, Place), u32>,
    listening: BTreeMap<Place, Listening>,
    /// Whose machines refuse new connections, though a process listens.
    refusing: BTreeSet<Place>,
    /// Places that have no descriptor for another connection.
    without_descriptors: BTreeSet<Place>,
    next_block: u64,
}

/// Whether a place answers a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It does.
    Yes,
    /// It answers nodes: no client is let in yet.
    ToPeers,
    /// Its machine refuses: no process listens.
    Refused,
    /// Nothing answers: the machine is off.
    Silent,
}

type Schedule<'a> = &'a mut dyn FnMut(SimTime, NetworkEvent);

impl<P> Network<P> {
    /// A network without places.
    #[must_use]
    pub fn new(draws: Draws, options: NetworkOptions) -> Self {
        Self {
            draws,
            options,
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            blocks: BTreeMap::new(),
            listening: BTreeMap::new(),
            refusing: BTreeSet::new(),
            without_descriptors: BTreeSet::new(),
            next_block: 0,
        }
    }

    /// Changes how it behaves from here on.
    pub fn set_options(&mut self, options: NetworkOptions) {
        self.options = options;
    }

    /// How it behaves.
    #[must_use]
    pub const fn options(&self) -> NetworkOptions {
        self.options
    }

    /// Whether a place answers dials.
    pub fn set_listening(&mut self, place: Place, listening: Listening) {
        self.listening.insert(place, listening);
    }

    /// Lets a place's machine refuse new connections, whoever listens there, or no longer.
    pub fn set_refusing(&mut self, place: Place, refuses: bool) {
        if refuses {
            self.refusing.insert(place);
        } else {
            self.refusing.remove(&place);
        }
    }

    /// Whether a place has no descriptor for another connection: its own dials fail, and those to it are taken in by its
    /// machine and never answered.
    pub fn set_without_descriptors(&mut self, place: Place, is_without: bool) {
        if is_without {
            self.without_descriptors.insert(place);
        } else {
            self.without_descriptors.remove(&place);
        }
    }

    fn lacks_descriptor(&self, from: Place, to: Place) -> bool {
        self.without_descriptors.contains(&from) || self.without_descriptors.contains(&to)
    }

    fn draw(&self, connection: Connection, aspect: Aspect, ordinal: u64) -> Draw {
        let ordinal = (aspect as u64) << 40 | ordinal;
        self.draws
            .at(Subsystem::Network, connection.entity(), ordinal)
    }

    /// Starts to connect; [`Happening::Connected`] or [`Happening::DialFailed`] tells how it went.
    pub fn dial(
        &mut self,
        now: SimTime,
        from: Place,
        to: Place,
        schedule: Schedule<'_>,
    ) -> Connection {
        let nth = self.dials.entry((from, to)).or_default();
        *nth += 1;
        let connection = Connection {
            from,
            to,
            nth: *nth,
        };
        self.connections.insert(
            connection,
            State {
                up: false,
                forth: Pipe::default(),
                back: Pipe::default(),
                dialler_gone: false,
                dialled_gone: false,
            },
        );
        let mut draw = self.draw(connection, Aspect::Dial, 0);
        // A handshake takes a round trip; where nothing answers, the dial is given up.
        let delay = if self.is_blocked(from, to)
            || self.is_blocked(to, from)
            || self.lacks_descriptor(from, to)
            || self.listening.get(&to) == Some(&Listening::Silent)
        {
            draw.duration(Duration::from_millis(500), Duration::from_millis(1000))
        } else {
            self.delay(&mut draw) + self.delay(&mut draw)
        };
        schedule(now + delay, NetworkEvent::Dialled(connection));
        connection
    }

    /// Whether both ends may still use the connection.
    #[must_use]
    pub fn is_up(&self, connection: Connection) -> bool {
        self.connections
            .get(&connection)
            .is_some_and(|state| state.up)
    }

    /// Hands a message over at one end.
    pub fn send(
        &mut self,
        now: SimTime,
        connection: Connection,
        way: Way,
        payload: P,
        schedule: Schedule<'_>,
    ) -> Sent {
        let (from, to) = connection.ends(way);
        let blocked = self.is_blocked(from, to);
        let Some(state) = self.connections.get(&connection) else {
            return Sent::Nowhere;
        };
        if !state.up || state.pipe(way).closed {
            return Sent::Nowhere;
        }
        let aspect = match way {
            Way::Forth => Aspect::Forth,
            Way::Back => Aspect::Back,
        };
        let mut draw = self.draw(connection, aspect, state.pipe(way).sent);
        let delay = self.delay(&mut draw);
        let resets = draw.chance(self.options.reset_per_million);
        let pipe = self.pipe_mut(connection, way);
        pipe.sent += 1;
        let due = (now + delay).max(pipe.last_due);
        pipe.last_due = due;
        pipe.waiting.push_back(Waiting {
            due,
            late: false,
            payload,
        });
        if resets {
            self.reset(now, connection, schedule);
            return Sent::UnderWay;
        }
        if blocked {
            self.hold(now, connection, way, schedule);
            return Sent::Held;
        }
        let pipe = self.pipe_mut(connection, way);
        if !pipe.scheduled && pipe.block.is_none() {
            pipe.scheduled = true;
            schedule(due, NetworkEvent::Due(connection, way));
        }
        Sent::UnderWay
    }

    /// Takes a call back.
    pub fn on_event(
        &mut self,
        now: SimTime,
        event: NetworkEvent,
        schedule: Schedule<'_>,
        happenings: &mut Vec<Happening<P>>,
    ) {
        match event {
            NetworkEvent::Dialled(connection) => self.on_dialled(now, connection, happenings),
            NetworkEvent::Due(connection, way) => {
                self.on_due(now, connection, way, schedule, happenings);
            }
            NetworkEvent::Told(connection, place) => {
                let Some(state) = self.connections.get_mut(&connection) else {
                    return;
                };
                let gone = state.gone_mut(connection, place);
                if !std::mem::replace(gone, true) {
                    happenings.push(Happening::Broken(connection, place));
                }
                self.collect(connection, happenings);
            }
            NetworkEvent::Impatient(connection, way, block) => {
                let impatient = self
                    .connections
                    .get(&connection)
                    .is_some_and(|state| state.up && state.pipe(way).block == Some(block));
                if impatient {
                    self.give_up(now, connection, way, schedule);
                }
            }
        }
    }

    fn on_dialled(
        &mut self,
        now: SimTime,
        connection: Connection,
        happenings: &mut Vec<Happening<P>>,
    ) {
        let (from, to) = (connection.from, connection.to);
        let answered = !self.is_blocked(from, to)
            && !self.is_blocked(to, from)
            && !self.lacks_descriptor(from, to);
        let listening = match self.listening.get(&to) {
            Some(Listening::Yes | Listening::ToPeers) if self.refusing.contains(&to) => {
                Listening::Refused
            }
            Some(Listening::ToPeers) if matches!(from, Place::Node(_)) => Listening::Yes,
            Some(Listening::ToPeers) => Listening::Refused,
            Some(&listening) => listening,
            None => Listening::Silent,
        };
        let reachable = answered && listening == Listening::Yes;
        let refused = answered && listening == Listening::Refused;
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        if reachable && !state.dialler_gone {
            state.up = true;
            state.forth.last_due = now;
            state.back.last_due = now;
            happenings.push(Happening::Connected(connection));
        } else {
            let told = !state.dialler_gone;
            self.connections.remove(&connection);
            if told {
                happenings.push(Happening::DialFailed {
                    connection,
                    refused,
                });
            }
        }
    }

    fn on_due(
        &mut self,
        now: SimTime,
        connection: Connection,
        way: Way,
        schedule: Schedule<'_>,
        happenings: &mut Vec<Happening<P>>,
    ) {
        let (from, to) = connection.ends(way);
        let blocked = self.is_blocked(from, to);
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        let receiver_gone = *state.gone_mut(connection, to);
        let pipe = state.pipe_mut(way);
        pipe.scheduled = false;
        if receiver_gone {
            self.collect(connection, happenings);
            return;
        }
        if blocked {
            if pipe.closed {
                // Nobody waits for it any more: it is lost in the network.
                for waiting in pipe.waiting.drain(..) {
                    happenings.push(Happening::Lost {
                        connection,
                        way,
                        payload: waiting.payload,
                    });
                }
                self.collect(connection, happenings);
            } else {
                self.hold(now, connection, way, schedule);
            }
            return;
        }
        let sender_gave_up = pipe.closed;
        let Some(front) = pipe.waiting.pop_front() else {
            return;
        };
        if let Some(next) = pipe.waiting.front() {
            pipe.scheduled = true;
            schedule(next.due, NetworkEvent::Due(connection, way));
        }
        happenings.push(Happening::Arrived {
            connection,
            way,
            late: front.late || sender_gave_up,
            payload: front.payload,
        });
        self.collect(connection, happenings);
    }

    /// The connections that are up.
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        self.connections
            .iter()
            .filter(|(_, state)| state.up)
            .map(|(&connection, _)| connection)
    }

    fn delay(&self, draw: &mut Draw) -> Duration {
        let mut delay = self.options.delay_min + draw.exponential(self.options.delay_mean);
        if draw.chance(self.options.tail_per_million) {
            delay += draw.exponential(self.options.tail_mean);
        }
        delay
    }

    fn pipe_mut(&mut self, connection: Connection, way: Way) -> &mut Pipe<P> {
        self.connections
            .get_mut(&connection)
            .expect("the caller has looked it up")
            .pipe_mut(way)
    }
}
