//! What has been told in the log, so that what goes on and on is told once, and then seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long what was told stays known.
const REPEAT_INTERVAL: Duration = Duration::from_secs(600);

/// How many things are remembered: whoever connects can make up as many as he likes.
const MESSAGES_MAX: usize = 64;

/// Remembers what was told, and when.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    logged: BTreeMap<String, Instant>,
}

impl LogThrottle {
    /// Whether these words are worth telling. They are not for a while then.
    pub(crate) fn should_log(&mut self, message: &str) -> bool {
        self.logged.retain(|_, at| at.elapsed() < REPEAT_INTERVAL);
        if self.logged.contains_key(message) || self.logged.len() >= MESSAGES_MAX {
            return false;
        }
        self.logged.insert(message.to_owned(), Instant::now());
        true
    }

    /// What was told is over: were it to come again, it would be news.
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
