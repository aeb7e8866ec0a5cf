//! Where it ends: one thing is doubled until an objective breaks, then the gap is halved, and the knee is told.
//!
//! Each rung has its own server and fleet, so that it owes nothing to the one before it. What broke may be the lab
//! and not the server: every rung says how many cores each of them used, and [`Bound`] who was short of what.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Faults;
use crate::fault::plan::{Plan, Topology, Workload};
use crate::fleet::{Fleet, FleetOptions};
use crate::machine::Machine;
use crate::monitor::{ResourceMonitor, Sample};
use crate::report::{markdown, number};
use crate::scenario::Context;
use crate::server::ServerConfig;

/// What the limits of a directory are called.
pub const FILE: &str = "limits.json";
/// A subscriber feels a delay above this as one.
pub const P99_OBJECTIVE_MS: f64 = 200.0;
/// Share of clients that must be in force.
const SHARE_OBJECTIVE: f64 = 0.999;
/// How long all may take to be so.
const CONNECT_OBJECTIVE: Duration = Duration::from_secs(30);
/// How long the last publications may be on their way.
const SETTLE_MAX: Duration = Duration::from_secs(20);
/// How often the gap between the last rung that held and the first that broke is halved: an eighth of an octave is left.
const HALVINGS: u32 = 3;
/// A load of which less was offered proves nothing.
const OFFERED_OBJECTIVE: f64 = 0.99;
/// What server and lab take in one message: twice as much as the largest payload.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// A process that uses so much of the machine is short of it.
const SATURATED: f64 = 0.9;
/// A server that gets less than this share of what the lab takes is kept from its work by the lab.
const LAB_SHARE: f64 = 0.5;

/// What is doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    /// Where it begins and where it ends, whatever holds, at full size.
    fn ends(self) -> (u64, u64) {
        match self {
            Self::Connections => (1_250, 19_000),
            Self::Subscriptions => (1_600, 409_600),
            Self::Rate => (62, 64_000),
            Self::Payload => (4 << 10, 8 << 20),
        }
    }

    /// Why it goes no further.
    fn end_reason(self) -> &'static str {
        match self {
            Self::Connections => "a process may have 20,000 descriptors",
            Self::Subscriptions => "each is a task of the lab, which has 4,096 of them for each client by then",
            Self::Rate => "nobody gets so far",
            Self::Payload => "half of what server and lab were told to accept",
        }
    }

    fn plan(self, context: &Context, rung: u64) -> Plan {
        let (connections, channels, each, rate, payload_bytes) = match self {
            Self::Connections => (rung, rung, 1, 200.0, 128),
            Self::Subscriptions => (100, (rung / 100).max(1), (rung / 100).max(1), 20.0, 128),
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rung {
    /// How much of what is doubled.
    pub size: u64,
    /// The objective that broke, if one did.
    pub broken: Option<String>,
    /// Delivery, 99 of 100, in milliseconds.
    pub p99_ms: f64,
    /// Share of the planned rate that the lab offered.
    pub offered: f64,
    /// Cores that the server used while publishing. `None`: it is not ours to watch.
    pub server_cores: Option<f64>,
    /// Cores that the lab used: a lab that is busy all the time measures itself.
    pub lab_cores: f64,
    /// The machine would not let the lab have it.
    pub clamped: bool,
}

/// Who was at the end of its means when an objective broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nobody: no objective broke on this ladder.
    Nothing,
    /// The lab: it had no descriptors, could not offer the load, or took several times as much of the machine as the server, which
    /// may be able to do more.
    Lab,
    /// All cores were in use, by server and lab together, and the server had its share.
    Machine,
    /// The server was, while the lab offered all of the load on a machine that had time left.
    Server,
}

impl Bound {
    fn of(rung: &Rung, cores: u64) -> Self {
        let server = rung.server_cores.unwrap_or(0.0);
        let used = server + rung.lab_cores;
        match rung {
            Rung { broken: None, .. } => Self::Nothing,
            Rung { clamped: true, .. } => Self::Lab,
            // Also where the machine has time left: how late a large payload is, is mostly the time of who works on it longest.
            Rung { server_cores: Some(server), .. } if *server < LAB_SHARE * rung.lab_cores => Self::Lab,
            _ if used >= SATURATED * cores as f64 => Self::Machine,
            _ if rung.offered < OFFERED_OBJECTIVE => Self::Lab,
            _ => Self::Server,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Nothing => "no objective broke",
            Self::Lab => "the lab was the limit, the server may be able to do more",
            Self::Machine => "the machine was the limit: server and lab share its cores",
            Self::Server => "the server was the limit",
        })
    }
}

