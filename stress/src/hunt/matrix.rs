//! What came of the hunts: `bugs.json`, and the section of `stress_results.md` that is made from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Bug;
use crate::oracle::Class;
use crate::verdict::Verdict;

/// The file in a directory of reports.
pub const FILE: &str = "bugs.json";

/// All hunts of a run, and the control beside them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// What was built.
    pub commit: String,
    /// The first seed of every hunt, and of the control.
    pub seed: u64,
    /// Seeds that each bug may take.
    pub budget: u64,
    /// One for each bug.
    pub hunts: Vec<Hunt>,
    /// The same worlds without a bug.
    pub control: Control,
}

/// The hunt for one bug.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// The bug's name.
    pub bug: String,
    /// Where it was planted.
    pub side: String,
    /// Seeds it took until a finding named it; `None`: it got away.
    pub seeds: Option<u64>,
    /// What it was found as in that seed, expected or not.
    pub classes: BTreeSet<Class>,
    /// What else was found before, in seeds where nothing named it.
    pub before: BTreeSet<Class>,
    /// The finding in the oracle's words.
    pub witness: String,
}

/// The same worlds without a bug.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Seeds run.
    pub seeds: u64,
    /// Publications delivered in them.
    pub delivered: u64,
    /// What was found: one line for each seed.
    pub findings: Vec<String>,
}

impl Matrix {
    /// Bugs that got away.
    #[must_use]
    pub fn at_large(&self) -> Vec<String> {
        let away = self.hunts.iter().filter(|hunt| hunt.seeds.is_none());
        away.map(|hunt| format!("{} ({})", hunt.bug, hunt.side)).collect()
    }

    /// How many bugs were not hunted at all.
    #[must_use]
    pub fn not_hunted(&self) -> usize {
        let hunted = |bug: &Bug| self.hunts.iter().any(|hunt| hunt.bug == bug.name() && hunt.side == bug.side());
        Bug::all().filter(|bug| !hunted(bug)).count()
    }

    /// Held: every bug was caught, and the control is clean and was run.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.at_large().is_empty() || !self.control.findings.is_empty() {
            Verdict::Broken
        } else if self.control.seeds == 0 || self.not_hunted() > 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Held
        }
    }

    /// Writes the file into `directory`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(FILE);
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The section of a page.
    #[must_use]
    pub fn section(&self) -> String {
        let mut out = String::from("## The oracle on trial: planted bugs\n\n");
        let mut line = |text: String| {
            // A String takes everything.
            let _infallible = writeln!(out, "{text}");
        };
        let Control { seeds, delivered, findings } = &self.control;
        let (caught, all) = (self.hunts.iter().filter(|hunt| hunt.seeds.is_some()).count(), self.hunts.len());
        line(format!(
            "`make bugs` plants one bug at a time in server or client and runs virtual worlds until the oracle names it: \
             {caught} of {all} were caught, each within {} seeds from {:#x} on. Control: the same worlds without a bug, \
             {seeds} seeds with {delivered} deliveries, {} findings. What each bug does: [docs/oracle.md](docs/oracle.md). \
             Commit {}.\n",
            self.budget,
            self.seed,
            findings.len(),
            self.commit
        ));
        for finding in findings {
            line(format!("- found without a bug: {finding}"));
        }
        for bug in self.at_large() {
            line(format!("- not caught: {bug}"));
        }
        if self.not_hunted() > 0 {
            line(format!("- not hunted: {} others", self.not_hunted()));
        }
        if !findings.is_empty() || !self.at_large().is_empty() || self.not_hunted() > 0 {
            line(String::new());
        }
        line("| bug | in | seeds to kill | found as | a witness |\n|---|---|---|---|---|".to_owned());
        for Hunt { bug, side, seeds, classes, witness, .. } in &self.hunts {
            let seeds = seeds.map_or_else(|| "got away".to_owned(), |seeds| seeds.to_string());
            let classes: Vec<String> = classes.iter().map(|class| format!("`{class:?}`")).collect();
            let witness = witness.replace('|', "/").replace('\n', " ");
            line(format!("| {bug} | {side} | {seeds} | {} | {witness} |", classes.join(", ")));
        }
        out
    }
}

/// The list of all bugs for `docs/oracle.md`.
#[must_use]
pub fn list() -> String {
    let row = |bug: Bug| {
        let sign = bug.sign();
        let classes: Vec<String> = sign.classes.iter().map(|class| format!("`{class:?}`")).collect();
        format!("| {} | {} | {} | {} | {} |\n", bug.name(), bug.side(), bug.what(), classes.join(", "), sign.how)
    };
    let rows: String = Bug::all().map(row).collect();
    format!("| bug | in | what it does | found as | how it comes to light |\n|---|---|---|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_caught() -> Matrix {
        let hunt = |bug: Bug| Hunt { bug: bug.name(), side: bug.side().to_owned(), seeds: Some(3), ..Hunt::default() };
        let control = Control { seeds: 1_000, delivered: 5, findings: Vec::new() };
        Matrix { budget: 200, hunts: Bug::all().map(hunt).collect(), control, ..Matrix::default() }
    }

    #[test]
    fn it_holds_only_if_every_bug_was_caught_and_the_control_is_clean() {
        let matrix = all_caught();
        assert_eq!((matrix.verdict(), matrix.at_large()), (Verdict::Held, vec![]));
        assert!(matrix.hunts.len() >= 25, "{} bugs are planted", matrix.hunts.len());
        let mut escaped = matrix.clone();
        escaped.hunts[4].seeds = None;
        assert_eq!((escaped.verdict(), escaped.at_large().len()), (Verdict::Broken, 1));
        let mut forgotten = matrix.clone();
        forgotten.hunts.remove(0);
        assert_eq!((forgotten.verdict(), forgotten.not_hunted()), (Verdict::Inconclusive, 1));
        let mut unclean = matrix.clone();
        unclean.control.findings.push("seed 0x1: Loss".to_owned());
        assert_eq!(unclean.verdict(), Verdict::Broken);
        assert!(unclean.section().contains("found without a bug: seed 0x1: Loss"));
        let uncontrolled = Matrix { control: Control::default(), ..matrix };
        assert_eq!(uncontrolled.verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn what_is_written_is_what_a_report_reads() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(crate::report::read_all(home.path()).bugs, None);
        all_caught().write(home.path()).unwrap();
        let found = crate::report::read_all(home.path());
        assert_eq!(found.bugs, Some(all_caught()));
        assert!(crate::report::results::page(&found, "plots").contains("| RecoveryOffByOne | server | 3 |"));
        std::fs::write(home.path().join(FILE), "no").unwrap();
        assert_eq!(crate::report::read_all(home.path()).unreadable.len(), 1);
    }

    #[test]
    fn the_page_about_the_oracle_lists_every_bug_as_it_is() {
        let page = include_str!("../../../docs/oracle.md");
        assert!(page.contains(&list()), "docs/oracle.md has another list; this is it:\n{}", list());
    }
}
