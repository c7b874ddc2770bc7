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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::SimTime;
use crate::draw::{Draw, Draws, Subsystem};

/// A place with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A node, by its number from 1.
    Node(u8),
    /// A client, by its number from 1.
    Client(u8),
}

impl Place {
    const fn code(self) -> u64 {
        match self {
            Self::Node(n) => n as u64,
            Self::Client(n) => 0x80 | n as u64,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(n) => write!(f, "n{n}"),
            Self::Client(n) => write!(f, "c{n}"),
        }
    }
}

/// Names a connection: who dialled whom, and which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Who dialled.
    pub from: Place,
    /// Who was dialled.
    pub to: Place,
    /// Counts the dials from the one to the other, from 1.
    pub nth: u32,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From who dialled to who was dialled.
    Forth,
    /// The other way.
    Back,
}

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
    DialFailed(Connection),
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
    next_block: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages lost.
    pub lost: u64,
    /// Connections broken.
    pub broken: u64,
}

/// Whether a place answers a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// It does.
    Yes,
    /// Its machine refuses: no process listens.
    Refused,
    /// Nothing answers: the machine is off.
    Silent,
}

#[derive(Clone, Debug)]
struct State<P> {
    up: bool,
    forth: Pipe<P>,
    back: Pipe<P>,
    /// Ends that know of the break, or are no more.
    dialler_gone: bool,
    dialled_gone: bool,
}

#[derive(Clone, Debug)]
struct Pipe<P> {
    waiting: VecDeque<Waiting<P>>,
    /// Nothing sent later arrives earlier.
    last_due: SimTime,
    sent: u64,
    /// An event for the front message is scheduled.
    scheduled: bool,
    /// Number of the block that the front waits at.
    block: Option<u64>,
    /// Nothing can be sent any more; what waits may still arrive.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Waiting<P> {
    due: SimTime,
    late: bool,
    payload: P,
}

impl<P> Default for Pipe<P> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            last_due: SimTime::default(),
            sent: 0,
            scheduled: false,
            block: None,
            closed: false,
        }
    }
}

impl Connection {
    fn entity(self) -> u64 {
        self.from.code() << 40 | self.to.code() << 32 | u64::from(self.nth)
    }

    /// Where a direction starts and ends.
    #[must_use]
    pub const fn ends(self, way: Way) -> (Place, Place) {
        match way {
            Way::Forth => (self.from, self.to),
            Way::Back => (self.to, self.from),
        }
    }

    /// The direction that starts at this end.
    #[must_use]
    pub fn way_from(self, place: Place) -> Way {
        if self.from == place {
            Way::Forth
        } else {
            Way::Back
        }
    }
}