/// What was found on one ladder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Climb {
    /// Which.
    pub ladder: Ladder,
    /// Its rungs, by size.
    pub rungs: Vec<Rung>,
}

impl Climb {
    /// The largest that held, with nothing smaller broken. 0: none did.
    #[must_use]
    pub fn knee(&self) -> u64 {
        self.rungs.iter().take_while(|rung| rung.broken.is_none()).last().map_or(0, |rung| rung.size)
    }

    /// Who was the limit, on a machine of so many cores.
    #[must_use]
    pub fn bound(&self, cores: u64) -> Bound {
        self.first_broken().map_or(Bound::Nothing, |rung| Bound::of(rung, cores))
    }

    fn first_broken(&self) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.broken.is_some())
    }

    /// What ended it, in words.
    #[must_use]
    pub fn end(&self, cores: u64) -> String {
        let bound = self.bound(cores);
        match self.first_broken().and_then(|rung| Some((rung.size, rung.broken.as_ref()?))) {
            Some((size, broken)) => format!("at {}: {broken}; {bound}", number::count(size)),
            None => format!("{bound}, and the ladder ends there: {}", self.ladder.end_reason()),
        }
    }
}

/// All that `stress limits` found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Where.
    pub machine: Machine,
    /// The commit.
    pub commit: String,
    /// The seed.
    pub seed: u64,
    /// Each ladder.
    pub climbs: Vec<Climb>,
}

impl Limits {
    /// For a document.
    #[must_use]
    pub fn document(&self) -> String {
        let cores = self.machine.cores;
        let mut parts = vec![format!(
            "One thing at a time is doubled until an objective breaks (p99 of a delivery {P99_OBJECTIVE_MS} ms, 99.9 % of all in force within \
             {CONNECT_OBJECTIVE:?}, everything delivered, nobody cut, the whole rate offered), then the gap is halved {HALVINGS} times. \
             Seed {:#x}, commit {}, {}. Again: `make limits`.",
            self.seed, self.commit, self.machine
        )];
        let knee = |climb: &Climb| vec![number::count(climb.knee()), climb.ladder.unit().to_owned(), climb.end(cores)];
        parts.push(markdown::table(&["the last that held", "of", "what ended it"], self.climbs.iter().map(knee)));
        for climb in &self.climbs {
            let row = |rung: &Rung| {
                let Rung { size, p99_ms, server_cores, lab_cores, .. } = rung;
                let server = server_cores.map_or_else(|| "not watched".to_owned(), |cores| format!("{cores:.2}"));
                let word = rung.broken.clone().unwrap_or_else(|| "held".to_owned());
                // Nothing arrived while it was published.
                let p99 = if *p99_ms > 0.0 { format!("{p99_ms:.1}") } else { "none".to_owned() };
                vec![number::count(*size), p99, server, format!("{lab_cores:.2}"), word]
            };
            let head = [climb.ladder.unit(), "p99 ms", "server's cores", "lab's cores", ""];
            parts.push(markdown::table(&head, climb.rungs.iter().map(row)));
        }
        parts.join("\n\n")
    }
}

/// Climbs until an objective breaks, and halves the gap.
///
/// # Errors
/// When there is no server to climb on.
pub async fn climb(
    ladder: Ladder,
    context: &Context,
    begins: impl Fn(u64),
    told: impl Fn(&Rung),
) -> anyhow::Result<Climb> {
    let mut rungs: Vec<Rung> = Vec::new();
    let (first, last) = ladder.ends();
    // A smaller run goes less far; how it begins is its own affair.
    let last = context.scaled(last, 20).min(last);
    let (mut size, mut held, mut broke) = (first.min(last), 0, None);
    let mut halvings = 0;
    loop {
        begins(size);
        let rung = stand(ladder, context, size).await?;
        told(&rung);
        match rung.broken {
            None => held = size,
            Some(_) => broke = Some(size),
        }
        rungs.push(rung);
        let next = match broke {
            None if size >= last => break,
            None => (size * 2).min(last),
            // Below the first rung there is no knee to be found.
            Some(_) if held == 0 || halvings == HALVINGS => break,
            Some(broke) => {
                halvings += 1;
                held + (broke - held) / 2
            }
        };
        if next == size || next == held {
            break;
        }
        size = next;
    }
    rungs.sort_by_key(|rung| rung.size);
    Ok(Climb { ladder, rungs })
}

