//! Chance that is counted, not rolled: every value is a function of (seed, entity, purpose, index).
//!
//! A generator that everybody shares hands out its numbers in the order of the calls, so taking one fault out of a
//! plan gives all the others new numbers and the failure one was shrinking is gone. Here nobody shares
//! anything: connection 17's third delay is the same number in every plan that has connection 17 and delays.
//!
//! No clock and no thread randomness come in here; the seed is printed with every run.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The one number a run is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The pseudo-random function everything else rests on: value number `index` of `entity` for `purpose`.
    #[must_use]
    pub fn value(self, entity: u64, purpose: &str, index: u64) -> u64 {
        let mut key = [0u8; 16];
        key[..8].copy_from_slice(&entity.to_le_bytes());
        key[8..].copy_from_slice(&index.to_le_bytes());
        xxh3_64_with_seed(&key, xxh3_64_with_seed(purpose.as_bytes(), self.0))
    }

    /// A seed of its own for a part of the run, as a round of an exploration.
    #[must_use]
    pub fn derive(self, purpose: &str, index: u64) -> Self {
        Self(self.value(u64::MAX, purpose, index))
    }

    /// The values of one entity for one purpose, one after the other.
    #[must_use]
    pub fn chance(self, entity: u64, purpose: &str) -> Chance {
        Chance { key: xxh3_64_with_seed(purpose.as_bytes(), self.0), entity, index: 0 }
    }

    /// A percentage of `ids`, drawn once: exactly `round(len * percent / 100)` of them, in their own order.
    ///
    /// The ids with the smallest values win, so an id more or less in the list changes the choice by at most one.
    #[must_use]
    pub fn pick_percent(self, purpose: &str, ids: impl IntoIterator<Item = u64>, percent: f64) -> Vec<u64> {
        let mut drawn: Vec<(u64, u64)> = ids.into_iter().map(|id| (self.value(id, purpose, 0), id)).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let count = (drawn.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).round() as usize;
        drawn.sort_unstable();
        drawn.truncate(count);
        let mut picked: Vec<u64> = drawn.into_iter().map(|(_, id)| id).collect();
        picked.sort_unstable();
        picked
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The chances of one entity for one purpose: a counter in front of [`Seed::value`].
#[derive(Clone, Debug)]
pub struct Chance {
    key: u64,
    entity: u64,
    index: u64,
}

thread_local! {
    static DRAWN: Cell<u64> = const { Cell::new(0) };
}

/// How many values all chances of this thread have drawn: where a run in virtual time stands in its chance.
#[must_use]
pub fn drawn() -> u64 {
    DRAWN.get()
}

impl Chance {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        DRAWN.set(DRAWN.get() + 1);
        let mut key = [0u8; 16];
        key[..8].copy_from_slice(&self.entity.to_le_bytes());
        key[8..].copy_from_slice(&self.index.to_le_bytes());
        self.index += 1;
        xxh3_64_with_seed(&key, self.key)
    }

    /// How many values have been drawn: the chance position of a fingerprint.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.index
    }

    /// A number in `0.0..1.0`, 53 bits of it.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn bernoulli(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// A number of `range`; its start if the range is empty.
    pub fn below(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        // Multiply-shift: the bias is below width / 2^64, far under anything a run could show.
        range.start + ((u128::from(self.bits()) * u128::from(width)) >> 64) as u64
    }

    /// A duration between the two, both included.
    pub fn between(&mut self, min: Duration, max: Duration) -> Duration {
        min + max.saturating_sub(min).mul_f64(self.uniform())
    }

    /// A draw of the standard normal distribution (Box and Muller, the first of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// One of `items`, or nothing if there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(0..items.len() as u64)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_depends_on_all_four_parts_and_on_nothing_else() {
        let seed = Seed(7);
        let value = seed.value(3, "delay", 5);
        assert_eq!(value, seed.value(3, "delay", 5));
        for other in [
            Seed(8).value(3, "delay", 5),
            seed.value(4, "delay", 5),
            seed.value(3, "reset", 5),
            seed.value(3, "delay", 6),
        ] {
            assert_ne!(value, other);
        }
    }

    #[test]
    fn the_function_is_pinned_so_that_old_replay_files_stay_true() {
        assert_eq!(Seed(1).value(2, "pinned", 3), PINNED);
    }
    const PINNED: u64 = 6_655_301_215_277_861_400;

    #[test]
    fn a_chance_walks_the_indices_of_its_entity() {
        let mut chance = Seed(7).chance(3, "delay");
        let walked: Vec<u64> = (0..4).map(|_| chance.bits()).collect();
        let asked: Vec<u64> = (0..4).map(|index| Seed(7).value(3, "delay", index)).collect();
        assert_eq!(walked, asked);
        assert_eq!(chance.position(), 4);
    }

    #[test]
    fn a_percentage_is_exact_and_hardly_moves_when_the_population_does() {
        let picked = Seed(42).pick_percent("drop", 0..1000, 20.0);
        assert_eq!(picked.len(), 200);
        let fewer = Seed(42).pick_percent("drop", (0..1000).filter(|&id| id != picked[0]), 20.0);
        let moved = fewer.iter().filter(|id| !picked.contains(id)).count();
        assert_eq!(moved, 1, "one id left, so exactly one other takes its place");
        assert!(Seed(42).pick_percent("drop", 0..1000, 0.0).is_empty());
        assert_eq!(Seed(42).pick_percent("drop", 0..7, 100.0).len(), 7);
    }

    #[test]
    fn the_distributions_have_the_moments_they_promise() {
        let mut chance = Seed(1).chance(1, "moments");
        let n = 20_000;
        let uniform = (0..n).map(|_| chance.uniform()).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let hits = (0..n).filter(|_| chance.bernoulli(0.25)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        let normals: Vec<f64> = (0..n).map(|_| chance.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        assert!((0..n).all(|_| (5..9).contains(&chance.below(5..9))));
        assert_eq!(chance.below(5..5), 5);
    }
}
