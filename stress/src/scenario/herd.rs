//! Half of everybody at once.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::run::{Run, Watch};
use super::{Context, Scenario, stats};
use crate::fault::Faults;
use crate::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::oracle::Law;
use crate::progress::Progress;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const ISSUE: &str = "issue 4, scenario 9";
const PUBLISHERS: u64 = 2;

/// 1,000 subscribers, half of them cut at once while publishing goes on.
pub(super) struct ThunderingHerd;

impl Scenario for ThunderingHerd {
    fn name(&self) -> &'static str {
        "thundering_herd_recovery"
    }

    fn claim(&self) -> &'static str {
        "half of 1,000 subscribers are cut at once and come back at once while publishing goes on; nobody misses anything"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl ThunderingHerd {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 40);
        let channels = 10;
        let topology = Topology { connections, channels, ..Topology::default() };
        let workload = Workload { publishers: channels, publications: 1_500, rate: 250.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut run = Run::new(context, self, &plan);
        let progress = if context.quiet { Progress::quiet() } else { Progress::new(self.name()) };
        let server = context.subject(ServerConfig::default()).await?;
        let watch = Watch::begin(&server);
        let faults = Faults::new(&plan);
        let mut fleet = Fleet::new(&plan, faults.clone(), server.address(), FleetOptions::default());
        let cut = Fault::new("cut_half", Kind::Reset).target(Target::Percent(50.0));
        let herd = faults.targets(&cut).unwrap_or_default();

        progress.phase("connect and subscribe", connections);
        let bystander = |member: u64| !herd.contains(&member);
        let connected = fleet.connect(0..connections, Duration::from_secs(30), bystander, |n| progress.at(n)).await;
        fleet.connect_publishers(PUBLISHERS, Duration::from_secs(10)).await?;
        let third = plan.workload.publications / 3;
        progress.phase("publish", plan.workload.publications);
        let calm = fleet.publish(third, plan.workload.rate, 1, |n| progress.at(n)).await;
        let before = fleet.reset_latencies();
        let guard = faults.inject(cut);
        let hurt =
            fleet.publish(plan.workload.publications - third, plan.workload.rate, 1, |n| progress.at(third + n)).await;
        drop(guard);
        run.offered(if calm.ratio < hurt.ratio { calm } else { hurt });
        progress.phase("settle", connections);
        if !fleet.settle(Duration::from_secs(30), connected.wanted).await {
            run.doubt("not everybody had reached the end of its channel when the time was up");
        }
        stats::compare(&fleet, server.address(), connections + PUBLISHERS, connected.wanted).await?;
        fleet.census(server.address(), channels).await?;
        watch.finish(&mut run).await;

        let recoveries = fleet.recoveries();
        let back = recoveries.response();
        run.threshold(
            Threshold::exactly("cut and back", herd.len() as f64, "clients", ISSUE).measured(back.count as f64),
        );
        run.threshold(Threshold::at_most("back, longest", 5_000.0, "ms", ISSUE).measured(back.max));
        run.threshold(Threshold::at_most("back, p99 (goal)", 1_000.0, "ms", ISSUE).goal().measured(back.p99));
        run.latencies("delivery before", &before);
        run.latencies("delivery after the cut", &fleet.latencies());
        run.latencies("recovery", &recoveries);
        run.faults(&faults);
        let laws =
            [Law::I1, Law::I2, Law::I3, Law::I4, Law::I5, Law::I8, Law::I9, Law::I12, Law::I13, Law::I14, Law::I17];
        run.judge(&fleet, &laws);
        fleet.close(Duration::from_secs(10)).await;
        progress.finish();
        Ok(run.finish())
    }
}
