//! Delays: fixed, uniform or correlated, drawn from a seed.
//!
//! [`LatencySimulator::apply`] is the plain face: it waits, and belongs *before an operation* (F13), where waiting is
//! what a slow caller does. Inside a stream nobody may wait: there [`LatencySimulator::next_delay`] says how
//! far a piece of data has to travel, and the delay line of the stream keeps the order (F12). [`LatencySimulator::wrap`]
//! puts such a line around a stream.

use std::time::Duration;

use crate::chance::{Chance, Seed};

use super::carrier::Carrier;
use super::plan::{Fault, Kind, Latency};
use super::stream::FaultyStream;

/// Delays between `min` and `max`, one after the other.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use std::time::Duration;
/// use stress::{LatencySimulator, Seed};
///
/// let millis = Duration::from_millis;
/// let mut slow = LatencySimulator::uniform(millis(50), millis(500)).seeded(Seed(7), 0);
/// let begun = tokio::time::Instant::now();
/// let waited = slow.apply().await;
/// assert!(waited >= millis(50) && waited <= millis(500));
/// assert!(begun.elapsed() >= waited);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct LatencySimulator {
    latency: Latency,
    chance: Chance,
    /// Where the correlated walk stands, in standard deviations. `None` before its first step.
    state: Option<f64>,
}

impl LatencySimulator {
    /// Between `min` and `max`; `jitter` is the share of that span in play, around its middle: 0 gives the middle
    /// each time, 1 the whole span.
    #[must_use]
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Self {
        let half = max.saturating_sub(min) / 2;
        let reach = half.mul_f64(jitter.clamp(0.0, 1.0));
        Self::uniform(min + half - reach, min + half + reach)
    }

