//! A run of scenarios, one after the other, each with its report before the next begins.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{RunOptions, runtime, say, show};
use crate::report::{Report, matrix};
use crate::scenario::{self, Context, Scenario};
use crate::verdict::Verdict;

/// Runs the named scenarios, or all.
///
/// # Errors
/// When one cannot be run at all: no server binary, an unknown name, a directory that cannot be written to.
pub fn run(names: &[String], all: bool, options: RunOptions) -> anyhow::Result<Verdict> {
    let scenarios = if all { scenario::all() } else { scenario::named(names)? };
    anyhow::ensure!(!scenarios.is_empty(), "name a scenario, or say --all; `stress list` shows them");
    let context = options.context()?;
    let what = if all { "all scenarios".to_owned() } else { names.join(" ") };
    Ok(these(&scenarios, &what, &context)?.verdict)
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) reports: Vec<Report>,
}

/// Runs these, called `what` together.
pub(super) fn these(scenarios: &[Box<dyn Scenario>], what: &str, context: &Context) -> anyhow::Result<Outcome> {
    say(&show::first_line(what, context));
    let done = Mutex::new(Done::default());
    let runtime = runtime()?;
    let interrupted = runtime.block_on(async {
        tokio::select! {
            biased;
            () = run_all(scenarios, context, &done) => None,
            // Dropping the scenario drops its server, which is killed with it.
            signal = interrupted() => Some(signal),
        }
    });
    // Everything that was begun ends here, the server first of all.
    drop(runtime);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let left = interrupted.map(|signal| {
        let at = scenarios.get(done.reports.len() + done.not_run).map_or("the end", |scenario| scenario.name());
        let partial = context.unfinished.report(signal);
        let what = if partial.is_some() { "of which there is what was seen until then" } else { "which has no result" };
        partial.into_iter().for_each(|report| done.take(report, context));
        let kept = context.out.as_ref().map_or_else(
            || "what was found stands above".to_owned(),
            |out| format!("{} reports are in {}", done.reports.len() - done.lost, out.display()),
        );
        format!("stress: {signal} during {at}, {what}; the server was ended; {kept}")
    });
    if done.reports.iter().any(|report| !report.faults.is_empty()) {
        say(&matrix::table(&done.reports));
    }
    say(&show::totals(&done.reports, scenarios.len()));
    let mut verdicts: Vec<Verdict> = done.reports.iter().map(|report| report.verdict).collect();
    verdicts.extend((done.lost > 0 || done.not_run > 0).then_some(Verdict::Inconclusive));
    if let Some(left) = left {
        say(&left);
        verdicts.push(Verdict::Inconclusive);
    }
    Ok(Outcome { verdict: Verdict::of_all(verdicts), reports: done.reports })
}

/// What came of it so far.
#[derive(Debug, Default)]
struct Done {
    reports: Vec<Report>,
    /// Scenarios that could not be run at all.
    not_run: usize,
    /// Reports that could not be written.
    lost: usize,
}

impl Done {
    /// Says a report, writes it and keeps it.
    fn take(&mut self, report: Report, context: &Context) {
        show::report(&report);
        if let Some(error) = context.out.as_ref().and_then(|out| report.write(out).err()) {
            // What is above is all there is of it. The others may still be written.
            eprintln!("stress: {error}; its result is only on this terminal");
            self.lost += 1;
        }
        self.reports.push(report);
    }
}

async fn run_all(scenarios: &[Box<dyn Scenario>], context: &Context, done: &Mutex<Done>) {
    for scenario in scenarios {
        // A mistake in one scenario is not to take the others' results along.
        context.unfinished.forget();
        let run = async {
            context.suits(&**scenario)?;
            scenario.run(context).await
        };
        let run = AssertUnwindSafe(run).catch_unwind().await;
        let result = run.unwrap_or_else(|panic| Err(anyhow::anyhow!("the lab itself panicked: {}", words(&*panic))));
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(report) => done.take(report, context),
            Err(error) => {
                eprintln!("stress: {}: cannot be run: {error:#}", scenario.name());
                done.not_run += 1;
            }
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// Waits until somebody wants it to end, and says how.
pub(super) async fn interrupted() -> &'static str {
    let wait = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            let _came = signal.recv().await;
        }
        // Then this signal ends us in the kernel's way.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        biased;
        () = wait(SignalKind::interrupt()) => "interrupted",
        () = wait(SignalKind::terminate()) => "terminated",
        () = wait(SignalKind::hangup()) => "the terminal is gone",
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;

    /// Panics, or holds.
    struct Fragile(bool);

    impl Scenario for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        fn claim(&self) -> &'static str {
            "none"
        }

        fn run<'a>(&'a self, _context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
            async {
                assert!(!self.0, "a mistake of the lab");
                Ok(Report { verdict: Verdict::Held, ..Report::empty() })
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_scenario_that_panics_leaves_the_others_their_results() {
        let scenarios: Vec<Box<dyn Scenario>> =
            vec![Box::new(Fragile(false)), Box::new(Fragile(true)), Box::new(Fragile(false))];
        let done = Mutex::default();
        run_all(&scenarios, &Context::default(), &done).await;
        let done = done.into_inner().unwrap();
        assert_eq!((done.reports.len(), done.not_run, done.lost), (2, 1, 0));
    }
}
