//! Subscribers that lag behind a burst.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Direction, Fault, Kind, Plan, Sessions, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const PLAN: &str = "plan, scenario 7";
const LAGGING: u64 = 100;
const HEALTHY: u64 = 10;
/// What may wait for one connection.
const QUEUE_BYTES: u64 = 128 << 10;
/// Publishes unanswered at one time.
const WINDOW: usize = 32;
const BURST: u64 = 100;
/// How long the memory of a recovery is watched, and how often it is looked at.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// 10,000 publications at once to 100 subscribers that do not read.
pub(super) struct Lagging;

impl Scenario for Lagging {
    fn name(&self) -> &'static str {
        "memory_saturation_event_queue"
    }

    fn claim(&self) -> &'static str {
        "10,000 publications go out as fast as possible to 100 subscribers that read nothing: what waits stays bounded, they are cut as slow, and once they read again they end up with every publication"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Lagging {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        // Few publications have to be large, or the kernel takes them all.
        let (publications, payload_bytes) = if context.scale < 0.5 {
            (context.scaled(10_000, 1_000), 2_500)
        } else {
            (context.scaled(10_000, 1), 1_000)
        };
        let lagging = context.scaled(LAGGING, 10);
        let connections = lagging + HEALTHY;
        // All of it is recovered at once: a client with room for less asks again for the rest, time after time.
        let sessions = Sessions { mailbox: 20_000, ..Sessions::default() };
        let topology = Topology { connections, channels: 1, history_size: 20_000, sessions, ..Topology::default() };
        let workload = Workload { publishers: 1, publications, rate: 0.0, payload_bytes };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default()
            .with("client.queue_max_size", QUEUE_BYTES)
            .with("client.recovery_max_publication_limit", 20_000);
        let options = FleetOptions {
            receive_buffer_bytes: Some(4 << 10),
            receive_buffer_below: lagging,
            message_bytes_max: 64 << 20,
            ..FleetOptions::default()
        };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        stage.connect(1, |member| member >= lagging).await?;
        let idle = stage.resident()?;
        // The kernel takes some for a reader that does not read (`http_server.send_buffer_size`); what comes then is our business.
        let stall = Fault::new("stalled_readers", Kind::Stall)
            .direction(Direction::In)
            .target(Target::Connections((0..lagging).collect()));
        let stalled = stage.faults.inject(stall);
        // As fast as those who do read can take it: they are not to lag behind a lab that is busy with itself.
        let mut healthy = true;
        stage.progress.phase("publish to those that do not read", publications);
        for burst in 1..=publications / BURST {
            stage.fleet.publish(BURST, 0.0, WINDOW, |_| {}).await;
            stage.progress.at(burst * BURST);
            healthy &= stage.fleet.wait_delivered(burst * BURST * HEALTHY, Duration::from_secs(10)).await;
        }
        let busy = stage.resident()?;
        let slow = stats::metric(stage.address(), "pubsub_slow_consumers_total").await?;
        let meanwhile = stage.fleet.reset_latencies();
        drop(stalled);
        stage.progress.phase("all of them recover", lagging);
        let (began, mut recovering) = (Instant::now(), busy);
        let due = publications / BURST * BURST * connections;
        while began.elapsed() < RECOVERY_MAX && !stage.fleet.wait_delivered(due, SAMPLE_EVERY).await {
            recovering = recovering.max(stage.resident()?);
        }
        stage.rest(Duration::from_secs(60), connections, connections).await?;

        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("cut as slow (3008), by the server", lagging as f64, "connections", PLAN).measured(slow),
        );
        run.threshold(
            Threshold::exactly("healthy ones had all of it meanwhile", 1.0, "", PLAN)
                .measured(f64::from(u8::from(healthy))),
        );
        // Frames are shared, so the bound is generous: as if nothing were.
        let history = publications as f64 * (payload_bytes + 300) as f64;
        let bound = history + (lagging * QUEUE_BYTES) as f64;
        run.threshold(
            Threshold::at_most("server's memory by history and queues, all lagging", 1.5, "times", PLAN)
                .measured((busy - idle) / bound),
        );
        // What is the same in their answers they share. Of little the allocator's steps are as much.
        let shared = Threshold::at_most("the same while all of them recover at once", 1.5, "times", PLAN)
            .measured((recovering - idle) / bound);
        run.threshold(if context.scale < 0.5 { shared.goal() } else { shared });
        let recoveries = stage.fleet.recoveries();
        stage.run.latencies("delivery to those that read, meanwhile", &meanwhile);
        stage.run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
