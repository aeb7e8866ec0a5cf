//! How long to wait before the next attempt. Pure: chance is an argument.

use std::time::Duration;

/// Exponential back-off with jitter.
///
/// Attempt `n` (the first is 1) waits between `(1 - jitter) · c` and `c`, where the ceiling is
/// `c = min(max, initial · factor^(n-1))`. With `jitter` 1, "full jitter", that is anything from nothing to `c`: a herd
/// that was cut at one instant comes back spread over the whole of `c`, and no two stay in step.
///
/// ```
/// use std::time::Duration;
/// use pubsub_client::Backoff;
///
/// let backoff = Backoff { initial: Duration::from_millis(500), max: Duration::from_secs(20), factor: 2.0, jitter: 1.0 };
/// assert_eq!(backoff.ceiling(1), Duration::from_millis(500));
/// assert_eq!(backoff.ceiling(3), Duration::from_secs(2));
/// assert_eq!(backoff.delay(3, 0.25), Duration::from_millis(500));
/// assert_eq!(backoff.ceiling(1_000_000), Duration::from_secs(20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Ceiling of the first attempt's delay.
    pub initial: Duration,
    /// Ceiling of every delay.
    pub max: Duration,
    /// By how much the ceiling grows with each attempt. 1: not at all.
    pub factor: f64,
    /// Share of the ceiling that is left to chance, 0 to 1.
    pub jitter: f64,
}

impl Backoff {
    /// The longest that attempt `attempt` may wait. Attempt 0 is taken for 1.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pubsub_client::Backoff;
    /// let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30), factor: 2.0, jitter: 1.0 };
    /// assert_eq!(backoff.ceiling(4), Duration::from_secs(8));
    /// assert_eq!(backoff.ceiling(9), Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.powi(doublings);
        // Also catches the infinity that a high attempt comes to.
        if seconds < self.max.as_secs_f64() { Duration::from_secs_f64(seconds) } else { self.max }
    }

    /// How long attempt `attempt` waits. `chance` is a number in `[0, 1)`, fresh for each call.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pubsub_client::Backoff;
    /// let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(30), factor: 2.0, jitter: 1.0 };
    /// assert_eq!(backoff.delay(4, 0.0), Duration::ZERO);
    /// assert_eq!(backoff.delay(4, 0.5), Duration::from_secs(4));
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, chance: f64) -> Duration {
        let ceiling = self.ceiling(attempt);
        ceiling.mul_f64(1.0 - self.jitter + self.jitter * chance).min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Backoff =
        Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(10), factor: 2.0, jitter: 0.0 };

    #[test]
    fn without_jitter_the_delays_double_up_to_the_cap() {
        let delays: Vec<u128> = (1..=9).map(|attempt| PLAIN.delay(attempt, 0.7).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(PLAIN.ceiling(0), PLAIN.ceiling(1));
    }

    #[test]
    fn full_jitter_covers_everything_below_the_ceiling_evenly() {
        let full = Backoff { jitter: 1.0, ..PLAIN };
        assert_eq!(full.delay(5, 0.0), Duration::ZERO);
        for percent in 0..100 {
            let share = full.delay(5, f64::from(percent) / 100.0).as_secs_f64() / full.ceiling(5).as_secs_f64();
            assert!((share * 100.0 - f64::from(percent)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_factor_of_one_never_grows() {
        let flat = Backoff { factor: 1.0, ..PLAIN };
        assert_eq!(flat.ceiling(u32::MAX), PLAIN.initial);
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_its_bounds(
            initial in 0u64..100_000, max in 0u64..1_000_000, factor in 1.0f64..10.0, jitter in 0.0f64..=1.0,
            attempt in any::<u32>(), chance in 0.0f64..1.0,
        ) {
            let backoff = Backoff {
                initial: Duration::from_millis(initial), max: Duration::from_millis(max), factor, jitter,
            };
            let (ceiling, delay) = (backoff.ceiling(attempt), backoff.delay(attempt, chance));
            prop_assert!(ceiling <= backoff.max.max(backoff.initial));
            prop_assert!(delay <= ceiling);
            // A nanosecond of rounding.
            prop_assert!(delay + Duration::from_nanos(1) >= ceiling.mul_f64(1.0 - jitter));
            prop_assert!(backoff.ceiling(attempt.saturating_add(1)) >= ceiling);
        }
    }
}
