//! The run on paper: a table for each workload, plots, and what to doubt.

use std::fmt::Write as _;

use super::Results;
use super::goals;
use super::growth::{FLAT, LINEAR, Sweep};
use super::once::{AFTERWARDS, Once, PING_INTERVAL};
use super::peer::{FLOOR, Peer};
use super::workload::{Figures, Load, Workload};
use super::wsload::{APART_MAX, Pair, Seen};
use crate::report::svg::{Series, log_lines, rows};

/// Above this, a figure is not that of a quiet machine.
const OTHERS_CORES_MAX: f64 = 0.3;

/// What a run was made with.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Setting {
    /// The commit.
    pub commit: String,
    /// The machine.
    pub machine: String,
    /// The command line that makes such a run.
    pub command: String,
    /// Peers that are not installed here.
    pub skipped: Vec<String>,
    /// One-minute load average before the run: above 0.5, others were at work.
    pub load_before: f64,
}

/// Everything that a run came to.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Run {
    /// What it was made with.
    pub setting: Setting,
    /// The workloads' figures.
    pub results: Results,
    /// What was looked at once, if it was.
    pub once: Option<Once>,
    /// How the server grows, if that was measured.
    pub growth: Vec<Sweep>,
    /// What another load generator saw, if there was one.
    pub beside: Vec<Pair>,
}

/// A column of a table: its head, and where its figure is.
type Column = (&'static str, fn(&Figures) -> f64);

const IDLE: &[Column] = &[
    ("memory KiB/connection", |figures| figures.idle_kib),
    ("storm s", |figures| figures.storm_s),
    ("storm CPU µs/connection", |figures| figures.storm_cpu_us),
];
const LOADED: &[Column] = &[
    ("CPU µs/delivery", |figures| figures.cpu_us),
    ("deliveries/s", |figures| figures.per_s),
    ("p50 ms", |figures| figures.p50_ms),
    ("p99 ms", |figures| figures.p99_ms),
];

fn columns(workload: &Workload) -> &'static [Column] {
    if workload.load == Load::Idle { IDLE } else { LOADED }
}

