//! What the command line does, without the command line.
//!
//! [`mod@run`] is a run of scenarios, interrupted or not; [`mod@replay`] runs again what a file tells of; [`mod@proxy`] stands
//! between others; [`show`] says it on a terminal. Whatever goes wrong is said in words, results already gathered are kept, and the exit code is one of three.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::chance::Seed;
use crate::limits::{self, Ladder, Limits};
use crate::machine::Machine;
use crate::progress;
use crate::report::{self, Directory};
use crate::scenario::{self, Context, Unfinished};
use crate::verdict::Verdict;

#[cfg(feature = "planted-bugs")]
mod bugs;
mod proxy;
mod replay;
mod run;
mod show;
mod virtual_time;

#[cfg(feature = "planted-bugs")]
pub use bugs::{bugs, list_bugs};
pub use proxy::{ProxyOptions, proxy};
pub use replay::{ReplayOptions, replay};
pub use run::run;
pub use virtual_time::{ExploreOptions, explore};

/// From this size on a run is a full one: its times are judged, and it needs the machine to itself.
const FULL_SCALE_MIN: f64 = 0.5;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// All chance.
    pub seed: Seed,
    /// Size.
    pub scale: f64,
    /// How many scenarios at once.
    pub jobs: usize,
    /// The server binary.
    pub server: Option<PathBuf>,
    /// Host and port of a server that runs already.
    pub target: Option<String>,
    /// Where reports go.
    pub out: Option<PathBuf>,
}

impl RunOptions {
    fn context(self) -> anyhow::Result<Context> {
        let Self { seed, scale, jobs, server, target, out } = self;
        anyhow::ensure!(scale > 0.0 && scale <= 10.0, "--scale is above 0 and at most 10");
        anyhow::ensure!(jobs > 0, "--jobs 0: at least one at a time");
        anyhow::ensure!(
            jobs == 1 || (scale < FULL_SCALE_MIN && target.is_none()),
            "--jobs {jobs}: side by side only below --scale {FULL_SCALE_MIN}, where times are not judged, and each with a server of its own, so without --target"
        );
        let target = target.as_deref().map(|target| address("--target", target)).transpose()?;
        if let Some(out) = &out {
            // Better now than after a quarter of an hour.
            writable(out)?;
        }
        let unfinished = Unfinished::default();
        let (quiet, commit, alone) = (false, crate::commit::commit(), jobs == 1);
        Ok(Context { seed, scale, server, target, out, quiet, commit, alone, unfinished })
    }
}

/// Whether reports can be written there.
fn writable(out: &Path) -> anyhow::Result<()> {
    if let Some(file) = out.ancestors().find(|part| part.is_file()) {
        anyhow::bail!("--out {}: {} is a file; reports need a directory", out.display(), file.display());
    }
    let probe = out.join(".writable");
    let written = report::put(&probe, "").map_err(|failed| failed.error).and_then(|()| std::fs::remove_file(&probe));
    written.with_context(|| format!("--out {}: reports cannot be written there", out.display()))
}

/// Host and port of `ws://host:port/…`, `http://host:port` or `host:port`.
fn address(option: &str, url: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    anyhow::ensure!(matches!(scheme, "http" | "ws"), "{option} {url}: the lab speaks plain http:// and ws://, no TLS");
    let address = rest.split(['/', '?']).next().unwrap_or_default();
    let port = address.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    anyhow::ensure!(port.is_some(), "{option} {url}: say host and port, as in http://127.0.0.1:8000");
    Ok(address.to_owned())
}

/// Reads a seed, decimal or `0x…`.
///
/// # Errors
/// When it is not a number.
pub fn parse_seed(text: &str) -> Result<Seed, String> {
    let read = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    read.map(Seed).map_err(|error| format!("a number from 0 to 2^64 - 1, decimal or as 0x2a: {error}"))
}

/// Shows the scenarios.
#[must_use]
pub fn list() -> Verdict {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["scenario", "--target", "claim"]);
    for scenario in scenario::all() {
        table.add_row([scenario.name(), if scenario.takes_target() { "yes" } else { "" }, scenario.claim()]);
    }
    say(&table.to_string());
    say("--target: may be run against a server that runs already; the others need one with settings of their own.");
    Verdict::Held
}

