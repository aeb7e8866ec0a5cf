//! What a scenario finds on its way, and the verdict over it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::budget::Budget;
use crate::fault::{Fault, FaultCounts, Faults, Plan};
use crate::fleet::{Fleet, Offered};
use crate::histogram::Latencies;
use crate::machine::Machine;
use crate::monitor::{ResourceMonitor, ResourceReport, machine_cpu_seconds};
use crate::oracle::{Class, Judgement, Law, Tally};
use crate::report::{FaultReport, LatencyReport, Plot, Report, VIRTUAL, Violation};
use crate::scenario::unfinished::Unfinished;
use crate::scenario::{Context, Scenario, Subject, stats};
use crate::threshold::{Side, Threshold};
use crate::timeline::Timeline;
use crate::verdict::Verdict;

/// A load of which less was offered proves nothing.
const OFFERED_MIN: f64 = 0.99;
/// From this size on times are judged.
const FULL_ENOUGH: f64 = 0.5;
/// Cores that others may use before latencies are doubted.
const OTHER_CORES_MAX: f64 = 0.3;
/// How often processes are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// How often the server is asked for what it alone knows: rarely, for its answer takes as long as it has descriptors.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Run {
    report: Report,
    began: Instant,
    /// Whether what depends on the machine and on what else it does is judged, or only shown.
    is_full: bool,
    is_over: bool,
    unfinished: Unfinished,
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over {
            self.report.seconds = self.began.elapsed().as_secs_f64();
            self.unfinished.leave(self.report.clone());
        }
    }
}

impl Run {
    /// Nothing found yet. What the machine will not let `plan` have is said now, before anything starts, and then nothing is
    /// proved: the claim is about the plan, not about a smaller one.
    #[must_use]
    pub fn new(context: &Context, scenario: &dyn Scenario, plan: &Plan) -> Self {
        let clamped = Budget::plan(plan.topology.connections).clamped;
        if !context.quiet {
            // On standard error: on a terminal a bar is drawn on the other.
            clamped.iter().for_each(|clamped| eprintln!("{}: cut down: {clamped}", scenario.name()));
        }
        let server = context.target.as_ref().map_or("child", |_| "target");
        let mut run = Self::begin(context, scenario, plan, server);
        run.report.inconclusive = clamped;
        run
    }

    /// The same where there are no sockets, so that the machine has nothing to grant.
    #[must_use]
    pub fn in_memory(context: &Context, scenario: &dyn Scenario, plan: &Plan) -> Self {
        Self::begin(context, scenario, plan, VIRTUAL)
    }

    fn begin(context: &Context, scenario: &dyn Scenario, plan: &Plan, server: &str) -> Self {
        let (topology, workload) = (&plan.topology, &plan.workload);
        let mut options = BTreeMap::from([
            ("scale", context.scale.to_string()),
            ("server", server.to_owned()),
            ("connections", topology.connections.to_string()),
            ("channels", topology.channels.to_string()),
            ("subscriptions_each", topology.subscriptions_each.to_string()),
            ("history_size", topology.history_size.to_string()),
            ("publications", workload.publications.to_string()),
            ("rate", workload.rate.to_string()),
            ("payload_bytes", workload.payload_bytes.to_string()),
        ]);
        if let Some(target) = &context.target {
            options.insert("target", target.clone());
        }
        let mut doubts = Vec::new();
        if cfg!(debug_assertions) {
            doubts.push("the lab is a debug build: times and rates are not what they could be".to_owned());
        }
        if !context.alone {
            doubts.push("others were run at the same time: times are longer than they need be".to_owned());
        }
        let report = Report {
            name: scenario.name().to_owned(),
            claim: scenario.claim().to_owned(),
            verdict: Verdict::Inconclusive,
            inconclusive: Vec::new(),
            seed: context.seed.0,
            commit: context.commit.clone(),
            machine: Machine::here(),
            options: options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            plan: plan.clone(),
            seconds: 0.0,
            thresholds: Vec::new(),
            violations: BTreeMap::new(),
            evaluated: BTreeMap::new(),
            tally: Tally::default(),
            faults: BTreeMap::new(),
            latencies: BTreeMap::new(),
            resources: BTreeMap::new(),
            timeline: Timeline::default(),
            curves: Vec::new(),
            doubts,
            numbers: BTreeMap::new(),
            replay: scenario.replay_line(context),
        };
        let (is_full, unfinished) = (context.scale >= FULL_ENOUGH, context.unfinished.clone());
        Self { report, began: Instant::now(), is_full, is_over: false, unfinished }
    }

