//! F14: a link with good and bad times (Gilbert and Elliott). A live TCP stream loses nothing: what a lossy
//! link does to it is to make some pieces a retransmission late.

use std::time::Duration;

use tokio::time::Instant;

use super::Shape;
use crate::chance::Chance;

pub(super) struct Spikes {
    turn_bad: f64,
    turn_good: f64,
    delays: Vec<Duration>,
    chance: Chance,
    bad: bool,
}

impl Spikes {
    pub(super) fn new(turn_bad: f64, turn_good: f64, delays: Vec<Duration>, chance: Chance) -> Self {
        Self { turn_bad, turn_good, delays, chance, bad: false }
    }
}

impl Shape for Spikes {
    fn delay(&mut self, _: Instant) -> Duration {
        let turn = if self.bad { self.turn_good } else { self.turn_bad };
        if self.chance.bernoulli(turn) {
            self.bad = !self.bad;
        }
        if self.bad { self.chance.choose(&self.delays).copied().unwrap_or_default() } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seed;

    #[test]
    fn bad_times_come_in_runs_and_make_up_their_share() {
        let delay = Duration::from_millis(200);
        let mut spikes = Spikes::new(0.05, 0.2, vec![delay], Seed(1).chance(1, "spikes"));
        let now = Instant::now();
        let late: Vec<bool> = (0..20_000).map(|_| spikes.delay(now) == delay).collect();
        let share = late.iter().filter(|&&late| late).count() as f64 / late.len() as f64;
        assert!((share - 0.05 / 0.25).abs() < 0.03, "stationary share of the bad state: {share}");
        let runs = late.windows(2).filter(|w| w[0] && !w[1]).count() as f64;
        let length = share * late.len() as f64 / runs;
        assert!((length - 1.0 / 0.2).abs() < 0.6, "mean length of a bad time: {length}");
    }
}
