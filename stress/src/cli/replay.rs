//! Runs again what a file tells of: a report, or a bare plan.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::run::these;
use super::{RunOptions, say, virtual_time};
use crate::chance::Seed;
use crate::fault::Plan;
use crate::report::Report;
use crate::scenario::planned::Planned;
use crate::scenario::{self, Scenario};
use crate::verdict::Verdict;

/// Runs again what a report tells of, or a plan that somebody wrote down.
///
/// A report of a scenario is that scenario with the same seed and scale, and so with the same faults; its code may have
/// changed since, which is said. A plan is run as it is written: in virtual time, or against a server if one is named.
///
/// # Errors
/// When the file is neither, and as [`run`](super::run()).
pub fn replay(file: &Path, server: Option<PathBuf>, out: Option<PathBuf>) -> anyhow::Result<Verdict> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (scenario, seed, scale, commit) = match what(&text).with_context(|| format!("{}", file.display()))? {
        Replayed::Plan(plan) if server.is_none() => return virtual_time::replay(&plan),
        Replayed::Plan(plan) => {
            let seed = plan.seed;
            (Box::new(Planned::new(*plan)) as Box<dyn Scenario>, seed, 1.0, None)
        }
        Replayed::Scenario { name, seed, scale, commit } => {
            (scenario::named(&[name])?.remove(0), seed, scale, Some(commit))
        }
    };
    let context = RunOptions { seed, scale, server, target: None, out }.context()?;
    if let Some(then) = commit.filter(|then| *then != context.commit) {
        say(&format!(
            "stress: this report was made at commit {then}, and now it is {}: what differs may be that",
            context.commit
        ));
    }
    these(&[scenario], &format!("replay of {}", file.display()), &context)
}

#[derive(Debug, PartialEq)]
enum Replayed {
    Plan(Box<Plan>),
    Scenario { name: String, seed: Seed, scale: f64, commit: String },
}

fn what(text: &str) -> anyhow::Result<Replayed> {
    let value: serde_json::Value = serde_json::from_str(text).context("this is no JSON")?;
    if value.get("verdict").is_some() {
        let report: Report = serde_json::from_value(value).context("a report, but of another version of this lab")?;
        if report.name == Planned::NAME {
            return Ok(Replayed::Plan(Box::new(report.plan)));
        }
        let scale = report.options.get("scale").and_then(|scale| scale.parse().ok());
        let scale = scale.context("a report that does not say at which scale it was made")?;
        return Ok(Replayed::Scenario { name: report.name, seed: Seed(report.seed), scale, commit: report.commit });
    }
    // Everything in a plan but its seed has a default: anything with a seed would do, so more is asked for.
    let is_plan = value.get("seed").is_some() && value.get("faults").is_some();
    anyhow::ensure!(is_plan, "neither a report (it has no `verdict`) nor a plan (it has no `seed` and `faults`)");
    Ok(Replayed::Plan(serde_json::from_value(value).context("not a plan that this lab understands")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_plans_are_told_apart_and_everything_else_is_told() {
        let mut report = Report { name: "half_open_peers".to_owned(), seed: 7, ..Report::empty() };
        let text = |report: &Report| serde_json::to_string(report).unwrap();
        assert!(format!("{:#}", what(&text(&report)).unwrap_err()).contains("scale"));
        report.options.insert("scale".to_owned(), "0.5".to_owned());
        let Replayed::Scenario { name, seed, scale, .. } = what(&text(&report)).unwrap() else { panic!() };
        assert_eq!((name.as_str(), seed, scale), ("half_open_peers", Seed(7), 0.5));

        let plan = Box::new(Plan { seed: Seed(9), ..Plan::default() });
        assert_eq!(what(&serde_json::to_string(&plan).unwrap()).unwrap(), Replayed::Plan(plan.clone()));
        let of_plan = Report { name: Planned::NAME.to_owned(), plan: (*plan).clone(), ..Report::empty() };
        assert_eq!(what(&text(&of_plan)).unwrap(), Replayed::Plan(plan));

        for (text, told) in [("nonsense", "no JSON"), ("{}", "neither"), (r#"{"verdict":"held"}"#, "another version")] {
            assert!(format!("{:#}", what(text).unwrap_err()).contains(told), "{text}");
        }
    }
}
