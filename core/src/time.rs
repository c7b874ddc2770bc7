//! Time in core is an argument: the caller passes a monotonic number of microseconds and the wall clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;

/// Microseconds of the caller's monotonic clock. Its zero has no meaning; it never goes back within one
/// incarnation of a node, and goes on while the node is paused.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
pub struct Instant(pub u64);

impl Instant {
    /// How long ago `earlier` was; zero where it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// Both clocks of a node, read when an input is taken and no earlier: so a timestamp from them is never before the
/// arrival of the record that gets it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct Now {
    /// The monotonic clock, for all deadlines.
    pub instant: Instant,
    /// The wall clock, for the timestamps of records and their bounds. May be wrong, and may jump either way.
    pub wall: Timestamp,
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}ms", self.0 / 1000, self.0 % 1000)
    }
}
