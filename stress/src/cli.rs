//! What the command line does, without the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::chance::Seed;
use crate::limits::{self, Ladder, Rung};
use crate::report::{self, Report};
use crate::scenario::{self, Context, Scenario};
use crate::verdict::Verdict;

mod virtual_time;

pub use virtual_time::explore;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// All chance.
    pub seed: Seed,
    /// Size.
    pub scale: f64,
    /// The server binary.
    pub server: Option<PathBuf>,
    /// Host and port of a server that runs already.
    pub target: Option<String>,
    /// Where reports go.
    pub out: Option<PathBuf>,
}

impl RunOptions {
    fn context(self) -> Context {
        let Self { seed, scale, server, target, out } = self;
        // A URL is understood too.
        let target = target.map(|url| url.split("://").last().unwrap_or_default().trim_end_matches('/').to_owned());
        Context { seed, scale, server, target, out, quiet: false, commit: commit(), replay: None }
    }
}

/// Reads a seed, decimal or `0x…`.
///
/// # Errors
/// When it is not a number.
pub fn parse_seed(text: &str) -> Result<Seed, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map(Seed),
        None => text.parse().map(Seed),
    }
}

/// Shows the scenarios.
#[must_use]
pub fn list() -> Verdict {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["scenario", "claim"]);
    for scenario in scenario::all() {
        table.add_row([scenario.name(), scenario.claim()]);
    }
    say(&table.to_string());
    Verdict::Held
}

/// Runs the named scenarios, or all.
///
/// # Errors
/// When one cannot be run at all: no server binary, an unknown name, an unwritable report.
pub fn run(names: &[String], all: bool, options: RunOptions) -> anyhow::Result<Verdict> {
    let scenarios = if all { scenario::all() } else { scenario::named(names)? };
    anyhow::ensure!(!scenarios.is_empty(), "name a scenario, or say --all; `stress list` shows them");
    anyhow::ensure!(options.scale > 0.0 && options.scale <= 10.0, "--scale is between 0 and 10");
    let context = options.context();
    let (seed, scale) = (context.seed, context.scale);
    let (commit, shown) = (&context.commit, &context.out);
    say(&format!("stress: commit {commit}, seed {:#x}, scale {scale}, reports to {shown:?}", seed.0));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            biased;
            verdict = run_all(&scenarios, &context) => verdict,
            // Dropping the scenario drops its server, which is killed with it; what is written stays.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; reports of finished scenarios are kept"),
        }
    })
}

async fn run_all(scenarios: &[Box<dyn Scenario>], context: &Context) -> anyhow::Result<Verdict> {
    let (mut verdicts, mut reports) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let report = match scenario.run(context).await {
            Ok(report) => report,
            Err(error) => {
                say(&format!("{}: cannot be run: {error:#}", scenario.name()));
                verdicts.push(Verdict::Inconclusive);
                continue;
            }
        };
        show(&report);
        if let Some(out) = &context.out {
            report.write(out)?;
        }
        verdicts.push(report.verdict);
        reports.push(report);
    }
    if reports.iter().any(|report| !report.faults.is_empty()) {
        say(&report::matrix::table(&reports));
    }
    Ok(Verdict::of_all(verdicts))
}

/// Doubles one thing after the other until an objective breaks, and tells the knees.
///
/// # Errors
/// When there is no server to do it to.
pub fn limits(options: RunOptions) -> anyhow::Result<Verdict> {
    let context = options.context();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for ladder in Ladder::ALL {
            say(&format!("{}:", ladder.unit()));
            let told = |rung: &Rung| {
                let word = rung.broken.as_deref().unwrap_or("held");
                let server = rung.server_cores.map_or_else(|| "?".to_owned(), |cores| format!("{cores:.2}"));
                let Rung { size, p99_ms, lab_cores, .. } = rung;
                say(&format!("  {size:>9}  p99 {p99_ms:8.1} ms  cores: server {server} lab {lab_cores:.2}  {word}"));
            };
            let rungs = limits::climb(ladder, &context, told).await?;
            let knee = rungs.iter().rev().find(|rung| rung.broken.is_none()).map_or(0, |rung| rung.size);
            let open = rungs.last().is_some_and(|rung| rung.broken.is_none());
            let word = if open { "and no end was seen" } else { "is the last that held" };
            say(&format!("  {knee} {word}"));
        }
        Ok(Verdict::Held)
    })
}

/// Runs again what a report tells of, or a plan.
///
/// # Errors
/// As [`run`], and when the file is no report.
pub fn replay(file: &Path, server: Option<PathBuf>, out: Option<PathBuf>) -> anyhow::Result<Verdict> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    if let Some(verdict) = virtual_time::replay(&text) {
        return verdict;
    }
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("{} is not a report of this lab", file.display()))?;
    let scale = report.options.get("scale").and_then(|scale| scale.parse().ok()).unwrap_or(1.0);
    run(
        std::slice::from_ref(&report.name),
        false,
        RunOptions { seed: Seed(report.seed), scale, server, target: None, out },
    )
}

/// Prints the table of the reports in a directory, or writes it to `page`, its plots into `plots`.
///
/// # Errors
/// When there are no reports, or the page cannot be written.
pub fn report(directory: &Path, page: Option<&Path>, plots: &Path) -> anyhow::Result<Verdict> {
    let reports = report::read_all(directory);
    anyhow::ensure!(!reports.is_empty(), "no reports in {}: run scenarios with --out DIR first", directory.display());
    match page {
        None => say(&report::markdown::document(&reports)),
        Some(page) => report::results::write(&reports, directory, page, plots)?,
    }
    Ok(Verdict::of_all(reports.iter().map(|report| report.verdict)))
}

fn show(report: &Report) {
    say(&format!("{}: {}", report.name, report.verdict));
    for threshold in &report.thresholds {
        let mark = match (threshold.held, threshold.binding) {
            (true, _) => "ok",
            (false, true) => "BROKEN",
            (false, false) => "goal missed",
        };
        let measured =
            threshold.measured.map_or_else(|| "not measured".to_owned(), |measured| format!("{measured:.3}"));
        let (name, limit, unit) = (&threshold.name, threshold.limit, &threshold.unit);
        say(&format!("  {mark:6} {name}: {measured} {unit} (limit {limit}, {})", threshold.source));
    }
    for (name, latency) in &report.latencies {
        say(&format!("  {name}: {}", latency.response));
    }
    for (class, violation) in &report.violations {
        say(&format!("  BROKEN {class} × {} ({})", violation.count, violation.law));
        violation.witness.iter().for_each(|line| say(&format!("    {line}")));
    }
    for reason in &report.inconclusive {
        say(&format!("  inconclusive: {reason}"));
    }
    for doubt in &report.doubts {
        say(&format!("  doubt: {doubt}"));
    }
    if report.verdict != Verdict::Held {
        say(&format!("  again: {}", report.replay));
    }
}

/// The commit of the working tree, if there is one and git tells.
fn commit() -> String {
    // Looking must not lock: somebody may be committing at this moment.
    let git = std::process::Command::new("git")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .output();
    let told = git.ok().filter(|output| output.status.success());
    told.map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn say(line: &str) {
    // If nobody listens any more the reports are still written.
    let _ = writeln!(std::io::stdout(), "{line}");
}
