//! Peers that do not finish what they begin.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::chance::Seed;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::raw::{Message, RawPeer};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F4";
/// `http_server.handshake_timeout` and `client.stale_close_delay`.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the server may take beyond that.
const LATE_MAX: Duration = Duration::from_secs(1);
const STALE: u16 = 3502;
const REQUEST: &[u8] =
    b"GET /connection/websocket HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

/// Handshakes that never end.
pub(super) struct Handshakes;

impl Scenario for Handshakes {
    fn name(&self) -> &'static str {
        "slow_handshakes"
    }

    fn claim(&self) -> &'static str {
        "peers that say nothing, that drip their request, that stop in the middle of it or never open a session are sent away in time, each with what the protocol has for it, and cost nobody else anything"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Handshakes {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(200, 20);
        let each = context.scaled(200, 10);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 600, rate: 200.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config =
            ServerConfig::default().with("http_server.handshake_timeout", "1s").with("client.stale_close_delay", "1s");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.connect(2, |_| true).await?;
        let address = stage.address().to_owned();
        let mut peers = tokio::task::JoinSet::new();
        for n in 0..each {
            for how in [How::Silent, How::Dripping, How::HalfARequest, How::NoSession] {
                let (address, seed) = (address.clone(), context.seed);
                peers.spawn(async move { (how, misbehave(how, &address, seed, n).await) });
            }
        }
        stage.publish("publish among them", 600, 200.0, 1).await;
        let (mut longest, mut stale, mut kept, mut failed) = (Duration::ZERO, 0u64, 0u64, 0u64);
        while let Some(ended) = peers.join_next().await {
            match ended? {
                (_, Err(_)) => failed += 1,
                (_, Ok(None)) => kept += 1,
                (how, Ok(Some((took, code)))) => {
                    longest = longest.max(took);
                    stale += u64::from(how == How::NoSession && code == Some(STALE));
                }
            }
        }
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let run = &mut stage.run;
        if failed > 0 {
            run.inconclusive(format!("{failed} peers could not even begin"));
        }
        run.threshold(Threshold::exactly("peers that were not sent away", 0.0, "", SOURCE).measured(kept as f64));
        run.threshold(
            Threshold::at_most("sent away, longest", (PATIENCE + LATE_MAX).as_secs_f64(), "s", SOURCE)
                .measured(longest.as_secs_f64()),
        );
        run.threshold(
            Threshold::exactly("told 3502, of those without a session", each as f64, "", SOURCE).measured(stale as f64),
        );
        stage.verdict(&UNBROKEN).await
    }
}

/// How a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Silent,
    Dripping,
    HalfARequest,
    NoSession,
}

/// Misbehaves until it is sent away: after how long, and with which close code. `None`: it was not.
async fn misbehave(how: How, address: &str, seed: Seed, n: u64) -> std::io::Result<Option<(Duration, Option<u16>)>> {
    let mut stream = TcpStream::connect(address).await?;
    let began = Instant::now();
    let limit = 5 * (PATIENCE + LATE_MAX);
    let ended = match how {
        How::NoSession => {
            let mut peer = RawPeer::upgrade(stream, address, seed.chance(n, "no session")).await?;
            timeout(limit, peer.next()).await.map(|message| match message {
                Ok(Message::Close { code }) => Some(code),
                _ => None,
            })
        }
        How::Silent => timeout(limit, end(&mut stream)).await.map(|()| None),
        How::HalfARequest => {
            stream.write_all(&REQUEST[..REQUEST.len() / 2]).await?;
            timeout(limit, end(&mut stream)).await.map(|()| None)
        }
        How::Dripping => {
            let (mut input, mut output) = stream.split();
            let dripping = async {
                for byte in REQUEST {
                    // Nobody is there any more: the other half will see the end.
                    if output.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                std::future::pending::<()>().await;
            };
            timeout(limit, async {
                tokio::select! {
                    () = end(&mut input) => {},
                    () = dripping => {},
                }
            })
            .await
            .map(|()| None)
        }
    };
    Ok(ended.ok().map(|code| (began.elapsed(), code)))
}

/// Reads until the other side ends it, in whichever way.
async fn end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut buf = [0; 512];
    while matches!(stream.read(&mut buf).await, Ok(count) if count > 0) {}
}
