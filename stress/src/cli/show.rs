//! What a run says on a terminal, or into a log.

use std::time::Duration;

use super::say;
use crate::limits::Rung;
use crate::machine::Machine;
use crate::report::{Report, markdown, number};
use crate::scenario::Context;
use crate::verdict::Verdict;

/// Commit, seed and every option: whoever finds the log can run it again.
pub(super) fn first_line(what: &str, context: &Context) -> String {
    let server = match (&context.target, &context.server) {
        (Some(target), _) => format!("the one at {target}"),
        (None, Some(binary)) => binary.display().to_string(),
        (None, None) => "the build beside this program".to_owned(),
    };
    let out = context
        .out
        .as_ref()
        .map_or_else(|| "nowhere (--out DIR keeps them)".to_owned(), |out| out.display().to_string());
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!(
        "stress: {what}; commit {}, {build} build, seed {:#x}, scale {}, server {server}, reports to {out}; {}",
        context.commit,
        context.seed.0,
        context.scale,
        Machine::here()
    )
}

/// One scenario's result.
pub(super) fn report(report: &Report) {
    say(&format!("{}: {} ({})", report.name, report.verdict, number::seconds(report.seconds)));
    for threshold in &report.thresholds {
        let mark = match (threshold.held, threshold.binding) {
            (true, _) => "ok",
            (false, true) => "BROKEN",
            (false, false) => "goal missed",
        };
        let unit = &threshold.unit;
        let measured = threshold.measured.map_or_else(|| "not measured".to_owned(), |m| number::with_unit(m, unit));
        let limit = markdown::limit(threshold);
        say(&format!("  {mark:6} {}: {measured} (limit {limit}; {})", threshold.name, threshold.source));
    }
    for (name, latency) in &report.latencies {
        say(&format!("  {name}: {}", latency.response));
    }
    for (class, violation) in &report.violations {
        say(&format!("  BROKEN {class} × {} ({})", violation.count, violation.law));
        violation.witness.iter().for_each(|line| say(&format!("    {line}")));
    }
    report.inconclusive.iter().for_each(|reason| say(&format!("  inconclusive: {reason}")));
    report.doubts.iter().for_each(|doubt| say(&format!("  doubt: {doubt}")));
    if report.verdict != Verdict::Held {
        say(&format!("  again: {}", report.replay));
    }
}

/// One rung of a ladder.
pub(super) fn rung(rung: &Rung) {
    let Rung { size, p99_ms, lab_cores, broken, server_cores, .. } = rung;
    let word = broken.as_deref().unwrap_or("held");
    let server = server_cores.map_or_else(|| "?".to_owned(), |cores| format!("{cores:.2}"));
    let p99 = if *p99_ms > 0.0 { format!("{p99_ms:8.1} ms") } else { "       none".to_owned() };
    say(&format!("  {size:>9}  p99 {p99}  cores: server {server} lab {lab_cores:.2}  {word}"));
}

/// The last line.
pub(super) fn totals(reports: &[Report], asked: usize, took: Duration) -> String {
    let of = |verdict: Verdict| reports.iter().filter(|report| report.verdict == verdict).count();
    let [held, broken, open] = [Verdict::Held, Verdict::Broken, Verdict::Inconclusive].map(of);
    let took = number::seconds(took.as_secs_f64());
    let missing = asked - reports.len();
    let missing = if missing == 0 { String::new() } else { format!(", {missing} without a result") };
    format!("{held} held, {broken} broken, {open} inconclusive{missing}, of {asked} in {took}")
}
