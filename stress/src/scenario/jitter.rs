//! Delays that change all the time.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Latency, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 4";
const MIN: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_millis(500);
const RATE: f64 = 100.0;

/// 50 to 500 ms, three ways of changing.
pub(super) struct Jitter;

impl Scenario for Jitter {
    fn name(&self) -> &'static str {
        "jitter_50_500ms_latency"
    }

    fn claim(&self) -> &'static str {
        "1,000 publications over links with 50 to 500 ms of changing delay (independent, correlated, with spikes as of lost packets) all arrive, in order, and nothing waits for ever"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Jitter {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(300, 30);
        let publications = context.scaled(1_000, 300);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let third = |n: u64| Target::Connections((0..connections).filter(|member| member % 3 == n).collect());
        let between = |correlation: f64| Kind::Latency(Latency { min: MIN, max: MAX, correlation });
        let millis = Duration::from_millis;
        let spikes =
            Kind::Spikes { turn_bad: 0.05, turn_good: 0.3, delays: vec![millis(200), millis(400), millis(800)] };
        let guards = [
            stage.faults.inject(Fault::new("independent", between(0.0)).target(third(0))),
            stage.faults.inject(Fault::new("correlated", between(0.9)).target(third(1))),
            stage.faults.inject(Fault::new("as_of_lost_packets", spikes).target(third(2))),
        ];
        let connected = stage.connect(2, |_| true).await?;
        stage.publish("publish", publications, RATE, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let delivery = stage.fleet.latencies().response();
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("members in force", connections as f64, "", PLAN).measured(connected.subscribed as f64),
        );
        run.threshold(
            Threshold::at_least("spread of delivery, p90 less p50", 100.0, "ms", PLAN)
                .measured(delivery.p90 - delivery.p50),
        );
        // The longest spike of all, and as much again for those behind it: order is kept by waiting.
        run.threshold(Threshold::at_most("delivery, longest", 1_600.0, "ms", PLAN).measured(delivery.max));
        let report = stage.verdict(&UNBROKEN).await;
        drop(guards);
        report
    }
}