    /// Of a report that was left unfinished, to say what can be said.
    pub(super) fn resumed(report: Report) -> Self {
        let began = Instant::now().checked_sub(Duration::from_secs_f64(report.seconds)).unwrap_or_else(Instant::now);
        Self { report, began, is_full: false, is_over: false, unfinished: Unfinished::default() }
    }

    /// Something was measured against a limit. A small run, on whatever machine and beside whatever else, judges what was said,
    /// delivered and counted; how fast that was it only shows.
    pub fn threshold(&mut self, threshold: Threshold) {
        let is_time = threshold.side == Side::AtMost && matches!(threshold.unit.as_str(), "s" | "ms" | "cores");
        let threshold = if is_time && !self.is_full { threshold.goal() } else { threshold };
        self.report.thresholds.push(threshold);
    }

    /// Whether it has the machine and the process for itself.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Nothing is proved, because of this.
    pub fn inconclusive(&mut self, reason: impl Into<String>) {
        self.report.inconclusive.push(reason.into());
    }

    /// One should know this before believing the rest.
    pub fn doubt(&mut self, doubt: impl Into<String>) {
        self.report.doubts.push(doubt.into());
    }

    /// A setting that is not in the plan.
    pub fn option(&mut self, name: &str, value: String) {
        self.report.options.insert(name.to_owned(), value);
    }

    /// A number worth keeping. One that could not be computed is no number.
    pub fn number(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.report.numbers.insert(name.to_owned(), value);
        } else {
            self.doubt(format!("`{name}` could not be computed"));
        }
    }

    /// Something for the eye.
    pub fn plot(&mut self, plot: Plot) {
        self.report.curves.push(plot);
    }

    /// A distribution.
    pub fn latencies(&mut self, name: &str, latencies: &Latencies) {
        self.report.latencies.insert(name.to_owned(), LatencyReport::from(latencies));
    }

    /// A process.
    pub fn resources(&mut self, name: &str, resources: ResourceReport) {
        self.report.resources.insert(name.to_owned(), resources);
    }

    /// Whether the load was offered.
    pub fn offered(&mut self, offered: Offered) {
        self.number("offered_ratio", offered.ratio);
        if offered.ratio < OFFERED_MIN {
            let Offered { publications, ratio } = offered;
            self.inconclusive(format!("of the planned rate {ratio:.3} was offered ({publications} publications)"));
        }
    }

    /// What the faults counted. One that never bit proves nothing.
    pub fn faults(&mut self, faults: &Faults) {
        self.fault_counts(faults.counts(), faults.lane_peak());
    }

    /// The same where the faults themselves have gone.
    pub fn fault_counts(&mut self, counts: BTreeMap<String, (Fault, FaultCounts)>, lane_peak: usize) {
        for (id, (fault, counts)) in counts {
            if counts.applied == 0 {
                self.inconclusive(format!("fault `{id}` was never applied (attempted {})", counts.attempted));
            } else if counts.seen == 0 && !fault.kind.is_of_node() {
                self.doubt(format!("fault `{id}` was applied {} times and nobody was seen to feel it", counts.applied));
            }
            // A plan that knew its faults beforehand keeps them as it planned them.
            if self.report.plan.faults.iter().all(|planned| planned.id != fault.id) {
                self.report.plan.faults.push(fault.clone());
            }
            self.report.faults.insert(id, FaultReport { fault, counts });
        }
        self.number("lab_queue_peak_bytes", lane_peak as f64);
    }

    /// How it went over time.
    pub fn timeline(&mut self, timeline: Timeline) {
        self.report.timeline = timeline;
    }

    /// The oracle's judgement over a fleet's ledger, in which `laws` must have been looked at.
    pub fn judge(&mut self, fleet: &Fleet, laws: &[Law]) {
        let (judgement, tally) = {
            let ledger = fleet.ledger();
            (ledger.judge(), ledger.tally())
        };
        self.judged(&judgement, tally, laws);
    }

    /// The same where the fleet itself has gone.
    pub fn judged(&mut self, judgement: &Judgement, tally: Tally, laws: &[Law]) {
        if tally.pushed + tally.recovered == 0 {
            self.inconclusive("the ledger has no delivery");
        }
        for law in judgement.unevaluated(laws) {
            self.inconclusive(format!("{law:?} was never evaluated: {}", law.statement()));
        }
        self.report.tally = tally;
        self.found(judgement);
    }

    /// What was found besides what the fleet's ledger tells.
    pub fn found(&mut self, judgement: &Judgement) {
        for (law, count) in &judgement.evaluated {
            *self.report.evaluated.entry(format!("{law:?}")).or_default() += count;
        }
        for ((class, subject), finding) in &judgement.findings {
            if *class == Class::HarnessFault {
                self.inconclusive(format!("the lab itself: {}", finding.witness.join("; ")));
                continue;
            }
            let violation = self.report.violations.entry(format!("{class:?}")).or_default();
            *violation = Violation {
                law: format!("{:?}: {}", class.law(), class.law().statement()),
                count: violation.count + finding.count,
                witness: std::mem::take(&mut violation.witness),
            };
            for line in &finding.witness {
                if violation.witness.len() < 10 {
                    violation.witness.push(format!("{subject}: {line}"));
                }
            }
        }
    }

    /// Whether something is broken, by what is known so far.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let missed = self.report.thresholds.iter().any(|threshold| threshold.binding && !threshold.held);
        missed || !self.report.violations.is_empty()
    }

    /// The verdict.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let failed = self.has_failed();
        let report = &mut self.report;
        report.seconds = self.began.elapsed().as_secs_f64();
        report.verdict = if failed {
            Verdict::Broken
        } else if !report.inconclusive.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Held
        };
        self.is_over = true;
        self.report.clone()
    }
}

