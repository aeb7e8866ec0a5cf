//! `bugs`: the oracle on trial.

use std::path::Path;

use super::say;
use crate::chance::Seed;
use crate::hunt::chase::Chase;
use crate::hunt::{Bug, Hunt, matrix};
use crate::verdict::Verdict;

/// Hunts the planted bugs, runs the control, and writes the matrix into `out`.
///
/// # Errors
/// When a bug is unknown, or the matrix cannot be written.
pub fn bugs(
    budget: u64,
    control: u64,
    from: Seed,
    only: Vec<String>,
    jobs: Option<usize>,
    out: &Path,
) -> anyhow::Result<Verdict> {
    if let Some(unknown) = only.iter().find(|name| !Bug::all().any(|bug| bug.name() == **name)) {
        let known: Vec<String> = Bug::all().map(Bug::name).collect();
        anyhow::bail!("there is no bug `{unknown}`; there are: {}", known.join(", "));
    }
    let commit = crate::commit::commit();
    say(&format!("stress bugs: commit {commit}, at most {budget} seeds each from {from}, {control} without a bug"));
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let matrix = Chase { seed: from.0, budget, control, jobs, only }.run(commit, &told);
    matrix.write(out)?;
    say(&matrix.section());
    Ok(matrix.verdict())
}

/// Shows the bugs.
#[must_use]
pub fn list_bugs() -> Verdict {
    say(&matrix::list());
    Verdict::Held
}

fn told(hunt: &Hunt) {
    let Hunt { bug, side, seeds, classes, before, .. } = hunt;
    match seeds {
        Some(seeds) => say(&format!("  {side} {bug}: {seeds} seeds, {classes:?}")),
        None => say(&format!("  {side} {bug}: got away; found instead: {before:?}")),
    }
}
