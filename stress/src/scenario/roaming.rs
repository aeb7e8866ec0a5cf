//! Clients that come back from another address while the server still believes in the old one.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario, stats};
use crate::fault::plan::{Aim, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::{FleetOptions, channel_name};
use crate::ledger::Event;
use crate::oracle::Law;
use crate::report::Report;
use crate::server::{ServerConfig, http};
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F30";
const RATE: f64 = 200.0;
const CHANNELS: u64 = 10;
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PONG_TIMEOUT: Duration = Duration::from_secs(2);
/// After a ping that does not come a client gives up this soon, long before the server does.
const NOTICED: Duration = Duration::from_millis(500);

/// Another address, the same client.
pub(super) struct Roaming;

impl Scenario for Roaming {
    fn name(&self) -> &'static str {
        "address_change"
    }

    fn claim(&self) -> &'static str {
        "the links of a fifth of the clients go dead and they come back from another address, while the server still holds the old connections: for a while both are there, then one each, and presence tells of each once"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Roaming {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(500, 50);
        let topology = Topology { connections, channels: CHANNELS, ..Topology::default() };
        let workload = Workload { publishers: CHANNELS, publications: 2_400, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default()
            .with("channel.without_namespace.presence", true)
            .with("client.ping_interval", "3s")
            .with("client.pong_timeout", "2s");
        let options = FleetOptions { roams: true, pong_timeout: NOTICED, ..FleetOptions::default() };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        let roaming: Vec<u64> = context.seed.pick_percent("roaming", 0..connections, 20.0);
        stage.connect(2, |member| !roaming.contains(&member)).await?;
        stage.publish("publish", 400, RATE, 1).await;
        // The old link carries nothing any more, in either direction; a new one would.
        let dead = Fault::new("old_link_is_dead", Kind::HalfOpen).aimed(Aim::Reply("push".into()));
        let link = stage.faults.inject(dead.target(Target::Connections(roaming.clone())));
        stage.progress.phase("publish, they change address", 1_600);
        let address = stage.address().to_owned();
        let watching = async {
            let mut most = 0;
            for _ in 0..80 {
                most = stats::info(&address).await?.0.max(most);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(most)
        };
        let (offered, most) = tokio::join!(stage.fleet.publish(1_600, RATE, 1, |_| {}), watching);
        stage.offered(offered);
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        drop(link);

        let mut wrong = Vec::new();
        for channel in 0..CHANNELS {
            let params = json!({ "channel": channel_name(channel) });
            let told: Value = http::call(&address, "presence_stats", &params).await?;
            let told = told["num_clients"].as_u64();
            let members = (0..connections).filter(|member| member % CHANNELS == channel).count() as u64;
            if told != Some(members) {
                wrong.push(format!("channel {channel}: presence tells of {told:?}, and {members} are there"));
            }
        }
        stage.fleet.recorder().record(Event::Checked { law: Law::I18, count: CHANNELS, wrong });
        let (recoveries, twice) = (stage.fleet.recoveries(), most? - connections - 2);
        let back = recoveries.response();
        let run = &mut stage.run;
        if twice == 0 {
            run.inconclusive("no client was there twice: the old connections were gone before the new ones came");
        }
        run.number("clients_there_twice_at_most", twice as f64);
        run.threshold(
            Threshold::exactly("changed address and back", roaming.len() as f64, "clients", SOURCE)
                .measured(back.count as f64),
        );
        let most = (PING_INTERVAL + PONG_TIMEOUT).as_secs_f64() * 1_000.0 + 2_000.0;
        run.threshold(Threshold::at_most("back, since they knew", most, "ms", SOURCE).measured(back.max));
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        laws.extend([Law::I13, Law::I18]);
        stage.verdict(&laws).await
    }
}
