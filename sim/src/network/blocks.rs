//! Directions between two places that are blocked: what is sent waits there, and arrives late or never.

use crate::clock::SimTime;
use crate::draw::Subsystem;
use crate::network::connection::{Aspect, Connection, Place, Way};
use crate::network::{Network, NetworkEvent, Schedule};

impl<P> Network<P> {
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

    /// What waits in this direction waits at a block.
    pub(super) fn hold(
        &mut self,
        now: SimTime,
        connection: Connection,
        way: Way,
        schedule: Schedule<'_>,
    ) {
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
}
