//! `explore`, and `replay` of a plan: what runs in virtual time.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{run, say};
use crate::chance::Seed;
use crate::explore::summary::{Again, Summary};
use crate::explore::{self, Broken, Explored, Options};
use crate::fault::Kind;
use crate::fault::plan::Plan;
use crate::oracle::Judgement;
use crate::progress::Progress;
use crate::report::matrix;
use crate::verdict::Verdict;
use crate::virtual_time::world::{self, Look};

/// Broken rounds that are made small and shown; the rest is counted.
const SHOWN_MAX: usize = 5;
/// Runs that making one small may take.
const SHRINK_RUNS: usize = 400;

/// What to explore, and how.
#[derive(Clone, Debug)]
pub struct ExploreOptions {
    /// How many rounds.
    pub seeds: u64,
    /// Seed of the first.
    pub from: Seed,
    /// Kinds of fault; empty: all.
    pub faults: Vec<String>,
    /// Also what everyday life hides.
    pub strained: bool,
    /// Threads; by default one for each processor.
    pub jobs: Option<usize>,
    /// Every round twice, the second time on one thread: they must be the same to the byte.
    pub twice: bool,
    /// Where small plans go, and the summary.
    pub out: PathBuf,
    /// The summary of an earlier run that this one has to be like.
    pub like: Option<PathBuf>,
}

/// Draws a plan from each seed, runs it, makes small what is broken and writes that down.
///
/// # Errors
/// When a kind of fault is unknown, or a plan cannot be written.
pub fn explore(options: ExploreOptions) -> anyhow::Result<Verdict> {
    let ExploreOptions { seeds, from, faults, strained, jobs, twice, out, like } = options;
    let known: Vec<&str> = Kind::virtual_names().collect();
    if let Some(unknown) = faults.iter().find(|name| !known.contains(&name.as_str())) {
        anyhow::bail!("there is no fault `{unknown}` in virtual time; there are: {}", known.join(", "));
    }
    let interrupted = run::interruption()?;
    let commit = crate::commit::commit();
    say(&format!("stress explore: commit {commit}, {seeds} seeds from {from}, virtual time"));
    let progress = Progress::new("explore");
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let options = Options { faults, strained };
    progress.phase("rounds", seeds);
    let goes_on = |round| {
        progress.at(round);
        interrupted.get().is_none()
    };
    let explored = explore::many(from.0, seeds, &options, jobs, &goes_on);
    let mut other_ways = Vec::new();
    if twice && interrupted.get().is_none() {
        progress.phase("the same again", seeds);
        let again = explore::many(from.0, seeds, &options, 1, &goes_on);
        // What was not run again went no other way.
        other_ways = if interrupted.get().is_none() { explored.other_ways(&again) } else { Vec::new() };
    }
    progress.finish();
    let mut summary = Summary::of(from, &options, &explored);
    let differs = match &like {
        // Half a run is like no other, and nothing to show.
        _ if interrupted.get().is_some() => false,
        Some(first) => !summary.compare(first)?,
        None => {
            summary.again.extend(twice.then_some(Again {
                elsewhere: false,
                processors: 1,
                same: other_ways.is_empty(),
            }));
            summary.write(&out)?;
            false
        }
    };
    say(&matrix::table_of(&explored.reached));
    let fingerprint = explored.fingerprint();
    let Explored { rounds, delivered, broken, errors, .. } = explored;
    let count = broken.len();
    say(&format!("{rounds} rounds, {delivered} deliveries judged, {count} broken; fingerprint {fingerprint:#018x}"));
    errors.iter().for_each(|error| say(&format!("could not be run: {error}")));
    for seed in &other_ways {
        say(&format!("seed {seed} did not go the same way twice"));
    }
    if let Some(first) = like.filter(|_| differs) {
        say(&format!("not all went as {} has it", first.display()));
    }
    // Whoever wants it to end does not want to wait for them to be made small.
    let shown = if interrupted.get().is_none() { broken.len().min(SHOWN_MAX) } else { 0 };
    for one in &broken[..shown] {
        show(one, &out)?;
    }
    if broken.len() > shown {
        let seeds: Vec<String> = broken[shown..].iter().map(|one| one.seed.to_string()).collect();
        say(&format!("and broken too, not made small: seeds {}", seeds.join(" ")));
    }
    if let Some(signal) = interrupted.get() {
        say(&format!("stress: {signal} after {rounds} of {seeds} rounds; no summary was written"));
    }
    Ok(if !broken.is_empty() || !other_ways.is_empty() || differs {
        Verdict::Broken
    } else if delivered > 0 && errors.is_empty() && interrupted.get().is_none() {
        Verdict::Held
    } else {
        Verdict::Inconclusive
    })
}

/// Makes a broken round small, writes its plan down, and says how to run it again.
fn show(broken: &Broken, out: &Path) -> anyhow::Result<()> {
    say(&format!("\nseed {} is broken:", broken.seed));
    tell(&broken.judgement);
    let small = explore::make_small(broken, SHRINK_RUNS);
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let path = out.join(format!("plan-{:x}.json", broken.seed.0));
    std::fs::write(&path, serde_json::to_string_pretty(&small)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let (faults, topology) = (small.faults.len(), &small.topology);
    say(&format!(
        "  made small: {faults} faults, {} connections, {} channels, {} publications\n  stress replay {}",
        topology.connections,
        topology.channels,
        small.workload.publications,
        path.display()
    ));
    Ok(())
}

fn tell(judgement: &Judgement) {
    for ((class, subject), finding) in &judgement.findings {
        say(&format!("  {class:?} of {subject}, {} times: {}", finding.count, class.law().statement()));
        finding.witness.iter().take(3).for_each(|line| say(&format!("    {line}")));
    }
}

/// Runs a plan again.
pub(super) fn replay(plan: &Plan) -> anyhow::Result<Verdict> {
    if let Some(fault) = plan.faults.iter().find(|fault| fault.kind.takes_a_process()) {
        let (id, kind) = (&fault.id, fault.kind.name());
        anyhow::bail!("virtual time has no process for `{id}` ({kind}): name a server, with --server PATH");
    }
    world::run(plan, &Look::default()).map(|outcome| {
        let tally = outcome.tally;
        say(&format!(
            "{} of virtual time, {} publications, {} deliveries, fingerprint {:#018x}",
            humane(outcome.virtual_time),
            tally.invoked,
            tally.pushed + tally.recovered,
            outcome.fingerprint
        ));
        tell(&outcome.judgement);
        if outcome.judgement.is_clean() { Verdict::Held } else { Verdict::Broken }
    })
}

fn humane(duration: std::time::Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
