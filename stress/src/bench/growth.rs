//! How the server grows: one thing is made larger at a time, and what that costs is fitted by a power of it.
//!
//! What has to be touched may grow as fast as it (exponent 1), and no faster. What need not be touched must not show at all
//! (exponent 0). The server uses all processors, and where the sweep says so one: a single shard, and with it a single thread that delivers.

use std::time::Duration;

use super::generator;
use super::peer::{OURS, Peer, server};
use super::process::Child;
use super::workload::{Figures, Load, Spread, Workload};
use crate::budget::Budget;

/// Above this, something grows faster than what it touches. The rest is noise.
pub const LINEAR: f64 = 1.1;

/// Above this, something grows with what it need not touch.
pub const FLAT: f64 = 0.15;

/// Publications go on for so long at each point.
const LASTING: Duration = Duration::from_secs(2);

/// Connections at most.
const CONNECTIONS_MAX: u64 = 19_000;

/// Subscribers of the one channel that is published to while others grow.
const AUDIENCE: usize = 100;

/// One thing made larger.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Sweep {
    /// What.
    pub what: &'static str,
    /// What comes of it.
    pub curves: Vec<Curve>,
}

/// What one figure comes to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Curve {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether it has to touch what is made larger.
    pub touches: bool,
    /// The size, and the figure.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// The power of the size that the figure grows with: the slope of the line through the logarithms.
    #[must_use]
    pub fn exponent(&self) -> f64 {
        let logs: Vec<(f64, f64)> = self.points.iter().map(|&(x, y)| (x.ln(), y.max(f64::MIN_POSITIVE).ln())).collect();
        let n = logs.iter().fold(0.0, |n, _| n + 1.0);
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let slope: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        slope / logs.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
    }

    /// What the exponent may be.
    #[must_use]
    pub fn exponent_max(&self) -> f64 {
        if self.touches { LINEAR } else { FLAT }
    }
}

