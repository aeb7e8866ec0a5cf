//! Ten thousand at once.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::run::{Run, Watch};
use super::{Context, Scenario, stats};
use crate::fault::Faults;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::oracle::Law;
use crate::progress::Progress;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const ISSUE: &str = "issue 4, scenario 1";
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
        let mut run = Run::new(context, self, &plan);
        let progress = if context.quiet { Progress::quiet() } else { Progress::new(self.name()) };
        let server = context.subject(ServerConfig::default()).await?;
        let watch = Watch::begin(&server);
        let faults = Faults::new(&plan);
        let mut fleet = Fleet::new(&plan, faults, server.address(), FleetOptions::default());
        let connections = fleet.plan().topology.connections;

        progress.phase("connect and subscribe", connections);
        let connected = fleet.connect(0..connections, Duration::from_secs(60), |_| true, |n| progress.at(n)).await;
        for error in &connected.errors {
            run.doubt(format!("while connecting: {error}"));
        }
        progress.phase("publish", plan.workload.publications);
        fleet.connect_publishers(PUBLISHER_CONNECTIONS, Duration::from_secs(10)).await?;
        let offered = fleet.publish(plan.workload.publications, rate, 1, |n| progress.at(n)).await;
        run.offered(offered);
        progress.phase("settle", connections);
        if !fleet.settle(Duration::from_secs(30), connected.subscribed).await {
            run.doubt("not everybody had reached the end of its channel when the time was up");
        }
        stats::compare(&fleet, server.address(), connections + PUBLISHER_CONNECTIONS, connected.wanted).await?;
        fleet.census(server.address(), 200).await?;

        let resources = watch.finish(&mut run).await;
        let share = connected.subscribed as f64 / connected.wanted.max(1) as f64 * 100.0;
        run.threshold(Threshold::at_least("clients in force", 99.9, "%", ISSUE).measured(share));
        let took = connected.took.as_secs_f64();
        run.threshold(Threshold::at_most("all in force", 30.0, "s", ISSUE).measured(took));
        run.threshold(Threshold::at_most("all in force (goal)", 3.0, "s", ISSUE).goal().measured(took));
        if let Some(server) = resources.get("server") {
            let peak = server.peak.resident_bytes as f64 / f64::from(1 << 20);
            run.threshold(Threshold::at_most("server's resident memory, peak", 2048.0, "MiB", ISSUE).measured(peak));
            let grown = server.peak.proportional_bytes.saturating_sub(server.initial.proportional_bytes);
            run.number("server_kib_per_connection", grown as f64 / 1024.0 / connections as f64);
        } else {
            run.doubt("the server is not a child of the lab: its memory was not watched");
        }
        run.latencies("delivery", &fleet.latencies());
        run.judge(
            &fleet,
            &[Law::I1, Law::I2, Law::I3, Law::I4, Law::I8, Law::I9, Law::I12, Law::I13, Law::I14, Law::I17],
        );
        fleet.close(Duration::from_secs(10)).await;
        progress.finish();
        Ok(run.finish())
    }
}
