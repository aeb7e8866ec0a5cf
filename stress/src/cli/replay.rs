//! Runs again what a file tells of: a report, or a bare plan.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::run::these;
use super::{RunOptions, say, virtual_time};
use crate::chance::Seed;
use crate::fault::{Fault, Plan};
use crate::report::Report;
use crate::scenario::planned::Planned;
use crate::scenario::{self, Context, Scenario};
use crate::verdict::Verdict;

/// How a file is run again.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// The server binary.
    pub server: Option<PathBuf>,
    /// A server that runs already; by default the one that the report was made against.
    pub target: Option<String>,
    /// The plan as it was written down, instead of the scenario that made it.
    pub plan: bool,
    /// Where reports go.
    pub out: Option<PathBuf>,
}

/// Runs again what a report tells of, or a plan that somebody wrote down.
///
/// A report of a scenario is that scenario with the same seed and scale, against the same target, and so with the same faults;
/// its code may have changed since, so the plan it makes is held against the one in the report, and every difference is
/// said. A plan is run as it is written: in virtual time, or against a server if one is named.
///
/// # Errors
/// When the file is neither, and as [`run`](super::run()).
pub fn replay(file: &Path, options: ReplayOptions) -> anyhow::Result<Verdict> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let replayed = what(&text).with_context(|| format!("{}", file.display()))?;
    let ReplayOptions { server, target, plan: as_plan, out } = options;
    let context = |seed, scale, target| {
        RunOptions { seed, scale, jobs: 1, server: server.clone(), target, out: out.clone() }.context()
    };
    let name = format!("replay of {}", file.display());
    match replayed {
        Replayed::Plan(plan) if server.is_none() && !as_plan => virtual_time::replay(&plan),
        Replayed::Plan(plan) => planned(*plan, file, &name, &context),
        Replayed::Report(report) if as_plan || report.name == Planned::NAME => {
            planned(report.plan, file, &name, &context)
        }
        Replayed::Report(report) => {
            let scenario = scenario::named(std::slice::from_ref(&report.name))?.remove(0);
            let scale = report.options.get("scale").and_then(|scale| scale.parse().ok());
            let scale = scale.context("a report that does not say at which scale it was made")?;
            let then = report.options.get("target").filter(|_| server.is_none()).cloned();
            let context = context(Seed(report.seed), scale, target.or(then))?;
            if report.commit != context.commit {
                say(&format!(
                    "stress: this report was made at commit {}, and now it is {}",
                    report.commit, context.commit
                ));
            }
            let outcome = these(&[scenario], &name, 1, &context)?;
            for now in &outcome.reports {
                for difference in differences(&report.plan, &now.plan) {
                    say(&format!("stress: not as in the report: {difference} (--plan runs what stands there)"));
                }
            }
            Ok(outcome.verdict)
        }
    }
}

/// A plan as it is written, against a server of the lab's.
fn planned(
    plan: Plan,
    file: &Path,
    name: &str,
    context: &dyn Fn(Seed, f64, Option<String>) -> anyhow::Result<Context>,
) -> anyhow::Result<Verdict> {
    let context = context(plan.seed, 1.0, None)?;
    let scenario: Box<dyn Scenario> = Box::new(Planned::new(plan, file));
    Ok(these(&[scenario], name, 1, &context)?.verdict)
}

/// In what two plans differ: who is there, what they do, and what is done to them. When faults held is not compared: in a plan
/// that was not written beforehand that is when the run came to them.
fn differences(then: &Plan, now: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    if then.topology != now.topology {
        found.push(format!("the topology was {:?}, now {:?}", then.topology, now.topology));
    }
    if then.workload != now.workload {
        found.push(format!("the workload was {:?}, now {:?}", then.workload, now.workload));
    }
    let what = |fault: &Fault| (fault.kind.clone(), fault.aim.clone(), fault.target.clone(), fault.direction);
    for fault in &then.faults {
        match now.faults.iter().find(|other| other.id == fault.id) {
            None => found.push(format!("fault `{}` was not done", fault.id)),
            Some(other) if what(other) != what(fault) => {
                found.push(format!("fault `{}` was {:?}, now {:?}", fault.id, what(fault), what(other)));
            }
            Some(_) => {}
        }
    }
    let new = now.faults.iter().filter(|fault| then.faults.iter().all(|other| other.id != fault.id));
    found.extend(new.map(|fault| format!("fault `{}` is new", fault.id)));
    found
}

#[derive(Debug)]
enum Replayed {
    Plan(Box<Plan>),
    Report(Box<Report>),
}

fn what(text: &str) -> anyhow::Result<Replayed> {
    let value: serde_json::Value = serde_json::from_str(text).context("this is no JSON")?;
    if value.get("verdict").is_some() {
        let report = serde_json::from_value(value).context("a report, but of another version of this lab")?;
        return Ok(Replayed::Report(Box::new(report)));
    }
    // Everything in a plan but its seed has a default: anything with a seed would do, so more is asked for.
    let is_plan = value.get("seed").is_some() && value.get("faults").is_some();
    anyhow::ensure!(is_plan, "neither a report (it has no `verdict`) nor a plan (it has no `seed` and `faults`)");
    Ok(Replayed::Plan(serde_json::from_value(value).context("not a plan that this lab understands")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    #[test]
    fn reports_and_plans_are_told_apart_and_everything_else_is_told() {
        let report = Report { name: "half_open_peers".to_owned(), seed: 7, ..Report::empty() };
        let Replayed::Report(read) = what(&serde_json::to_string(&report).unwrap()).unwrap() else { panic!() };
        assert_eq!((read.name.as_str(), read.seed), ("half_open_peers", 7));
        let plan = Plan { seed: Seed(9), ..Plan::default() };
        let Replayed::Plan(read) = what(&serde_json::to_string(&plan).unwrap()).unwrap() else { panic!() };
        assert_eq!(*read, plan);
        for (text, told) in [("nonsense", "no JSON"), ("{}", "neither"), (r#"{"verdict":"held"}"#, "another version")] {
            assert!(format!("{:#}", what(text).unwrap_err()).contains(told), "{text}");
        }
    }

    #[test]
    fn plans_differ_by_who_what_and_how_and_not_by_when() {
        let fault = |id: &str, kind: Kind| Fault::new(id, kind);
        let then = Plan { faults: vec![fault("a", Kind::Reset), fault("b", Kind::Fin)], ..Plan::default() };
        let mut now = then.clone();
        now.faults[0].from = std::time::Duration::from_secs(1);
        assert!(differences(&then, &now).is_empty());
        now.topology.connections += 1;
        now.workload.rate += 1.0;
        now.faults = vec![fault("a", Kind::Fin), fault("c", Kind::Reset)];
        let told = differences(&then, &now);
        for word in ["topology", "workload", "`a` was (Reset", "`b` was not done", "`c` is new"] {
            assert!(told.iter().any(|line| line.contains(word)), "{word}: {told:?}");
        }
        assert_eq!(told.len(), 5);
    }
}