async fn stand(ladder: Ladder, context: &Context, size: u64) -> anyhow::Result<Rung> {
    let plan = ladder.plan(context, size);
    // The limit that is looked for is the machine's, not a number in the configuration.
    let config = ServerConfig::default()
        .with("client.channel_limit", 1_000_000)
        .with("client.queue_max_size", 64 << 20)
        .with("websocket.message_size_limit", MESSAGE_BYTES_MAX);
    let server = context.subject(config).await?;
    let options = FleetOptions { message_bytes_max: MESSAGE_BYTES_MAX, ..FleetOptions::default() };
    let mut fleet = Fleet::new(&plan, Faults::new(&plan), server.address(), options);
    let connections = fleet.plan().topology.connections;
    let clamped = connections < plan.topology.connections;
    let mut broken = clamped.then(|| fleet.clamped.join("; "));
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
    let rested = fleet.settle(SETTLE_MAX, connected.subscribed).await;
    let p99_ms = latencies.response().p99;
    let tally = fleet.ledger().tally();
    let codes: Vec<String> = fleet.breaks().keys().map(u32::to_string).collect();
    let objectives = [
        (tally.failed > 0, format!("{} publishes were refused", tally.failed)),
        (tally.breaks > 0, format!("{} subscriptions were cut ({})", tally.breaks, codes.join(", "))),
        (!rested, format!("not everything had arrived {SETTLE_MAX:?} later")),
        (p99_ms > P99_OBJECTIVE_MS, format!("p99 {p99_ms:.0} ms is above {P99_OBJECTIVE_MS} ms")),
        (offered.ratio < OFFERED_OBJECTIVE, format!("the lab offered {:.3} of the rate", offered.ratio)),
    ];
    let first = objectives.into_iter().find(|(broke, _)| *broke).map(|(_, what)| what);
    fleet.close(Duration::from_secs(10)).await;
    let server_cores = server_before.zip(server_after).map(|(before, after)| cores(before, after));
    let (broken, lab_cores) = (broken.or(first), cores(lab_before, lab_after));
    Ok(Rung { size, broken, p99_ms, offered: offered.ratio, server_cores, lab_cores, clamped })
}

fn cores(before: Sample, after: Sample) -> f64 {
    (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at).max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(size: u64, broken: Option<&str>, offered: f64, server: f64, lab: f64) -> Rung {
        let broken = broken.map(str::to_owned);
        Rung { size, broken, p99_ms: 1.0, offered, server_cores: Some(server), lab_cores: lab, clamped: false }
    }

    #[test]
    fn the_knee_is_the_last_that_held_below_the_first_that_broke() {
        let climb = |rungs| Climb { ladder: Ladder::Rate, rungs };
        let broke = Some("p99");
        let rungs = vec![rung(1, None, 1.0, 0.1, 0.1), rung(2, broke, 1.0, 0.5, 0.5), rung(4, None, 1.0, 0.5, 0.5)];
        assert_eq!(climb(rungs).knee(), 1);
        assert_eq!(climb(vec![rung(1, broke, 1.0, 0.5, 0.5)]).knee(), 0);
    }

    #[test]
    fn what_ended_a_ladder_is_told() {
        let climb = |rungs| Climb { ladder: Ladder::Payload, rungs };
        let broken = climb(vec![rung(1_000, None, 1.0, 0.1, 0.1), rung(2_000, Some("p99 300 ms"), 1.0, 0.9, 0.5)]);
        assert_eq!(broken.end(2), "at 2,000: p99 300 ms; the server was the limit");
        assert!(
            climb(vec![rung(1, None, 1.0, 0.1, 0.1)]).end(2).starts_with("no objective broke, and the ladder ends")
        );
    }

    #[test]
    fn who_was_short_of_what_is_told() {
        let bound = |rung: Rung| Climb { ladder: Ladder::Rate, rungs: vec![rung] }.bound(2);
        assert_eq!(bound(rung(1, None, 1.0, 2.0, 0.0)), Bound::Nothing);
        assert_eq!(bound(rung(1, Some("x"), 1.0, 0.9, 0.5)), Bound::Server);
        assert_eq!(bound(rung(1, Some("x"), 0.5, 0.9, 0.5)), Bound::Lab);
        assert_eq!(bound(rung(1, Some("x"), 0.5, 1.0, 0.9)), Bound::Machine);
        assert_eq!(bound(rung(1, Some("x"), 1.0, 0.15, 1.75)), Bound::Lab);
        assert_eq!(bound(rung(1, Some("x"), 1.0, 0.28, 1.16)), Bound::Lab);
        assert_eq!(bound(Rung { server_cores: None, ..rung(1, Some("x"), 1.0, 0.0, 0.5) }), Bound::Server);
        assert_eq!(bound(Rung { clamped: true, ..rung(1, Some("x"), 1.0, 0.1, 0.1) }), Bound::Lab);
    }
}
