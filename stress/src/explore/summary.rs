//! What is kept of an exploration for the page of a whole run: what it came to, and whether it came to the same again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Explored;
use crate::chance::Seed;
use crate::report::number;

/// Where it is kept.
pub const FILE: &str = "explore.json";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Of the lab and of what it ran.
    pub commit: String,
    /// Seed of the first round.
    pub from: Seed,
    /// How many rounds there were.
    pub rounds: u64,
    /// Whether they were strained.
    pub strained: bool,
    /// Kinds of fault that were drawn from; empty: all.
    pub faults: Vec<String>,
    /// Deliveries judged.
    pub delivered: u64,
    /// Rounds that were broken, or could not be run.
    pub broken: u64,
    /// All fingerprints in one.
    pub fingerprint: String,
    /// Other runs of the same rounds.
    pub again: Vec<Again>,
}

/// The same rounds once more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Again {
    /// Whether in another process.
    pub elsewhere: bool,
    /// Processors that it saw, or threads that it had if that was here.
    pub processors: usize,
    /// Whether each round went the same way, to the byte.
    pub same: bool,
}

impl Summary {
    /// What came of these rounds.
    #[must_use]
    pub fn of(from: Seed, options: &super::Options, explored: &Explored) -> Self {
        Self {
            commit: crate::commit::commit(),
            from,
            rounds: explored.rounds,
            strained: options.strained,
            faults: options.faults.clone(),
            delivered: explored.delivered,
            broken: (explored.broken.len() + explored.errors.len()) as u64,
            fingerprint: format!("{:#018x}", explored.fingerprint()),
            again: Vec::new(),
        }
    }

    /// Notes that this was run before, as `path` says. Returns whether it went the same way.
    ///
    /// # Errors
    /// When there is no such file, or when it is of other rounds.
    pub fn compare(&self, path: &Path) -> anyhow::Result<bool> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut first: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not what explore writes", path.display()))?;
        let rounds = |one: &Self| (one.from, one.rounds, one.strained, one.faults.clone());
        anyhow::ensure!(
            rounds(&first) == rounds(self),
            "{} is of other rounds: it has to have the same --seeds, --from, --faults and --strained",
            path.display()
        );
        let same = first.fingerprint == self.fingerprint;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        first.again.push(Again { elsewhere: true, processors, same });
        first.write_to(path)?;
        Ok(same)
    }

    /// Writes it into `directory`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(FILE);
        self.write_to(&path)?;
        Ok(path)
    }

    fn write_to(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let again = self.again.iter().map(|Again { elsewhere, processors, same }| {
            let place = match (elsewhere, processors) {
                (false, _) => "again in the same process on one thread".to_owned(),
                (true, 1) => "again in a process that has one processor".to_owned(),
                (true, _) => format!("again in a process that has {processors} processors"),
            };
            format!("{place}: {}", if *same { "the same to the byte" } else { "**not the same**" })
        });
        let again: Vec<String> = again.collect();
        let broken = if self.broken == 0 { "0 broken".to_owned() } else { format!("**{} broken**", self.broken) };
        format!(
            "{} plans drawn from seeds {} on and run in virtual time, at commit {}: {} deliveries judged, {broken}; {}",
            number::count(self.rounds),
            self.from,
            self.commit,
            number::count(self.delivered),
            if again.is_empty() { "not run again".to_owned() } else { again.join("; ") }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_rounds_elsewhere_are_told_from_others() {
        let home = tempfile::tempdir().unwrap();
        let first = Summary { rounds: 3, delivered: 1_000, fingerprint: "0x1".to_owned(), ..Summary::default() };
        let path = first.write(home.path()).unwrap();
        assert!(first.compare(&path).unwrap());
        let otherwise = Summary { fingerprint: "0x2".to_owned(), ..first.clone() };
        assert!(!otherwise.compare(&path).unwrap());
        let others = Summary { rounds: 4, ..first };
        assert!(others.compare(&path).unwrap_err().to_string().contains("other rounds"));
        let kept: Summary = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(kept.again.iter().map(|again| again.same).collect::<Vec<_>>(), [true, false]);
        assert!(
            kept.line().contains("1,000 deliveries") && kept.line().contains("**not the same**"),
            "{}",
            kept.line()
        );
    }
}
