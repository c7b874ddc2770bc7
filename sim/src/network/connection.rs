//! One connection: who dialled whom, and what waits in each of its directions.

use std::collections::VecDeque;

use crate::clock::SimTime;

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

#[derive(Clone, Debug)]
pub(super) struct State<P> {
    pub(super) up: bool,
    pub(super) forth: Pipe<P>,
    pub(super) back: Pipe<P>,
    /// Ends that know of the break, or are no more.
    pub(super) dialler_gone: bool,
    pub(super) dialled_gone: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Pipe<P> {
    pub(super) waiting: VecDeque<Waiting<P>>,
    /// Nothing sent later arrives earlier.
    pub(super) last_due: SimTime,
    pub(super) sent: u64,
    /// An event for the front message is scheduled.
    pub(super) scheduled: bool,
    /// Number of the block that the front waits at.
    pub(super) block: Option<u64>,
    /// Nothing can be sent any more; what waits may still arrive.
    pub(super) closed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Waiting<P> {
    pub(super) due: SimTime,
    pub(super) late: bool,
    pub(super) payload: P,
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
    pub(super) fn entity(self) -> u64 {
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
pub(super) enum Aspect {
    Forth = 0,
    Back = 1,
    Dial = 2,
    Break = 3,
    Patience = 4,
}

impl<P> State<P> {
    pub(super) fn pipe(&self, way: Way) -> &Pipe<P> {
        match way {
            Way::Forth => &self.forth,
            Way::Back => &self.back,
        }
    }

    pub(super) fn pipe_mut(&mut self, way: Way) -> &mut Pipe<P> {
        match way {
            Way::Forth => &mut self.forth,
            Way::Back => &mut self.back,
        }
    }

    pub(super) fn gone_mut(&mut self, connection: Connection, place: Place) -> &mut bool {
        if connection.from == place {
            &mut self.dialler_gone
        } else {
            &mut self.dialled_gone
        }
    }
}
