//! A run of scenarios, each with its report as soon as it is over: one after the other, or small ones side by side in lanes.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::{RunOptions, runtime, say, show};
use crate::report::{Report, matrix};
use crate::scenario::{self, Context, Scenario, Unfinished};
use crate::verdict::Verdict;

/// Runs the named scenarios, or all.
///
/// # Errors
/// When one cannot be run at all: no server binary, an unknown name, a directory that cannot be written to.
pub fn run(names: &[String], all: bool, options: RunOptions) -> anyhow::Result<Verdict> {
    let scenarios = if all { scenario::all() } else { scenario::named(names)? };
    anyhow::ensure!(!scenarios.is_empty(), "name a scenario, or say --all; `stress list` shows them");
    let jobs = options.jobs;
    let context = options.context()?;
    let what = if all { "all scenarios".to_owned() } else { names.join(" ") };
    Ok(these(&scenarios, &what, jobs, &context)?.verdict)
}

/// What came of a run.
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) reports: Vec<Report>,
}

/// Runs these, called `what` together, `jobs` at a time.
pub(super) fn these(
    scenarios: &[Box<dyn Scenario>],
    what: &str,
    jobs: usize,
    context: &Context,
) -> anyhow::Result<Outcome> {
    say(&show::first_line(what, context));
    let began = Instant::now();
    let done = Mutex::new(Done::default());
    // What is unfinished is a lane's own.
    let lanes: Vec<Context> =
        (0..jobs).map(|_| Context { unfinished: Unfinished::default(), ..context.clone() }).collect();
    let runtime = runtime()?;
    let interrupted = runtime.block_on(async {
        tokio::select! {
            biased;
            () = run_all(scenarios, &lanes, &done) => None,
            signal = async {
                let signal = interrupted().await;
                lanes.iter().for_each(|lane| lane.unfinished.interrupt());
                signal
                // Dropping a scenario drops its server, which is killed with it.
            } => Some(signal),
        }
    });
    // Everything that was begun ends here, the servers first of all.
    drop(runtime);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let left = interrupted.map(|signal| {
        let under_way = std::mem::take(&mut done.under_way).join(", ");
        let partial: Vec<Report> = lanes.iter().filter_map(|lane| lane.unfinished.report(signal)).collect();
        let what =
            if partial.is_empty() { "which has no result" } else { "of which there is what was seen until then" };
        partial.into_iter().for_each(|report| done.take(report, context));
        let kept = context.out.as_ref().map_or_else(
            || "what was found stands above".to_owned(),
            |out| format!("{} reports are in {}", done.reports.len() - done.lost, out.display()),
        );
        format!("stress: {signal} during {under_way}, {what}; no server is left; {kept}")
    });
    if done.reports.iter().any(|report| !report.faults.is_empty()) {
        say(&matrix::table(&done.reports));
    }
    say(&show::totals(&done.reports, scenarios.len(), began.elapsed()));
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
    /// Names of those that have begun and are not over.
    under_way: Vec<&'static str>,
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

/// Runs all, each in the first lane that is free.
async fn run_all(scenarios: &[Box<dyn Scenario>], lanes: &[Context], done: &Mutex<Done>) {
    let left = Mutex::new(scenarios.iter());
    let next = || lock(&left).next();
    join_all(lanes.iter().map(async |lane| {
        while let Some(scenario) = next() {
            lane.unfinished.forget();
            lock(done).under_way.push(scenario.name());
            let run = async {
                lane.suits(&**scenario)?;
                scenario.run(lane).await
            };
            // A mistake in one scenario is not to take the others' results along.
            let run = AssertUnwindSafe(run).catch_unwind().await;
            let result =
                run.unwrap_or_else(|panic| Err(anyhow::anyhow!("the lab itself panicked: {}", words(&*panic))));
            let mut done = lock(done);
            done.under_way.retain(|name| *name != scenario.name());
            match result {
                Ok(report) => done.take(report, lane),
                Err(error) => {
                    eprintln!("stress: {}: cannot be run: {error:#}", scenario.name());
                    done.not_run += 1;
                }
            }
        }
    }))
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The same for what does not wait: it is set once somebody wants it to end. Who says so again does not wait for what is left.
pub(super) fn interruption() -> anyhow::Result<Arc<OnceLock<&'static str>>> {
    let came = Arc::new(OnceLock::new());
    let (told, runtime) = (Arc::clone(&came), runtime()?);
    let (listens, heard) = std::sync::mpsc::channel();
    let listen = async move {
        let mut signal = pin!(interrupted());
        poll_fn(move |cx| {
            let polled = signal.as_mut().poll(cx);
            // Nobody waits for it the second time.
            let _gone = listens.send(());
            polled
        })
        .await
    };
    let heed = async move {
        let _first = told.set(listen.await);
        interrupted().await;
        std::process::exit(Verdict::Inconclusive.code().into());
    };
    // It goes with the process.
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(heed))?;
    heard.recv()?;
    Ok(came)
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
        run_all(&scenarios, &[Context::default(), Context::default()], &done).await;
        let done = done.into_inner().unwrap();
        assert_eq!((done.reports.len(), done.not_run, done.lost), (2, 1, 0));
    }
}
