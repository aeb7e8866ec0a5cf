//! How a run went over time: what had been delivered, who was there, and which phase it was.
//!
//! Samples are kept, in bounded memory: whenever there are too many, every second one is dropped and from then on half as many
//! are taken. So a minute has four a second, and a day one every few minutes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a short run is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// Samples that are kept at most.
const SAMPLES_MAX: usize = 1_200;

/// A run over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// In the order of time.
    pub samples: Vec<Moment>,
    /// When each phase began, in seconds, and its name.
    pub phases: Vec<(f64, String)>,
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since the fleet was made.
    pub at: f64,
    /// Publications that had arrived by then.
    pub delivered: u64,
    /// Subscriptions in force.
    pub live: u64,
}

impl Timeline {
    /// Deliveries a second between neighbouring samples, at the later one.
    #[must_use]
    pub fn delivery_rate(&self) -> Vec<(f64, f64)> {
        let rate = |pair: &[Moment]| {
            let seconds = pair[1].at - pair[0].at;
            let delivered = pair[1].delivered.saturating_sub(pair[0].delivered) as f64;
            (seconds > 0.0).then(|| (pair[1].at, delivered / seconds))
        };
        self.samples.windows(2).filter_map(rate).collect()
    }

    /// Subscriptions in force.
    #[must_use]
    pub fn live(&self) -> Vec<(f64, f64)> {
        self.samples.iter().map(|moment| (moment.at, moment.live as f64)).collect()
    }
}

/// Takes samples and thins them out.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: Duration,
    samples: Vec<Moment>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { every: EVERY, samples: Vec::new() }
    }
}

impl Sampler {
    /// How long to wait until the next sample.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    pub(crate) fn push(&mut self, moment: Moment) {
        self.samples.push(moment);
        if self.samples.len() > SAMPLES_MAX {
            let mut at = 0usize;
            self.samples.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.every *= 2;
        }
    }

    pub(crate) fn samples(&self) -> Vec<Moment> {
        self.samples.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_thinned_out_and_keeps_its_beginning_and_its_order() {
        let mut sampler = Sampler::default();
        let mut at = 0.0;
        while at < 86_400.0 {
            sampler.push(Moment { at, ..Moment::default() });
            at += sampler.every().as_secs_f64();
        }
        let samples = sampler.samples();
        assert!((SAMPLES_MAX / 2..=SAMPLES_MAX).contains(&samples.len()), "{}", samples.len());
        assert_eq!(samples[0].at, 0.0);
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(samples[samples.len() - 1].at > 86_000.0);
    }

    #[test]
    fn a_rate_is_what_came_between_two_samples() {
        let moment = |at: f64, delivered: u64| Moment { at, delivered, live: 0 };
        let timeline = Timeline {
            samples: vec![moment(0.0, 0), moment(0.5, 50), moment(0.5, 60), moment(1.0, 60)],
            phases: vec![],
        };
        assert_eq!(timeline.delivery_rate(), [(0.5, 100.0), (1.0, 0.0)]);
    }
}