/// Watches the server and the lab while a scenario runs.
#[derive(Debug)]
pub struct Watch {
    watched: Watched,
    /// Dropping it ends the watch.
    _tasks: JoinSet<()>,
    began: Instant,
    machine: Option<f64>,
}

/// Asks the server now and then how much it has allocated. One that cannot answer is not asked for long.
async fn ask_for_heap(address: String, heap: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = tokio::time::timeout(ASK_EVERY / 2, stats::metric(&address, "process_heap_bytes")).await;
        if let Ok(Ok(bytes)) = asked {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
            heap.store(bytes as u64, Relaxed);
        }
    }
}

/// What a watch has seen so far. Cloning shares.
#[derive(Clone, Debug)]
pub struct Watched(Vec<(&'static str, Arc<Mutex<ResourceMonitor>>)>);

impl Watched {
    /// By the name of the process.
    #[must_use]
    pub fn reports(&self) -> BTreeMap<String, ResourceReport> {
        self.0.iter().map(|(name, monitor)| ((*name).to_owned(), lock(monitor).report())).collect()
    }
}

fn lock(monitor: &Mutex<ResourceMonitor>) -> MutexGuard<'_, ResourceMonitor> {
    monitor.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Begins.
    #[must_use]
    pub fn begin(subject: &Subject) -> Self {
        let mut tasks = JoinSet::new();
        let heap = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&heap);
        // Each answer is taken once: a number that is looked at again is no second sample.
        let heap_told = move || Some(told.swap(0, Relaxed)).filter(|&bytes| bytes > 0);
        let server = subject.server().and_then(|server| Some(ResourceMonitor::of(server.pid()).ok()?.heap(heap_told)));
        if server.is_some() {
            tasks.spawn(ask_for_heap(subject.address().to_owned(), heap));
        }
        let monitors = [("server", server), ("lab", ResourceMonitor::of_self().ok())];
        let watched: Vec<_> =
            monitors.into_iter().filter_map(|(name, monitor)| Some((name, Arc::new(Mutex::new(monitor?))))).collect();
        for (_, monitor) in &watched {
            let monitor = Arc::clone(monitor);
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(SAMPLE_EVERY);
                loop {
                    ticks.tick().await;
                    if lock(&monitor).sample().is_err() {
                        return;
                    }
                }
            });
        }
        let machine = machine_cpu_seconds().ok();
        Self { watched: Watched(watched), _tasks: tasks, began: Instant::now(), machine }
    }

    /// What it sees.
    #[must_use]
    pub fn watched(&self) -> Watched {
        self.watched.clone()
    }

    /// Ends, and hands what was seen to `run`.
    pub fn finish(self, run: &mut Run) -> BTreeMap<String, ResourceReport> {
        for (_, monitor) in &self.watched.0 {
            // The last one; of a process that has gone there is none.
            let _gone = lock(monitor).sample();
        }
        let reports = self.watched.reports();
        for (name, report) in &reports {
            run.resources(name, report.clone());
        }
        if let (Some(before), Ok(after)) = (self.machine, machine_cpu_seconds()) {
            let ours: f64 = reports.values().map(ResourceReport::cpu_seconds).sum();
            let others = (after - before - ours).max(0.0) / self.began.elapsed().as_secs_f64().max(1e-3);
            run.number("cores_used_by_others", others);
            if others > OTHER_CORES_MAX {
                run.doubt(format!(
                    "other processes used {others:.2} cores meanwhile: times are longer than they need be"
                ));
            }
        }
        reports
    }
}
