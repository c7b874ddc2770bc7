//! Virtual time: a queue of events, and for each node a clock of its own.
//!
//! Events are keyed by (time, ordinal), so that two events at one microsecond happen in the order in which they
//! were scheduled. Nodes never see simulated time itself: each has a monotonic clock that started somewhere
//! else, and a wall clock that is wrong by an amount of its own, goes at a pace of its own, and may jump.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use varve_core::ids::Timestamp;
use varve_core::time::{Instant, Now};

/// Microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(pub u64);

impl SimTime {
    /// How long ago `earlier` was; zero where it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the run began.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Duration> for SimTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for SimTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.millis())
    }
}

/// What happens when.
#[derive(Clone, Debug)]
pub struct EventQueue<E> {
    now: SimTime,
    next_ordinal: u64,
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
}

#[derive(Clone, Debug)]
struct Scheduled<E> {
    at: SimTime,
    ordinal: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.ordinal) == (other.at, other.ordinal)
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.ordinal).cmp(&(other.at, other.ordinal))
    }
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        Self {
            now: SimTime::default(),
            next_ordinal: 0,
            heap: BinaryHeap::new(),
        }
    }
}

impl<E> EventQueue<E> {
    /// The time of the event that happens now.
    #[must_use]
    pub const fn now(&self) -> SimTime {
        self.now
    }

    /// Schedules an event; one in the past happens now.
    pub fn at(&mut self, at: SimTime, event: E) {
        self.next_ordinal += 1;
        self.heap.push(Reverse(Scheduled {
            at: at.max(self.now),
            ordinal: self.next_ordinal,
            event,
        }));
    }

    /// Schedules an event from now.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// When the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<SimTime> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// Goes on to the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }

    /// Lets time pass up to `at`, before which no event is left.
    pub fn advance_to(&mut self, at: SimTime) {
        assert!(
            self.next_at().is_none_or(|next| next >= at),
            "an event would be left behind"
        );
        self.now = self.now.max(at);
    }
}

/// The clocks of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeClock {
    /// What its monotonic clock showed when the run began.
    pub monotonic_offset: Duration,
    /// What its wall clock showed when the run began; jumps change it.
    pub wall_offset_ms: i64,
    /// How many microseconds too many its wall clock counts in a second.
    pub wall_drift_ppm: i64,
}

impl NodeClock {
    /// Its monotonic clock.
    #[must_use]
    pub fn instant(&self, now: SimTime) -> Instant {
        Instant(now.0) + self.monotonic_offset
    }

    /// When its monotonic clock shows this.
    #[must_use]
    pub fn sim_time(&self, instant: Instant) -> SimTime {
        SimTime((instant - self.monotonic_offset).0)
    }

    /// Its wall clock.
    #[must_use]
    pub fn wall(&self, now: SimTime) -> Timestamp {
        let rate = 1_000_000 + i128::from(self.wall_drift_ppm);
        let millis = i64::try_from(i128::from(now.0) * rate / 1_000_000_000)
            .expect("runs are shorter than 292 million years");
        Timestamp(self.wall_offset_ms + millis)
    }

    /// Both.
    #[must_use]
    pub fn both(&self, now: SimTime) -> Now {
        Now {
            instant: self.instant(now),
            wall: self.wall(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_drifts_never_goes_back_by_itself() {
        for wall_drift_ppm in [-50_000, 0, 50_000] {
            let clock = NodeClock {
                wall_drift_ppm,
                ..NodeClock::default()
            };
            let shown = (0..3000).map(|millis| clock.wall(SimTime(millis * 1000)));
            assert!(shown.is_sorted(), "{wall_drift_ppm}");
            let end = clock.wall(SimTime(100_000_000));
            assert_eq!(end, Timestamp(100_000 + wall_drift_ppm / 10));
        }
    }

    #[test]
    fn events_happen_by_time_and_then_in_the_order_of_scheduling() {
        let mut queue = EventQueue::default();
        queue.at(SimTime(5), "late");
        queue.at(SimTime(3), "first");
        queue.at(SimTime(3), "second");
        assert_eq!(queue.pop(), Some("first"));
        queue.at(SimTime(1), "in the past");
        assert_eq!(queue.pop(), Some("second"));
        assert_eq!(queue.pop(), Some("in the past"));
        assert_eq!(queue.now(), SimTime(3));
        assert_eq!(queue.pop(), Some("late"));
        assert_eq!(queue.pop(), None);
    }
}
