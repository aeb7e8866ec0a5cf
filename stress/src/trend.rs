//! Whether something grows: the Theil–Sen slope, and the Mann–Kendall probability of seeing as much by accident.
//!
//! Memory has steps and outliers. A least-squares line follows them; the median of all pairwise slopes does not. What comes
//! round again, as a fault every six hours does, is no trend: there only points of the same season are compared (the seasonal
//! test of Hirsch, Slack and Smith, *Water Resources Research* 18, 1982).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// More points than this are thinned out evenly first: the pairs are many.
const POINTS_MAX: usize = 600;

/// The slope of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Units per second, the median over all pairs of points.
    pub per_second: f64,
    /// Probability of a trend at least this clear in a series without any.
    pub p: f64,
    /// Points it was computed from.
    pub points: usize,
}

/// The trend of points (seconds, value). `None` below 4 points: nothing can be said.
#[must_use]
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    seasonal_trend(points, |_| 0)
}

/// The same, of what repeats itself: each point is compared with those of its own season, which its time tells.
#[must_use]
pub fn seasonal_trend(points: &[(f64, f64)], season: impl Fn(f64) -> u64) -> Option<Trend> {
    let mut seasons: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for &(at, value) in points {
        seasons.entry(season(at)).or_default().push((at, value));
    }
    let each_max = (POINTS_MAX / seasons.len().max(1)).max(2);
    let (mut slopes, mut concordance, mut variance, mut n) = (Vec::new(), 0, 0.0, 0);
    for points in seasons.into_values() {
        let stride = points.len().div_ceil(each_max).max(1);
        let points: Vec<(f64, f64)> = points.into_iter().step_by(stride).collect();
        concordance += compare(&points, &mut slopes);
        variance += variance_without_trend(&points);
        n += points.len();
    }
    if n < 4 || slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let middle = slopes.len() / 2;
    let per_second = if slopes.len() % 2 == 1 { slopes[middle] } else { (slopes[middle - 1] + slopes[middle]) / 2.0 };
    Some(Trend { per_second, p: mann_kendall(concordance, variance), points: n })
}

/// How many pairs go up, less those that go down; adds the slope of each.
fn compare(points: &[(f64, f64)], slopes: &mut Vec<f64>) -> i64 {
    let mut concordance = 0;
    for (i, &(t0, v0)) in points.iter().enumerate() {
        for &(t1, v1) in &points[i + 1..] {
            if t1 > t0 {
                slopes.push((v1 - v0) / (t1 - t0));
            }
            concordance += i64::from(v1 > v0) - i64::from(v1 < v0);
        }
    }
    concordance
}

/// Of the concordance of points in any order, corrected for ties.
fn variance_without_trend(points: &[(f64, f64)]) -> f64 {
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = points.iter().map(|&(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|tie| spread(tie.len() as f64)).sum();
    (spread(values.len() as f64) - ties) / 18.0
}

/// Two-sided, by the normal approximation, corrected for continuity.
fn mann_kendall(concordance: i64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (concordance.abs() - 1).max(0) as f64 / variance.sqrt();
    erfc(z / std::f64::consts::SQRT_2)
}

/// Abramowitz and Stegun 7.1.26; its error is below 1.5e-7.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = poly.iter().fold(0.0, |sum, a| (sum + a) * t);
    (sum * (-x * x).exp()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Seed;

    fn series(slope: f64, noise: f64, n: u32) -> Vec<(f64, f64)> {
        let mut chance = Seed(3).chance(0, "noise");
        (0..n).map(|t| (f64::from(t), 100.0 + slope * f64::from(t) + noise * chance.normal())).collect()
    }

    #[test]
    fn a_leak_is_seen_through_noise_and_noise_alone_is_not_a_leak() {
        let leak = trend(&series(0.5, 5.0, 200)).unwrap();
        assert!((leak.per_second - 0.5).abs() < 0.05 && leak.p < 1e-6, "{leak:?}");
        let level = trend(&series(0.0, 5.0, 200)).unwrap();
        assert!(level.per_second.abs() < 0.05 && level.p > 0.05, "{level:?}");
        let constant = trend(&series(0.0, 0.0, 50)).unwrap();
        assert_eq!((constant.per_second, constant.p), (0.0, 1.0));
    }

    #[test]
    fn one_outlier_does_not_make_a_trend() {
        let mut points = series(0.0, 1.0, 100);
        points[99].1 = 1e6;
        assert!(trend(&points).unwrap().per_second.abs() < 0.05);
        assert_eq!(trend(&points[..3]), None);
    }

    #[test]
    fn what_comes_round_again_is_no_trend_and_hides_none() {
        // Two rounds, each low at first and then high: that looks like growth.
        let round = |t: f64| if t % 40.0 < 20.0 { 5.0 } else { 0.0 };
        let season = |t: f64| t as u64 % 40;
        let made = |slope: f64| -> Vec<(f64, f64)> {
            series(slope, 0.5, 80).into_iter().map(|(t, value)| (t, value + round(t + 20.0))).collect()
        };
        assert!(trend(&made(0.0)).unwrap().p < 0.01, "the plain test is taken in");
        let level = seasonal_trend(&made(0.0), season).unwrap();
        assert!(level.p > 0.05 && level.per_second.abs() < 0.01, "{level:?}");
        let leak = seasonal_trend(&made(0.05), season).unwrap();
        assert!(leak.p < 1e-6 && (leak.per_second - 0.05).abs() < 0.01, "{leak:?}");
    }
}
