//! Frames that end in the middle.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::fleet::PUBLISHER_CONNECTIONS;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F6 and F8";
const RATE: f64 = 400.0;
/// Members: three in ten are hurt, each third of them in another place.
const HURT: u64 = 10;

/// Streams that end inside a frame, wherever it hurts.
pub(super) struct Truncated;

impl Scenario for Truncated {
    fn name(&self) -> &'static str {
        "truncated_frames"
    }

    fn claim(&self) -> &'static str {
        "streams end in the middle of publications and of the headers before them, of recovered batches, right before the first live publication after one, and of publish commands: no part of a frame is ever taken for one, and nothing is lost or doubled"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Truncated {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let publications = context.scaled(4_000, 1_600);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 2_000 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let group = |n: u64| Target::Connections((0..connections).filter(|member| member % HURT == n).collect());
        stage.connect(4, |member| member % HURT > 3).await?;
        stage.publish("publish", publications / 4, RATE, 1).await;
        let faults = stage.faults.clone();
        let cut = |id: &str, kind: Kind, aim: Aim, direction: Direction, target: Target| {
            faults.inject(Fault::new(id, kind).aimed(aim).direction(direction).target(target))
        };
        let publisher = |n: u64| Target::Connections(vec![PUBLISHER_CONNECTIONS + n]);
        let guards = [
            cut("in_a_publication", Kind::Fin, Aim::MidPayload, Direction::Both, group(0)),
            cut("in_the_header_of_a_publication", Kind::Reset, Aim::MidHeader, Direction::In, group(3)),
            cut("in_a_recovered_batch", Kind::Reset, Aim::RecoveredBatch, Direction::In, group(1)),
            cut("before_the_first_live_one", Kind::Reset, Aim::FirstLiveAfterRecovery, Direction::In, group(2)),
            // To have something to recover, these lose their connection first.
            cut("so_that_they_recover", Kind::Reset, Aim::Reply("push".into()), Direction::In, group(1)),
            cut("so_that_they_recover_too", Kind::Reset, Aim::Reply("push".into()), Direction::In, group(2)),
            cut("in_a_publish", Kind::Fin, Aim::MidPayload, Direction::Out, publisher(1)),
            cut("in_a_publish_by_reset", Kind::Reset, Aim::MidPayload, Direction::Out, publisher(2)),
            cut("in_the_header_of_a_publish", Kind::Fin, Aim::MidHeader, Direction::Out, publisher(3)),
        ];
        stage.publish("publish, cut in the middle", publications * 3 / 4, RATE, 1).await;
        drop(guards);
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        let recoveries = stage.fleet.recoveries();
        let back = recoveries.response();
        stage.run.threshold(Threshold::at_most("back after a cut, longest", 5_000.0, "ms", SOURCE).measured(back.max));
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
