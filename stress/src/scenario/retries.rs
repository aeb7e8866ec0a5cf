//! Publishes that are sent again because their answer was lost.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::chance::Chance;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::ledger::{Outcome, Place};
use crate::oracle::Law;
use crate::report::Report;
use crate::server::{ServerConfig, http};
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F32";
/// Share of answers that are lost after the server has done its work, and of requests that nobody waits for at all.
const ANSWERS_LOST: f64 = 0.3;
const GIVEN_UP: f64 = 0.2;
/// Tries of one publish.
const TRIES_MAX: u32 = 20;
/// In which the same is done without keys.
const CONTROL: &str = "control";

/// The answer to a publish is lost, and it is sent again.
pub(super) struct Retries;

impl Scenario for Retries {
    fn name(&self) -> &'static str {
        "retried_publishes"
    }

    fn claim(&self) -> &'static str {
        "half of the publishes lose their answer and are sent again under the same idempotency key: each is in its channel once, at the place that every answer tells"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Retries {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(100, 20);
        let publications = context.scaled(2_000, 200);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications, rate: 0.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), FleetOptions::default()).await?;
        stage.connect(1, |_| true).await?;
        let address = stage.address().to_owned();

        stage.progress.phase("publish, and again", publications);
        let mut chance = context.seed.chance(0, "lost answers");
        let mut repeated = 0u64;
        for n in 0..publications {
            let due = stage.fleet.now();
            let (id, channel, payload) = stage.fleet.next_publication(n % 10, due);
            let data: Value = serde_json::from_str(&payload)?;
            let params = json!({ "channel": channel, "data": data, "idempotency_key": id.to_string() });
            let (tries, result) = publish(&address, &params, &mut chance).await?;
            repeated += u64::from(tries > 1);
            let outcome = result.map_or(Outcome::Unknown, |result| {
                let epoch = result["epoch"].as_str().unwrap_or_default().into();
                Outcome::Ok(Some(Place { epoch, offset: result["offset"].as_u64().unwrap_or(0) }))
            });
            stage.fleet.publication_done(id, outcome);
            stage.progress.at(n);
        }
        let doubled = control(context, publications / 10).await?;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let tally = stage.fleet.ledger().tally();
        let run = &mut stage.run;
        if repeated == 0 {
            run.inconclusive("no publish was sent twice");
        }
        if doubled == 0 {
            run.inconclusive("without keys nothing was doubled either: the keys were not what helped");
        }
        run.number("publishes_sent_more_than_once", repeated as f64);
        run.number("doubled_without_keys", doubled as f64);
        run.threshold(
            Threshold::exactly("publishes of unknown outcome in the end", 0.0, "", SOURCE)
                .measured(tally.unknown as f64),
        );
        let once = (publications + 10) * connections / 10;
        run.threshold(
            Threshold::exactly("deliveries: each publication once to each subscriber", once as f64, "", SOURCE)
                .measured(tally.pushed as f64),
        );
        stage.verdict(&BREAKING.map(|law| if law == Law::I5 || law == Law::I7 { Law::I13 } else { law })).await
    }
}

/// Publishes until an answer is read; how many tries that took.
async fn publish(address: &str, params: &Value, chance: &mut Chance) -> anyhow::Result<(u32, Option<Value>)> {
    for tries in 1..=TRIES_MAX {
        let fate = chance.uniform();
        if fate < ANSWERS_LOST + GIVEN_UP {
            lose(address, params, fate < ANSWERS_LOST).await?;
            continue;
        }
        return Ok((tries, Some(http::call(address, "publish", params).await?)));
    }
    Ok((TRIES_MAX, None))
}

/// Sends a publish and does not read its answer, or not more than its first byte.
async fn lose(address: &str, params: &Value, answered: bool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let body = params.to_string();
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    if answered {
        // The first byte of the answer: the work is done.
        let _byte = stream.read_u8().await?;
    }
    Ok(())
}

/// The same without keys, on a server of its own: how many publications are in the channel beyond those meant.
async fn control(context: &Context, publications: u64) -> anyhow::Result<u64> {
    let subject = context.subject(ServerConfig::default()).await?;
    let mut chance = context.seed.chance(0, "control");
    for n in 0..publications {
        publish(subject.address(), &json!({ "channel": CONTROL, "data": n }), &mut chance).await?;
    }
    let history: Value = http::call(subject.address(), "history", &json!({ "channel": CONTROL, "limit": 0 })).await?;
    Ok(history["offset"].as_u64().unwrap_or(0).saturating_sub(publications))
}
