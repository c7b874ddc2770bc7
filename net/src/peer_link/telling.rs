//! What has been told in the log, so that what goes on and on is told once, and then seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long what was told stays known.
const REMIND: Duration = Duration::from_secs(600);

/// How many things are remembered: whoever connects can make up as many as he likes.
const TOLD_MAX: usize = 64;

/// Remembers what was told, and when.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    told: BTreeMap<String, Instant>,
}

impl Telling {
    /// Whether these words are worth telling. They are not for a while then.
    pub(crate) fn is_news(&mut self, words: &str) -> bool {
        self.told.retain(|_, at| at.elapsed() < REMIND);
        if self.told.contains_key(words) || self.told.len() >= TOLD_MAX {
            return false;
        }
        self.told.insert(words.to_owned(), Instant::now());
        true
    }

    /// What was told is over: were it to come again, it would be news.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_news_once_and_a_flood_of_words_is_cut() {
        let mut telling = Telling::default();
        assert!(telling.is_news("a") && !telling.is_news("a"));
        let told = (0..1000).filter(|n: &u32| telling.is_news(&n.to_string()));
        assert_eq!(told.count(), TOLD_MAX - 1);
        telling.forget();
        assert!(telling.is_news("a"));
    }
}
