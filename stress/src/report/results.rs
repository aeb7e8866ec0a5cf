//! `stress_results.md`: what a whole run came to, on which machine, with its plots.
//!
//! Made from the reports in a directory, never by hand; scenarios without a report are listed as not run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Report, WriteError, markdown, matrix};

/// Writes the page to `page`, and the plots it shows from `directory` into `plots`.
///
/// # Errors
/// When a file cannot be written.
pub fn write(reports: &[Report], directory: &Path, page: &Path, plots: &Path) -> Result<(), WriteError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { path, source }
    };
    std::fs::create_dir_all(plots).map_err(at(plots))?;
    for plot in plots_of(reports, directory) {
        let Some(name) = plot.file_name() else { continue };
        let copy = plots.join(name);
        std::fs::copy(&plot, &copy).map_err(at(&copy))?;
    }
    let shown = page.parent().and_then(|home| plots.strip_prefix(home).ok()).unwrap_or(plots);
    std::fs::write(page, text(reports, &shown.display().to_string())).map_err(at(page))
}

fn plots_of(reports: &[Report], directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".svg") && reports.iter().any(|report| name.starts_with(&format!("{}.", report.name)))
    };
    let mut plots: Vec<PathBuf> = files.filter(ours).collect();
    plots.sort();
    plots
}

fn text(reports: &[Report], plots: &str) -> String {
    let mut out = String::from(
        "# Stress results\n\n<!-- Made by `stress report DIR --write stress_results.md` from the reports of a run; `make stress-extreme` \
         does both. Do not edit: run it again. -->\n\n",
    );
    let mut line = |text: String| {
        // A String takes everything.
        let _infallible = writeln!(out, "{text}");
    };
    line(format!("- machine: {}", machine()));
    let list = |of: fn(&Report) -> String| {
        let mut all: Vec<String> = reports.iter().map(of).collect();
        all.sort();
        all.dedup();
        all.join(", ")
    };
    line(format!("- commit: {}", list(|report| report.commit.clone())));
    line(format!("- seed: {}", list(|report| format!("{:#x}", report.seed))));
    let scale = |report: &Report| report.options.get("scale").cloned().unwrap_or_default();
    line(format!("- scale (1 is full size): {}", list(scale)));
    let count = |word: &str| reports.iter().filter(|report| report.verdict.to_string() == word).count();
    let (held, broken, open) = (count("held"), count("broken"), count("inconclusive"));
    let delivered: u64 = reports.iter().map(|report| report.tally.pushed).sum();
    line(format!("- {held} held, {broken} broken, {open} inconclusive; {delivered} deliveries judged one by one"));
    let known: Vec<&str> = crate::scenario::all().iter().map(|scenario| scenario.name()).collect();
    let missing: Vec<&str> =
        known.into_iter().filter(|name| !reports.iter().any(|report| report.name == *name)).collect();
    if !missing.is_empty() {
        line(format!("- not run: {}", missing.join(", ")));
    }
    line("\nHow to read it, and what is not covered: [docs/stress.md](docs/stress.md).\n".to_owned());
    line("## Faults and where they struck\n".to_owned());
    line(format!("```text\n{}\n```\n", matrix::table(reports)));
    let mut document = markdown::document(reports);
    for report in reports {
        document = document.replace(&format!("]({}.", report.name), &format!("]({plots}/{}.", report.name));
    }
    out + &document
}

/// Processor, cores, memory, kernel.
fn machine() -> String {
    let cpu = procfs::Current::current().ok();
    let model = cpu.as_ref().and_then(|cpu: &procfs::CpuInfo| cpu.model_name(0).map(str::to_owned));
    let cores = cpu.as_ref().map_or(0, procfs::CpuInfo::num_cores);
    let memory: Option<procfs::Meminfo> = procfs::Current::current().ok();
    let gib = memory.map_or(0, |memory| memory.mem_total >> 30);
    let kernel = procfs::sys::kernel::Version::current().map_or_else(
        |_| "unknown".to_owned(),
        |version| format!("{}.{}.{}", version.major, version.minor, version.patch),
    );
    let model = model.unwrap_or_else(|| "unknown processor".to_owned());
    format!("{model}, {cores} cores, {gib} GiB, Linux {kernel}; server and lab share it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_its_plots_where_they_were_put_and_tells_what_was_not_run() {
        let home = tempfile::tempdir().unwrap();
        let (directory, page, plots) =
            (home.path().join("out"), home.path().join("page.md"), home.path().join("plots"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("thundering_herd_recovery.memory.svg"), "<svg/>").unwrap();
        std::fs::write(directory.join("somebody_elses.memory.svg"), "<svg/>").unwrap();
        let mut report = Report { name: "thundering_herd_recovery".to_owned(), ..Report::empty() };
        report.resources.insert("server".to_owned(), Default::default());
        write(&[report], &directory, &page, &plots).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("](plots/thundering_herd_recovery.memory.svg)"), "{text}");
        assert!(text.contains("not run: 10000_concurrent_connections"), "{text}");
        assert!(plots.join("thundering_herd_recovery.memory.svg").is_file());
        assert!(!plots.join("somebody_elses.memory.svg").exists());
        let nowhere = home.path().join("no such directory").join("page.md");
        assert!(write(&[], &directory, &nowhere, &plots).unwrap_err().to_string().contains("page.md"));
    }
}
