//! Reports for people.

use std::fmt::Write as _;

use super::Report;
use crate::threshold::{Side, Threshold};

/// All reports: a table of verdicts, then each with its thresholds, findings, latencies, plots and doubts.
#[must_use]
pub fn document(reports: &[Report]) -> String {
    let mut out = String::from("| scenario | verdict | claim |\n|---|---|---|\n");
    for report in reports {
        let _infallible = writeln!(out, "| [{0}](#{0}) | {1} | {2} |", report.name, report.verdict, report.claim);
    }
    if reports.iter().any(|report| !report.faults.is_empty()) {
        let _infallible = writeln!(out, "\n## Faults and aim points\n\n{}", super::matrix::markdown(reports));
    }
    for report in reports {
        section(report, &mut out);
    }
    out
}

/// One report.
pub fn section(report: &Report, out: &mut String) {
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("\n## {}\n\n{}\n", report.name, report.claim));
    line(format!("**{}**, seed {:#x}, commit {}\n", report.verdict, report.seed, report.commit));
    for reason in &report.inconclusive {
        line(format!("- inconclusive: {reason}"));
    }
    line("| threshold | limit | measured | source | |\n|---|---|---|---|---|".to_owned());
    for threshold in &report.thresholds {
        line(row(threshold));
    }
    for (class, violation) in &report.violations {
        line(format!("\n**{class}** ({}), {} times:\n\n```text", violation.law, violation.count));
        violation.witness.iter().for_each(|witness| line(witness.clone()));
        line("```".to_owned());
    }
    if !report.latencies.is_empty() {
        line("\n| latency, ms | p50 | p90 | p99 | p99.9 | max | count |\n|---|---|---|---|---|---|---|".to_owned());
        for (name, latency) in &report.latencies {
            for (kind, q) in [("response", latency.response), ("service", latency.service)] {
                let (p50, p90, p99, p999, max) = (q.p50, q.p90, q.p99, q.p999, q.max);
                line(format!(
                    "| {name}, {kind} | {p50:.2} | {p90:.2} | {p99:.2} | {p999:.2} | {max:.2} | {} |",
                    q.count
                ));
            }
        }
        line(format!("\n![latencies]({}.latency.svg)", report.name));
    }
    if !report.faults.is_empty() {
        line("\n| fault | kind | aim | attempted | applied | seen |\n|---|---|---|---|---|---|".to_owned());
        for (id, fault) in &report.faults {
            let (kind, aim) = (fault.fault.kind.name(), fault.fault.aim.family());
            let counts = fault.counts;
            line(format!("| {id} | {kind} | {aim} | {} | {} | {} |", counts.attempted, counts.applied, counts.seen));
        }
    }
    if !report.resources.is_empty() {
        line("\n| process | initial MiB | peak MiB | last MiB | descriptors, peak | CPU s | slope KiB/s (p) |\n|---|---|---|---|---|---|---|".to_owned());
        for (name, resources) in &report.resources {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let trend = resources
                .resident_trend
                .map_or_else(|| "–".to_owned(), |t| format!("{:.1} ({:.3})", t.per_second / 1024.0, t.p));
            line(format!(
                "| {name} | {:.1} | {:.1} | {:.1} | {} | {:.2} | {trend} |",
                mib(resources.initial.resident_bytes),
                mib(resources.peak.resident_bytes),
                mib(resources.last.resident_bytes),
                resources.peak.descriptors,
                resources.cpu_seconds()
            ));
        }
        line(format!("\n![memory]({}.memory.svg)", report.name));
    }
    for doubt in &report.doubts {
        line(format!("\n> Doubt: {doubt}"));
    }
    line(format!("\n`{}`", report.replay));
}

fn row(threshold: &Threshold) -> String {
    let Threshold { name, unit, side, limit, source, measured, held, binding } = threshold;
    let sign = match side {
        Side::AtMost => "≤",
        Side::AtLeast => "≥",
        Side::Exactly => "=",
    };
    let measured = measured.map_or_else(|| "not measured".to_owned(), |measured| format!("{} {unit}", short(measured)));
    let word = match (held, binding) {
        (true, _) => "held",
        (false, true) => "**broken**",
        (false, false) => "goal missed",
    };
    format!("| {name} | {sign} {} {unit} | {measured} | {source} | {word} |", short(*limit))
}

/// A number with as many digits as it deserves.
fn short(number: f64) -> String {
    if number == number.trunc() { format!("{number}") } else { format!("{number:.3}") }
}