/// Doubles one thing after the other until an objective breaks, and tells the knees.
///
/// # Errors
/// When there is no server to do it to, or the result cannot be written.
pub fn limits(options: RunOptions) -> anyhow::Result<Verdict> {
    let context = options.context()?;
    say(&show::first_line("limits", &context));
    let (machine, commit, seed) = (Machine::here(), context.commit.clone(), context.seed.0);
    let mut found = Limits { machine, commit, seed, climbs: Vec::new() };
    runtime()?.block_on(async {
        for ladder in Ladder::ALL {
            say(&format!("{}:", ladder.unit()));
            let begins = |size: u64| {
                // A rung takes seconds, and the last ones half a minute.
                if std::io::stdout().is_terminal() {
                    let _ = write!(std::io::stdout(), "  {size:>9}  …\r").and_then(|()| std::io::stdout().flush());
                }
            };
            let climb = tokio::select! {
                biased;
                climb = limits::climb(ladder, &context, begins, show::rung) => climb?,
                signal = run::interrupted() => anyhow::bail!("{signal}; the ladders above are complete"),
            };
            say(&format!("  {} is the last that held; {}", climb.knee(), climb.end(found.machine.cores)));
            found.climbs.push(climb);
            if let Some(out) = &context.out {
                report::put(&out.join(limits::FILE), &serde_json::to_string_pretty(&found)?)?;
            }
        }
        say(&format!("\n{}", found.document()));
        Ok(Verdict::Held)
    })
}

/// What `stress report` writes.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// The page of results.
    pub results: Option<PathBuf>,
    /// Where its plots go.
    pub plots: PathBuf,
    /// The page of ways to fail.
    pub failure_modes: Option<PathBuf>,
}

/// Prints the summary of the reports in a directory, or writes the pages made of them. The verdict is that of them all.
///
/// # Errors
/// When there are no reports, or a page cannot be written.
pub fn report(directory: &Path, pages: &Pages) -> anyhow::Result<Verdict> {
    let found = report::read_all(directory);
    for file in &found.unreadable {
        eprintln!("stress: left out, because it cannot be read: {}", directory.join(file).display());
    }
    let Directory { reports, .. } = &found;
    anyhow::ensure!(!reports.is_empty(), "no reports in {}: run scenarios with --out DIR first", directory.display());
    if let Some(page) = &pages.results {
        report::results::write(&found, page, &pages.plots)?;
        say(&format!("wrote {} and its plots in {}", page.display(), pages.plots.display()));
    }
    if let Some(page) = &pages.failure_modes {
        let filled = report::failure_modes::fill(reports)?;
        report::put(page, &filled.text)?;
        filled.missing.iter().for_each(|missing| eprintln!("stress: {}: {missing}", page.display()));
        say(&format!("wrote {}", page.display()));
    }
    if pages.results.is_none() && pages.failure_modes.is_none() {
        say(&report::summary::text(reports));
    }
    let bugs = found.bugs.as_ref().map(crate::hunt::Matrix::verdict);
    Ok(Verdict::of_all(reports.iter().map(|report| report.verdict).chain(bugs)))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn say(line: &str) {
    // If nobody listens any more the reports are still written.
    let _ = progress::above_bars(|| writeln!(std::io::stdout(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port_in_whatever_url() {
        for url in ["127.0.0.1:8000", "http://127.0.0.1:8000/", "ws://127.0.0.1:8000/connection/websocket?x=1"] {
            assert_eq!(address("--target", url).unwrap(), "127.0.0.1:8000");
        }
        for (url, told) in
            [("wss://a:1", "no TLS"), ("http://a", "host and port"), (":80", "host and port"), ("", "host and port")]
        {
            assert!(address("--target", url).unwrap_err().to_string().contains(told), "{url}");
        }
    }

    #[test]
    fn seeds_are_read_in_both_notations() {
        assert_eq!([parse_seed("17").unwrap(), parse_seed("0x11").unwrap()], [Seed(17), Seed(17)]);
        assert!(parse_seed("0xzz").is_err());
    }
}
