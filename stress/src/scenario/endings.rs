//! Connections that end without a close frame, wherever the end comes.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F7";
const RATE: f64 = 200.0;
/// What a client is told that has lost its connection without a close frame.
const ABNORMAL: u32 = 1006;
/// Members: three in ten are hurt, each tenth in another way.
const GROUPS: u64 = 10;

/// Half-close, and FIN without a close frame.
pub(super) struct Endings;

impl Scenario for Endings {
    fn name(&self) -> &'static str {
        "half_closed_connections"
    }

    fn claim(&self) -> &'static str {
        "one side ends its half of the connection, or both do, without a close frame: the server frees what it had for it, the client sees 1006, comes back and recovers"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Endings {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 1_200, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        stage.connect(2, |member| member % GROUPS > 2).await?;
        stage.publish("publish", 400, RATE, 1).await;
        let group = |n: u64| -> Vec<u64> { (0..connections).filter(|member| member % GROUPS == n).collect() };
        let hurt: u64 = (0..3).map(|n| group(n).len() as u64).sum();
        let end = |id: &str, aim: Aim, direction: Direction, n: u64| {
            let fault = Fault::new(id, Kind::Fin).aimed(aim).direction(direction);
            stage.faults.inject(fault.target(Target::Connections(group(n))))
        };
        let guards = [
            end("client_ends_its_half", Aim::At, Direction::Out, 0),
            end("server_seems_to_end_its_half", Aim::Reply("push".into()), Direction::In, 1),
            end("both_halves_end", Aim::Reply("push".into()), Direction::Both, 2),
        ];
        stage.publish("publish, connections end", 800, RATE, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        drop(guards);

        let (recoveries, breaks) = (stage.fleet.recoveries(), stage.fleet.breaks());
        let back = recoveries.response();
        let seen = breaks.get(&ABNORMAL).map_or(0, |breaks| breaks.count);
        let run = &mut stage.run;
        run.threshold(Threshold::exactly("ended and back", hurt as f64, "clients", SOURCE).measured(back.count as f64));
        run.threshold(Threshold::exactly("saw 1006", hurt as f64, "clients", SOURCE).measured(seen as f64));
        run.threshold(Threshold::at_most("back after the end, longest", 5_000.0, "ms", SOURCE).measured(back.max));
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        laws.push(Law::I13);
        stage.verdict(&laws).await
    }
}
