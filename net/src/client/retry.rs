//! Retries transient errors with an increasing pause, until a timeout.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ClientError;

/// The wait before the next attempt, doubled from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Attempts at one thing.
#[derive(Debug)]
pub(super) struct Retry {
    /// `None` where it is beyond the range of the clock.
    deadline: Option<Instant>,
    pause: Duration,
}

impl Retry {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(timeout),
            pause: PAUSE_MIN,
        }
    }

    /// Pauses after a failed attempt.
    ///
    /// # Errors
    /// The error itself, where it is permanent or the timeout has passed.
    pub(super) async fn after(&mut self, error: ClientError) -> Result<(), ClientError> {
        let over = self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline);
        if over || !error.is_transient() {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
