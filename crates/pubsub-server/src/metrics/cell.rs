//! What one number is kept in: atomics without order among them, since a scrape needs each number whole and not
//! all of them at one instant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Says what it is now.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Says by how much it changed.
    pub fn add(&self, difference: i64) {
        self.0.fetch_add(difference, Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets, in nanoseconds; a bound belongs to its bucket. Most commands take tens of
/// microseconds, a second is an outage: between the two, three buckets to a decade.
pub const BUCKET_NANOS: [u64; 15] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// How long things took. Adding one up costs two additions and a look at four bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bound, and one for all that took longer. Not cumulative.
    buckets: [Counter; BUCKET_NANOS.len() + 1],
    sum_nanos: Counter,
}

impl Histogram {
    /// One thing took this long.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BUCKET_NANOS.partition_point(|&bound| bound < nanos)].increment();
        self.sum_nanos.add(nanos);
    }

    pub(super) fn read(&self) -> Distribution {
        let bounds = BUCKET_NANOS.iter().map(|&nanos| nanos as f64 / 1e9).chain([f64::INFINITY]);
        Distribution {
            buckets: bounds.zip(self.buckets.iter().map(Counter::value)).collect(),
            sum: Duration::from_nanos(self.sum_nanos.value()),
        }
    }
}

/// What a [`Histogram`] has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bound in seconds, the last one infinite, and how many fell between it and the bound before.
    pub buckets: Vec<(f64, u64)>,
    /// All of them together.
    pub sum: Duration,
}

impl Distribution {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Adds what another one with the same bounds has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            for ((_, mine), (_, theirs)) in self.buckets.iter_mut().zip(&other.buckets) {
                *mine += theirs;
            }
        }
        self.sum += other.sum;
    }
}

/// One counter for each of a fixed set of numeric codes, and one for all others together: those are the
/// application's to choose, and a label must not have as many values as somebody likes.
#[derive(Debug)]
pub struct Codes {
    codes: Box<[u32]>,
    /// The last one is for all others.
    counts: Box<[Counter]>,
}

/// Stands for all codes that are not in the set.
pub const OTHER: u32 = 0;

impl Codes {
    /// All at zero. The codes must be ascending.
    pub fn new(codes: impl IntoIterator<Item = u32>) -> Self {
        let codes: Box<[u32]> = codes.into_iter().collect();
        debug_assert!(codes.is_sorted(), "codes are looked up by halving: {codes:?}");
        let counts = (0..=codes.len()).map(|_| Counter::default()).collect();
        Self { codes, counts }
    }

    /// One more with this code.
    pub fn increment(&self, code: u32) {
        let place = self.codes.binary_search(&code).unwrap_or(self.codes.len());
        self.counts[place].increment();
    }

    /// Codes that occurred, with how often; [`OTHER`] for those outside of the set.
    pub(super) fn read(&self) -> impl Iterator<Item = (u32, u64)> {
        let codes = self.codes.iter().copied().chain([OTHER]);
        codes.zip(self.counts.iter().map(Counter::value)).filter(|(_, count)| *count > 0)
    }
}

/// A cell for each of a fixed set of names; the last name takes whatever has none of its own.
#[derive(Debug)]
pub struct Rows<T> {
    names: &'static [&'static str],
    rows: Box<[T]>,
}

impl<T> Rows<T> {
    /// A fresh cell for each name.
    pub fn new(names: &'static [&'static str], cell: impl Fn() -> T) -> Self {
        Self { names, rows: names.iter().map(|_| cell()).collect() }
    }

    /// The cell of this name. A dozen short names: going through them beats hashing.
    pub fn row(&self, name: &str) -> &T {
        let place = self.names.iter().position(|known| *known == name).unwrap_or(self.names.len() - 1);
        &self.rows[place]
    }

    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.names.iter().copied().zip(&self.rows)
    }
}
