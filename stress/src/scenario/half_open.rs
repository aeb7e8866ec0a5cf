//! Peers that are gone without a word.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F5";
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PONG_TIMEOUT: Duration = Duration::from_secs(1);
/// What the server gives a peer to answer its close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const NO_PONG: &str = "pubsub_disconnects_total{code=\"3012\"}";
const RATE: f64 = 200.0;

/// A fifth of the links stop carrying anything.
pub(super) struct HalfOpen;

impl Scenario for HalfOpen {
    fn name(&self) -> &'static str {
        "half_open_peers"
    }

    fn claim(&self) -> &'static str {
        "a fifth of the links go dead without a word: the server notices within ping and pong, frees them, nobody else feels it, and once the links work again the clients recover everything"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl HalfOpen {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(1_000, 50);
        let publications = 2_000;
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "2s").with("client.pong_timeout", "1s");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        let fault = Fault::new("dead_links", Kind::HalfOpen).target(Target::Percent(20.0));
        let dead = stage.faults.targets(&fault).unwrap_or_default();
        stage.connect(2, |member| !dead.contains(&member)).await?;
        stage.publish("publish", publications / 5, RATE, 1).await;
        let guard = stage.faults.inject(fault);
        stage.progress.phase("publish over dead links", publications * 4 / 5);
        let began = tokio::time::Instant::now();
        let left = connections + 2 - dead.len() as u64;
        let address = stage.address().to_owned();
        let noticing = async {
            let mut noticed = None;
            loop {
                let no_pong = stats::metric(&address, NO_PONG).await?;
                if no_pong >= dead.len() as f64 {
                    noticed = noticed.or(Some(began.elapsed()));
                }
                let (clients, _) = stats::info(&address).await?;
                if clients <= left || began.elapsed() > 10 * PING_INTERVAL {
                    return anyhow::Ok((noticed, clients, began.elapsed()));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (offered, found) = tokio::join!(stage.fleet.publish(publications * 4 / 5, RATE, 1, |_| {}), noticing);
        let (noticed, clients, freed) = found?;
        stage.offered(offered);
        let no_pong = stats::metric(&address, NO_PONG).await?;
        drop(guard);
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let recoveries = stage.fleet.recoveries();
        let run = &mut stage.run;
        run.threshold(
            Threshold::exactly("connections left when the dead were noticed", left as f64, "", SOURCE)
                .measured(clients as f64),
        );
        // One whole interval until the next ping, its timeout, and half a second for a turn of the clock.
        let most = PING_INTERVAL + PONG_TIMEOUT + Duration::from_millis(500);
        let noticed = noticed.map_or(f64::NAN, |noticed| noticed.as_secs_f64());
        run.threshold(
            Threshold::at_most("until the last dead one was noticed", most.as_secs_f64(), "s", SOURCE)
                .measured(noticed),
        );
        run.threshold(
            Threshold::at_most("until the last one was gone", (most + CLOSE_TIMEOUT).as_secs_f64(), "s", SOURCE)
                .measured(freed.as_secs_f64()),
        );
        run.threshold(
            Threshold::exactly("closed with 3012, by the server", dead.len() as f64, "", SOURCE).measured(no_pong),
        );
        run.threshold(
            Threshold::at_most("back once the link works, longest", 5_000.0, "ms", SOURCE)
                .measured(recoveries.response().max),
        );
        run.latencies("recovery", &recoveries);
        stage.verdict(&BREAKING).await
    }
}