/// A figure of a sweep: its name, its unit, whether it has to touch what grows, and where it is found.
type Wanted = (&'static str, &'static str, bool, fn(&Point<'_>) -> f64);

/// What was measured at one point.
struct Point<'a> {
    workload: &'a Workload,
    figures: Figures,
}

const PER_PUBLICATION: Wanted = ("CPU per publication", "µs", true, |at| {
    at.figures.cpu_us * at.figures.deliveries as f64 / at.figures.publications.max(1) as f64
});
const PER_DELIVERY: Wanted = ("CPU per delivery", "µs", true, |at| at.figures.cpu_us);
const MEMORY: Wanted = ("memory in all", "KiB", true, |at| at.figures.idle_kib * at.workload.connections as f64);
const MEMORY_EACH: Wanted = ("memory of each connection", "KiB", true, |at| at.figures.idle_kib);
const STORM_EACH: Wanted = ("CPU to connect each connection", "µs", true, |at| at.figures.storm_cpu_us);

/// The figure, where it need not touch what grows.
const fn aside(wanted: Wanted) -> Wanted {
    (wanted.0, wanted.1, false, wanted.3)
}

/// Runs all sweeps with `options` set, and tells of each point.
///
/// # Errors
/// When the server does not do its work.
pub fn run(options: &[String], mut done: impl FnMut(&str, f64, &Figures)) -> anyhow::Result<Vec<Sweep>> {
    let larger = ["websocket.message_size_limit=2097152".to_owned(), "client.queue_max_size=67108864".to_owned()];
    let all = server(OURS, &[options, &larger].concat())?;
    let one = server(OURS, &[options, &larger, &["http_server.shards=1".to_owned()]].concat())?;
    let mut sweep = |peer: &Peer, what, points: Vec<(f64, Workload)>, wanted: &[Wanted]| -> anyhow::Result<Sweep> {
        let mut curves: Vec<Curve> =
            wanted.iter().map(|&(name, unit, touches, _)| Curve { name, unit, touches, points: Vec::new() }).collect();
        for (size, workload) in points {
            let figures = measure(peer, &workload).map_err(|error| error.context(format!("{what}, {size}")))?;
            done(what, size, &figures);
            let point = Point { workload: &workload, figures };
            for (curve, wanted) in curves.iter_mut().zip(wanted) {
                curve.points.push((size, wanted.3(&point)));
            }
        }
        Ok(Sweep { what, curves })
    };
    Ok(vec![
        sweep(&all, "subscribers of one channel", fan_outs(), &[PER_PUBLICATION])?,
        sweep(&one, "subscribers of one channel, one core", fan_outs(), &[PER_PUBLICATION])?,
        sweep(&all, "channels", channels(), &[aside(PER_DELIVERY)])?,
        sweep(&all, "subscriptions of each connection", subscriptions(), &[MEMORY_EACH, STORM_EACH])?,
        sweep(&all, "bytes of payload", payloads(), &[PER_DELIVERY])?,
        sweep(&all, "connections", connections(), &[MEMORY, aside(PER_DELIVERY)])?,
        sweep(&one, "connections, one core", connections(), &[MEMORY, aside(PER_DELIVERY)])?,
    ])
}

fn measure(peer: &Peer, workload: &Workload) -> anyhow::Result<Figures> {
    let child = Child::start(peer)?;
    let figures = generator::run(workload, peer, &child)?;
    anyhow::ensure!(
        figures.deliveries == figures.expected && figures.wrong == 0,
        "{} of {} deliveries came, {} of them wrong",
        figures.deliveries,
        figures.expected,
        figures.wrong
    );
    Ok(figures)
}

fn point(connections: usize, spread: Spread, payload: usize, per_s: f64) -> Workload {
    let load = Load::Rate { per_s, lasting: LASTING };
    Workload { name: "growth", what: "", connections, spread, payload, load }
}

#[expect(clippy::cast_precision_loss, reason = "counts of connections and bytes")]
fn fan_outs() -> Vec<(f64, Workload)> {
    let at = |n: usize| (n as f64, point(n, Spread::Even { channels: 1 }, 128, (50_000.0 / n as f64).min(200.0)));
    [10, 30, 100, 300, 1_000, 3_000, 10_000].map(at).into()
}

#[expect(clippy::cast_precision_loss, reason = "counts of channels")]
fn channels() -> Vec<(f64, Workload)> {
    let at = |(others, others_have): (usize, usize)| {
        let spread = Spread::Audience { of: AUDIENCE, others_have };
        ((1 + others * others_have) as f64, point(AUDIENCE + others, spread, 128, 100.0))
    };
    [(0, 1), (10, 1), (100, 1), (500, 2), (500, 20), (500, 100)].map(at).into()
}

#[expect(clippy::cast_precision_loss, reason = "counts of subscriptions")]
fn subscriptions() -> Vec<(f64, Workload)> {
    let at = |others_have: usize| {
        let spread = Spread::Audience { of: 1, others_have };
        (others_have as f64, Workload { load: Load::Idle, ..point(1_000, spread, 128, 1.0) })
    };
    [1, 3, 10, 30, 100].map(at).into()
}

#[expect(clippy::cast_precision_loss, reason = "counts of bytes")]
fn payloads() -> Vec<(f64, Workload)> {
    const SUBSCRIBERS: usize = 20;
    let at = |bytes: usize| {
        let per_s = (100e6 / (SUBSCRIBERS * bytes) as f64).min(500.0);
        (bytes as f64, point(SUBSCRIBERS, Spread::Even { channels: 1 }, bytes, per_s))
    };
    [16, 128, 1 << 10, 8 << 10, 64 << 10, 1 << 20].map(at).into()
}

#[expect(clippy::cast_precision_loss, reason = "counts of connections")]
fn connections() -> Vec<(f64, Workload)> {
    let spread = Spread::Audience { of: AUDIENCE, others_have: 1 };
    let at = |n: usize| (n as f64, point(n, spread, 128, 100.0));
    // As far as this machine lets us; the page shows how far that was.
    let budget = Budget::plan(CONNECTIONS_MAX);
    for cut in &budget.clamped {
        eprintln!("connections: {cut}");
    }
    let within = |n: &usize| *n as u64 <= budget.connections;
    [1_000, 2_500, 5_000, 10_000, 19_000].into_iter().filter(within).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(of: fn(f64) -> f64) -> Curve {
        let points = [1.0, 10.0, 100.0, 1_000.0].map(|x| (x, of(x))).into();
        Curve { name: "", unit: "", touches: true, points }
    }

    #[test]
    fn the_exponent_is_that_of_the_power() {
        for (of, exponent) in
            [((|x| 3.0 * x) as fn(f64) -> f64, 1.0), (|_| 7.0, 0.0), (|x| x * x, 2.0), (|x: f64| 0.1 * x.sqrt(), 0.5)]
        {
            assert!((curve(of).exponent() - exponent).abs() < 1e-9, "{exponent}");
        }
    }

    #[test]
    fn what_grows_with_a_search_through_all_is_found_out() {
        let flat = Curve { touches: false, ..curve(|x| 2.0 + 0.01 * x) };
        assert!(flat.exponent() > flat.exponent_max());
        let quadratic = curve(|x| x + 0.01 * x * x);
        assert!(quadratic.exponent() > quadratic.exponent_max());
    }
}
