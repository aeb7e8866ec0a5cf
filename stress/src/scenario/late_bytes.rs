//! Bytes of a connection that its client has long given up.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Direction, Fault, Kind, Latency, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F15";
const DELAY: Duration = Duration::from_secs(2);
const RATE: f64 = 200.0;

/// The old connection still speaks when the new one is there.
pub(super) struct LateBytes;

impl Scenario for LateBytes {
    fn name(&self) -> &'static str {
        "late_bytes_of_an_old_connection"
    }

    fn claim(&self) -> &'static str {
        "a fifth of the clients give a connection up and open another while what they sent on the old one is still two seconds away: old and new are never mixed, and only the new ones are counted in the end"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl LateBytes {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let publications = 2_000;
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let fifth: Vec<u64> = context.seed.pick_percent("late", 0..connections, 20.0);
        let delay = Latency { min: DELAY, max: DELAY, correlation: 0.0 };
        let late = Fault::new("late", Kind::Latency(delay))
            .direction(Direction::Out)
            .target(Target::Connections(fifth.clone()));
        let late = stage.faults.inject(late);
        stage.connect(2, |member| !fifth.contains(&member)).await?;
        stage.publish("publish", publications / 2, RATE, 1).await;
        // Only the client believes that it is over: the server goes on sending, and hears of it two seconds later.
        let over =
            Fault::new("given_up", Kind::Fin).direction(Direction::In).target(Target::Connections(fifth.clone()));
        let over = stage.faults.inject(over);
        stage.publish("publish while they come back", publications / 2, RATE, 1).await;
        drop(over);
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        drop(late);
        let recoveries = stage.fleet.recoveries();
        let back = recoveries.response();
        stage.run.threshold(
            Threshold::exactly("given up and back", fifth.len() as f64, "clients", SOURCE).measured(back.count as f64),
        );
        // Upgrade, connect, subscribe: at most three times the delay, and the back-off.
        stage.run.threshold(Threshold::at_most("back, longest", 7_000.0, "ms", SOURCE).measured(back.max));
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
