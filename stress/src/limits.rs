//! Where it ends: one thing is doubled until an objective breaks, and the knee is told.
//!
//! Each ladder has its own server and fleet on every rung, so that a rung owes nothing to the one before it. What broke may be
//! the lab and not the server; a rung on which the load was not offered says so.

use std::time::Duration;

use crate::fault::Faults;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::monitor::{ResourceMonitor, Sample};
use crate::scenario::Context;
use crate::server::ServerConfig;

/// A subscriber feels a delay above this as one.
pub const P99_OBJECTIVE_MS: f64 = 200.0;
/// Share of clients that must be in force.
const SHARE_OBJECTIVE: f64 = 0.999;
/// How long all may take to be so.
const CONNECT_OBJECTIVE: Duration = Duration::from_secs(30);

/// What is doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ladder {
    /// Connections, each on a channel of its own.
    Connections,
    /// Subscriptions of 100 clients.
    Subscriptions,
    /// Publications a second to 100 subscribers.
    Rate,
    /// Bytes of a payload to 20 subscribers.
    Payload,
}

impl Ladder {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Subscriptions, Self::Rate, Self::Payload];

    /// What is counted on it.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Subscriptions => "subscriptions",
            Self::Rate => "publications/s to 100 subscribers",
            Self::Payload => "bytes of payload",
        }
    }

    fn first(self) -> u64 {
        match self {
            Self::Connections => 1_250,
            Self::Subscriptions => 1_600,
            Self::Rate => 62,
            Self::Payload => 4 << 10,
        }
    }

    /// Not further than this, whatever holds: descriptors, the channel limit of the server, patience.
    fn last(self) -> u64 {
        match self {
            Self::Connections => 19_000,
            Self::Subscriptions => 12_800,
            Self::Rate => 64_000,
            Self::Payload => 8 << 20,
        }
    }

    fn plan(self, context: &Context, rung: u64) -> Plan {
        let (connections, channels, each, rate, payload_bytes) = match self {
            Self::Connections => (rung, rung, 1, 200.0, 128),
            Self::Subscriptions => (100, rung / 100, rung / 100, 20.0, 128),
            Self::Rate => (100, 10, 10, rung as f64, 128),
            Self::Payload => (20, 1, 1, 5.0, usize::try_from(rung).unwrap_or(usize::MAX)),
        };
        // Two seconds of it.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let publications = (rate * 2.0) as u64;
        let topology = Topology { connections, channels, subscriptions_each: each, ..Topology::default() };
        let workload = Workload { publishers: channels, publications, rate, payload_bytes };
        Plan { seed: context.seed, topology, workload, faults: Vec::new() }
    }
}

/// One rung.
#[derive(Clone, Debug)]
pub struct Rung {
    /// How much of what is doubled.
    pub size: u64,
    /// The objective that broke, if one did.
    pub broken: Option<String>,
    /// Delivery, 99 of 100, in milliseconds.
    pub p99_ms: f64,
    /// Cores that the server used while publishing. `None`: it is not ours to watch.
    pub server_cores: Option<f64>,
    /// Cores that the lab used: a lab that is busy all the time measures itself.
    pub lab_cores: f64,
}

/// Climbs until an objective breaks. The rungs, the last of which is the broken one if any is.
///
/// # Errors
/// When there is no server to climb on.
pub async fn climb(ladder: Ladder, context: &Context, told: impl Fn(&Rung)) -> anyhow::Result<Vec<Rung>> {
    let mut rungs = Vec::new();
    let mut size = ladder.first();
    loop {
        let rung = stand(ladder, context, size).await?;
        told(&rung);
        let broken = rung.broken.is_some();
        rungs.push(rung);
        if broken || size >= ladder.last() {
            return Ok(rungs);
        }
        size = (size * 2).min(ladder.last());
    }
}

async fn stand(ladder: Ladder, context: &Context, size: u64) -> anyhow::Result<Rung> {
    let plan = ladder.plan(context, size);
    // The limit that is looked for is the machine's, not a number in the configuration.
    let config = ServerConfig::default()
        .with("client.channel_limit", 1_000_000)
        .with("client.queue_max_size", 64 << 20)
        .with("websocket.message_size_limit", 16 << 20);
    let server = context.subject(config).await?;
    let mut fleet = Fleet::new(&plan, Faults::new(&plan), server.address(), FleetOptions::default());
    let connections = fleet.plan().topology.connections;
    let mut broken = (connections < plan.topology.connections).then(|| fleet.clamped.join("; "));
    let connected = fleet.connect(0..connections, CONNECT_OBJECTIVE, |_| true, |_| {}).await;
    if (connected.subscribed as f64) < connected.wanted as f64 * SHARE_OBJECTIVE {
        let (have, of) = (connected.subscribed, connected.wanted);
        broken.get_or_insert_with(|| format!("{have} of {of} in force after {CONNECT_OBJECTIVE:?}"));
    }
    fleet.connect_publishers(2, Duration::from_secs(10)).await?;
    let mut watched = server.server().and_then(|server| ResourceMonitor::of(server.pid()).ok());
    let mut lab = ResourceMonitor::of_self()?;
    let (server_before, lab_before) = (watched.as_mut().and_then(|w| w.sample().ok()), lab.sample()?);
    let offered = fleet.publish(plan.workload.publications, plan.workload.rate, 1, |_| {}).await;
    let (server_after, lab_after) = (watched.as_mut().and_then(|w| w.sample().ok()), lab.sample()?);
    let latencies = fleet.latencies();
    let rested = fleet.settle(Duration::from_secs(20), connected.subscribed).await;
    let p99_ms = latencies.response().p99;
    let tally = fleet.ledger().tally();
    let objectives = [
        (tally.failed > 0, format!("{} publishes were refused", tally.failed)),
        (p99_ms > P99_OBJECTIVE_MS, format!("p99 {p99_ms:.0} ms is above {P99_OBJECTIVE_MS} ms")),
        (offered.ratio < 0.99, format!("the lab offered {:.3} of the rate", offered.ratio)),
        (!rested, "not everything had arrived 20 s later".to_owned()),
        (tally.breaks > 0, format!("{} subscriptions were cut", tally.breaks)),
    ];
    let first = objectives.into_iter().find(|(broke, _)| *broke).map(|(_, what)| what);
    fleet.close(Duration::from_secs(10)).await;
    let server_cores = server_before.zip(server_after).map(|(before, after)| cores(before, after));
    Ok(Rung { size, broken: broken.or(first), p99_ms, server_cores, lab_cores: cores(lab_before, lab_after) })
}

fn cores(before: Sample, after: Sample) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at).max(1e-3)
}
