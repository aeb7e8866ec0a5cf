//! F11: a token bucket, for one connection or shared by all of a fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Allow, Shape};

/// Refilled at a rate, never above its size.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn shared(bytes_per_second: u64, burst: u64, now: Instant) -> Arc<Mutex<Self>> {
        let (rate, burst) = (bytes_per_second.max(1) as f64, burst.max(1) as f64);
        Arc::new(Mutex::new(Self { bytes_per_second: rate, burst, tokens: burst, filled: now }))
    }

    fn allow(&mut self, now: Instant, want: usize) -> Allow {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.bytes_per_second).min(self.burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, bounded by `want`"
            )]
            return Allow::Bytes(want.min(self.tokens as usize));
        }
        // A whole millisecond at least, so that a slow link is not a spinning one.
        let wait = ((1.0 - self.tokens) / self.bytes_per_second).max(0.001);
        Allow::After(now + Duration::from_secs_f64(wait))
    }
}

pub(super) struct Bandwidth(Arc<Mutex<Bucket>>);

impl Bandwidth {
    pub(super) fn new(bucket: Arc<Mutex<Bucket>>) -> Self {
        Self(bucket)
    }
}

impl Shape for Bandwidth {
    fn allow(&mut self, now: Instant, want: usize) -> Allow {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).allow(now, want)
    }

    fn passed(&mut self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_burst_through_and_then_its_rate() {
        let begun = Instant::now();
        let bucket = Bucket::shared(1_000, 100, begun);
        let mut link = Bandwidth::new(bucket);
        let (mut now, mut total) = (begun, 0);
        while now < begun + Duration::from_secs(10) {
            match link.allow(now, 64) {
                Allow::Bytes(n) => {
                    assert!((1..=64).contains(&n));
                    link.passed(n);
                    total += n;
                }
                Allow::After(later) => {
                    assert!(later > now);
                    now = later;
                }
                Allow::Never => panic!("a slow link is not a dead one"),
            }
        }
        assert!((10_000..=10_110).contains(&total), "{total} bytes in ten seconds at 1000/s and a burst of 100");
    }
}
