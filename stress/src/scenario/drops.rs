//! Connections dropped at the worst moments.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::FaultGuard;
use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::{FleetOptions, PUBLISHER_CONNECTIONS};
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

/// Members of each group, in turn: dropped while subscribing, while receiving by a reset and by a FIN, and while
/// unsubscribing.
const GROUPS: u64 = 4;
const PUBLISHERS: u64 = 2;
const RATE: f64 = 1_000.0;

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

    fn takes_target(&self) -> bool {
        true
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
        let workload = Workload { publishers: channels, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let issue = "plan, scenario 5";
        let groups = self.groups(&plan);
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let faults = stage.faults.clone();
        let dropped: Vec<u64> = groups.iter().flatten().copied().collect();
        let fault = |id: &str, kind: Kind, aim: Aim, direction: Direction, group: usize| {
            let target = Target::Connections(groups[group].clone());
            faults.inject(Fault::new(id, kind).aimed(aim).direction(direction).target(target))
        };

        let subscribing = fault("while_subscribing", Kind::Reset, Aim::Reply("subscribe".into()), Direction::In, 0);
        stage.connect(PUBLISHERS, |member| !dropped.contains(&member)).await?;
        drop(subscribing);

        // A quarter each: to compare with, while members are dropped, and while a publisher is. What that one has yet to
        // publish comes late to everybody, and tells nothing of what others feel.
        let quarter = publications / 4;
        stage.publish("publish", quarter, RATE, 1).await;
        let before = stage.fleet.bystander_latencies();
        stage.fleet.reset_latencies();
        let receiving: Vec<FaultGuard> = vec![
            fault("while_receiving_reset", Kind::Reset, Aim::MidPayload, Direction::In, 1),
            fault("while_receiving_fin", Kind::Fin, Aim::MidPayload, Direction::Both, 2),
        ];
        stage.publish("publish, some dropped meanwhile", publications - 2 * quarter, RATE, 1).await;
        drop(receiving);
        let (during, with_dropped) = (stage.fleet.bystander_latencies(), stage.fleet.reset_latencies());
        let publisher = Target::Connections(vec![PUBLISHER_CONNECTIONS + 1]);
        let publishing = Fault::new("while_publishing", Kind::Reset).aimed(Aim::PublishUnacked);
        let publishing = faults.inject(publishing.direction(Direction::In).target(publisher));
        stage.publish("publish, one of the publishers dropped meanwhile", quarter, RATE, 1).await;
        drop(publishing);

        stage.progress.phase("unsubscribe, dropped meanwhile", groups[3].len() as u64);
        let unsubscribing =
            fault("while_unsubscribing", Kind::Reset, Aim::Command("unsubscribe".into()), Direction::Out, 3);
        stage.fleet.unsubscribe(&groups[3]);
        let stay = connections - groups[3].len() as u64;
        stage.rest(Duration::from_secs(30), connections, stay).await?;
        drop(unsubscribing);

        let (live, recovery) = (stage.fleet.live(), stage.fleet.recoveries());
        let (quiet, busy) = (before.response().p99, during.response().p99);
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("subscriptions in force in the end", stay as f64, "", issue).measured(live as f64),
        );
        let back = recovery.response();
        run.threshold(Threshold::at_most("back after a drop, longest", 5_000.0, "ms", issue).measured(back.max));
        run.threshold(
            Threshold::at_most(
                "p99 of the rest while others are dropped, by their p99 before (goal)",
                2.0,
                "times",
                "fault model, I13",
            )
            .goal()
            .measured(busy / quiet),
        );
        run.number("p99_before_ms", quiet);
        run.number("p99_while_ms", busy);
        run.latencies("delivery to the rest, before", &before);
        run.latencies("delivery to the rest, others dropped", &during);
        run.latencies("delivery while dropping, to those dropped too", &with_dropped);
        run.latencies("recovery", &recovery);
        let mut laws = BREAKING.to_vec();
        laws.extend([Law::I13, Law::I17]);
        stage.verdict(&laws).await
    }
}
