//! Latencies: response time from the planned moment, service time from the actual one, side by side.
//!
//! Measuring from when a publication was *sent* hides the waiting of a generator that fell behind (coordinated omission);
//! measuring from when it was *due* does not. Both are kept, so that the difference shows whose fault it was. A
//! quantile is read from the distribution, never averaged.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// From 1 µs to 10 minutes with three digits: 170 KB, so one per fleet, never one per connection.
const MICROS_MAX: u64 = 600_000_000;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Latencies {
    response: Histogram<u64>,
    service: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let new = || Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("the bounds are constants and in order");
        Self { response: new(), service: new() }
    }
}

impl Latencies {
    /// Something that was due, sent and has arrived, each since the run began.
    pub fn record(&mut self, due: Duration, sent: Duration, arrived: Duration) {
        self.response.saturating_record(micros(arrived.saturating_sub(due)));
        self.service.saturating_record(micros(arrived.saturating_sub(sent)));
    }

    /// A duration that had no plan.
    pub fn record_one(&mut self, took: Duration) {
        self.record(Duration::ZERO, Duration::ZERO, took);
    }

    /// Everything of another one as well.
    pub fn merge(&mut self, other: &Self) {
        self.response.add(&other.response).expect("all have the same bounds");
        self.service.add(&other.service).expect("all have the same bounds");
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.response.len()
    }

    /// The quantiles that reports show, from the planned moment.
    #[must_use]
    pub fn response(&self) -> Quantiles {
        quantiles(&self.response)
    }

    /// The same, from the actual one.
    #[must_use]
    pub fn service(&self) -> Quantiles {
        quantiles(&self.service)
    }

    /// Points of both distributions for a plot, response first: per cent below, milliseconds.
    #[must_use]
    pub fn curves(&self) -> [Vec<(f64, f64)>; 2] {
        [curve(&self.response), curve(&self.service)]
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// As many points as the count bears: of 1,000 values the 99.99th percentile would be the longest once more.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let shares = [
        0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 93.0, 95.0, 97.0, 98.0, 99.0, 99.3,
        99.5, 99.7, 99.8, 99.9, 99.95, 99.97, 99.99, 99.995, 99.999,
    ];
    let told = |&share: &f64| (1.0 - share / 100.0) * histogram.len() as f64 >= 1.0;
    let point = |share: f64| (share, histogram.value_at_percentile(share) as f64 / 1_000.0);
    let mut points: Vec<(f64, f64)> = shares.into_iter().filter(told).map(point).collect();
    if !histogram.is_empty() {
        points.push(point(100.0));
    }
    points
}

fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let at = |percentile: f64| histogram.value_at_percentile(percentile) as f64 / 1_000.0;
    Quantiles { count: histogram.len(), p50: at(50.0), p90: at(90.0), p99: at(99.0), p999: at(99.9), max: at(100.0) }
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Of how many.
    pub count: u64,
    /// Half are below.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p90, p99, p999, max } = self;
        write!(f, "p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} p99.9 {p999:.1} max {max:.1} ms of {count}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_falls_behind_shows_in_the_response_and_not_in_the_service_time() {
        let mut latencies = Latencies::default();
        for n in 0..1_000u64 {
            let due = Duration::from_millis(n);
            let sent = due + Duration::from_millis(if n < 900 { 0 } else { 500 });
            latencies.record(due, sent, sent + Duration::from_millis(2));
        }
        let (response, service) = (latencies.response(), latencies.service());
        assert!((response.p50 - 2.0).abs() < 0.01 && response.p99 > 500.0, "{response}");
        assert!(service.max < 2.1, "{service}");
        assert_eq!(response.count, 1_000);
    }

    #[test]
    fn a_curve_has_no_more_points_than_its_count_bears() {
        let mut latencies = Latencies::default();
        assert!(latencies.curves()[0].is_empty());
        (1..=200).for_each(|n| latencies.record_one(Duration::from_millis(n)));
        let [response, _] = latencies.curves();
        let shares: Vec<f64> = response.iter().map(|point| point.0).collect();
        assert!(shares.contains(&99.5) && !shares.contains(&99.9) && shares.last() == Some(&100.0), "{shares:?}");
    }

    #[test]
    fn merged_is_the_same_as_recorded_in_one() {
        let (mut one, mut two, mut both) = (Latencies::default(), Latencies::default(), Latencies::default());
        for n in 1..100 {
            let took = Duration::from_millis(n * 7);
            if n % 2 == 0 {
                one.record_one(took);
            } else {
                two.record_one(took);
            }
            both.record_one(took);
        }
        one.merge(&two);
        assert_eq!(one.response(), both.response());
    }
}
