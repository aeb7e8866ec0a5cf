//! One report for people.

use super::plot::{self, RECOVERY};
use super::{Report, number};
use crate::monitor::Sample;
use crate::threshold::{Side, Threshold};
use crate::trend::Trend;
use crate::verdict::Verdict;

/// Lines of a table after its head.
#[must_use]
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

/// One report, its plots in the directory `plots`.
#[must_use]
pub fn section(report: &Report, plots: &str) -> String {
    let Report { name, claim, seed, commit, .. } = report;
    let mut parts = vec![format!("## {name}\n\n{}.", claim.trim_end_matches('.'))];
    parts.push(format!(
        "**{}** in {}; seed {seed:#x}, commit {commit}.",
        report.verdict,
        number::seconds(report.seconds)
    ));
    if !report.inconclusive.is_empty() {
        parts.push(list("inconclusive", &report.inconclusive));
    }
    parts.extend(report.violations.iter().map(|(class, violation)| {
        let (law, count, witness) = (&violation.law, number::count(violation.count), violation.witness.join("\n"));
        format!("**{class}**, {count} times ({law}):\n\n```text\n{witness}\n```")
    }));
    let head = ["threshold", "limit", "measured", "", "source"];
    parts.push(table(&head, report.thresholds.iter().map(threshold)));
    for (plot, _) in plot::of(report) {
        parts.push(format!("![{name}: {plot}]({plots}/{name}.{plot}.svg)"));
    }
    if !report.latencies.is_empty() {
        let head = ["latency, ms", "p50", "p90", "p99", "p99.9", "max", "count"];
        parts.push(table(&head, latencies(report)));
    }
    if !report.resources.is_empty() {
        let head = [
            "process",
            "CPU s",
            "memory, first MiB",
            "peak",
            "last",
            "slope KiB/s (p)",
            "allocated MiB: start → peak → end",
            "slope KiB/s (p)",
            "descriptors, peak",
            "threads, peak",
        ];
        parts.push(table(&head, resources(report)));
    }
    if !report.faults.is_empty() {
        let head = ["fault", "kind", "aim", "held, s", "attempted", "applied", "seen"];
        parts.push(table(&head, faults(report)));
    }
    parts.push(load(report));
    if !report.doubts.is_empty() {
        parts.push(list("doubt", &report.doubts));
    }
    parts.push(format!("Again: `{}`", report.replay));
    parts.join("\n\n").replace("\n\n\n", "\n\n")
}

fn list(word: &str, of: &[String]) -> String {
    of.iter().map(|line| format!("- {word}: {line}")).collect::<Vec<_>>().join("\n")
}

fn threshold(threshold: &Threshold) -> Vec<String> {
    let Threshold { name, unit, source, measured, .. } = threshold;
    let measured = measured.map_or_else(|| "not measured".to_owned(), |measured| number::with_unit(measured, unit));
    vec![name.clone(), limit(threshold), measured, word(threshold).to_owned(), source.clone()]
}

/// `≤ 5 s`.
#[must_use]
pub fn limit(threshold: &Threshold) -> String {
    let sign = match threshold.side {
        Side::AtMost => "≤",
        Side::AtLeast => "≥",
        Side::Exactly => "=",
    };
    format!("{sign} {}", number::with_unit(threshold.limit, &threshold.unit))
}

/// Whether it held, in a word.
#[must_use]
pub fn word(threshold: &Threshold) -> &'static str {
    match (threshold.held, threshold.binding) {
        (true, _) => "held",
        (false, true) => "**broken**",
        (false, false) => "goal missed",
    }
}

/// Response and service side by side: a difference is the lab's own delay.
fn latencies(report: &Report) -> impl Iterator<Item = Vec<String>> {
    report.latencies.iter().flat_map(|(name, latency)| {
        let [response, service] = if name == RECOVERY {
            ["since the break", "since it was healed"]
        } else {
            ["response, from the planned moment", "service, from the actual one"]
        };
        [(response, latency.response), (service, latency.service)].map(|(kind, q)| {
            let quantiles = [q.p50, q.p90, q.p99, q.p999, q.max].map(|ms| format!("{ms:.2}"));
            let cells = std::iter::once(format!("{name}, {kind}")).chain(quantiles);
            cells.chain([number::count(q.count)]).collect()
        })
    })
}

/// What is allocated, in MiB, where that is known.
fn live(sample: &Sample) -> String {
    sample.live_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)))
}

