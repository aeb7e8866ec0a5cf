//! Writers that stop in the middle of a frame.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::chance::Seed;
use crate::fault::Faults;
use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::raw::{Message, RawPeer};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F10";
/// Peers are no members of the fleet: they are numbered from here.
const PEERS: u64 = 1 << 33;
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PONG_TIMEOUT: Duration = Duration::from_secs(1);
/// What the server gives a peer to answer its close frame, and a busy machine.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Of one frame, most of which never comes.
const FRAME_BYTES: usize = 60_000;
const NO_PONG: u16 = 3012;
const RATE: f64 = 200.0;

/// Half a frame, and then nothing.
pub(super) struct StalledWriters;

impl Scenario for StalledWriters {
    fn name(&self) -> &'static str {
        "stalled_writers"
    }

    fn claim(&self) -> &'static str {
        "peers stop in the middle of a frame and go on reading: the server still pings them, sends them away when no pong can come, and keeps no more of them than the frame they began"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

/// What a stalled writer saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    pings: u64,
    code: u16,
    after: Duration,
}

impl StalledWriters {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(200, 20);
        let peers = context.scaled(200, 10);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 1_200, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "2s").with("client.pong_timeout", "1s");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.connect(2, |_| true).await?;
        let numbers: Vec<u64> = (0..peers).map(|n| PEERS + n).collect();
        let stall =
            Fault::new("in_the_middle_of_a_frame", Kind::Stall).aimed(Aim::MidPayload).direction(Direction::Out);
        let before = stage.resident()?;
        let mut writing = tokio::task::JoinSet::new();
        // Their session is open when the fault begins: the next frame is the one that stalls.
        let mut ready = Vec::new();
        for &number in &numbers {
            ready.push(session(number, stage.address(), &stage.faults, context.seed).await?);
        }
        let stalled = stage.faults.inject(stall.target(Target::Connections(numbers)));
        for peer in ready {
            writing.spawn(half_a_frame(peer));
        }
        stage.publish("publish, others stop writing", 1_200, RATE, 1).await;
        let held = stage.resident()? - before;
        let mut all = Vec::new();
        while let Some(seen) = writing.join_next().await {
            all.push(seen??);
        }
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        drop(stalled);

        let run = &mut stage.run;
        let told = all.iter().filter(|seen| seen.code == NO_PONG).count() as f64;
        let pinged = all.iter().filter(|seen| seen.pings > 0).count() as f64;
        let longest = all.iter().map(|seen| seen.after).max().unwrap_or_default();
        run.threshold(Threshold::exactly("told 3012", peers as f64, "peers", SOURCE).measured(told));
        run.threshold(
            Threshold::exactly("pinged although they did not write", peers as f64, "peers", SOURCE).measured(pinged),
        );
        let most = PING_INTERVAL + PONG_TIMEOUT + LATE_MAX;
        run.threshold(
            Threshold::at_most("sent away, longest", most.as_secs_f64(), "s", SOURCE).measured(longest.as_secs_f64()),
        );
        run.threshold(
            Threshold::at_most("server's memory for each half frame", 2.0 * FRAME_BYTES as f64 / 1024.0, "KiB", SOURCE)
                .measured(held.max(0.0) / 1024.0 / peers as f64),
        );
        stage.verdict(&UNBROKEN).await
    }
}

type Peer = RawPeer<crate::fault::FaultyStream<TcpStream>>;

async fn session(number: u64, address: &str, faults: &Faults, seed: Seed) -> anyhow::Result<Peer> {
    let stream = faults.stream(number, TcpStream::connect(address).await?);
    let mut peer = RawPeer::upgrade(stream, address, seed.chance(number, "mask")).await?;
    peer.connect().await?;
    let answer = peer.next().await?;
    anyhow::ensure!(matches!(answer, Message::Replies(_)), "the session does not open: {answer:?}");
    Ok(peer)
}

/// Begins a frame, and reads until it is sent away.
async fn half_a_frame(mut peer: Peer) -> anyhow::Result<Seen> {
    let began = Instant::now();
    peer.send_frame(0x81, &vec![b' '; FRAME_BYTES]).await?;
    let mut seen = Seen::default();
    let reading = async {
        loop {
            match peer.next().await {
                Ok(Message::Close { code }) => {
                    seen.code = code;
                    break;
                }
                Ok(Message::End) | Err(_) => break,
                Ok(_) => seen.pings += 1,
            }
        }
    };
    let _late = timeout(10 * (PING_INTERVAL + PONG_TIMEOUT), reading).await;
    seen.after = began.elapsed();
    Ok(seen)
}
