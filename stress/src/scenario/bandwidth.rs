//! Links that carry only so many bytes a second.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F11";
/// One publication: 1 MB, as JSON.
const PAYLOAD_BYTES: usize = 1_000_000;
/// A member's own link: one publication a second.
const OWN_BYTES_PER_SECOND: u64 = 1 << 20;
/// The link that a group shares: its members get theirs one after the other.
const SHARED_BYTES_PER_SECOND: u64 = 8 << 20;
const BURST_BYTES: u64 = 64 << 10;
const MEMBERS: u64 = 30;
/// Longer than a publication takes, and much shorter than all of them.
const PONG_TIMEOUT: &str = "2500ms";
/// One every three seconds.
const RATE: f64 = 1.0 / 3.0;

/// 1 MB over slow links, pings in between.
pub(super) struct Bandwidth;

impl Scenario for Bandwidth {
    fn name(&self) -> &'static str {
        "bandwidth_caps"
    }

    fn claim(&self) -> &'static str {
        "publications of 1 MB go to members with 1 MB a second each and to members that share 8 MB a second: pings get through behind them in time, nobody is sent away, and each arrives when its link has carried it"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Bandwidth {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let members = context.scaled(MEMBERS, 6);
        let publications = context.scaled(4, 1);
        let topology = Topology { connections: members, channels: 1, history_size: 10, ..Topology::default() };
        let workload = Workload { publishers: 1, publications, rate: RATE, payload_bytes: PAYLOAD_BYTES };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default()
            .with("websocket.message_size_limit", 2 << 20)
            .with("client.queue_max_size", 4 << 20)
            .with("client.ping_interval", "3s")
            .with("client.pong_timeout", PONG_TIMEOUT);
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        let third = |n: u64| Target::Connections((0..members).filter(|member| member % 3 == n).collect());
        let cap = |id: &str, bytes_per_second: u64, shared: bool, n: u64| {
            let kind = Kind::Bandwidth { bytes_per_second, burst: BURST_BYTES, shared };
            stage.faults.inject(Fault::new(id, kind).direction(Direction::In).target(third(n)))
        };
        let guards = [
            cap("a_link_each", OWN_BYTES_PER_SECOND, false, 0),
            cap("one_link_for_all", SHARED_BYTES_PER_SECOND, true, 1),
        ];
        stage.connect(1, |_| true).await?;
        stage.publish("publish 1 MB at a time", publications, RATE, 1).await;
        stage.fleet.wait_delivered(publications * members, Duration::from_secs(20)).await;
        let delivery = stage.fleet.latencies();
        stage.rest(Duration::from_secs(30), members, members).await?;

        let breaks = stage.fleet.ledger().tally().breaks;
        let run = &mut stage.run;
        run.threshold(Threshold::exactly("connections that broke", 0.0, "", SOURCE).measured(breaks as f64));
        let response = delivery.response();
        let own = (PAYLOAD_BYTES as u64 - BURST_BYTES) as f64 / OWN_BYTES_PER_SECOND as f64 * 1_000.0;
        run.threshold(
            Threshold::at_least("delivery, longest (the cap is real)", own, "ms", SOURCE).measured(response.max),
        );
        let shared = (members / 3) as f64 * PAYLOAD_BYTES as f64 / SHARED_BYTES_PER_SECOND as f64 * 1_000.0;
        run.threshold(
            Threshold::at_most(
                "delivery, longest: the slower link and a second",
                own.max(shared) + 1_000.0,
                "ms",
                SOURCE,
            )
            .measured(response.max),
        );
        let report = stage.verdict(&UNBROKEN).await;
        drop(guards);
        report
    }
}
