//! Everything at once that makes a link slow: half a second each way, 100 KB, a hundred subscribers.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Latency, Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 10";
const MEMBERS: u64 = 100;
const DELAY: Duration = Duration::from_millis(500);
const PAYLOAD_BYTES: usize = 100_000;
/// 2 MB a second to each subscriber, 200 MB a second altogether: a link's delay line holds 4 MB, so half a second of delay
/// would allow 8 MB a second.
const RATE: f64 = 20.0;

/// 500 ms on everything, 100 KB, 100 subscribers.
pub(super) struct FarAndLarge;

impl Scenario for FarAndLarge {
    fn name(&self) -> &'static str {
        "high_latency_large_payload_many_subscribers"
    }

    fn claim(&self) -> &'static str {
        "with 500 ms on every byte either way, 1,000 publications of 100 KB reach 100 subscribers whole, in order, and no later than the link makes them"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl FarAndLarge {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let members = context.scaled(MEMBERS, 5);
        let publications = context.scaled(1_000, 20);
        let topology = Topology { connections: members, channels: 1, history_size: 100, ..Topology::default() };
        let workload = Workload { publishers: 1, publications, rate: RATE, payload_bytes: PAYLOAD_BYTES };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("websocket.message_size_limit", 1 << 20);
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        let delay = Latency { min: DELAY, max: DELAY, correlation: 0.0 };
        let far = stage.faults.inject(Fault::new("far", Kind::Latency(delay)));
        let connected = stage.connect(1, |_| true).await?;
        stage.publish("publish", publications, RATE, 1).await;
        let resources = stage.rest(Duration::from_secs(60), members, members).await?;

        let delivery = stage.fleet.latencies().response();
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("members in force", members as f64, "", PLAN).measured(connected.subscribed as f64),
        );
        // Out from the publisher and in to the subscriber.
        let travel = 2.0 * DELAY.as_secs_f64() * 1_000.0;
        run.threshold(
            Threshold::at_least("delivery, median (the delay is real)", travel, "ms", PLAN).measured(delivery.p50),
        );
        run.threshold(
            Threshold::at_most("delivery, p99: the link and a second", travel + 1_000.0, "ms", PLAN)
                .measured(delivery.p99),
        );
        if let Some(server) = resources.get("server") {
            let grown = server.peak.resident_bytes.saturating_sub(server.initial.resident_bytes) as f64;
            // History is 10 MB; if each subscriber had its own copy of what is on its way, it would be 100 MB for one second.
            run.threshold(
                Threshold::at_most(
                    "server's memory for it",
                    100.0,
                    "MiB",
                    "half of one copy per subscriber and second",
                )
                .measured(grown / f64::from(1 << 20)),
            );
        }
        let report = stage.verdict(&UNBROKEN).await;
        drop(far);
        report
    }
}
