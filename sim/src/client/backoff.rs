//! How long a client waits before it tries again: Kafka's `retry.backoff.ms`, doubled with every failure in a row up
//! to `retry.backoff.max.ms`, give or take a fifth (KIP-580).

use std::time::Duration;

use crate::clock::SimTime;
use crate::draw::Draw;

/// Kafka's default of `retry.backoff.ms`.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);
/// Kafka's default of `retry.backoff.max.ms`.
const RETRY_BACKOFF_MAX: Duration = Duration::from_millis(1000);

/// Failures in a row of one thing that is tried again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: SimTime,
}

impl Backoff {
    /// It has failed once more: it is not to be tried again for a while.
    pub(super) fn failed(&mut self, now: SimTime, draw: &mut Draw) {
        let doubled = RETRY_BACKOFF * (1 << self.failures.min(10));
        let mean = doubled.min(RETRY_BACKOFF_MAX);
        self.failures += 1;
        self.until = now + draw.duration(mean * 4 / 5, mean * 6 / 5);
    }

    /// It has succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// When it may be tried.
    pub(super) const fn until(self) -> SimTime {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{Draws, Subsystem};

    #[test]
    fn waits_double_up_to_a_second_and_a_success_ends_them() {
        let mut draw = Draws::new(1).at(Subsystem::Client, 0, 0);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(), SimTime::default());
        for expected in [100, 200, 400, 800, 1000, 1000] {
            backoff.failed(SimTime::default(), &mut draw);
            let waited = backoff.until().millis();
            assert!(
                (expected * 4 / 5..=expected * 6 / 5).contains(&waited),
                "{waited} instead of {expected}"
            );
        }
        backoff.succeeded();
        assert_eq!(backoff.until(), SimTime::default());
    }
}
