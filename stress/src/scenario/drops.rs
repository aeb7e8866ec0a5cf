//! Connections dropped at the worst moments.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::run::{Run, Watch};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fault::{FaultGuard, Faults};
use crate::fleet::{Fleet, FleetOptions, PUBLISHER_CONNECTIONS};
use crate::oracle::Law;
use crate::progress::Progress;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

/// Members of each group, in turn: dropped while subscribing, while receiving by a reset and by a FIN, and while
/// unsubscribing.
const GROUPS: u64 = 4;
const PUBLISHERS: u64 = 2;

/// 1,000 subscribers, a share of them dropped.
pub(super) struct RandomDrops {
    percent: u32,
}

impl RandomDrops {
    pub(super) fn new(percent: u32) -> Self {
        Self { percent }
    }

    /// The members that are dropped, each in one group.
    fn groups(&self, plan: &Plan) -> Vec<Vec<u64>> {
        let picked = plan.seed.pick_percent("drops", 0..plan.topology.connections, f64::from(self.percent));
        let mut groups = vec![Vec::new(); GROUPS as usize];
        for (at, member) in picked.into_iter().enumerate() {
            groups[at % GROUPS as usize].push(member);
        }
        groups
    }
}

impl Scenario for RandomDrops {
    fn name(&self) -> &'static str {
        match self.percent {
            20 => "random_connection_drops",
            30 => "random_connection_drops_30",
            _ => "random_connection_drops_50",
        }
    }

    fn claim(&self) -> &'static str {
        "connections dropped while subscribing, publishing, receiving and unsubscribing come back and miss nothing; the rest feel nothing"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl RandomDrops {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 40);
        let channels = (connections / 10).max(4);
        let topology = Topology { connections, channels, ..Topology::default() };
        let publications = context.scaled(10_000, 1_000);
        let workload = Workload { publishers: channels, publications, rate: 1_000.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let issue = "issue 4, scenario 5";
        let mut run = Run::new(context, self, &plan);
        let progress = if context.quiet { Progress::quiet() } else { Progress::new(self.name()) };
        let server = context.subject(ServerConfig::default()).await?;
        let watch = Watch::begin(&server);
        let faults = Faults::new(&plan);
        let mut fleet = Fleet::new(&plan, faults.clone(), server.address(), FleetOptions::default());
        let groups = self.groups(&plan);
        let dropped: Vec<u64> = groups.iter().flatten().copied().collect();
        let fault = |id: &str, kind: Kind, aim: Aim, direction: Direction, group: usize| {
            let target = Target::Connections(groups[group].clone());
            faults.inject(Fault::new(id, kind).aimed(aim).direction(direction).target(target))
        };

        progress.phase("connect, some dropped while subscribing", connections);
        let subscribing = fault("while_subscribing", Kind::Reset, Aim::Reply("subscribe".into()), Direction::In, 0);
        let bystander = |member: u64| !dropped.contains(&member);
        let connected = fleet.connect(0..connections, Duration::from_secs(30), bystander, |n| progress.at(n)).await;
        drop(subscribing);
        fleet.connect_publishers(PUBLISHERS, Duration::from_secs(10)).await?;

        progress.phase("publish, some dropped while receiving and publishing", publications);
        let clean = fleet.publish(publications / 4, plan.workload.rate, 1, |n| progress.at(n)).await;
        let before = fleet.reset_latencies();
        let publisher = Target::Connections(vec![PUBLISHER_CONNECTIONS + 1]);
        let receiving: Vec<FaultGuard> = vec![
            fault("while_receiving_reset", Kind::Reset, Aim::MidPayload, Direction::In, 1),
            fault("while_receiving_fin", Kind::Fin, Aim::MidPayload, Direction::Both, 2),
            faults.inject(
                Fault::new("while_publishing", Kind::Reset)
                    .aimed(Aim::PublishUnacked)
                    .direction(Direction::In)
                    .target(publisher),
            ),
        ];
        let hurt = fleet.publish(publications - publications / 4, plan.workload.rate, 1, |n| progress.at(n)).await;
        drop(receiving);
        run.offered(if clean.ratio < hurt.ratio { clean } else { hurt });

        progress.phase("unsubscribe, dropped meanwhile", groups[3].len() as u64);
        let unsubscribing =
            fault("while_unsubscribing", Kind::Reset, Aim::Command("unsubscribe".into()), Direction::Out, 3);
        fleet.unsubscribe(&groups[3]);
        let stay = connected.wanted - groups[3].len() as u64;
        let rested = fleet.settle(Duration::from_secs(30), stay).await;
        if !rested {
            run.doubt("not everybody had reached the end of its channel when the time was up");
        }
        drop(unsubscribing);
        stats::compare(&fleet, server.address(), connections + PUBLISHERS, stay).await?;
        fleet.census(server.address(), channels).await?;
        watch.finish(&mut run).await;

        let (quiet, busy) = (before.response().p99, fleet.latencies().response().p99);
        run.threshold(
            Threshold::exactly("subscriptions in force in the end", stay as f64, "", issue)
                .measured(fleet.live() as f64),
        );
        let recovery = fleet.recoveries();
        let back = recovery.response();
        run.threshold(Threshold::at_most("back after a drop, longest", 5_000.0, "ms", issue).measured(back.max));
        run.number("p99_before_ms", quiet);
        run.number("p99_while_ms", busy);
        run.latencies("delivery before", &before);
        run.latencies("delivery while dropping", &fleet.latencies());
        run.latencies("recovery", &recovery);
        run.faults(&faults);
        let laws =
            [Law::I1, Law::I2, Law::I3, Law::I4, Law::I5, Law::I8, Law::I9, Law::I12, Law::I13, Law::I14, Law::I17];
        run.judge(&fleet, &laws);
        fleet.close(Duration::from_secs(10)).await;
        progress.finish();
        Ok(run.finish())
    }
}