    /// The same delay each time.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self::uniform(delay, delay)
    }

    /// Each delay for itself, evenly between the two.
    #[must_use]
    pub fn uniform(min: Duration, max: Duration) -> Self {
        Self::from_latency(Latency { min, max, correlation: 0.0 })
    }

    /// A delay that remembers the last one, as a congested link does: an AR(1) walk with correlation `rho` (below 1)
    /// between neighbours, its middle 95 % spread over `min..max` and the rest cut off there.
    #[must_use]
    pub fn correlated(min: Duration, max: Duration, rho: f64) -> Self {
        Self::from_latency(Latency { min, max, correlation: rho })
    }

    /// As a plan describes it.
    #[must_use]
    pub fn from_latency(latency: Latency) -> Self {
        Self { latency, chance: Seed::default().chance(0, "latency"), state: None }
    }

    /// The delays of one entity (a connection, an operation) under one seed.
    #[must_use]
    pub fn seeded(mut self, seed: Seed, entity: u64) -> Self {
        self.chance = seed.chance(entity, "latency");
        self
    }

    /// With another stream of chance, when several delays belong to one entity.
    #[must_use]
    pub fn with_chance(mut self, chance: Chance) -> Self {
        self.chance = chance;
        self
    }

    /// The next delay. Does not wait.
    pub fn next_delay(&mut self) -> Duration {
        let Latency { min, max, correlation } = self.latency;
        if max <= min {
            return min;
        }
        if correlation == 0.0 {
            return self.chance.between(min, max);
        }
        let rho = correlation.clamp(-0.999, 0.999);
        let step = self.chance.normal();
        let state = match self.state {
            None => step,
            // The innovation is scaled so that the walk keeps variance 1 whatever rho is.
            Some(state) => rho * state + (1.0 - rho * rho).sqrt() * step,
        };
        self.state = Some(state);
        let share = (0.5 + state / 4.0).clamp(0.0, 1.0);
        min + (max - min).mul_f64(share)
    }

    /// Waits for the next delay, and says how long that was.
    pub async fn apply(&mut self) -> Duration {
        let delay = self.next_delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        delay
    }

    /// Puts a stream under it: what passes takes so long, each way, in its order, and nobody waits inside a poll.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use stress::LatencySimulator;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let (near, mut far) = tokio::io::duplex(1024);
    /// let mut near = LatencySimulator::fixed(Duration::from_millis(200)).wrap(near);
    /// let begun = tokio::time::Instant::now();
    /// near.write_all(b"ping").await.unwrap();
    /// assert!(begun.elapsed().is_zero(), "it is on its way");
    /// let echo = async {
    ///     far.read_exact(&mut [0; 4]).await.unwrap();
    ///     assert_eq!(begun.elapsed(), Duration::from_millis(200));
    ///     far.write_all(b"pong").await.unwrap();
    /// };
    /// // A stream moves while somebody reads it, as whoever has a connection open does.
    /// let (_, pong) = tokio::join!(echo, near.read_u32());
    /// assert_eq!(pong.unwrap().to_be_bytes(), *b"pong");
    /// assert_eq!(begun.elapsed(), Duration::from_millis(400));
    /// # });
    /// ```
    pub fn wrap<S: Carrier>(&mut self, stream: S) -> FaultyStream<S> {
        FaultyStream::alone(Seed(self.chance.bits()), Some(Fault::new("latency", Kind::Latency(self.latency))), stream)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fault::memory::pair;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn lag_one_correlation(delays: &[f64]) -> f64 {
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let variance: f64 = delays.iter().map(|d| (d - mean).powi(2)).sum();
        delays.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / variance
    }

    fn draw(mut simulator: LatencySimulator) -> Vec<f64> {
        (0..5_000).map(|_| simulator.next_delay().as_secs_f64()).collect()
    }

    #[test]
    fn every_delay_stays_inside_its_bounds() {
        for simulator in [
            LatencySimulator::uniform(MS(50), MS(500)),
            LatencySimulator::correlated(MS(50), MS(500), 0.9),
            LatencySimulator::new(MS(50), MS(500), 1.0),
        ] {
            assert!(draw(simulator.seeded(Seed(3), 1)).iter().all(|d| (0.050..=0.500).contains(d)));
        }
    }

    #[test]
    fn jitter_opens_the_span_around_its_middle() {
        assert!(draw(LatencySimulator::new(MS(100), MS(300), 0.0)).iter().all(|&d| d == 0.2));
        let half = draw(LatencySimulator::new(MS(100), MS(300), 0.5));
        assert!(half.iter().all(|d| (0.15..=0.25).contains(d)) && half.iter().any(|&d| d < 0.16));
    }

    #[test]
    fn only_the_correlated_walk_remembers() {
        let walk = draw(LatencySimulator::correlated(MS(50), MS(500), 0.8).seeded(Seed(3), 1));
        let plain = draw(LatencySimulator::uniform(MS(50), MS(500)).seeded(Seed(3), 1));
        assert!((lag_one_correlation(&walk) - 0.8).abs() < 0.06, "{}", lag_one_correlation(&walk));
        assert!(lag_one_correlation(&plain).abs() < 0.05, "{}", lag_one_correlation(&plain));
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_entity_others() {
        let make = |entity| draw(LatencySimulator::uniform(MS(1), MS(9)).seeded(Seed(5), entity));
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[tokio::test(start_paused = true)]
    async fn apply_waits_exactly_as_long_as_it_says() {
        let mut simulator = LatencySimulator::fixed(MS(1000));
        let begun = tokio::time::Instant::now();
        assert_eq!(simulator.apply().await, MS(1000));
        assert_eq!(begun.elapsed(), MS(1000));
    }
    #[tokio::test(start_paused = true)]
    async fn a_wrapped_stream_delays_both_ways_within_its_bounds_and_each_stream_otherwise() {
        let mut simulator = LatencySimulator::uniform(MS(50), MS(500)).seeded(Seed(5), 1);
        let mut delays = Vec::new();
        for _ in 0..20 {
            let (ours, mut peers) = pair(64);
            let mut stream = simulator.wrap(ours);
            for _ in 0..2 {
                let begun = tokio::time::Instant::now();
                stream.write_all(b"a").await.unwrap();
                let echo = async {
                    peers.read_u8().await.unwrap();
                    peers.write_all(b"b").await.unwrap();
                    begun.elapsed()
                };
                let (out, _) = tokio::join!(echo, async { stream.read_u8().await.unwrap() });
                delays.extend([out, begun.elapsed() - out]);
            }
        }
        assert!(delays.iter().all(|delay| (MS(50)..=MS(501)).contains(delay)), "{delays:?}");
        delays.sort();
        delays.dedup();
        assert!(delays.len() > 60, "all draw the same: {delays:?}");
    }
}
