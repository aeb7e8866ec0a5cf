//! The page of a whole run: `README.md` beside the reports, and `stress_results.md` when a full run writes it.
//!
//! Made from the reports in a directory, never by hand; scenarios without a report are listed as not run, and reports that
//! cannot be read by name.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Directory, Report, WriteError, markdown, matrix, number, plot, put, summary};

/// Writes the page to `page`, and the plots it shows into `plots`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(found: &Directory, page: &Path, plots: &Path) -> Result<(), WriteError> {
    for report in &found.reports {
        for (name, svg) in plot::of(report) {
            put(&plots.join(format!("{}.{name}.svg", report.name)), &svg)?;
        }
    }
    let home = page.parent().unwrap_or(Path::new(""));
    let shown = plots.strip_prefix(home).unwrap_or(plots);
    put(page, &self::page(found, &shown.display().to_string()))
}

/// The page, its plots in the directory `plots`.
#[must_use]
pub fn page(found: &Directory, plots: &str) -> String {
    let reports = &found.reports;
    let mut parts = vec![
        "# Stress results".to_owned(),
        "<!-- Made by `stress report` from the reports of a run. Do not edit: run it again. -->".to_owned(),
        summary::text(reports),
        format!("### How it was made\n\n{}", provenance(found)),
        format!("## Faults and where they struck\n\n{}", matrix::document(reports)),
    ];
    parts.extend(found.limits.as_ref().map(|limits| format!("## Limits\n\n{}", limits.document())));
    parts.extend(found.bugs.as_ref().map(crate::hunt::Matrix::section));
    parts.extend(reports.iter().map(|report| markdown::section(report, plots)));
    parts.join("\n\n").replace("\n\n\n", "\n\n") + "\n"
}

fn provenance(found: &Directory) -> String {
    let reports = &found.reports;
    let list = |of: &dyn Fn(&Report) -> String| {
        let all: BTreeSet<String> = reports.iter().map(of).collect();
        all.into_iter().collect::<Vec<_>>().join("; ")
    };
    let option = |key: &'static str| move |report: &Report| report.options.get(key).cloned().unwrap_or_default();
    let mut lines = vec![
        format!("- machine: {}; server and lab share it", list(&|report| report.machine.to_string())),
        format!("- commit: {}", list(&|report| report.commit.clone())),
        format!("- seed: {}", list(&|report| format!("{:#x}", report.seed))),
        format!("- scale (1 is full size): {}; server: {}", list(&option("scale")), list(&option("server"))),
        "- every option, threshold and number: the section of its scenario below".to_owned(),
        "- again, all of it: `make stress-extreme`; one scenario: the line at the end of its section".to_owned(),
        "- how to read it, and what is not covered: [docs/stress.md](docs/stress.md); what each failure looks like: \
         [failure_modes.md](failure_modes.md)"
            .to_owned(),
    ];
    let known = crate::scenario::all();
    let missing: Vec<&str> =
        known.iter().map(|scenario| scenario.name()).filter(|name| !reports.iter().any(|r| r.name == *name)).collect();
    if !missing.is_empty() {
        lines.push(format!(
            "- **not run: {} of {}**: {}",
            number::count(missing.len() as u64),
            known.len(),
            missing.join(", ")
        ));
    }
    lines.push(match &found.explored {
        Some(explored) => format!("- {}", explored.line()),
        None => "- **not run: plans drawn by chance**: `stress explore`".to_owned(),
    });
    if found.bugs.is_none() {
        lines.push("- **not run: the planted bugs**: `make bugs`".to_owned());
    }
    lines.extend(found.unreadable.iter().map(|file| format!("- **cannot be read**: {file}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::read_all;
    use crate::timeline::Moment;

    fn report() -> Report {
        let mut report = Report { name: "thundering_herd_recovery".to_owned(), ..Report::empty() };
        report.timeline.samples = vec![Moment::default(), Moment { at: 1.0, ..Moment::default() }];
        report
    }

    #[test]
    fn the_page_shows_its_plots_where_they_were_put_and_tells_what_was_not_run() {
        let home = tempfile::tempdir().unwrap();
        let (page, plots) = (home.path().join("page.md"), home.path().join("docs").join("plots"));
        let found = Directory { reports: vec![report()], ..Directory::default() };
        write(&found, &page, &plots).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("](docs/plots/thundering_herd_recovery.timeline.svg)"), "{text}");
        assert!(text.contains("**not run: ") && text.contains(": 10000_concurrent_connections"), "{text}");
        assert!(plots.join("thundering_herd_recovery.timeline.svg").is_file());
        std::fs::write(home.path().join("file"), "").unwrap();
        let nowhere = home.path().join("file").join("page.md");
        assert!(write(&Directory::default(), &nowhere, &plots).unwrap_err().to_string().contains("page.md"));
    }

    #[test]
    fn a_directory_is_read_back_and_what_cannot_be_read_is_named() {
        let home = tempfile::tempdir().unwrap();
        let mut nothing_computed = report();
        nothing_computed.thresholds.push(crate::Threshold::at_most("x", 1.0, "", "plan").measured(f64::NAN));
        nothing_computed.write(home.path()).unwrap();
        std::fs::write(home.path().join("old.json"), r#"{"verdict":"held"}"#).unwrap();
        std::fs::write(home.path().join("somebody_elses.json"), "{}").unwrap();
        let found = read_all(home.path());
        assert_eq!(found.reports.len(), 1, "{:?}", found.unreadable);
        assert_eq!(found.unreadable.len(), 1);
        let page = page(&found, ".");
        assert!(page.contains("**cannot be read**: old.json"), "{page}");
        assert!(home.path().join("README.md").is_file());
    }
}