/// Draws of one connection that are not about its messages.
#[derive(Clone, Copy)]
enum Aspect {
    Forth = 0,
    Back = 1,
    Dial = 2,
    Break = 3,
    Patience = 4,
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
            next_block: 0,
            delivered: 0,
            lost: 0,
            broken: 0,
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
        let reachable = !self.is_blocked(from, to)
            && !self.is_blocked(to, from)
            && self.listening.get(&to) == Some(&Listening::Yes);
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
                happenings.push(Happening::DialFailed(connection));
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
                    self.lost += 1;
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
        self.delivered += 1;
        happenings.push(Happening::Arrived {
            connection,
            way,
            late: front.late || sender_gave_up,
            payload: front.payload,
        });
        self.collect(connection, happenings);
    }

    /// What waits in this direction waits at a block.
    fn hold(&mut self, now: SimTime, connection: Connection, way: Way, schedule: Schedule<'_>) {
        self.next_block += 1;
        let block = self.next_block;
        let (low, high) = (self.options.patience_min, self.options.patience_max);
        let mut draw = self.draw(connection, Aspect::Patience, way as u64);
        let pipe = self.pipe_mut(connection, way);
        for waiting in &mut pipe.waiting {
            waiting.late = true;
        }
        if pipe.block.is_none() {
            pipe.block = Some(block);
            schedule(
                now + draw.duration(low, high),
                NetworkEvent::Impatient(connection, way, block),
            );
        }
    }

    /// The sender's end breaks the connection: its messages have not been taken for too long.
    fn give_up(&mut self, now: SimTime, connection: Connection, way: Way, schedule: Schedule<'_>) {
        let (from, to) = connection.ends(way);
        let mut draw = self.draw(connection, Aspect::Break, 1);
        let other = draw.duration(self.options.patience_min, self.options.patience_max);
        self.close(connection);
        // What waited may yet arrive, if the block is lifted before the network has forgotten it.
        schedule(now, NetworkEvent::Told(connection, from));
        schedule(now + other, NetworkEvent::Told(connection, to));
    }

    /// The connection breaks: of what is under way a drawn prefix arrives, and each end is told in its own time.
    pub fn reset(&mut self, now: SimTime, connection: Connection, schedule: Schedule<'_>) {
        if !self.is_up(connection) {
            return;
        }
        self.broken += 1;
        let mut draw = self.draw(connection, Aspect::Break, 0);
        self.close(connection);
        for way in [Way::Forth, Way::Back] {
            let pipe = self.pipe_mut(connection, way);
            let kept = draw.index(pipe.waiting.len() + 1);
            // The rest can never become due: it is collected as lost when both ends know.
            for waiting in pipe.waiting.iter_mut().skip(kept) {
                waiting.due = SimTime(u64::MAX);
            }
        }
        for place in [connection.from, connection.to] {
            let delay = self.delay(&mut draw) + draw.exponential(Duration::from_millis(5));
            schedule(now + delay, NetworkEvent::Told(connection, place));
        }
    }

    /// A place is no more: its process died (`machine_up`), or its machine lost power. Its ends are gone at once;
    /// the others are told soon by the machine's operating system, or late by their own patience.
    pub fn died(
        &mut self,
        now: SimTime,
        place: Place,
        machine_up: bool,
        schedule: Schedule<'_>,
        happenings: &mut Vec<Happening<P>>,
    ) {
        self.listening.insert(
            place,
            if machine_up {
                Listening::Refused
            } else {
                Listening::Silent
            },
        );
        let touched: Vec<Connection> = self
            .connections
            .keys()
            .copied()
            .filter(|connection| connection.from == place || connection.to == place)
            .collect();
        for connection in touched {
            let mut draw = self.draw(connection, Aspect::Break, 2);
            let (low, high) = (self.options.patience_min, self.options.patience_max);
            if self.forget_dial(connection, place) {
                continue;
            }
            let was_up = self.is_up(connection);
            self.close(connection);
            let way = connection.way_from(place);
            let (_, other) = connection.ends(way);
            let outgoing = self.pipe_mut(connection, way);
            // The machine sends on what its process had handed over; without power, what is on the wire arrives.
            let last_due = if machine_up {
                outgoing.waiting.back().map_or(now, |last| last.due)
            } else {
                let kept = draw.index(outgoing.waiting.len() + 1);
                for waiting in outgoing.waiting.iter_mut().skip(kept) {
                    waiting.due = SimTime(u64::MAX);
                }
                now
            };
            let state = self
                .connections
                .get_mut(&connection)
                .expect("it was just listed");
            *state.gone_mut(connection, place) = true;
            if was_up {
                let delay = if machine_up {
                    last_due.since(now) + self.delay(&mut draw)
                } else {
                    draw.duration(low, high)
                };
                schedule(now + delay, NetworkEvent::Told(connection, other));
            }
            self.collect(connection, happenings);
        }
    }

    /// Whether the connection is no more than a dial. Its dialler forgets it; who is dialled knows nothing of it,
    /// and whoever listens there when it arrives answers it.
    fn forget_dial(&mut self, connection: Connection, place: Place) -> bool {
        let dialling = self
            .connections
            .get(&connection)
            .is_some_and(|state| !state.up && !state.forth.closed);
        if dialling && connection.from == place {
            self.connections.remove(&connection);
        }
        dialling
    }

    /// One end closes its connection. The other is told when it has had everything.
    pub fn close_from(
        &mut self,
        now: SimTime,
        connection: Connection,
        place: Place,
        schedule: Schedule<'_>,
        happenings: &mut Vec<Happening<P>>,
    ) {
        if !self.connections.contains_key(&connection) {
            return;
        }
        if self.forget_dial(connection, place) {
            return;
        }
        let was_up = self.is_up(connection);
        self.close(connection);
        let way = connection.way_from(place);
        let (_, other) = connection.ends(way);
        let last_due = self.pipe_mut(connection, way).last_due;
        let state = self.connections.get_mut(&connection).expect("it is there");
        *state.gone_mut(connection, place) = true;
        if was_up {
            schedule(last_due.max(now), NetworkEvent::Told(connection, other));
        }
        self.collect(connection, happenings);
    }

    /// Blocks a direction. Blocks add up.
    pub fn block(&mut self, from: Place, to: Place) {
        *self.blocks.entry((from, to)).or_default() += 1;
    }

    /// Lifts one block; when it was the last, what waited goes on.
    pub fn unblock(&mut self, now: SimTime, from: Place, to: Place, schedule: Schedule<'_>) {
        let Some(count) = self.blocks.get_mut(&(from, to)) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.blocks.remove(&(from, to));
        let options = self.options;
        let draws = self.draws.clone();
        for (&connection, state) in &mut self.connections {
            for way in [Way::Forth, Way::Back] {
                if connection.ends(way) != (from, to) {
                    continue;
                }
                let pipe = state.pipe_mut(way);
                if pipe.block.take().is_none() {
                    continue;
                }
                let ordinal = (Aspect::Patience as u64) << 40 | 1 << 32 | pipe.sent;
                let mut draw = draws.at(Subsystem::Network, connection.entity(), ordinal);
                let mut due = now;
                for waiting in &mut pipe.waiting {
                    if waiting.due == SimTime(u64::MAX) {
                        break;
                    }
                    due = due + draw.exponential(options.delay_mean);
                    waiting.due = due;
                }
                pipe.last_due = pipe.last_due.max(due);
                if let Some(front) = pipe.waiting.front()
                    && !pipe.scheduled
                {
                    pipe.scheduled = true;
                    schedule(front.due, NetworkEvent::Due(connection, way));
                }
            }
        }
    }

    /// Lifts every block.
    pub fn unblock_all(&mut self, now: SimTime, schedule: Schedule<'_>) {
        for ((from, to), count) in self.blocks.clone() {
            for _ in 0..count {
                self.unblock(now, from, to, schedule);
            }
        }
    }

    /// Whether a direction is blocked.
    #[must_use]
    pub fn is_blocked(&self, from: Place, to: Place) -> bool {
        !self.blocks.is_empty() && self.blocks.contains_key(&(from, to))
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

    fn close(&mut self, connection: Connection) {
        let state = self
            .connections
            .get_mut(&connection)
            .expect("the caller has looked it up");
        state.up = false;
        state.forth.closed = true;
        state.back.closed = true;
    }

    /// Forgets a connection when nothing of it can arrive or be told any more.
    fn collect(&mut self, connection: Connection, happenings: &mut Vec<Happening<P>>) {
        let Some(state) = self.connections.get_mut(&connection) else {
            return;
        };
        if !(state.dialler_gone && state.dialled_gone) {
            return;
        }
        let mut state = self
            .connections
            .remove(&connection)
            .expect("it was just there");
        for way in [Way::Forth, Way::Back] {
            for waiting in state.pipe_mut(way).waiting.drain(..) {
                self.lost += 1;
                happenings.push(Happening::Lost {
                    connection,
                    way,
                    payload: waiting.payload,
                });
            }
        }
    }
}

