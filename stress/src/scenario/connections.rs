//! Ten thousand at once.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{GIVEN_BACK, Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 1";
const PUBLISHER_CONNECTIONS: u64 = 4;

/// 10,000 connections, each on a channel of its own.
pub(super) struct ConcurrentConnections;

impl Scenario for ConcurrentConnections {
    fn name(&self) -> &'static str {
        "10000_concurrent_connections"
    }

    fn claim(&self) -> &'static str {
        "10,000 clients connect at once, each on its own channel; each gets what is published there, and nothing else"
    }

    fn takes_target(&self) -> bool {
        true
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl ConcurrentConnections {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(10_000, 20);
        let topology = Topology { connections, channels: connections, ..Topology::default() };
        let rate = connections as f64 / 2.0;
        let workload = Workload { publishers: connections, publications: 2 * connections, rate, payload_bytes: 200 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let connections = stage.fleet.plan().topology.connections;
        let connected = stage.connect(PUBLISHER_CONNECTIONS, |_| true).await?;
        // What the storm needed is given back, and nobody has a history yet: that is what connections cost that are idle.
        tokio::time::sleep(GIVEN_BACK).await;
        let idle = stage.sample()?.proportional_bytes;
        stage.publish("publish", 2 * connections, rate, 1).await;
        let resources = stage.rest(Duration::from_secs(30), connections, connections).await?;

        let run = &mut stage.run;
        let share = connected.subscribed as f64 / connected.wanted.max(1) as f64 * 100.0;
        run.threshold(Threshold::at_least("clients in force", 99.9, "%", PLAN).measured(share));
        let took = connected.took.as_secs_f64();
        run.threshold(Threshold::at_most("all in force", 30.0, "s", PLAN).measured(took));
        run.threshold(Threshold::at_most("all in force (goal)", 3.0, "s", PLAN).goal().measured(took));
        if let Some(server) = resources.get("server") {
            let peak = server.peak.resident_bytes as f64 / f64::from(1 << 20);
            run.threshold(Threshold::at_most("server's resident memory, peak", 2048.0, "MiB", PLAN).measured(peak));
            let each = |bytes: u64| {
                bytes.saturating_sub(server.initial.proportional_bytes) as f64 / 1024.0 / connections as f64
            };
            run.number("server_kib_per_connection", each(idle));
            run.number("server_kib_per_connection_at_the_peak", each(server.peak.proportional_bytes));
            run.threshold(
                Threshold::at_most("server's memory per idle connection (goal)", 1.0, "KiB", "performance, W1")
                    .goal()
                    .measured(each(idle)),
            );
        } else {
            run.doubt("the server is not a child of the lab: its memory was not watched");
        }
        stage.verdict(&UNBROKEN).await
    }
}
