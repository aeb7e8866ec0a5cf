//! Subscriptions that come and go under large payloads and failures.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use crate::fault::{FailureInjector, Operation};
use crate::fleet::{FleetOptions, Offered};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 11";
const MEMBERS: u64 = 100;
const CHANNELS: u64 = 10;
const PAYLOAD_BYTES: usize = 100_000;
/// Publications in each step; between two steps members come and go.
const STEP: u64 = 10;
/// Per step, the share of members whose turn it is.
const TURN: u64 = 5;
const FAILURES: f64 = 0.1;
const RATE: f64 = 60.0;

/// Subscribe and unsubscribe, 10 % failures, 100 KB payloads.
pub(super) struct Churn;

impl Scenario for Churn {
    fn name(&self) -> &'static str {
        "churn_failures_memory_pressure"
    }

    fn claim(&self) -> &'static str {
        "members subscribe and unsubscribe while 1,000 publications of 100 KB go out and one cycle in ten ends in a reset: the final state is right and nothing is left behind"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Churn {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let publications = context.scaled(1_000, 100);
        // 20 publications of 100 KB in each of ten channels: 20 MB of history, full after 200 publications.
        let topology = Topology { connections: MEMBERS, channels: CHANNELS, history_size: 20, ..Topology::default() };
        let workload = Workload { publishers: CHANNELS, publications, rate: RATE, payload_bytes: PAYLOAD_BYTES };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("websocket.message_size_limit", 1 << 20);
        let options = FleetOptions { message_bytes_max: 64 << 20, ..FleetOptions::default() };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        stage.connect(2, |_| false).await?;

        stage.progress.phase("publish while members come and go", publications);
        let began = stage.fleet.now();
        let mut failures = FailureInjector::new(FAILURES).aimed(Operation::Unsubscribe).seeded(context.seed, 0);
        let mut away: Vec<u64> = Vec::new();
        let (mut cycles, mut resets) = (0u64, Vec::new());
        let (mut half, mut offered) = (f64::NAN, 0.0);
        let steps = publications / STEP;
        for step in 0..steps {
            stage.progress.at(step * STEP);
            offered += stage.fleet.publish(STEP, RATE, 1, |_| {}).await.ratio;
            for member in away.drain(..) {
                stage.fleet.subscribe_again(member)?;
            }
            // Even members end their subscription each time it is their turn; one in ten of those turns is a reset instead.
            for member in (0..MEMBERS).filter(|member| member % (MEMBERS / TURN) == step % (MEMBERS / TURN)) {
                cycles += 1;
                if failures.should_fail_at(Operation::Unsubscribe) {
                    resets.push(
                        stage.faults.inject(Fault::new("reset", Kind::Reset).target(Target::Connections(vec![member]))),
                    );
                } else {
                    stage.fleet.unsubscribe(&[member]);
                    away.push(member);
                }
            }
            if step == steps / 2 {
                half = stage.resident()?;
            }
        }
        drop(resets);
        let planned = (steps * STEP) as f64 / RATE;
        let ratio = (planned / (stage.fleet.now() - began).as_secs_f64()).min(1.0);
        stage.run.number("offered_ratio_with_pauses", ratio);
        stage.offered(Offered { publications: steps * STEP, ratio: offered / steps.max(1) as f64 });
        let end = stage.resident()?;
        // Those who are away stay away: the final state is not that of the beginning.
        let stay = MEMBERS - away.len() as u64;
        stage.rest(Duration::from_secs(30), MEMBERS, stay).await?;
        let live = stage.fleet.live();
        let run = &mut stage.run;
        run.threshold(Threshold::exactly("subscriptions in the end", stay as f64, "", PLAN).measured(live as f64));
        let grown = (end / half - 1.0) * 100.0;
        if steps >= 100 {
            run.threshold(
                Threshold::at_most("server's memory, growth in the second half", 15.0, "%", PLAN).measured(grown),
            );
        } else {
            run.doubt("too few publications to fill the histories: growth was not judged");
        }
        run.number("cycles", cycles as f64);
        let recoveries = stage.fleet.recoveries();
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
