//! The server is killed, and what it kept in memory is gone.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage, restart};
use super::{Context, Scenario};
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::ledger::Event;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F18";
const RATE: f64 = 500.0;

/// SIGKILL in the middle of publishing.
pub(super) struct Killed;

impl Scenario for Killed {
    fn name(&self) -> &'static str {
        "server_killed"
    }

    fn claim(&self) -> &'static str {
        "the server is killed while publishing goes on and started again without its memory: every subscription is told that it cannot recover, none is told otherwise, and all go on in the new epoch"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Killed {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 50);
        let publications = context.scaled(4_000, 2_000);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        stage.connect(2, |_| false).await?;
        stage.progress.phase("publish, killed meanwhile", publications);
        let recorder = stage.fleet.recorder();
        let (fleet, subject) = (&mut stage.fleet, &mut stage.subject);
        let half = Duration::from_secs_f64(publications as f64 / RATE / 2.0);
        let killing = async {
            tokio::time::sleep(half).await;
            subject.server().ok_or_else(|| anyhow::anyhow!("no child"))?.kill()?;
            recorder.record(Event::Amnesia);
            let killed = tokio::time::Instant::now();
            restart(subject).await?;
            let back = recorder.wait_live(connections, Duration::from_secs(30)).await;
            anyhow::Ok((back, killed.elapsed()))
        };
        let (offered, killed) = tokio::join!(fleet.publish(publications, RATE, 1, |_| {}), killing);
        let (back, took) = killed?;
        stage.offered(offered);
        stage.look_again()?;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let tally = stage.fleet.ledger().tally();
        let recoveries = stage.fleet.recoveries();
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("told honestly that they cannot recover", connections as f64, "subscriptions", SOURCE)
                .measured(tally.unrecovered as f64),
        );
        run.threshold(
            Threshold::exactly("told that they recovered", 0.0, "subscriptions", SOURCE)
                .measured(tally.recoveries as f64),
        );
        let took = if back { took.as_secs_f64() } else { f64::NAN };
        run.threshold(Threshold::at_most("all back, from the kill", 5.0, "s", "issue 4, scenario 9").measured(took));
        run.number("publishes_of_unknown_outcome", tally.unknown as f64);
        run.number("publishes_failed", tally.failed as f64);
        run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING.map(|law| if law == Law::I5 { Law::I17 } else { law })).await
    }
}
