//! Throttles repeated log messages: each is logged once, and then seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A message is logged again after this long.
const REPEAT_INTERVAL: Duration = Duration::from_secs(600);

/// How many messages are remembered: clients and peers can cause any number of different ones.
const MESSAGES_MAX: usize = 64;

/// The messages that have been logged, and when.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    logged: BTreeMap<String, Instant>,
}

impl LogThrottle {
    /// Whether to log a message. If so, it counts as logged.
    pub(crate) fn should_log(&mut self, message: &str) -> bool {
        self.logged.retain(|_, at| at.elapsed() < REPEAT_INTERVAL);
        if self.logged.contains_key(message) || self.logged.len() >= MESSAGES_MAX {
            return false;
        }
        self.logged.insert(message.to_owned(), Instant::now());
        true
    }

    /// Forgets all messages: they are logged again at once.
    pub(crate) fn reset(&mut self) {
        self.logged.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_news_once_and_a_flood_of_words_is_cut() {
        let mut throttle = LogThrottle::default();
        assert!(throttle.should_log("a") && !throttle.should_log("a"));
        let logged = (0..1000).filter(|n: &u32| throttle.should_log(&n.to_string()));
        assert_eq!(logged.count(), MESSAGES_MAX - 1);
        throttle.reset();
        assert!(throttle.should_log("a"));
    }
}
