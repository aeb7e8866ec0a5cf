//! More connects at once than the queue of the listener holds.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::monitor::listen_drops;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F3";
/// Connections that may wait for the server to accept them (`http_server.backlog`; 4,096 by default).
const BACKLOG: u64 = 8;
/// The kernel tries again after 1, 3 and 7 seconds.
const IN_MAX: Duration = Duration::from_secs(15);
const RATE: f64 = 200.0;

/// A herd at a small door.
pub(super) struct QueueOverflow;

impl Scenario for QueueOverflow {
    fn name(&self) -> &'static str {
        "accept_queue_overflow"
    }

    fn claim(&self) -> &'static str {
        "1,000 clients connect at one moment to a listener whose queue holds eight, while the server stands still: the kernel drops what does not fit and its clients try again, and all are in"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl QueueOverflow {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 60);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 400, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("http_server.backlog", BACKLOG);
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.publishers(2).await?;
        let before = listen_drops()?;
        stage.progress.phase("all connect while the server stands still", connections);
        let (fleet, subject) = (&mut stage.fleet, &stage.subject);
        let server = subject.server().ok_or_else(|| anyhow::anyhow!("the server is not a child of ours"))?;
        server.pause()?;
        let going_on = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.resume()
        };
        let (connected, resumed) = tokio::join!(fleet.connect(0..connections, IN_MAX, |_| true, |_| {}), going_on);
        resumed?;
        let dropped = listen_drops()? - before;
        stage.publish("publish", 400, RATE, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let attempts: u64 = stage.fleet.members().iter().map(|client| client.stats().attempts).sum();
        let run = &mut stage.run;
        if dropped == 0 {
            run.inconclusive("the queue did not overflow");
        }
        run.number("dropped_by_the_kernel", dropped as f64);
        run.number("attempts", attempts as f64);
        run.threshold(
            Threshold::exactly("in force", connections as f64, "clients", SOURCE).measured(connected.subscribed as f64),
        );
        run.threshold(
            Threshold::at_most("all in force: the kernel's fourth try", IN_MAX.as_secs_f64(), "s", SOURCE)
                .measured(connected.took.as_secs_f64()),
        );
        stage.verdict(&UNBROKEN).await
    }
}