/// The page, in Markdown, and its plots by file name. `folder` is where they are, seen from the page.
#[must_use]
pub fn page(run: &Run, workloads: &[Workload], peers: &[Peer], folder: &str) -> (String, Vec<(String, String)>) {
    let Run { setting, results, once, growth, beside } = run;
    let mut page = String::from("# Benchmarks\n\n<!-- Made by the benchmark. Do not edit: run it again. -->\n\n");
    let mut plots = Vec::new();
    let _ = writeln!(
        page,
        "Made by `{}` on commit {}, {}. `make bench-peers` makes this page again.\n\nMedians of the rounds (lowest–highest); `×` is the \
         median of the ratios to the floor, each taken within one round. The floor is one thread that gives one encoded frame to one `send` \
         per subscriber and does nothing else (`stress/src/bench/floor.rs`). CPU and memory (PSS) are the server's, read from `/proc`; \
         server and load generator share the machine. All are spoken to over WebSocket, without TLS where nothing else is said. Peers are what Debian \
         packages: neither Centrifugo nor uWebSockets is among it. Where the distance to the floor goes: \
         [optimization_targets.md](optimization_targets.md).\n",
        setting.command, setting.commit, setting.machine
    );
    for peer in peers {
        let _ = writeln!(page, "- {}: {}", peer.name, peer.version);
    }
    for skipped in &setting.skipped {
        let _ = writeln!(page, "- {skipped}: not installed here, not measured");
    }
    goals_section(&mut page, results, once.as_ref());
    for workload in workloads {
        let Some(by_peer) = results.get(workload.name) else { continue };
        let _ = writeln!(page, "\n## {}: {}\n", workload.name, workload.what);
        let heads: Vec<&str> = columns(workload).iter().map(|column| column.0).collect();
        let _ = writeln!(page, "| server | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
        for peer in peers {
            let Some(rounds) = by_peer.get(&peer.name) else { continue };
            let cells: Vec<String> = columns(workload)
                .iter()
                .map(|&(_, figure)| cell(rounds, by_peer.get(FLOOR).filter(|_| peer.name != FLOOR), figure))
                .collect();
            let _ = writeln!(page, "| {} | {} |", peer.name, cells.join(" | "));
        }
        let (head, figure) = columns(workload)[0];
        let measured = peers.iter().filter_map(|peer| Some((peer.name.as_str(), by_peer.get(&peer.name)?)));
        let values: Vec<(&str, f64)> = measured.map(|(name, rounds)| (name, spread(rounds, figure).1)).collect();
        let file = format!("{}.svg", workload.name.to_lowercase());
        plots.push((file.clone(), rows(&format!("{}: {}", workload.name, workload.what), head, &values)));
        let _ = writeln!(page, "\n![{}]({folder}/{file})", workload.name);
    }
    if let Some(once) = once {
        once_section(&mut page, once);
    }
    if !growth.is_empty() {
        growth_section(&mut page, &mut plots, growth, folder);
    }
    if !beside.is_empty() {
        beside_section(&mut page, beside);
    }
    page.push_str("\n## Doubts\n\n");
    let doubts = doubts(run);
    if doubts.is_empty() {
        page.push_str("None that the run itself shows: every delivery came once and in order, and every load was offered as planned.\n");
    }
    for doubt in doubts {
        let _ = writeln!(page, "- {doubt}");
    }
    (page, plots)
}

fn goals_section(page: &mut String, results: &Results, once: Option<&Once>) {
    page.push_str("\n## Goals\n\n| what | goal | measured | |\n|---|---|---|---|\n");
    for goal in goals::goals(results, once) {
        let Some(measured) = goal.measured else { continue };
        let met = if goal.held { "met" } else { "**missed**" };
        let _ = writeln!(
            page,
            "| {} | ≤ {} {} ({}) | {} | {met} |",
            goal.name,
            goal.limit,
            goal.unit,
            goal.source,
            show(measured)
        );
    }
}

fn once_section(page: &mut String, once: &Once) {
    let Once { heartbeat_ms_per_s, heartbeat_floor_ms_per_s, fresh_kib, full_kib, after_kib, quiet, loaded } = once;
    let periods = 2 * PING_INTERVAL.as_secs();
    let _ = writeln!(
        page,
        "\n## Looked at once\n\n\
         - 10,000 idle connections with heartbeats on, averaged over {periods} s (two ping periods): {} ms of CPU per second, {} µs for \
         each ping and its pong. A floor that sends as many pings and reads the answers, and does nothing else, takes {} ms per second; \
         ours takes {:.2} times that.\n\
         - Memory of the server: {:.1} MiB after its start, {:.1} MiB with 10,000 connections, {:.1} MiB {} s after they have gone.\n\
         - A command on another connection, served by the same loop as 10,000 subscribers of one channel: {} ms (p50) and {} ms (p99, \
         longest {}) while they are idle; {} ms and {} ms (longest {}) while each of them gets 10 publications a second. The time counts \
         from sending the command to reading its answer, by a thread that competes with the server and with the subscribers for the processors.",
        show(*heartbeat_ms_per_s),
        show(heartbeat_ms_per_s * 1e3 * PING_INTERVAL.as_secs_f64() / 10_000.0),
        show(*heartbeat_floor_ms_per_s),
        heartbeat_ms_per_s / heartbeat_floor_ms_per_s,
        fresh_kib / 1024.0,
        full_kib / 1024.0,
        after_kib / 1024.0,
        AFTERWARDS.as_secs(),
        show(quiet.p50_ms),
        show(quiet.p99_ms),
        show(quiet.max_ms),
        show(loaded.p50_ms),
        show(loaded.p99_ms),
        show(loaded.max_ms),
    );
}

fn growth_section(page: &mut String, plots: &mut Vec<(String, String)>, growth: &[Sweep], folder: &str) {
    let _ = writeln!(
        page,
        "\n## How it grows\n\nOne thing is made larger at a time. The exponent is the slope of the line through the logarithms: 1 is \
         proportional, 0 is not at all. What has to touch what is made larger may reach {LINEAR}, what need not {FLAT}; the rest is noise.\n\n\
         | made larger | from–to | what it costs | from–to | exponent | |\n|---|---|---|---|---|---|"
    );
    for sweep in growth {
        for curve in &sweep.curves {
            let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else { continue };
            let (exponent, max) = (curve.exponent(), curve.exponent_max());
            let _ = writeln!(
                page,
                "| {} | {:.0}–{:.0} | {} | {}–{} {} | {exponent:.2} | {} {max} |",
                sweep.what,
                first.0,
                last.0,
                curve.name,
                show(first.1),
                show(last.1),
                curve.unit,
                if exponent <= max { "≤" } else { "**above**" }
            );
        }
        let series: Vec<Series> = sweep
            .curves
            .iter()
            .map(|curve| Series { name: format!("{}, {}", curve.name, curve.unit), points: curve.points.clone() })
            .collect();
        let file = format!("growth-{}.svg", sweep.what.replace(", ", "-").replace(' ', "-"));
        plots.push((file, log_lines(&format!("What grows with {}", sweep.what), sweep.what, "", &series)));
    }
    page.push('\n');
    for (file, _) in plots.iter().filter(|(file, _)| file.starts_with("growth-")) {
        let _ = writeln!(page, "![{file}]({folder}/{file})\n");
    }
}

fn beside_section(page: &mut String, beside: &[Pair]) {
    page.push_str(
        "\n## The load generator beside another\n\n`wsload` shares no code with ours and does the same to the same server, by turns. \
         What differs is when it publishes within a second and how it waits for data.\n\n\
         | workload | load generator | deliveries | CPU µs/delivery | ours, of the other |\n|---|---|---|---|---|\n",
    );
    for pair in beside {
        for (name, rounds) in [("ours", &pair.ours), ("wsload", &pair.other)] {
            let sum = |of: fn(&Seen) -> u64| rounds.iter().map(of).sum::<u64>();
            let (low, median, high) = median(rounds.iter().map(|seen| seen.cpu_us).collect());
            let _ = writeln!(
                page,
                "| {} | {name} | {} of {} | {} ({}–{}) | {} |",
                pair.workload,
                sum(|seen| seen.deliveries),
                sum(|seen| seen.expected),
                show(median),
                show(low),
                show(high),
                if name == "ours" { format!("{:.2}×", pair.ratio()) } else { String::new() }
            );
        }
    }
}

fn cell(rounds: &[Figures], floor: Option<&Vec<Figures>>, figure: fn(&Figures) -> f64) -> String {
    let (low, median, high) = spread(rounds, figure);
    let mut cell = format!("{} ({}–{})", show(median), show(low), show(high));
    if let Some(ratio) = floor.and_then(|floor| ratio(rounds, floor, figure)) {
        let _ = write!(cell, " {ratio:.2}×");
    }
    cell
}

/// The median of the ratios to the floor, each within one round: what the machine was like changes from round to round.
#[must_use]
pub fn ratio(rounds: &[Figures], floor: &[Figures], figure: fn(&Figures) -> f64) -> Option<f64> {
    let both = rounds.iter().zip(floor).map(|(one, floor)| (figure(one), figure(floor)));
    let ratios: Vec<f64> = both.filter(|(_, floor)| *floor > 0.0).map(|(one, floor)| one / floor).collect();
    (!ratios.is_empty()).then(|| median(ratios).1)
}

/// Lowest, median and highest.
#[must_use]
pub fn spread(rounds: &[Figures], figure: fn(&Figures) -> f64) -> (f64, f64, f64) {
    median(rounds.iter().map(figure).collect())
}

/// Lowest, median and highest of some.
pub(super) fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    (values[0], median, values[values.len() - 1])
}

