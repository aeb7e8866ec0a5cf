//! The server has no descriptors left.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Resource, getrlimit, prlimit};

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F25";
/// Descriptors that the server still has for those who come later.
const ROOM: u64 = 10;
const EXHAUSTED_FOR: Duration = Duration::from_secs(4);

/// A limit on descriptors, reached.
pub(super) struct Descriptors;

impl Scenario for Descriptors {
    fn name(&self) -> &'static str {
        "descriptors_exhausted"
    }

    fn claim(&self) -> &'static str {
        "more clients come than the server has descriptors for: those that are in feel nothing, the server neither spins nor dies, and all the others get in as soon as there is room"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Descriptors {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(400, 80);
        let inside = connections / 2;
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 1_200, rate: 200.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let options = FleetOptions { connect_timeout: Duration::from_secs(2), ..FleetOptions::default() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), options).await?;
        stage.progress.phase("half of them connect", inside);
        let first = stage.fleet.connect(0..inside, Duration::from_secs(30), |_| true, |_| {}).await;
        anyhow::ensure!(first.subscribed == inside, "only {} of {inside} got in before any limit", first.subscribed);
        stage.publishers(2).await?;

        let pid = i32::try_from(stage.server().pid()).ok().and_then(Pid::from_raw);
        let whole = getrlimit(Resource::Nofile);
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(stage.sample()?.descriptors + ROOM);
        prlimit(pid, Resource::Nofile, limit)?;
        stage.progress.phase("the others knock", connections - inside);
        let cpu = stage.sample()?.cpu_seconds;
        let fleet = &mut stage.fleet;
        let knocking = fleet.connect(inside..connections, EXHAUSTED_FOR, |_| false, |_| {}).await;
        let busy = (stage.sample()?.cpu_seconds - cpu) / EXHAUSTED_FOR.as_secs_f64();
        stage.publish("publish to those inside", 600, 200.0, 1).await;
        let kept_out = connections - inside - knocking.subscribed;
        prlimit(pid, Resource::Nofile, whole)?;
        let healed = stage.fleet.now();
        let all = stage.fleet.recorder().wait_live(connections, Duration::from_secs(20)).await;
        let took = if all { (stage.fleet.now() - healed).as_secs_f64() } else { f64::NAN };
        stage.publish("publish to all", 600, 200.0, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        let told = stats::metric(stage.address(), "pubsub_connections_refused_total{reason=\"descriptors\"}").await?;

        let run = &mut stage.run;
        if kept_out == 0 {
            run.inconclusive("the limit kept nobody out");
        }
        run.number("kept_out", kept_out as f64);
        run.number("refused_by_the_servers_count", told);
        run.threshold(Threshold::at_most("server's processors while exhausted", 0.5, "cores", SOURCE).measured(busy));
        run.threshold(Threshold::at_most("all in, once there was room", 10.0, "s", SOURCE).measured(took));
        stage.verdict(&UNBROKEN).await
    }
}
