//! What the server should come to, and what it did.

use super::Results;
use super::once::Once;
use super::peer::{FLOOR, OURS};
use super::report::{ratio, spread};
use super::workload::Figures;
use crate::threshold::Threshold;

/// Where the goals come from.
const FLOOR_SOURCE: &str = "the floor, plus what the protocol has to cost";
/// Not packaged by Debian, and so not among the peers of the run itself.
const PEER_SOURCE: &str = "uWebSockets, on another machine";
/// Of the same server beside a floor on another machine: a time says nothing by itself.
const STORM_SOURCE: &str =
    "uWebSockets on another machine, with room: 0.4 s where the floor took 0.20 s, 35 µs where it took 14 µs";
const SATURATED_SOURCE: &str = "uWebSockets on another machine: 0.25 µs where the floor took 2.1 µs";
const PEOPLE_SOURCE: &str = "what nobody should notice";

/// The goals, each with what was measured for it in this run.
#[must_use]
pub fn goals(results: &Results, once: Option<&Once>) -> Vec<Threshold> {
    type Figure = fn(&Figures) -> f64;
    let of = |workload: &str, peer: &str, figure: Figure| {
        results.get(workload).and_then(|by_peer| by_peer.get(peer)).map(|rounds| spread(rounds, figure).1)
    };
    let times_floor = |workload: &str, figure: Figure| {
        let by_peer = results.get(workload)?;
        ratio(by_peer.get(OURS)?, by_peer.get(FLOOR)?, figure)
    };
    // Who is held against a queue that grows is held against nothing.
    let latency_times_floor = |workload: &str, figure: Figure| {
        let floor = results.get(workload)?.get(FLOOR)?;
        if floor.iter().any(Figures::fills_a_thread) { None } else { times_floor(workload, figure) }
    };
    let tls = format!("{OURS}, TLS");
    let goal = |name: &str, limit: f64, unit: &str, source: &str, measured: Option<f64>| {
        let goal = Threshold::at_most(name, limit, unit, source).goal();
        match measured {
            Some(measured) => goal.measured(measured),
            None => goal,
        }
    };
    let cpu: Figure = |figures| figures.cpu_us;
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let retries: Figure = |figures| figures.storm_retries as f64;
    let mut goals = vec![
        goal("W1, memory per idle connection", 0.7, "KiB", PEER_SOURCE, of("W1", OURS, |f| f.idle_kib)),
        goal("W1, the same over TLS", 9.5, "KiB", "what TLS keeps by itself", of("W1", &tls, |f| f.idle_kib)),
        goal("W1, 10,000 connect and subscribe", 2.0, "× floor", STORM_SOURCE, times_floor("W1", |f| f.storm_s)),
        goal("W1, CPU for each of them", 2.5, "× floor", STORM_SOURCE, times_floor("W1", |f| f.storm_cpu_us)),
        goal("W1, of them refused or retried", 0.0, "", PEOPLE_SOURCE, of("W1", OURS, retries)),
        goal("W2, CPU per delivery", 1.2, "× floor", FLOOR_SOURCE, times_floor("W2", cpu)),
        goal("W2, 99th percentile of latency", 1.1, "× floor", FLOOR_SOURCE, latency_times_floor("W2", |f| f.p99_ms)),
        goal("W3, CPU per delivery", 1.3, "× floor", FLOOR_SOURCE, times_floor("W3", cpu)),
        goal("W4, CPU per delivery", 0.12, "× floor", SATURATED_SOURCE, times_floor("W4", cpu)),
        goal("W5, CPU per delivery", 1.2, "× floor", FLOOR_SOURCE, times_floor("W5", cpu)),
    ];
    if let Some(once) = once {
        let left = once.after_kib / once.fresh_kib;
        let delay = once.loaded.p99_ms - once.quiet.p99_ms;
        goals.extend([
            goal("idle CPU with heartbeats", 1.0, "ms/s", PEOPLE_SOURCE, Some(once.heartbeat_ms_per_s)),
            goal("memory after a storm", 1.2, "× start", PEOPLE_SOURCE, Some(left)),
            goal("delay of a command beside a fan-out, p99", 5.0, "ms", PEOPLE_SOURCE, Some(delay)),
        ]);
    }
    goals
}
