//! A box in the middle that forgets connections on which nothing has happened for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::Faults;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, F31";
/// After so long without a byte the box forgets a connection: what comes then goes nowhere, and nobody is told.
const FORGETS_AFTER: Duration = Duration::from_secs(2);
/// How long nothing is published.
const IDLE: Duration = Duration::from_secs(6);
/// How long a publication may take to show that a path is open.
const ARRIVES: Duration = Duration::from_secs(2);

/// Idle connections behind a box that forgets them.
pub(super) struct IdleTimeouts;

impl Scenario for IdleTimeouts {
    fn name(&self) -> &'static str {
        "idle_timeouts"
    }

    fn claim(&self) -> &'static str {
        "connections idle for three times as long as a box in the middle remembers them stay open, because pings pass more often than it forgets"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl IdleTimeouts {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        // Three descriptors of the lab for each: its own, and two of the box.
        let connections = context.scaled(500, 20);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 200, rate: 200.0, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "1s").with("client.pong_timeout", "900ms");
        let mut stage = Stage::set(context, self, plan, config, FleetOptions::default()).await?;
        let forgetful = Forgetful::before(stage.address()).await?;
        stage.fleet.through(&forgetful.address);
        stage.connect(2, |_| true).await?;
        stage.publish("publish", 100, 200.0, 1).await;
        stage.progress.phase("nothing happens", IDLE.as_secs());
        tokio::time::sleep(IDLE).await;
        stage.publish("publish again", 100, 200.0, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;
        let (breaks, forgotten) = (stage.fleet.ledger().tally().breaks, forgetful.forgotten.load(Relaxed));

        stage.progress.phase("the same without pings", 1);
        let lost = without_pings(context).await?;
        let run = &mut stage.run;
        if lost == 0 {
            run.inconclusive("without pings nothing was forgotten either: the box does not bite");
        }
        run.number("forgotten_without_pings", lost as f64);
        run.threshold(Threshold::exactly("connections that broke", 0.0, "", SOURCE).measured(breaks as f64));
        run.threshold(
            Threshold::exactly("connections that the box forgot", 0.0, "", SOURCE).measured(forgotten as f64),
        );
        let report = stage.verdict(&UNBROKEN).await;
        drop(forgetful);
        report
    }
}

/// How many of ten subscribers do not hear what is published after an idle while, where the server pings too seldom.
async fn without_pings(context: &Context) -> anyhow::Result<u64> {
    let topology = Topology { connections: 10, channels: 1, ..Topology::default() };
    let plan = Plan { seed: context.seed.derive("control", 0), topology, ..Plan::default() };
    let subject = context.subject(ServerConfig::default().with("client.ping_interval", "25s")).await?;
    let forgetful = Forgetful::before(subject.address()).await?;
    let mut fleet = Fleet::new(&plan, Faults::new(&plan), &forgetful.address, FleetOptions::default());
    fleet.connect(0..10, Duration::from_secs(10), |_| false, |_| {}).await;
    tokio::time::sleep(2 * FORGETS_AFTER).await;
    // The publisher has just come: only the subscribers have been forgotten.
    fleet.connect_publishers(1, Duration::from_secs(10)).await?;
    fleet.publish(1, 0.0, 1, |_| {}).await;
    fleet.wait_delivered(10, ARRIVES).await;
    let lost = 10 - fleet.delivered().min(10);
    fleet.close(Duration::from_secs(1)).await;
    Ok(lost)
}

/// Passes bytes on to a server, as long as it remembers the connection.
struct Forgetful {
    address: String,
    forgotten: Arc<AtomicU64>,
    /// Dropping it ends every connection through it.
    _accepting: JoinSet<()>,
}

impl Forgetful {
    async fn before(server: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (server, forgotten) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&forgotten);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut flows = JoinSet::new();
            while let Ok((inside, _)) = listener.accept().await {
                while flows.try_join_next().is_some() {}
                flows.spawn(pass(inside, server.clone(), Arc::clone(&counted)));
            }
        });
        Ok(Self { address, forgotten, _accepting: accepting })
    }
}

/// One connection, until both ends have closed it.
async fn pass(inside: TcpStream, server: String, forgotten: Arc<AtomicU64>) {
    let Ok(outside) = TcpStream::connect(server).await else { return };
    // Small frames are sent one by one, as the two ends would.
    let _best_effort = (inside.set_nodelay(true), outside.set_nodelay(true));
    let began = Instant::now();
    let memory = Memory { began, last_ms: AtomicU64::new(0), counted: AtomicU64::new(0), forgotten };
    let ((inside_read, inside_write), (outside_read, outside_write)) = (inside.into_split(), outside.into_split());
    tokio::join!(way(inside_read, outside_write, &memory), way(outside_read, inside_write, &memory));
}

/// What the box knows of a connection.
struct Memory {
    began: Instant,
    last_ms: AtomicU64,
    counted: AtomicU64,
    forgotten: Arc<AtomicU64>,
}

impl Memory {
    /// Something comes: whether the box still knows where it belongs.
    fn knows(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.counted.load(Relaxed) == 0
            && u128::from(now - self.last_ms.load(Relaxed).min(now)) < FORGETS_AFTER.as_millis()
        {
            self.last_ms.store(now, Relaxed);
            return true;
        }
        if self.counted.swap(1, Relaxed) == 0 {
            self.forgotten.fetch_add(1, Relaxed);
        }
        false
    }
}

async fn way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, memory: &Memory) {
    let mut buf = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut buf).await {
        if count == 0 {
            break;
        }
        // A connection that is not known any more swallows everything.
        if memory.knows() && to.write_all(&buf[..count]).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
}
