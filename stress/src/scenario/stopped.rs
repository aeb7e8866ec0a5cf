//! The server stops where it is, and goes on.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::process::{child, strike};
use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::plan::{Fault, Kind, Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F19";
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PONG_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter and longer than a pong may take.
const STOPS: [Duration; 2] = [Duration::from_millis(700), Duration::from_secs(4)];
const RATE: f64 = 200.0;

/// SIGSTOP, SIGCONT.
pub(super) struct Stopped;

impl Scenario for Stopped {
    fn name(&self) -> &'static str {
        "server_stopped_and_continued"
    }

    fn claim(&self) -> &'static str {
        "the server is stopped for less and for more than its clients have to answer a ping, and continued: nobody is sent away for it, and everything published meanwhile arrives"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Stopped {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 50);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let pauses: Duration = STOPS.iter().sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of publications")]
        let publications = ((pauses + 5 * PING_INTERVAL).as_secs_f64() * RATE) as u64;
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "2s").with("client.pong_timeout", "1s");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.connect(2, |_| true).await?;
        stage.progress.phase("publish, stopped twice", publications);
        let faults = stage.faults.clone();
        let (fleet, subject) = (&mut stage.fleet, &stage.subject);
        let server = child(subject)?;
        let stopping = async {
            for (n, stop) in STOPS.into_iter().enumerate() {
                tokio::time::sleep(PING_INTERVAL).await;
                let stopped = Fault::new(format!("server_stopped_{}", n + 1), Kind::Pause);
                let _held = strike(&faults, stopped, || server.pause())?;
                tokio::time::sleep(stop).await;
                server.resume()?;
            }
            anyhow::Ok(())
        };
        let (offered, stopped) = tokio::join!(fleet.publish(publications, RATE, 1, |_| {}), stopping);
        stopped?;
        stage.offered(offered);
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let breaks = stage.fleet.ledger().tally().breaks;
        let delivery = stage.fleet.latencies().response();
        let run = &mut stage.run;
        run.threshold(Threshold::exactly("connections that broke", 0.0, "", SOURCE).measured(breaks as f64));
        let longest = STOPS[1].as_secs_f64() * 1_000.0;
        run.threshold(
            Threshold::at_least("delivery, longest (the stop is real)", longest * 0.9, "ms", SOURCE)
                .measured(delivery.max),
        );
        run.threshold(
            Threshold::at_most("delivery, longest: the stop and two seconds", longest + 2_000.0, "ms", SOURCE)
                .measured(delivery.max),
        );
        run.number("pong_timeout_ms", PONG_TIMEOUT.as_secs_f64() * 1_000.0);
        stage.verdict(&UNBROKEN).await
    }
}