impl<P> State<P> {
    fn pipe(&self, way: Way) -> &Pipe<P> {
        match way {
            Way::Forth => &self.forth,
            Way::Back => &self.back,
        }
    }

    fn pipe_mut(&mut self, way: Way) -> &mut Pipe<P> {
        match way {
            Way::Forth => &mut self.forth,
            Way::Back => &mut self.back,
        }
    }

    fn gone_mut(&mut self, connection: Connection, place: Place) -> &mut bool {
        if connection.from == place {
            &mut self.dialler_gone
        } else {
            &mut self.dialled_gone
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EventQueue;

    const A: Place = Place::Node(1);
    const B: Place = Place::Node(2);

    struct Bench {
        network: Network<u32>,
        queue: EventQueue<NetworkEvent>,
        seen: Vec<(SimTime, Happening<u32>)>,
    }

    impl Bench {
        fn new(seed: u64, options: NetworkOptions) -> Self {
            let mut network = Network::new(Draws::new(seed), options);
            network.set_listening(A, Listening::Yes);
            network.set_listening(B, Listening::Yes);
            Self {
                network,
                queue: EventQueue::default(),
                seen: Vec::new(),
            }
        }

        fn connected(seed: u64) -> (Self, Connection) {
            let mut bench = Self::new(seed, NetworkOptions::default());
            let connection = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
            bench.run();
            assert_eq!(
                bench.seen.pop().unwrap().1,
                Happening::Connected(connection)
            );
            (bench, connection)
        }

        fn with<T>(
            &mut self,
            act: impl FnOnce(&mut Network<u32>, SimTime, Schedule<'_>) -> T,
        ) -> T {
            let now = self.queue.now();
            let queue = &mut self.queue;
            act(&mut self.network, now, &mut |at, event| queue.at(at, event))
        }

        fn send(&mut self, connection: Connection, n: u32) -> Sent {
            self.with(|network, now, schedule| {
                network.send(now, connection, Way::Forth, n, schedule)
            })
        }

        fn run_until(&mut self, end: SimTime) {
            while self.queue.next_at().is_some_and(|at| at <= end) {
                let event = self.queue.pop().unwrap();
                let mut happenings = Vec::new();
                self.with(|network, now, schedule| {
                    network.on_event(now, event, schedule, &mut happenings);
                });
                let now = self.queue.now();
                self.seen
                    .extend(happenings.into_iter().map(|what| (now, what)));
            }
        }

        fn run(&mut self) {
            self.run_until(SimTime(u64::MAX - 1));
        }

        fn arrived(&self) -> Vec<u32> {
            let arrived = |(_, what): &(SimTime, Happening<u32>)| match what {
                Happening::Arrived { payload, .. } => Some(*payload),
                Happening::Connected(_)
                | Happening::DialFailed(_)
                | Happening::Broken(..)
                | Happening::Lost { .. } => None,
            };
            self.seen.iter().filter_map(arrived).collect()
        }
    }

    #[test]
    fn a_connection_delivers_everything_in_order() {
        let (mut bench, connection) = Bench::connected(1);
        for n in 0..50 {
            assert_eq!(bench.send(connection, n), Sent::UnderWay);
        }
        bench.run();
        assert_eq!(bench.arrived(), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_reset_loses_a_suffix_and_tells_both_ends() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let (mut bench, connection) = Bench::connected(seed);
            for n in 0..5 {
                bench.send(connection, n);
            }
            bench.with(|network, now, schedule| network.reset(now, connection, schedule));
            assert_eq!(bench.send(connection, 9), Sent::Nowhere);
            bench.run();
            let arrived = bench.arrived();
            let count = u32::try_from(arrived.len()).unwrap();
            assert_eq!(arrived, (0..count).collect::<Vec<_>>(), "a prefix");
            lengths.insert(count);
            for place in [A, B] {
                let told = bench
                    .seen
                    .iter()
                    .filter(|(_, what)| *what == Happening::Broken(connection, place));
                assert_eq!(told.count(), 1);
            }
            assert_eq!(bench.network.delivered + bench.network.lost, 5);
        }
        assert!(lengths.len() > 2, "{lengths:?}");
    }

    #[test]
    fn a_short_block_makes_messages_late_and_a_long_one_breaks_the_connection() {
        let (mut bench, connection) = Bench::connected(2);
        bench.network.block(A, B);
        assert_eq!(bench.send(connection, 1), Sent::Held);
        bench.run_until(SimTime(500_000));
        assert_eq!(bench.arrived(), []);
        bench.queue.advance_to(SimTime(500_000));
        bench.with(|network, now, schedule| network.unblock(now, A, B, schedule));
        bench.run_until(SimTime(600_000));
        assert!(matches!(
            bench.seen[..],
            [(
                _,
                Happening::Arrived {
                    late: true,
                    payload: 1,
                    ..
                }
            )]
        ));
        bench.network.block(A, B);
        bench.send(connection, 2);
        bench.run();
        assert_eq!(bench.arrived(), [1]);
        assert!(
            bench
                .seen
                .iter()
                .any(|(_, what)| *what == Happening::Broken(connection, A))
        );
        assert!(!bench.network.is_up(connection));
    }

    #[test]
    fn one_way_blocks_leave_the_other_way_open() {
        let (mut bench, connection) = Bench::connected(3);
        bench.network.block(A, B);
        bench.with(|network, now, schedule| network.send(now, connection, Way::Back, 7, schedule));
        bench.send(connection, 8);
        bench.run_until(SimTime(100_000));
        assert_eq!(bench.arrived(), [7]);
    }

    #[test]
    fn a_dial_is_answered_by_whoever_listens_when_it_arrives() {
        let mut bench = Bench::new(5, NetworkOptions::default());
        let connection = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
        let mut happenings = Vec::new();
        bench.with(|network, now, schedule| {
            network.died(now, B, true, schedule, &mut happenings);
        });
        bench.network.set_listening(B, Listening::Yes);
        bench.run();
        assert_eq!(bench.send(connection, 1), Sent::UnderWay);
        bench.run();
        assert_eq!(bench.arrived(), [1]);
    }

    #[test]
    fn a_dead_process_refuses_and_a_dead_machine_is_silent() {
        for machine_up in [true, false] {
            let (mut bench, connection) = Bench::connected(4);
            let died = bench.queue.now();
            let mut happenings = Vec::new();
            bench.with(|network, now, schedule| {
                network.died(now, B, machine_up, schedule, &mut happenings);
            });
            bench.run();
            let (told, _) = bench
                .seen
                .iter()
                .find(|(_, what)| *what == Happening::Broken(connection, A))
                .unwrap();
            assert_eq!(told.since(died) < Duration::from_millis(100), machine_up);
            let again = bench.with(|network, now, schedule| network.dial(now, A, B, schedule));
            let dialled = bench.queue.now();
            bench.run();
            let (failed, what) = bench.seen.last().unwrap();
            assert_eq!(*what, Happening::DialFailed(again));
            assert_eq!(
                failed.since(dialled) < Duration::from_millis(100),
                machine_up
            );
        }
    }
}