/// Server and lab apart: they share the machine.
fn resources(report: &Report) -> impl Iterator<Item = Vec<String>> {
    report.resources.iter().map(|(name, resources)| {
        let mib = |sample: &Sample| format!("{:.1}", sample.resident_bytes as f64 / f64::from(1 << 20));
        let slope = |trend: Option<Trend>| {
            trend.map_or_else(|| "too few samples".to_owned(), |t| format!("{:.1} ({:.3})", t.per_second / 1024.0, t.p))
        };
        vec![
            name.clone(),
            format!("{:.2}", resources.cpu_seconds()),
            mib(&resources.initial),
            mib(&resources.peak),
            mib(&resources.last),
            slope(resources.resident_trend),
            [resources.initial, resources.peak, resources.last].map(|sample| live(&sample)).join(" → "),
            slope(resources.live_trend),
            number::count(resources.peak.descriptors),
            number::count(resources.peak.threads),
        ]
    })
}

fn faults(report: &Report) -> impl Iterator<Item = Vec<String>> {
    report.faults.iter().map(|(id, fault)| {
        let (counts, fault) = (fault.counts, &fault.fault);
        let until = fault.until.map_or_else(|| "end".to_owned(), |until| format!("{:.1}", until.as_secs_f64()));
        vec![
            id.clone(),
            fault.kind.name().to_owned(),
            fault.aim.family().to_owned(),
            format!("{:.1} to {until}", fault.from.as_secs_f64()),
            number::count(counts.attempted),
            number::count(counts.applied),
            // Streams see what is done to streams: what is done to the server is no zero.
            if fault.kind.is_of_node() { "–".to_owned() } else { number::count(counts.seen) },
        ]
    })
}

/// What was offered, what came of it, and every other number.
fn load(report: &Report) -> String {
    let tally = &report.tally;
    let mut lines = vec![format!(
        "- published: {} begun, {} acknowledged, {} refused, {} of unknown outcome; delivered: {} live and recovered; breaks: {}, \
         recovered {}, told that they cannot {}",
        number::count(tally.invoked),
        number::count(tally.acknowledged),
        number::count(tally.failed),
        number::count(tally.unknown),
        number::count(report.deliveries()),
        number::count(tally.breaks),
        number::count(tally.recoveries),
        number::count(tally.unrecovered),
    )];
    let told = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")
    };
    let numbers = report.numbers.iter().map(|(key, value)| (key.replace('_', " "), number::short(*value))).collect();
    lines.push(format!("- options: {}", told(&report.options)));
    if !report.numbers.is_empty() {
        lines.push(format!("- also measured: {}", told(&numbers)));
    }
    let checked: Vec<String> =
        report.evaluated.iter().map(|(law, count)| format!("{law} {}", number::count(*count))).collect();
    if !checked.is_empty() {
        lines.push(format!("- laws looked at: {}", checked.join(", ")));
    }
    lines.join("\n")
}

/// The threshold that is nearest to its limit, and how near: 1 is at it.
#[must_use]
pub fn tightest(report: &Report) -> Option<(&Threshold, f64)> {
    let share = |threshold: &Threshold| {
        let measured = threshold.measured?;
        match threshold.side {
            Side::AtMost if threshold.limit > 0.0 => Some(measured / threshold.limit),
            Side::AtLeast if measured > 0.0 => Some(threshold.limit / measured),
            _ => None,
        }
    };
    let binding = report.thresholds.iter().filter(|threshold| threshold.binding);
    binding.filter_map(|threshold| Some((threshold, share(threshold)?))).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// In bold unless it is what one hopes for.
#[must_use]
pub fn verdict(verdict: Verdict) -> String {
    if verdict == Verdict::Held { verdict.to_string() } else { format!("**{verdict}**") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Violation;

    #[test]
    fn a_section_tells_what_broke_what_was_missed_and_how_to_see_it_again() {
        let mut report =
            Report { name: "a".to_owned(), replay: "stress run a --seed 0x1".to_owned(), ..Report::empty() };
        report.thresholds = vec![
            Threshold::at_most("back", 5.0, "s", "plan").measured(6.5),
            Threshold::at_most("soon", 1.0, "s", "plan").goal().measured(2.0),
            Threshold::at_least("share", 99.9, "%", "plan"),
        ];
        let witness = vec!["offset 7 came after 5".to_owned()];
        report.violations.insert("Loss".to_owned(), Violation { law: "I4".to_owned(), count: 1, witness });
        let text = section(&report, "plots");
        for told in [
            "| back | ≤ 5 s | 6.50 s | **broken** | plan |",
            "| soon | ≤ 1 s | 2 s | goal missed | plan |",
            "| share | ≥ 99.9 % | not measured | **broken** | plan |",
            "**Loss**, 1 times (I4)",
            "offset 7 came after 5",
            "Again: `stress run a --seed 0x1`",
        ] {
            assert!(text.contains(told), "{told} is not in\n{text}");
        }
        let (nearest, share) = tightest(&report).unwrap();
        assert_eq!((nearest.name.as_str(), share), ("back", 1.3));
    }
}
