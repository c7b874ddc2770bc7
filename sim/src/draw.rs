//! Where everything random comes from.
//!
//! A draw is named by what it decides: (seed, subsystem, entity, ordinal). The names select a place in the
//! ChaCha8 key stream of the seed, so a draw does not depend on how many others were made before it, and
//! taking one event out of a run does not redraw the later ones. Nothing here computes with floating point:
//! the same seed gives the same run on every machine.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Words of the key stream that belong to one draw.
const WORDS_PER_DRAW: u128 = 256;

/// Who draws. The discriminants are part of what a seed means: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subsystem {
    /// What exists in this run and how often: the swarm.
    Swarm = 1,
    /// Delays and breaks of connections.
    Network = 2,
    /// What a disk loses, and what goes wrong on it.
    Disk = 3,
    /// Latencies of the queue before a disk.
    DiskQueue = 4,
    /// When nodes crash, pause and come back.
    Process = 5,
    /// What clients do.
    Client = 6,
    /// The seeds given to brokers.
    Broker = 7,
    /// Ids of directories, topics and clusters.
    Identity = 8,
    /// The faults' schedule.
    Nemesis = 9,
}

/// The source of all draws of one run.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    generator: ChaCha8Rng,
}

impl Draws {
    /// The draws of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            generator: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The draw of this name. `entity` and `ordinal` are the caller's to number; only the low 48 bits of the
    /// entity count.
    #[must_use]
    pub fn at(&self, subsystem: Subsystem, entity: u64, ordinal: u64) -> Draw {
        let mut generator = self.generator.clone();
        generator.set_stream((subsystem as u64) << 48 | (entity & 0xffff_ffff_ffff));
        generator.set_word_pos(u128::from(ordinal) * WORDS_PER_DRAW);
        Draw { generator }
    }
}

/// One draw, from which a few related numbers can be taken.
#[derive(Clone, Debug)]
pub struct Draw {
    generator: ChaCha8Rng,
}

impl Draw {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: the bias is below bound / 2^64.
        let product = u128::from(self.any()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of a product of two u64 fits")
    }

    /// A number in `[low, high]`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// An index below `length`, which is above 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("an index is below a usize")
    }

    /// True in `per_million` of a million cases.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }

    /// One of the items, where there are any.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            None
        } else {
            Some(&items[self.index(items.len())])
        }
    }

    /// A duration with this mean, exponentially distributed (by straight lines between powers of two, which
    /// is within a tenth and needs no logarithm).
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let uniform = self.any() | 1;
        let zeros = uniform.leading_zeros();
        // -log2(uniform / 2^64) is zeros + 1 - log2(1 + fraction); the fraction stands for its logarithm.
        let fraction = (uniform << zeros << 1) >> 32;
        let log2 = (u64::from(zeros + 1) << 32) - fraction;
        let mean = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX >> 32);
        // ln 2 = 0.693147 in 32 binary places.
        let micros = (((u128::from(log2) * 2_977_044_472) >> 32) * u128::from(mean)) >> 32;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// A duration in `[low, high]`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let low = u64::try_from(low.as_micros()).unwrap_or(u64::MAX);
        let high = u64::try_from(high.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.between(low, high))
    }

    /// Fills with noise.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }

    /// Puts the items into a drawn order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_its_name_alone() {
        let draws = Draws::new(7);
        let first = draws.at(Subsystem::Network, 3, 9).any();
        let _ = draws.at(Subsystem::Network, 3, 8).any();
        assert_eq!(draws.at(Subsystem::Network, 3, 9).any(), first);
        for other in [
            draws.at(Subsystem::Network, 3, 10),
            draws.at(Subsystem::Network, 4, 9),
            draws.at(Subsystem::Disk, 3, 9),
            Draws::new(8).at(Subsystem::Network, 3, 9),
        ] {
            assert_ne!(other.clone().any(), first);
        }
    }

    #[test]
    fn exponential_draws_have_the_mean_asked_for() {
        let draws = Draws::new(1);
        let mut sum = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for ordinal in 0..10_000 {
            let drawn = draws
                .at(Subsystem::Network, 0, ordinal)
                .exponential(Duration::from_millis(10));
            sum += drawn;
            longest = longest.max(drawn);
        }
        let mean = sum / 10_000;
        assert!(
            mean > Duration::from_micros(9_500) && mean < Duration::from_micros(11_500),
            "{mean:?}"
        );
        assert!(longest > Duration::from_millis(60), "{longest:?}");
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_both_ends() {
        let mut draw = Draws::new(5).at(Subsystem::Client, 0, 0);
        let drawn: Vec<u64> = (0..200).map(|_| draw.between(3, 5)).collect();
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
        assert!(drawn.contains(&3) && drawn.contains(&5));
        assert_eq!(draw.below(0), 0);
        assert!(!draw.chance(0) && draw.chance(1_000_000));
    }
}
