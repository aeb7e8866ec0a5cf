//! A network that fails under half of everybody, and stays down for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pubsub_client::{BreakerConfig, BreakerState, CircuitBreaker, Client};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::histogram::Quantiles;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 6";
const MEMBERS_EACH: u64 = 10;
const RATE_EACH: f64 = 5.0;
/// How long the network is down at full size. Small runs have less time.
const OUTAGE: Duration = Duration::from_secs(6);
const OUTAGE_MIN: Duration = Duration::from_secs(1);
/// The breaker stays open for so much of the outage, so that it probes about ten times.
const PROBES: u32 = 10;
const FAILURES_MAX: u32 = 8;
/// Below this size a p99 is one or two unlucky deliveries.
const LATENCY_SCALE_MIN: f64 = 0.5;

/// 100 channels of ten; half of all members are cut and refused, then let in again.
pub(super) struct CascadingFailures;

impl Scenario for CascadingFailures {
    fn name(&self) -> &'static str {
        "cascading_connection_failures"
    }

    fn claim(&self) -> &'static str {
        "the network fails under half of the members of 100 channels and stays down: the others feel nothing, the circuit breaker keeps those cut from hammering, and all are back by themselves once it is up"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl CascadingFailures {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let channels = context.scaled(100, 10);
        let outage = OUTAGE.mul_f64(context.scale).max(OUTAGE_MIN);
        let rate = channels as f64 * RATE_EACH;
        // Four phases, each as long as the outage: to warm up, to compare with, the outage, and after it.
        let publications = 4 * count(rate, outage);
        let topology = Topology { connections: channels * MEMBERS_EACH, channels, ..Topology::default() };
        let workload = Workload { publishers: channels, publications, rate, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let (connections, publications) = (plan.topology.connections, plan.workload.publications);
        let settings = BreakerConfig { failures_max: FAILURES_MAX, open_for: outage / PROBES };
        let breaker = CircuitBreaker::new(settings);
        let options = FleetOptions { breaker: Some(breaker.clone()), ..FleetOptions::default() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), options).await?;
        let cut = Fault::new("network_cut", Kind::Reset).target(Target::Percent(50.0));
        let failed = stage.faults.targets(&cut).unwrap_or_default();
        let down = Fault::new("network_down", Kind::Refuse).target(Target::Connections(failed.clone()));
        let history = BreakerHistory::follow(&breaker);

        stage.connect(2, |member| !failed.contains(&member)).await?;
        stage.publish("publish, all well", publications / 4, rate, 1).await;
        stage.fleet.reset_latencies();
        stage.publish("publish, to compare with", publications / 4, rate, 1).await;
        let baseline = stage.fleet.bystander_latencies();
        stage.fleet.reset_latencies();
        let attempts_before = attempts(stage.fleet.members(), &failed);
        // First no way back, then the cut.
        let began = Instant::now();
        let (down, cut) = (stage.faults.inject(down), stage.faults.inject(cut));
        stage.publish("publish, network down", publications / 4, rate, 1).await;
        let (attempts_down, stays_down) = (attempts(stage.fleet.members(), &failed) - attempts_before, began.elapsed());
        let hurt = stage.fleet.bystander_latencies();
        stage.fleet.reset_latencies();
        stage.fleet.recorder().healed();
        drop((down, cut));
        stage.publish("publish, network up", publications / 4, rate, 1).await;
        let healing = stage.fleet.bystander_latencies();
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        let states = history.states();
        let recoveries = stage.fleet.recoveries();

        let run = &mut stage.run;
        let bound = attempts_max(settings, stays_down, tokio::runtime::Handle::current().metrics().num_workers());
        let source = "8 failures open the breaker, one attempt a thread under way then, one probe per open time";
        run.threshold(
            Threshold::at_most("attempts of those cut while it was down", bound, "", source)
                .measured(attempts_down as f64),
        );
        run.threshold(
            Threshold::at_least("the same, or the breaker had nothing to do", f64::from(FAILURES_MAX), "", source)
                .measured(attempts_down as f64),
        );
        let opened = states.iter().find(|(_, state)| *state == BreakerState::Open).map(|(at, _)| *at);
        let opened_ms = opened.map_or(f64::NAN, |at| at.saturating_duration_since(began).as_secs_f64() * 1_000.0);
        let source = "twice the longest first back-off";
        run.threshold(Threshold::at_most("breaker opened after", 400.0, "ms", source).measured(opened_ms));
        let closed = f64::from(u8::from(breaker.state() == BreakerState::Closed));
        run.threshold(Threshold::exactly("breaker closed in the end", 1.0, "", PLAN).measured(closed));
        let back = recoveries.service();
        run.threshold(
            Threshold::exactly("cut and back", failed.len() as f64, "clients", PLAN).measured(back.count as f64),
        );
        run.threshold(Threshold::at_most("back after it was up, longest", 5_000.0, "ms", PLAN).measured(back.max));
        let soonest = back_at_the_latest(settings, &FleetOptions::default()).as_secs_f64() * 1_000.0;
        let source = "one open time until the probe, half of one to follow it, twice the jitter";
        run.threshold(
            Threshold::at_most("back after it was up, p99 (goal)", soonest, "ms", source).goal().measured(back.p99),
        );
        for (name, phase) in [("while the others are down", &hurt), ("while the others come back", &healing)] {
            let (phase, baseline) = (phase.response(), baseline.response());
            let Quantiles { p99, .. } = phase;
            let name = format!("p99 of the healthy {name}, by their p99 before");
            let threshold = Threshold::at_most(&name, 2.0, "times", PLAN).measured(p99 / baseline.p99);
            run.threshold(if context.scale < LATENCY_SCALE_MIN { threshold.goal() } else { threshold });
        }
        let probes = states.iter().filter(|(_, state)| *state == BreakerState::HalfOpen).count();
        run.number("network_down_s", stays_down.as_secs_f64());
        run.number("probes_seen", probes as f64);
        run.number("attempts_while_down", attempts_down as f64);
        run.latencies("healthy, before", &baseline);
        run.latencies("healthy, others down", &hurt);
        run.latencies("healthy, others come back", &healing);
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        laws.push(Law::I13);
        stage.verdict(&laws).await
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn count(rate: f64, during: Duration) -> u64 {
    (rate * during.as_secs_f64()) as u64
}

/// Attempts to connect, by the clients' own count.
fn attempts(members: &[Client], of: &[u64]) -> u64 {
    let client = |&member: &u64| usize::try_from(member).ok().and_then(|at| members.get(at));
    of.iter().filter_map(client).map(|client| client.stats().attempts).sum()
}

/// How many attempts those behind a breaker make at most while every attempt is refused at once, whoever and how many they
/// are: those that open it, those that other threads had begun by then, and one probe for each time it has been open.
#[expect(clippy::cast_precision_loss, reason = "a count of threads")]
fn attempts_max(breaker: BreakerConfig, down: Duration, threads: usize) -> f64 {
    let probes = (down.as_secs_f64() / breaker.open_for.as_secs_f64()).floor();
    f64::from(breaker.failures_max) + threads as f64 + probes
}

/// When the last of them is back at the latest, if connecting takes no time: the next probe comes when the breaker has been
/// open for its time, all others ask again half of that later, each with its jitter.
fn back_at_the_latest(breaker: BreakerConfig, options: &FleetOptions) -> Duration {
    breaker.open_for.mul_f64(1.5) + options.reconnect_initial_delay * 2
}

/// Follows a breaker. States that last no time at all may be missing.
#[derive(Debug)]
struct BreakerHistory {
    states: Arc<Mutex<Vec<(Instant, BreakerState)>>>,
    task: JoinHandle<()>,
}

impl BreakerHistory {
    fn follow(breaker: &CircuitBreaker) -> Self {
        let mut watch = breaker.watch();
        let states: Arc<Mutex<Vec<_>>> = Arc::default();
        let kept = Arc::clone(&states);
        let task = tokio::spawn(async move {
            while watch.changed().await.is_ok() {
                let state = *watch.borrow_and_update();
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), state));
            }
        });
        Self { states, task }
    }

    fn states(&self) -> Vec<(Instant, BreakerState)> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for BreakerHistory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_grows_with_the_outage_and_not_with_the_crowd() {
        let breaker = BreakerConfig { failures_max: 8, open_for: Duration::from_secs(1) };
        assert_eq!(attempts_max(breaker, Duration::from_millis(999), 2), 10.0);
        assert_eq!(attempts_max(breaker, Duration::from_secs(10), 2), 20.0);
        let options = FleetOptions { reconnect_initial_delay: Duration::from_millis(200), ..FleetOptions::default() };
        assert_eq!(back_at_the_latest(breaker, &options), Duration::from_millis(1_900));
    }
}
