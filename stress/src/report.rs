//! What came of a scenario, for machines (JSON), for people (a Markdown table) and for the eye (SVG).
//!
//! Written after each scenario, so that an interrupted run keeps what it had. Raw samples stay in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultCounts};
use crate::histogram::Quantiles;
use crate::monitor::ResourceReport;
use crate::oracle::Tally;
use crate::threshold::Threshold;
use crate::verdict::Verdict;

pub mod markdown;
pub mod matrix;
pub mod results;
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
    /// Every option.
    pub options: BTreeMap<String, String>,
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
    /// Points for a plot.
    pub curve: Vec<(f64, f64)>,
}

impl From<&crate::histogram::Latencies> for LatencyReport {
    fn from(latencies: &crate::histogram::Latencies) -> Self {
        Self { response: latencies.response(), service: latencies.service(), curve: latencies.curve() }
    }
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub struct WriteError {
    path: PathBuf,
    source: std::io::Error,
}

impl Report {
    /// Of nothing.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        serde_json::from_value(serde_json::json!({
            "name": "", "claim": "", "verdict": "inconclusive", "inconclusive": [], "seed": 0, "commit": "", "options": {},
            "thresholds": [], "violations": {}, "evaluated": {}, "tally": Tally::default(), "faults": {}, "latencies": {},
            "resources": {}, "doubts": [], "numbers": {}, "replay": "",
        }))
        .expect("it names every field")
    }

    /// Writes `NAME.json` and the plots into `directory`, and the table of all reports there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), WriteError> {
        let put = |name: String, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|source| WriteError { path, source })
        };
        let made = std::fs::create_dir_all(directory);
        made.map_err(|source| WriteError { path: directory.to_owned(), source })?;
        let json = serde_json::to_string_pretty(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        put(format!("{}.json", self.name), json)?;
        for (name, plot) in self.plots() {
            put(format!("{}.{name}.svg", self.name), plot)?;
        }
        put("README.md".to_owned(), markdown::document(&read_all(directory)))
    }

    fn plots(&self) -> Vec<(&str, String)> {
        let mut plots = Vec::new();
        let memory: Vec<svg::Series> = self
            .resources
            .iter()
            .map(|(name, resources)| svg::Series {
                name: name.clone(),
                points: resources
                    .samples
                    .iter()
                    .map(|s| (s.at, s.resident_bytes as f64 / f64::from(1 << 20)))
                    .collect(),
            })
            .collect();
        if memory.iter().any(|series| series.points.len() > 1) {
            plots.push(("memory", svg::lines(&format!("{}: resident memory", self.name), "s", "MiB", &memory)));
        }
        for plot in &self.curves {
            let series: Vec<svg::Series> = plot
                .series
                .iter()
                .map(|(name, points)| svg::Series { name: name.clone(), points: points.clone() })
                .collect();
            plots.push((plot.name.as_str(), svg::lines(&plot.title, &plot.x_unit, &plot.y_unit, &series)));
        }
        if !self.latencies.is_empty() {
            let bars: Vec<svg::Bars> = self
                .latencies
                .iter()
                .map(|(name, latency)| {
                    let Quantiles { p50, p90, p99, p999, max, .. } = latency.response;
                    svg::Bars { name: name.clone(), values: vec![p50, p90, p99, p999, max] }
                })
                .collect();
            let labels = ["p50", "p90", "p99", "p99.9", "max"];
            plots.push(("latency", svg::bars(&format!("{}: latencies", self.name), "ms", &labels, &bars)));
        }
        plots
    }
}

/// All reports in `directory`, by name. What cannot be read is left out: it belongs to somebody else.
#[must_use]
pub fn read_all(directory: &Path) -> Vec<Report> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut reports: Vec<Report> = files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "json"))
        .filter_map(|file| serde_json::from_str(&std::fs::read_to_string(file.path()).ok()?).ok())
        .collect();
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}
