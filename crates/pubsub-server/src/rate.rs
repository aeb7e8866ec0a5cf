//! A token bucket: so many a second on average, so many at once. Time is passed in.

/// What is left in a bucket, in thousandths, and when that was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    used_milli: u64,
    at_ms: u64,
}

impl Bucket {
    /// Takes one out, if there is one. The bucket holds `burst` and gains `rate_per_s` a second.
    pub fn take(&mut self, rate_per_s: u32, burst: u32, now_ms: u64) -> bool {
        // One token in thousandths of a token per millisecond: rate_per_s tokens in 1000 ms.
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(rate_per_s));
        self.used_milli = self.used_milli.saturating_sub(gained);
        self.at_ms = now_ms;
        let full = self.used_milli + 1000 <= u64::from(burst) * 1000;
        if full {
            self.used_milli += 1000;
        }
        full
    }

    /// Whether nothing was taken for so long that the bucket is full at any rate of at least one a second.
    pub fn is_full(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.at_ms) >= self.used_milli
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_burst_at_once_and_the_rate_from_then_on() {
        let mut bucket = Bucket::default();
        let taken = |bucket: &mut Bucket, now_ms| {
            std::iter::repeat_with(|| bucket.take(10, 5, now_ms)).take_while(|t| *t).count()
        };
        assert_eq!(taken(&mut bucket, 1000), 5);
        assert_eq!(taken(&mut bucket, 1099), 0);
        assert_eq!(taken(&mut bucket, 1100), 1);
        assert_eq!(taken(&mut bucket, 1400), 3);
        assert_eq!(taken(&mut bucket, 100_000), 5);
    }
}
