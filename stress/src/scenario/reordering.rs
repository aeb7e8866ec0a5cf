//! Connections that overtake each other.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use pubsub_protocol::Publication;
use pubsub_protocol::reply::HistoryResult;
use serde_json::json;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::chance::Seed;
use crate::fault::plan::{Direction, Fault, Kind, Latency, Plan, Target, Topology, Workload};
use crate::fleet::{FleetOptions, PUBLISHER_CONNECTIONS, channel_name};
use crate::oracle::Law;
use crate::payload::Header;
use crate::report::Report;
use crate::server::{ServerConfig, http};
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F15";
const RATE: f64 = 200.0;
/// No common factor with the publishers' connections, so that each channel is published to from all of them.
const CHANNELS: u64 = 9;
/// Publishers on each channel, each on a connection of its own with its own delay.
const PUBLISHERS: u64 = 4;
/// Between the delays of two neighbours.
const STEP: Duration = Duration::from_millis(150);
/// Delays on the subscribers' side.
const DELAYS: u64 = 5;

/// Many publishers of one channel, all at different distances.
pub(super) struct Reordering;

impl Scenario for Reordering {
    fn name(&self) -> &'static str {
        "reordering_across_connections"
    }

    fn claim(&self) -> &'static str {
        "four publishers of each channel and all its subscribers are at different distances, so that what was sent first arrives last: each publisher's own order is kept, and every subscriber sees the same order"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Reordering {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let publications = context.scaled(1_600, 800);
        let topology = Topology { connections, channels: CHANNELS, ..Topology::default() };
        let workload = Workload { publishers: PUBLISHERS * CHANNELS, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        let mut guards = Vec::new();
        let latency = |n: u64| {
            let delay = STEP * u32::try_from(n).unwrap_or(0);
            Kind::Latency(Latency { min: delay, max: delay, correlation: 0.0 })
        };
        for n in 1..PUBLISHERS {
            let target = Target::Connections(vec![PUBLISHER_CONNECTIONS + n]);
            let fault = Fault::new(format!("publisher_{n}_is_far"), latency(n)).direction(Direction::Out);
            guards.push(stage.faults.inject(fault.target(target)));
        }
        for n in 1..DELAYS {
            let target = Target::Connections((0..connections).filter(|member| member % DELAYS == n).collect());
            let fault = Fault::new(format!("subscribers_{n}_are_far"), latency(n)).direction(Direction::In);
            guards.push(stage.faults.inject(fault.target(target)));
        }
        stage.connect(PUBLISHERS, |_| true).await?;
        stage.publish("publish from near and far", publications, RATE, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let overtaken = overtaken(stage.address(), context.seed).await?;
        let delivery = stage.fleet.latencies().response();
        let run = &mut stage.run;
        if overtaken == 0 {
            run.inconclusive("nothing arrived in another order than it was sent in");
        }
        run.number("publications_overtaken_on_their_way", overtaken as f64);
        let farthest = (STEP * u32::try_from(PUBLISHERS + DELAYS - 2).unwrap_or(0)).as_secs_f64() * 1_000.0;
        run.threshold(
            Threshold::at_most("delivery, p99: the longest way and a second", farthest + 1_000.0, "ms", SOURCE)
                .measured(delivery.p99),
        );
        let mut laws = UNBROKEN.to_vec();
        laws.push(Law::I10);
        let report = stage.verdict(&laws).await;
        drop(guards);
        report
    }
}

/// How many publications stand in a channel before one that was sent earlier.
async fn overtaken(address: &str, seed: Seed) -> anyhow::Result<usize> {
    let mut count = 0;
    for channel in 0..CHANNELS {
        let params = json!({ "channel": channel_name(channel), "limit": -1 });
        let history: HistoryResult = http::call(address, "history", &params).await?;
        let verify = |publication: &Publication| Header::verify(seed, publication.data.as_bytes()).ok();
        let sent: Vec<Duration> = history.publications.iter().filter_map(verify).map(|header| header.sent).collect();
        count += sent.windows(2).filter(|pair| pair[1] < pair[0]).count();
    }
    Ok(count)
}
