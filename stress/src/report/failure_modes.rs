//! `failure_modes.md`: what can break, with what a run measured of it.
//!
//! The words are in `failure_modes.md.in`, the numbers come from reports: nothing measured is typed by hand. A scenario
//! that has no report is "not measured yet"; a name that its report does not have is a mistake in the words, and told.
//! A test holds the page and the list of scenarios together: each is shown by an entry, each entry names its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use super::plot::RECOVERY;
use super::{Report, markdown, number};
use crate::histogram::Quantiles;

/// The words.
const TEMPLATE: &str = include_str!("failure_modes.md.in");
/// What stands where nothing was measured.
const NOT_YET: &str = "not measured yet";

/// The page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Its text.
    pub text: String,
    /// What the words ask for and the reports do not have.
    pub missing: Vec<String>,
}

/// Fills the page from reports.
///
/// # Errors
/// When the words are wrong: a scenario that does not exist, or a mistake of syntax.
pub fn fill(reports: &[Report]) -> anyhow::Result<Filled> {
    let numbers = Numbers(Arc::new(Inner {
        reports: reports.iter().map(|report| (report.name.clone(), report.clone())).collect(),
        missing: Mutex::default(),
    }));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    numbers.offer(&mut environment);
    let text = environment.render_str(TEMPLATE, ())? + "\n";
    let missing = std::mem::take(&mut *numbers.0.missing.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Filled { text, missing })
}

/// What the words may ask for.
#[derive(Clone, Debug)]
struct Numbers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reports: BTreeMap<String, Report>,
    missing: Mutex<Vec<String>>,
}

impl Numbers {
    fn offer(&self, environment: &mut Environment<'_>) {
        // Of which run the numbers are.
        let me = self.clone();
        environment.add_function("run", move || me.run());
        // A threshold by name: what was measured, and its limit.
        let me = self.clone();
        environment.add_function("measured", move |scenario: &str, name: &str| {
            me.of(scenario, name, |report| {
                let threshold = report.thresholds.iter().find(|threshold| threshold.name == name)?;
                let measured = number::with_unit(threshold.measured?, &threshold.unit);
                let word = if threshold.held { String::new() } else { format!(", {}", markdown::word(threshold)) };
                Some(format!("{measured} (limit {}{word})", markdown::limit(threshold)))
            })
        });
        // A distribution by name, from the planned moment.
        let me = self.clone();
        environment.add_function("latency", move |scenario: &str, name: &str| {
            me.of(scenario, name, |report| report.latencies.get(name).map(|latency| spread(&latency.response)))
        });
        // How soon those who were cut were back, since the fault was healed.
        let me = self.clone();
        environment.add_function("back", move |scenario: &str| {
            me.of(scenario, RECOVERY, |report| {
                let back = report.latencies.get(RECOVERY)?;
                Some(format!("{}, of {}", spread(&back.service), number::count(back.service.count)))
            })
        });
        // Any other number by name.
        let me = self.clone();
        environment.add_function("number", move |scenario: &str, name: &str, unit: &str| {
            me.of(scenario, name, |report| report.numbers.get(name).map(|&value| number::with_unit(value, unit)))
        });
        // How many were told a close or unsubscribe code.
        let me = self.clone();
        environment.add_function("told", move |scenario: &str, code: u32| {
            me.of(scenario, &code.to_string(), |report| {
                let count = report.numbers.get(&format!("breaks_with_code_{code}")).copied().unwrap_or(0.0);
                Some(number::short(count))
            })
        });
        let me = self.clone();
        environment.add_function("verdict", move |scenario: &str| {
            me.of(scenario, "verdict", |report| Some(markdown::verdict(report.verdict)))
        });
    }

    fn run(&self) -> String {
        let reports = self.0.reports.values();
        let mut runs: Vec<String> = reports
            .map(|report| {
                let scale = report.options.get("scale").map_or("?", String::as_str);
                format!("commit {}, seed {:#x}, scale {scale}, on {}", report.commit, report.seed, report.machine)
            })
            .collect();
        runs.sort();
        runs.dedup();
        if runs.is_empty() { NOT_YET.to_owned() } else { runs.join("; ") }
    }

    fn of(&self, scenario: &str, name: &str, value: impl Fn(&Report) -> Option<String>) -> Result<String, Error> {
        if !crate::scenario::all().iter().any(|known| known.name() == scenario) {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("there is no scenario `{scenario}`")));
        }
        let Some(report) = self.0.reports.get(scenario) else { return Ok(NOT_YET.to_owned()) };
        Ok(value(report).unwrap_or_else(|| {
            let mut missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.push(format!("the report of {scenario} has no `{name}`"));
            "not measured in this run".to_owned()
        }))
    }
}

fn spread(q: &Quantiles) -> String {
    let [p50, p99, max] = [q.p50, q.p99, q.max].map(number::millis);
    format!("p50 {p50}, p99 {p99}, longest {max}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threshold;
    use std::collections::BTreeSet;

    /// What the page calls the line that names an entry's scenarios.
    const SHOWN_BY: &str = "- **shown by**: ";

    /// Each entry's title, with the scenarios it names.
    fn entries(text: &str) -> Vec<(String, Vec<String>)> {
        let mut entries: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("### ") {
                entries.push((title.to_owned(), Vec::new()));
            } else if let (Some(named), Some(entry)) = (line.strip_prefix(SHOWN_BY), entries.last_mut()) {
                entry.1.extend(named.split('`').skip(1).step_by(2).map(str::to_owned));
            }
        }
        entries
    }

    #[test]
    fn every_scenario_is_in_an_entry_and_every_entry_names_scenarios_that_exist() {
        let filled = fill(&[]).unwrap();
        let known: BTreeSet<String> =
            crate::scenario::all().iter().map(|scenario| scenario.name().to_owned()).collect();
        let mut named = BTreeSet::new();
        for (title, scenarios) in entries(&filled.text) {
            assert!(!scenarios.is_empty(), "`{title}` names no scenario");
            for scenario in scenarios {
                assert!(known.contains(&scenario), "`{title}` names `{scenario}`, which there is not");
                named.insert(scenario);
            }
        }
        let missing: Vec<&String> = known.difference(&named).collect();
        assert!(missing.is_empty(), "no entry of failure_modes.md.in shows {missing:?}");
    }

    #[test]
    fn every_entry_answers_every_question() {
        let text = fill(&[]).unwrap().text;
        let mut sections = text.split("\n### ").skip(1).peekable();
        assert!(sections.peek().is_some());
        for section in sections {
            let title = section.lines().next().unwrap_or_default();
            for question in ["trigger", "client sees", "server sees", "spreads", "heals", "tune", "shown by", "open"] {
                assert!(section.contains(&format!("\n- **{question}**: ")), "`{title}` does not answer `{question}`");
            }
        }
    }

    #[test]
    fn numbers_come_from_the_reports_and_their_absence_is_told() {
        let none = fill(&[]).unwrap();
        assert!(none.text.contains(NOT_YET) && none.missing.is_empty());
        let name = "half_open_peers".to_owned();
        let mut report = Report { name, ..Report::empty() };
        report.thresholds =
            vec![Threshold::at_most("until the last dead one was noticed", 3.5, "s", "F5").measured(2.25)];
        let filled = fill(&[report]).unwrap();
        assert!(filled.text.contains("2.25 s (limit ≤ 3.50 s)"), "{}", filled.text);
        assert!(filled.missing.iter().any(|missing| missing.contains("half_open_peers")), "{:?}", filled.missing);
    }
}
