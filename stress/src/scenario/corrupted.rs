//! Bits that change on the way, in either direction.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::chance::Seed;
use crate::fault::Faults;
use crate::fault::plan::{Aim, Corruption, Direction, Fault, Kind, Plan, Target, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::oracle::Law;
use crate::raw::{Message, RawPeer};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F16";
/// Peers that send what is corrupted are no members of the fleet: they are numbered from here.
const PEERS: u64 = 1 << 33;
/// `websocket.message_size_limit`; see `How::TooLong`.
const LIMIT_BYTES: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(10);
const RATE: f64 = 200.0;
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a peer does wrong, and what it must be told for it.
const SENT: [(How, &[u16]); 6] = [
    (How::Flipped(Corruption::Rsv), &[1002]),
    (How::Flipped(Corruption::Opcode), &[1002]),
    (How::Flipped(Corruption::Mask), &[1002]),
    (How::Flipped(Corruption::Utf8), &[1007]),
    // A length that is wrong takes what follows for something else: whatever that turns out to be, or nothing.
    (How::Flipped(Corruption::Length), &[1002, 1007, 1009, 3501, 3012]),
    (How::TooLong, &[1009]),
];
/// What arrives at members damaged, a tenth of them each. A flipped bit of a payload is nobody's to see but the reader's.
const RECEIVED: [Corruption; 4] = [Corruption::Rsv, Corruption::Opcode, Corruption::Mask, Corruption::Utf8];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Flipped(Corruption),
    TooLong,
}

/// Corruption both ways.
pub(super) struct Corrupted;

impl Scenario for Corrupted {
    fn name(&self) -> &'static str {
        "corrupted_frames"
    }

    fn claim(&self) -> &'static str {
        "bits of frames change on their way: whoever sends one is told 1002, 1007 or 1009 by the server, whoever receives one begins anew and recovers, and nobody else is hurt"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Corrupted {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let connections = context.scaled(400, 40);
        let each = context.scaled(20, 3);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 1_200, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default()
            .with("websocket.message_size_limit", LIMIT_BYTES)
            .with("client.ping_interval", "2s")
            .with("client.pong_timeout", "1s");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        stage.connect(2, |member| member % 10 >= RECEIVED.len() as u64).await?;
        stage.publish("publish", 400, RATE, 1).await;
        let mut guards = Vec::new();
        for (group, kind) in (0..).zip(RECEIVED) {
            let target = Target::Connections((0..connections).filter(|member| member % 10 == group).collect());
            let fault = Fault::new(format!("received_{}", name(kind)), Kind::Corrupt(kind)).direction(Direction::In);
            guards.push(stage.faults.inject(fault.aimed(Aim::Reply("push".into())).target(target)));
        }
        let mut peers = tokio::task::JoinSet::new();
        for (group, (how, _)) in (0..).zip(SENT) {
            let numbers: Vec<u64> = (0..each).map(|n| PEERS + group * each + n).collect();
            if let How::Flipped(kind) = how {
                let fault = Fault::new(format!("sent_{}", name(kind)), Kind::Corrupt(kind)).direction(Direction::Out);
                let fault = fault.aimed(Aim::Command("subscribe".into())).target(Target::Connections(numbers.clone()));
                guards.push(stage.faults.inject(fault));
            }
            for number in numbers {
                let (address, faults, seed) = (stage.address().to_owned(), stage.faults.clone(), context.seed);
                peers.spawn(async move { (how, told(how, number, &address, &faults, seed).await) });
            }
        }
        stage.publish("publish, frames damaged", 800, RATE, 1).await;
        let mut codes: BTreeMap<How, BTreeMap<u16, u64>> = BTreeMap::new();
        while let Some(peer) = peers.join_next().await {
            let (how, code) = peer?;
            *codes.entry(how).or_default().entry(code?).or_default() += 1;
        }
        drop(guards);
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let recoveries = stage.fleet.recoveries();
        let run = &mut stage.run;
        for (how, expected) in SENT {
            let told = codes.remove(&how).unwrap_or_default();
            let right: u64 = told.iter().filter(|(code, _)| expected.contains(code)).map(|(_, count)| count).sum();
            let words: Vec<String> = expected.iter().map(u16::to_string).collect();
            let what = match how {
                How::Flipped(kind) => format!("told {} for a damaged {}", words.join(" or "), name(kind)),
                How::TooLong => "told 1009 for a message that is too long".to_owned(),
            };
            run.threshold(Threshold::exactly(&what, each as f64, "peers", SOURCE).measured(right as f64));
            for (code, count) in told {
                run.number(&format!("{}_told_{code}", how.word()), count as f64);
            }
        }
        let back = recoveries.response();
        run.threshold(
            Threshold::at_most("back after a damaged frame, longest", 5_000.0, "ms", SOURCE).measured(back.max),
        );
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        laws.push(Law::I13);
        stage.verdict(&laws).await
    }
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Flipped(kind) => name(kind),
            Self::TooLong => "too_long",
        }
    }
}

fn name(kind: Corruption) -> &'static str {
    match kind {
        Corruption::Length => "length",
        Corruption::Opcode => "opcode",
        Corruption::Rsv => "reserved_bit",
        Corruption::Mask => "mask_bit",
        Corruption::Utf8 => "text",
        Corruption::Payload => "payload",
        Corruption::Byte => "byte",
    }
}

/// Sends something wrong, and returns the code of the close frame that comes for it: 0 if there is none.
async fn told(how: How, number: u64, address: &str, faults: &Faults, seed: Seed) -> anyhow::Result<u16> {
    let stream = faults.stream(number, TcpStream::connect(address).await?);
    let mut peer = RawPeer::upgrade(stream, address, seed.chance(number, "mask")).await?;
    peer.connect().await?;
    let answer = timeout(ANSWER_MAX, peer.next()).await??;
    anyhow::ensure!(matches!(answer, Message::Replies(_)), "the session does not open: {answer:?}");
    match how {
        How::Flipped(_) => {
            peer.subscribe("lab0", None).await?;
        }
        How::TooLong => peer.send_frame(0x81, &vec![b' '; LIMIT_BYTES + 1]).await?,
    }
    let closed = timeout(PATIENCE, async {
        loop {
            match peer.next().await {
                Ok(Message::Close { code }) => return code,
                Ok(Message::End) | Err(_) => return 0,
                Ok(_) => {}
            }
        }
    });
    Ok(closed.await.unwrap_or(0))
}
