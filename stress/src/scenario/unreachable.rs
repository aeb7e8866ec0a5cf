//! A server that cannot be reached for a while: refused, or not answered at all.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use super::stage::{Stage, UNBROKEN};
use super::{Context, Scenario};
use crate::fault::Faults;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::FleetOptions;
use crate::monitor::ResourceMonitor;
use crate::proxy::{Closed, Hop};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const RATE: f64 = 200.0;
/// How long it cannot be reached.
const AWAY: Duration = Duration::from_secs(3);
/// What one attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// What the clock and a busy machine may add to it.
const LATE_MAX: Duration = Duration::from_millis(500);
/// Connections that the decoy's queue holds.
const BACKLOG: u32 = 4;

/// How the server is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The kernel refuses: nobody listens.
    Refused,
    /// The kernel drops what begins a connection: a queue is full that nobody empties.
    Dropped,
}

/// Clients that begin before there is a server.
pub(super) struct Unreachable {
    how: How,
}

impl Unreachable {
    pub(super) fn new(how: How) -> Self {
        Self { how }
    }

    /// Attempts of one client while it cannot be reached, at least and at most.
    fn attempts(&self, options: &FleetOptions) -> (u64, u64) {
        match self.how {
            // Full jitter draws delays from nothing to a ceiling that doubles from 200 ms to 2 s: five on average in three
            // seconds. Thirty would be a loop.
            How::Refused => (2, 30),
            // Each takes its whole time, and the kernel's own second try comes too late for it.
            How::Dropped => {
                let longest = options.connect_timeout + LATE_MAX + options.reconnect_max_delay;
                (div(AWAY, longest), div(AWAY, options.connect_timeout) + 1)
            }
        }
    }
}

fn div(whole: Duration, part: Duration) -> u64 {
    u64::try_from(whole.as_millis() / part.as_millis()).unwrap_or(u64::MAX)
}

impl Scenario for Unreachable {
    fn name(&self) -> &'static str {
        match self.how {
            How::Refused => "connect_refused",
            How::Dropped => "connect_unanswered",
        }
    }

    fn claim(&self) -> &'static str {
        match self.how {
            How::Refused => {
                "for three seconds nobody listens where 200 clients connect to: they back off with jitter instead of hammering, keep nothing, and are in as soon as somebody listens"
            }
            How::Dropped => {
                "for three seconds a full queue lets every connect hang: each attempt ends by the client's own deadline, nothing is left behind, and they are in as soon as the queue moves"
            }
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Unreachable {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let source = if self.how == How::Refused { "fault model, F1" } else { "fault model, F2" };
        let connections = context.scaled(200, 20);
        let topology = Topology { connections, channels: 10, ..Topology::default() };
        let workload = Workload { publishers: 10, publications: 400, rate: RATE, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let options = FleetOptions { connect_timeout: CONNECT_TIMEOUT, ..FleetOptions::default() };
        let (least, most) = self.attempts(&options);
        let mut stage = Stage::set(context, self, plan, ServerConfig::default(), options).await?;
        let closed = Closed::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        stage.fleet.through(&closed.address());
        stage.publishers(2).await?;
        let mut lab = ResourceMonitor::of_self()?;

        stage.progress.phase("connect to nobody", connections);
        let (decoy, waiting) = match self.how {
            How::Refused => (Decoy::default(), Err(closed)),
            How::Dropped => {
                let address = closed.address();
                let waiting = closed.listen(BACKLOG)?;
                (Decoy::fill(&address).await?, Ok(waiting))
            }
        };
        let before = lab.sample()?;
        stage.fleet.connect(0..connections, AWAY, |_| true, |_| {}).await;
        let after = lab.sample()?;
        let attempts: Vec<u64> = stage.fleet.members().iter().map(|client| client.stats().attempts).collect();
        let kept: usize = stage.fleet.members().iter().map(|client| client.stats().queued_commands).sum();
        let in_too_early = stage.fleet.live();
        // A connect under way, the decoy's own, and the runtime's.
        let descriptors = after.descriptors.saturating_sub(before.descriptors + decoy.held());
        drop(decoy);
        let server = stage.address().to_owned();
        // No faults in the hop: what hurts here is the kernel.
        let healthy = Faults::new(&Plan::default());
        let hop: Hop = match waiting {
            Err(closed) => closed.listen(4_096)?.accept(&server, healthy),
            Ok(waiting) => waiting.accept(&server, healthy),
        };
        stage.progress.phase("somebody is there", connections);
        let opened = stage.fleet.now();
        let all = stage.fleet.recorder().wait_live(connections, Duration::from_secs(20)).await;
        let took = if all { (stage.fleet.now() - opened).as_secs_f64() } else { f64::NAN };
        stage.publish("publish", 400, RATE, 1).await;
        stage.rest(Duration::from_secs(30), connections, connections).await?;

        let run = &mut stage.run;
        if in_too_early > 0 {
            run.inconclusive(format!("{in_too_early} got in while nobody was to be reached"));
        }
        let (fewest, highest) = (attempts.iter().min().copied(), attempts.iter().max().copied());
        let number = |count: Option<u64>| count.map_or(f64::NAN, |count| count as f64);
        run.threshold(
            Threshold::at_most("attempts of one client, most", most as f64, "", source).measured(number(highest)),
        );
        run.threshold(
            Threshold::at_least("attempts of one client, fewest", least as f64, "", source).measured(number(fewest)),
        );
        run.threshold(
            Threshold::at_most("commands that wait, of one client", 2.0, "", source)
                .measured(kept as f64 / connections as f64),
        );
        let held = Threshold::at_most("the lab's descriptors, of one client", 1.0, "", source)
            .measured(descriptors as f64 / connections as f64);
        // A small run may share its process with others, whose descriptors these are.
        run.threshold(if run.is_full() { held } else { held.goal() });
        // Its longest delay, one attempt, and a second for all of them to be served.
        run.threshold(Threshold::at_most("all in, once somebody was there", 5.0, "s", source).measured(took));
        run.number("attempts", attempts.iter().sum::<u64>() as f64);
        run.number("lab_cores_meanwhile", (after.cpu_seconds - before.cpu_seconds) / AWAY.as_secs_f64());
        let report = stage.verdict(&UNBROKEN).await;
        drop(hop);
        report
    }
}

/// Connections that fill a queue nobody empties.
#[derive(Debug, Default)]
struct Decoy(Vec<TcpStream>);

impl Decoy {
    /// Connects until the next one hangs.
    async fn fill(address: &str) -> anyhow::Result<Self> {
        let mut held = Vec::new();
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            held.push(connected?);
            anyhow::ensure!(held.len() <= 4 * BACKLOG as usize, "a queue of {BACKLOG} does not fill");
        }
        Ok(Self(held))
    }

    fn held(&self) -> u64 {
        self.0.len() as u64
    }
}