fn show(value: f64) -> String {
    match value.abs() {
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn doubts(run: &Run) -> Vec<String> {
    let Run { setting, results, growth, beside, .. } = run;
    let mut doubts = Vec::new();
    if setting.load_before > 0.5 {
        doubts.push(format!(
            "Other work was going on: the load average before the run was {:.1}. Ratios suffer less from it than figures.",
            setting.load_before
        ));
    }
    for (workload, by_peer) in results {
        if by_peer.get(FLOOR).is_some_and(|rounds| rounds.iter().any(Figures::fills_a_thread)) {
            doubts.push(format!(
                "{workload}: the floor, which is one thread, had no time left. Its latencies are the length of its queue, and nobody is held against them."
            ));
        }
        for (peer, rounds) in by_peer {
            for (round, figures) in rounds.iter().enumerate() {
                let place = format!("{workload}, {peer}, round {}", round + 1);
                if figures.deliveries != figures.expected || figures.wrong > 0 {
                    doubts.push(format!(
                        "{place}: {} of {} deliveries, {} of them out of order or misrouted.",
                        figures.deliveries, figures.expected, figures.wrong
                    ));
                }
                if figures.others_cores > OTHERS_CORES_MAX {
                    doubts.push(format!("{place}: others kept {:.1} processors busy.", figures.others_cores));
                }
                if figures.offered < 0.99 {
                    doubts.push(format!(
                        "{place}: only {:.0} % of the load was offered in time.",
                        figures.offered * 100.0
                    ));
                }
            }
        }
    }
    for pair in beside.iter().filter(|pair| !pair.agree()) {
        doubts.push(format!(
            "{}: ours and wsload do not agree about all deliveries, and within {:.0} % about their cost: {:.2} times that of wsload.",
            pair.workload,
            APART_MAX * 100.0,
            pair.ratio()
        ));
    }
    for sweep in growth {
        for curve in sweep.curves.iter().filter(|curve| curve.exponent() > curve.exponent_max()) {
            doubts.push(format!("{} grows with {} by an exponent of {:.2}.", curve.name, sweep.what, curve.exponent()));
        }
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peer::OURS;

    fn figures(cpu_us: f64) -> Figures {
        Figures { cpu_us, deliveries: 1, expected: 1, offered: 1.0, ..Figures::default() }
    }

    #[test]
    fn the_median_and_its_spread() {
        let rounds: Vec<_> = [3.0, 1.0, 2.0].map(figures).into();
        assert_eq!(spread(&rounds, |f| f.cpu_us), (1.0, 2.0, 3.0));
        assert_eq!(spread(&rounds[..2], |f| f.cpu_us), (1.0, 2.0, 3.0));
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let ours: Vec<_> = [2.0, 20.0, 200.0].map(figures).into();
        let floor: Vec<_> = [1.0, 10.0, 50.0].map(figures).into();
        assert_eq!(ratio(&ours, &floor, |f| f.cpu_us), Some(2.0));
        assert_eq!(ratio(&ours, &[], |f| f.cpu_us), None);
    }

    #[test]
    fn a_floor_without_time_left_is_no_measure_of_latency() {
        let at = |per_s: f64, p99_ms: f64| vec![Figures { per_s, p99_ms, ..figures(10.0) }];
        let results =
            |floor| Results::from([("W2", [(FLOOR.to_owned(), floor), (OURS.to_owned(), at(9_000.0, 5.0))].into())]);
        let goal = |results: &Results| {
            let goals = goals::goals(results, None);
            goals.into_iter().find(|goal| goal.name.contains("latency")).and_then(|goal| goal.measured)
        };
        let (quiet, busy) = (results(at(80_000.0, 10.0)), results(at(95_000.0, 500.0)));
        assert_eq!((goal(&quiet), goal(&busy)), (Some(0.5), None));
        assert!(doubts(&Run { results: quiet, ..Run::default() }).is_empty());
        let doubts = doubts(&Run { results: busy, ..Run::default() });
        assert!(doubts.len() == 1 && doubts[0].starts_with("W2: the floor"), "{doubts:?}");
    }

    #[test]
    fn a_lost_delivery_and_a_load_not_offered_are_doubted() {
        let lost = Figures { expected: 2, ..figures(1.0) };
        let late = Figures { offered: 0.9, ..figures(1.0) };
        let results = Results::from([("W2", [("floor".to_owned(), vec![figures(1.0), lost, late])].into())]);
        let doubts = doubts(&Run { results, ..Run::default() });
        assert!(doubts.len() == 2 && doubts[0].contains("1 of 2") && doubts[1].contains("90 %"), "{doubts:?}");
    }
}
