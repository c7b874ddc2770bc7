//! How connections end: broken by the network, given up by a sender, closed by an end, or gone with a place.

use std::time::Duration;

use crate::clock::SimTime;
use crate::network::connection::{Aspect, Connection, Place, Way};
use crate::network::{Happening, Listening, Network, NetworkEvent, Schedule};

impl<P> Network<P> {
    /// The sender's end breaks the connection: its messages have not been taken for too long.
    pub(super) fn give_up(
        &mut self,
        now: SimTime,
        connection: Connection,
        way: Way,
        schedule: Schedule<'_>,
    ) {
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
    pub(super) fn collect(&mut self, connection: Connection, happenings: &mut Vec<Happening<P>>) {
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
                happenings.push(Happening::Lost {
                    connection,
                    way,
                    payload: waiting.payload,
                });
            }
        }
    }
}
