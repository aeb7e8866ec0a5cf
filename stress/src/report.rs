//! What came of a scenario, for machines (JSON), for people (Markdown) and for the eye (SVG).
//!
//! Written after each scenario, so that an interrupted run keeps what it had. Raw samples stay in. In reading order:
//! [`markdown`] is one report, [`matrix`] the faults of several, [`plot`] what they look like; [`summary`] is what a
//! whole run came to, [`results`] the page of it, and [`failure_modes`] what it measured of each way to fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultCounts, Plan};
use crate::histogram::Quantiles;
use crate::machine::Machine;
use crate::monitor::ResourceReport;
use crate::oracle::Tally;
use crate::threshold::Threshold;
use crate::timeline::Timeline;
use crate::verdict::Verdict;

pub mod failure_modes;
pub mod markdown;
pub mod matrix;
pub mod number;
pub mod plot;
pub mod results;
pub mod summary;
pub mod svg;

/// One scenario's result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// What it claims.
    pub claim: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it is inconclusive, if it is.
    pub inconclusive: Vec<String>,
    /// Its seed.
    pub seed: u64,
    /// The commit it was built from.
    pub commit: String,
    /// Where it ran.
    pub machine: Machine,
    /// Every option.
    pub options: BTreeMap<String, String>,
    /// What was done, with each fault and when it held.
    pub plan: Plan,
    /// How long it took altogether.
    pub seconds: f64,
    /// What was measured against what.
    pub thresholds: Vec<Threshold>,
    /// Broken laws, by class.
    pub violations: BTreeMap<String, Violation>,
    /// How often each law was evaluated.
    pub evaluated: BTreeMap<String, u64>,
    /// Deliveries in numbers.
    pub tally: Tally,
    /// What each fault counted.
    pub faults: BTreeMap<String, FaultReport>,
    /// Latencies, by what was measured.
    pub latencies: BTreeMap<String, LatencyReport>,
    /// Processes, by name.
    pub resources: BTreeMap<String, ResourceReport>,
    /// How it went over time.
    pub timeline: Timeline,
    /// What is plotted besides.
    #[serde(default)]
    pub curves: Vec<Plot>,
    /// What one should know before believing it.
    pub doubts: Vec<String>,
    /// Other numbers worth keeping.
    pub numbers: BTreeMap<String, f64>,
    /// The line that runs it again.
    pub replay: String,
}

/// A plot of lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plot {
    /// Part of its file's name.
    pub name: String,
    /// What is above it.
    pub title: String,
    /// Unit of the x axis.
    pub x_unit: String,
    /// Unit of the y axis.
    pub y_unit: String,
    /// Each line's name and points.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

/// A class of violations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Violation {
    /// The law.
    pub law: String,
    /// How many.
    pub count: u64,
    /// The first, in at most ten lines.
    pub witness: Vec<String>,
}

/// A fault and what it counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultReport {
    /// The fault.
    pub fault: Fault,
    /// Its numbers.
    pub counts: FaultCounts,
}

/// A distribution.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LatencyReport {
    /// From the planned moment.
    pub response: Quantiles,
    /// From the actual one.
    pub service: Quantiles,
    /// Points of the first for a plot: per cent below, milliseconds.
    pub curve: Vec<(f64, f64)>,
    /// And of the second.
    pub service_curve: Vec<(f64, f64)>,
}

impl From<&crate::histogram::Latencies> for LatencyReport {
    fn from(latencies: &crate::histogram::Latencies) -> Self {
        let [curve, service_curve] = latencies.curves();
        Self { response: latencies.response(), service: latencies.service(), curve, service_curve }
    }
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {error}")]
pub struct WriteError {
    /// What.
    pub path: PathBuf,
    /// What the system says. Said above, and so no source to be said again.
    pub error: std::io::Error,
}

/// Writes a file, and the directory it is in if need be.
///
/// # Errors
/// When it cannot.
pub fn put(path: &Path, text: &str) -> Result<(), WriteError> {
    let failed = |error| WriteError { path: path.to_owned(), error };
    if let Some(home) = path.parent().filter(|home| !home.as_os_str().is_empty()) {
        std::fs::create_dir_all(home).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

impl Report {
    /// Of nothing.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        serde_json::from_value(serde_json::json!({
            "name": "", "claim": "", "verdict": "inconclusive", "inconclusive": [], "seed": 0, "commit": "",
            "machine": Machine::default(), "options": {}, "plan": Plan::default(), "seconds": 0.0, "thresholds": [],
            "violations": {}, "evaluated": {}, "tally": Tally::default(), "faults": {}, "latencies": {}, "resources": {},
            "timeline": Timeline::default(), "doubts": [], "numbers": {}, "replay": "",
        }))
        .expect("it names every field")
    }

    /// Whether time was virtual, and streams were in memory.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.options.get("server").is_some_and(|server| server == VIRTUAL)
    }

    /// Deliveries that the oracle looked at one by one.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.tally.pushed + self.tally.recovered
    }

    /// Writes `NAME.json` and the plots into `directory`, and the page of all reports there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), WriteError> {
        // A number that is none is written as null, and read back as none.
        let json = serde_json::to_string_pretty(self).expect("a report has string keys and no failing types");
        put(&directory.join(format!("{}.json", self.name)), &json)?;
        for (name, plot) in plot::of(self) {
            put(&directory.join(format!("{}.{name}.svg", self.name)), &plot)?;
        }
        put(&directory.join("README.md"), &results::page(&read_all(directory), "."))
    }
}

/// The server of what runs in virtual time, as the options of a report name it.
pub const VIRTUAL: &str = "in this process, virtual time";

/// What a directory holds.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The reports, in the order in which a full run makes them.
    pub reports: Vec<Report>,
    /// Reports of another version of the lab, or damaged: named, never silently left out.
    pub unreadable: Vec<String>,
    /// What `stress limits` found, if it was asked.
    pub limits: Option<crate::limits::Limits>,
    /// What came of an exploration, if there was one.
    pub explored: Option<crate::explore::summary::Summary>,
    /// What came of the planted bugs, if they were hunted.
    pub bugs: Option<crate::hunt::Matrix>,
}

/// Everything in `directory`. JSON that says nothing of a verdict belongs to somebody else.
#[must_use]
pub fn read_all(directory: &Path) -> Directory {
    let mut found = Directory::default();
    for file in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".json") {
            continue;
        }
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        if name == crate::limits::FILE {
            found.limits = serde_json::from_str(&text).ok();
            continue;
        }
        if name == crate::explore::summary::FILE {
            match serde_json::from_str(&text) {
                Ok(explored) => found.explored = Some(explored),
                Err(error) => found.unreadable.push(format!("{name}: {error}")),
            }
            continue;
        }
        if name == crate::hunt::matrix::FILE {
            match serde_json::from_str(&text) {
                Ok(bugs) => found.bugs = Some(bugs),
                Err(error) => found.unreadable.push(format!("{name}: {error}")),
            }
            continue;
        }
        match serde_json::from_str::<Report>(&text) {
            Ok(report) => found.reports.push(report),
            Err(error) if text.contains("\"verdict\"") => found.unreadable.push(format!("{name}: {error}")),
            Err(_) => {}
        }
    }
    let order: Vec<&str> = crate::scenario::all().iter().map(|scenario| scenario.name()).collect();
    let place = |report: &Report| order.iter().position(|name| *name == report.name).unwrap_or(order.len());
    found.reports.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name)));
    found.unreadable.sort();
    found
}
