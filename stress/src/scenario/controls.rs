//! Faults that must change nothing, and one that must show.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::Faults;
use crate::fault::plan::{Aim, Direction, Fault, Kind, Latency, Plan, Target, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, N1 to N4";
const RATE: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// How a link can be slow, lumpy and late without being wrong.
fn harmless() -> [(&'static str, Kind); 4] {
    let delay = Duration::from_millis(40);
    [
        ("one_byte_at_a_time", Kind::Slices { bytes: 1 }),
        ("in_lumps", Kind::Coalesce { window: Duration::from_millis(100) }),
        ("a_constant_delay", Kind::Latency(Latency { min: delay, max: delay, correlation: 0.0 })),
        ("polls_that_are_not_ready", Kind::Yields { chance: 0.3 }),
    ]
}

/// Negative and positive controls.
pub(super) struct Controls;

impl Scenario for Controls {
    fn name(&self) -> &'static str {
        "harmless_links"
    }

    fn claim(&self) -> &'static str {
        "one byte at a time, in lumps, with a constant delay, with polls that are not ready: every subscriber is given exactly the sequence of the clean run; and a cut that history mends does show where there is none"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Controls {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let plan = plan(context, 1_000);
        let Plan { topology: Topology { connections, .. }, workload: Workload { publications, .. }, .. } = plan.clone();
        let mut stage =
            Stage::set(context, self, plan.clone(), ServerConfig::default(), FleetOptions::default()).await?;
        stage.connect(1, |_| true).await?;
        stage.publish("publish, clean", publications, RATE, 1).await;
        stage.rest(PATIENCE, connections, connections).await?;
        let clean = stage.fleet.sequences();

        for (id, kind) in harmless() {
            stage.progress.phase(id, publications);
            let (sequences, missing, faults) = delivered(context, &plan, Fault::new(id, kind)).await?;
            let differ = clean.iter().zip(&sequences).filter(|(clean, other)| clean != other).count();
            let differ = differ + clean.len().abs_diff(sequences.len());
            let what = format!("subscriptions given something else than without it: {id}");
            stage.run.threshold(Threshold::exactly(&what, 0.0, "", SOURCE).measured(differ as f64));
            if missing > 0 {
                stage.run.doubt(format!("{id}: {missing} deliveries were missing when the time was up"));
            }
            stage.run.faults(&faults);
        }

        stage.progress.phase("a cut where nothing is kept", publications);
        let cut = Fault::new("cut_without_history", Kind::Reset).aimed(Aim::Reply("push".into()));
        let cut = cut.direction(Direction::In).target(Target::Percent(50.0));
        let (_, missing, faults) = delivered(context, &self::plan(context, 0), cut).await?;
        stage.run.faults(&faults);
        let cut = (connections / 2) as f64;
        stage.run.threshold(
            Threshold::at_least("deliveries missing after a cut without history", cut, "", "the frames that were cut")
                .measured(missing as f64),
        );
        stage.verdict(&UNBROKEN).await
    }
}

fn plan(context: &Context, history_size: u64) -> Plan {
    let connections = context.scaled(200, 20);
    let publications = context.scaled(400, 100);
    let topology = Topology { connections, channels: 10, history_size, ..Topology::default() };
    let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
    Plan { seed: context.seed, topology, workload, faults: Vec::new() }
}

/// What each subscription was given of the same publications, under `fault` once all are connected, and how many deliveries are
/// missing.
async fn delivered(context: &Context, plan: &Plan, fault: Fault) -> anyhow::Result<(Vec<u64>, u64, Faults)> {
    let Plan { topology, workload, .. } = plan;
    let config = ServerConfig::default().with("channel.without_namespace.history_size", topology.history_size);
    let config = if topology.history_size > 0 {
        config
    } else {
        config
            .with("channel.without_namespace.history_ttl", "0s")
            .with("channel.without_namespace.force_recovery", false)
            .with("channel.without_namespace.force_positioning", false)
    };
    let subject = context.subject(config).await?;
    let faults = Faults::new(plan);
    let mut fleet = Fleet::new(plan, faults.clone(), subject.address(), FleetOptions::default());
    fleet.connect(0..topology.connections, PATIENCE, |_| false, |_| {}).await;
    fleet.connect_publishers(1, PATIENCE).await?;
    let guard = faults.inject(fault);
    fleet.publish(workload.publications, workload.rate, 1, |_| {}).await;
    fleet.settle(PATIENCE, topology.connections).await;
    drop(guard);
    let each = topology.connections / topology.channels;
    // Each publication and each sentinel to the members of its channel.
    let due = (workload.publications + topology.channels) * each;
    let missing = due.saturating_sub(fleet.delivered());
    let sequences = fleet.sequences();
    fleet.close(Duration::from_secs(5)).await;
    Ok((sequences, missing, faults))
}
