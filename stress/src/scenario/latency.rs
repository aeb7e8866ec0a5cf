//! A second on every publish and subscribe.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Direction, Fault, Kind, Latency, Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 3";
const DELAY: Duration = Duration::from_millis(1_000);
/// Publishes unanswered at one time: one window goes through in each DELAY.
const WINDOW: usize = 200;

/// 1,000 connections, 1,000 ms.
pub(super) struct Distant;

impl Scenario for Distant {
    fn name(&self) -> &'static str {
        "latency_1000ms_connections"
    }

    fn claim(&self) -> &'static str {
        "1,000 clients whose every publish and subscribe takes 1,000 ms to arrive: none times out, as much goes through as the window allows, and nothing is lost"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Distant {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 20);
        let channels = (connections / 10).max(2);
        let publications = context.scaled(2_000, 400);
        let topology = Topology { connections, channels, ..Topology::default() };
        let workload = Workload { publishers: channels, publications, rate: 0.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let delay = Latency { min: DELAY, max: DELAY, correlation: 0.0 };
        let far = stage.faults.inject(Fault::new("a_second_out", Kind::Latency(delay)).direction(Direction::Out));
        let connected = stage.connect(1, |_| true).await?;
        let began = stage.fleet.now();
        stage.publish("publish", publications, 0.0, WINDOW).await;
        let took = (stage.fleet.now() - began).as_secs_f64();
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let tally = stage.fleet.ledger().tally();
        let delivery = stage.fleet.latencies().response();
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("clients in force", connections as f64, "", PLAN).measured(connected.subscribed as f64),
        );
        run.threshold(
            Threshold::exactly("publishes refused or timed out", 0.0, "", PLAN)
                .measured((tally.failed + tally.unknown) as f64),
        );
        run.threshold(Threshold::at_least("delivered", 1_000.0, "publications", PLAN).measured(tally.pushed as f64));
        // Little's law: a window in every delay, so this long for all of them if the delay costs nothing but itself.
        let least = publications as f64 / WINDOW as f64 * DELAY.as_secs_f64();
        run.threshold(Threshold::at_most("publishing, by window and delay", 1.5, "times", PLAN).measured(took / least));
        run.threshold(
            Threshold::at_least("delivery, median (the delay is real)", 1_000.0, "ms", PLAN).measured(delivery.p50),
        );
        run.threshold(
            Threshold::at_most("delivery, p99: the delay and a second", 2_000.0, "ms", PLAN).measured(delivery.p99),
        );
        run.number("connect_and_subscribe_seconds", connected.took.as_secs_f64());
        let report = stage.verdict(&UNBROKEN).await;
        drop(far);
        report
    }
}
