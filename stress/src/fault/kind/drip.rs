//! F4, F9: a few bytes, then nothing until the interval is over.

use std::time::Duration;

use tokio::time::Instant;

use super::{Allow, Shape};

pub(super) struct Drip {
    bytes: usize,
    every: Duration,
    left: usize,
    refill: Option<Instant>,
}

impl Drip {
    pub(super) fn new(bytes: u64, every: Duration) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).max(1);
        Self { bytes, every, left: bytes, refill: None }
    }
}

impl Shape for Drip {
    fn allow(&mut self, now: Instant, want: usize) -> Allow {
        let refill = *self.refill.get_or_insert(now + self.every);
        if now >= refill {
            self.left = self.bytes;
            self.refill = Some(now + self.every);
        }
        if self.left == 0 { Allow::After(refill) } else { Allow::Bytes(want.min(self.left)) }
    }

    fn passed(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}
