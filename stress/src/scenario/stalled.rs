//! Readers that stop reading, or read a few bytes at a time.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F9";
/// In a full run and in a small one, which is also run by a debug build that has no processor for itself.
const RATE: [f64; 2] = [200.0, 100.0];
const PAYLOAD_BYTES: usize = 16_000;

/// Two groups of slow readers among many.
pub(super) struct Stalled;

impl Scenario for Stalled {
    fn name(&self) -> &'static str {
        "stalled_readers"
    }

    fn claim(&self) -> &'static str {
        "some readers stop reading and some read 2 KB a second: they are cut as slow and recover, and the latency of all others stays what it was"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Stalled {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(100, 15);
        let rate = RATE[usize::from(context.scale < 0.5)];
        // 16 KB, at least 25 a second on each channel: what the kernel holds for both ends, and the queue, are full after 3 s.
        let publications = context.scaled(2_000, 800);
        let topology = Topology { connections, channels: 4, history_size: 1_000, ..Topology::default() };
        let workload = Workload { publishers: 4, publications, rate, payload_bytes: PAYLOAD_BYTES };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default()
            .with("client.queue_max_size", 512 << 10)
            // The bound is to be what cuts them.
            .with("websocket.write_timeout", "10s")
            .with("client.recovery_max_publication_limit", 1_000);
        let slow = connections / 5;
        let options = FleetOptions {
            // Enough for whoever reads; and it does not grow, as the kernel's default would, for those who will not.
            receive_buffer_bytes: Some(128 << 10),
            receive_buffer_below: slow,
            message_bytes_max: 64 << 20,
            ..FleetOptions::default()
        };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        stage.connect(2, |member| member >= slow).await?;
        stage.publish("publish, everybody reads", publications / 4, rate, 1).await;
        stage.fleet.wait_delivered(publications / 4 * connections / 4, Duration::from_secs(10)).await;
        let before = stage.fleet.reset_latencies();
        let readers = |from: u64, to: u64| Target::Connections((from..to).collect());
        let drip = Kind::Drip { bytes: 200, every: Duration::from_millis(100) };
        let stall = Fault::new("reads_nothing", Kind::Stall).direction(Direction::In).target(readers(0, slow / 2));
        let drip = Fault::new("reads_drop_by_drop", drip).direction(Direction::In).target(readers(slow / 2, slow));
        let guards = [stage.faults.inject(stall), stage.faults.inject(drip)];
        stage.publish("publish, some do not", publications * 3 / 4, rate, 1).await;
        let during = stage.fleet.reset_latencies();
        let cut = stats::metric(stage.address(), "pubsub_slow_consumers_total").await?;
        drop(guards);
        stage.rest(Duration::from_secs(60), connections, connections).await?;

        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("cut as slow (3008), by the server", slow as f64, "connections", SOURCE).measured(cut),
        );
        // The few that dripping readers still took are among them, so nine in ten is where the others are seen.
        let (quiet, busy) = (before.response().p90, during.response().p90);
        let limit = Threshold::at_most(
            "delivery to the others, p90, by what it was (5 ms at least)",
            2.0,
            "times",
            "fault model, I13",
        );
        let limit = limit.measured(busy.max(5.0) / quiet.max(5.0));
        // A few readers on a machine that does other things as well have no steady latency to compare with.
        run.threshold(if context.scale < 0.5 { limit.goal() } else { limit });
        run.latencies("delivery before", &before);
        run.latencies("delivery meanwhile", &during);
        let recoveries = stage.fleet.recoveries();
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
