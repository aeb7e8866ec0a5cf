//! What is going on, for whoever watches: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// The bars of all that run now, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes lines where no bar is drawn over them.
pub fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// Shows one scenario's progress.
#[derive(Clone, Debug)]
pub struct Progress {
    name: Arc<str>,
    bar: Option<ProgressBar>,
    quiet: bool,
    /// Every phase so far, for the report.
    phases: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Progress {
    /// For a scenario of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = BARS.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("{prefix:.bold} {msg:32} {wide_bar} {pos}/{len} {elapsed}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { name: name.into(), bar, quiet: false, phases: Arc::default() }
    }

    /// Says nothing, for tests.
    #[must_use]
    pub fn quiet() -> Self {
        Self { name: Arc::default(), bar: None, quiet: true, phases: Arc::default() }
    }

    /// A phase of `steps` steps begins.
    pub fn phase(&self, name: &str, steps: u64) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), name.to_owned()));
        if let Some(bar) = &self.bar {
            bar.set_length(steps);
            bar.set_position(0);
            bar.set_message(name.to_owned());
        } else if !self.quiet {
            // Nobody listens any more if this fails, and the run goes on for its report.
            let _ = writeln!(std::io::stdout(), "{}: {name} …", self.name);
        }
    }

    /// The phases so far, with the moment at which each began.
    #[must_use]
    pub fn phases(&self) -> Vec<(Instant, String)> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// So many steps of it are done.
    pub fn at(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Over.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
