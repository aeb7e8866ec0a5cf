//! The run on paper: a table for each workload, plots, and what to doubt.

use std::fmt::Write as _;

use super::Results;
use super::peer::Peer;
use super::workload::{Figures, Load, Workload};
use crate::report::svg::{Bars, bars};

/// What a run was made with.
#[derive(Clone, Debug, Default)]
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
    ("memory KiB/connection", |figures| figures.idle_kib),
];

fn columns(workload: &Workload) -> &'static [Column] {
    if workload.load == Load::Idle { IDLE } else { LOADED }
}

/// The page, in Markdown, and its plots by file name.
#[must_use]
pub fn page(
    results: &Results,
    workloads: &[Workload],
    peers: &[Peer],
    setting: &Setting,
) -> (String, Vec<(String, String)>) {
    let mut page = String::from("# Benchmarks\n\n");
    let mut plots = Vec::new();
    let _ = writeln!(
        page,
        "Made by `{}` on commit {}, {}. Medians of the rounds (lowest–highest); `×` is the ratio to the floor in the same run. The floor is \
         one thread that gives one encoded frame to one `send` per subscriber and does nothing else (`stress/src/bench/floor.rs`). CPU and \
         memory (PSS) are the server's, read from `/proc`.\n",
        setting.command, setting.commit, setting.machine
    );
    for peer in peers {
        let _ = writeln!(page, "- {}: {}", peer.name, peer.version);
    }
    for skipped in &setting.skipped {
        let _ = writeln!(page, "- {skipped}: not installed here, not measured");
    }
    for workload in workloads {
        let Some(by_peer) = results.get(workload.name) else { continue };
        let _ = writeln!(page, "\n## {}: {}\n", workload.name, workload.what);
        let heads: Vec<&str> = columns(workload).iter().map(|column| column.0).collect();
        let _ = writeln!(page, "| server | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
        for peer in peers {
            let Some(rounds) = by_peer.get(&peer.name) else { continue };
            let cells: Vec<String> = columns(workload)
                .iter()
                .map(|&(_, figure)| cell(rounds, by_peer.get("floor").filter(|_| peer.name != "floor"), figure))
                .collect();
            let _ = writeln!(page, "| {} | {} |", peer.name, cells.join(" | "));
        }
        let (head, figure) = columns(workload)[0];
        let names: Vec<&str> =
            peers.iter().map(|peer| peer.name.as_str()).filter(|name| by_peer.contains_key(*name)).collect();
        let values = names.iter().map(|name| spread(&by_peer[*name], figure).1).collect();
        let file = format!("{}.svg", workload.name.to_lowercase());
        plots.push((file.clone(), bars(workload.name, head, &names, &[Bars { name: head.to_owned(), values }])));
        let _ = writeln!(page, "\n![{}](benchmarks/{file})", workload.name);
    }
    let doubts = doubts(results, setting);
    page.push_str("\n## Doubts\n\n");
    if doubts.is_empty() {
        page.push_str("None that the run itself shows: every delivery came once and in order, and every load was offered as planned.\n");
    }
    for doubt in doubts {
        let _ = writeln!(page, "- {doubt}");
    }
    (page, plots)
}

fn cell(rounds: &[Figures], floor: Option<&Vec<Figures>>, figure: fn(&Figures) -> f64) -> String {
    let (low, median, high) = spread(rounds, figure);
    let mut cell = format!("{} ({}–{})", show(median), show(low), show(high));
    if let Some(floor) = floor {
        let floor = spread(floor, figure).1;
        if floor > 0.0 {
            let _ = write!(cell, " {:.2}×", median / floor);
        }
    }
    cell
}

/// Lowest, median and highest.
fn spread(rounds: &[Figures], figure: fn(&Figures) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = rounds.iter().map(figure).collect();
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

fn doubts(results: &Results, setting: &Setting) -> Vec<String> {
    let mut doubts = Vec::new();
    if setting.load_before > 0.5 {
        doubts.push(format!(
            "Other work was going on: the load average before the run was {:.1}. Ratios suffer less from it than figures.",
            setting.load_before
        ));
    }
    for (workload, by_peer) in results {
        for (peer, rounds) in by_peer {
            for (round, figures) in rounds.iter().enumerate() {
                let place = format!("{workload}, {peer}, round {}", round + 1);
                if figures.deliveries != figures.expected || figures.wrong > 0 {
                    doubts.push(format!(
                        "{place}: {} of {} deliveries, {} of them out of order or misrouted.",
                        figures.deliveries, figures.expected, figures.wrong
                    ));
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
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_lost_delivery_and_a_load_not_offered_are_doubted() {
        let lost = Figures { expected: 2, ..figures(1.0) };
        let late = Figures { offered: 0.9, ..figures(1.0) };
        let results = Results::from([("W2", [("floor".to_owned(), vec![figures(1.0), lost, late])].into())]);
        let doubts = doubts(&results, &Setting::default());
        assert!(doubts.len() == 2 && doubts[0].contains("1 of 2") && doubts[1].contains("90 %"), "{doubts:?}");
    }
}
