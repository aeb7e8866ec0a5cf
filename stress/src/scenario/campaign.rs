//! Every fault at every moment of a conversation at which it makes sense, each on clients of its own.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::stage::{BREAKING, Stage};
use super::{Context, Scenario};
use crate::fault::plan::{Aim, Corruption, Direction, Fault, Kind, Latency, Plan, Target, Topology, Workload};
use crate::fault::sense::makes_sense;
use crate::fault::{FaultGuard, Faults};
use crate::fleet::{FleetOptions, PUBLISHER_CONNECTIONS};
use crate::oracle::Law;
use crate::report::Report;
use crate::server::ServerConfig;
use crate::threshold::Threshold;

const SOURCE: &str = "fault model, faults by aims";
const CHANNELS: u64 = 10;
/// Members that nothing is done to.
const BYSTANDERS: u64 = 100;
/// Publishers that nothing is done to.
const PUBLISHERS: u64 = 2;
/// A second, at full size and at small ones.
const RATES: [f64; 2] = [200.0, 50.0];
/// How long the faults hold: a dead link is noticed (five seconds at most), and tried again.
const LASTS: Duration = Duration::from_secs(8);
const DEADLINE: Duration = Duration::from_secs(2);

/// One cell of the matrix.
#[derive(Clone, Debug)]
struct Cell {
    kind: Kind,
    aim: Aim,
    direction: Direction,
}

/// The moments, and the way on which they come.
fn moments() -> Vec<(Aim, Direction)> {
    use Direction::{Both, In, Out};
    vec![
        (Aim::At, Both),
        (Aim::Connect, Both),
        (Aim::Handshake, In),
        (Aim::Command("subscribe".into()), Out),
        (Aim::Reply("connect".into()), In),
        (Aim::Reply("subscribe".into()), In),
        (Aim::Reply("push".into()), In),
        (Aim::Frame(3), In),
        (Aim::Byte(600), In),
        (Aim::MidHeader, In),
        (Aim::MidPayload, In),
        (Aim::RecoveredBatch, In),
        (Aim::FirstLiveAfterRecovery, In),
        (Aim::PublishUnacked, In),
        (Aim::Ping, In),
        (Aim::Close, Out),
    ]
}

fn kinds() -> Vec<Kind> {
    let millis = Duration::from_millis;
    vec![
        Kind::Reset,
        Kind::Fin,
        Kind::HalfOpen,
        Kind::Stall,
        Kind::Corrupt(Corruption::Rsv),
        Kind::Latency(Latency { min: millis(50), max: millis(300), correlation: 0.5 }),
        Kind::Spikes { turn_bad: 0.2, turn_good: 0.5, delays: vec![millis(100), millis(300)] },
        // Less than one publication at once, so that each feels it, and more than all of them together need.
        Kind::Bandwidth { bytes_per_second: 20_000, burst: 200, shared: false },
        Kind::Drip { bytes: 200, every: millis(10) },
        Kind::Slices { bytes: 1 },
        Kind::Coalesce { window: millis(150) },
        Kind::Yields { chance: 0.3 },
        Kind::Refuse,
        Kind::Blackhole,
    ]
}

impl Cell {
    /// Those that are felt.
    fn all() -> Vec<Self> {
        let pairs =
            kinds().into_iter().flat_map(|kind| moments().into_iter().map(move |moment| (kind.clone(), moment)));
        let cells = pairs.map(|(kind, (aim, direction))| Self { kind, aim, direction });
        cells.filter(Self::is_felt).collect()
    }

    /// Whether it makes sense, and does something that clients like these feel.
    fn is_felt(&self) -> bool {
        let felt = match (&self.kind, &self.aim) {
            // Behind a subscribe a client sends nothing that is large or often: only what any byte feels is felt.
            (Kind::Spikes { .. } | Kind::Bandwidth { .. } | Kind::Drip { .. }, Aim::Command(_)) => false,
            // This kind of corruption is of a frame.
            (Kind::Corrupt(_), aim) => aim.needs_frames(),
            // Behind a close frame nothing comes that could be late.
            (kind, Aim::Close) => matches!(kind, Kind::Reset | Kind::Fin | Kind::Stall | Kind::HalfOpen),
            _ => true,
        };
        felt && makes_sense(self.kind.name(), self.aim.family())
    }

    /// Whether its moment comes before the first subscription is in force.
    fn is_early(&self) -> bool {
        match &self.aim {
            Aim::Handshake | Aim::Command(_) | Aim::Frame(_) | Aim::Byte(_) => true,
            Aim::Reply(name) => name != "push",
            _ => false,
        }
    }

    /// Whether its moment comes only after a connection has been lost.
    fn needs_a_loss(&self) -> bool {
        matches!(self.aim, Aim::Connect | Aim::RecoveredBatch | Aim::FirstLiveAfterRecovery)
    }

    fn name(&self) -> String {
        let moment = match &self.aim {
            Aim::Reply(name) | Aim::Command(name) => format!("{}_{name}", self.aim.family()),
            aim => aim.family().to_owned(),
        };
        format!("{}_at_{moment}", self.kind.name())
    }

    fn inject(&self, faults: &Faults, targets: &[u64]) -> FaultGuard {
        let fault = Fault::new(self.name(), self.kind.clone()).aimed(self.aim.clone()).direction(self.direction);
        faults.inject(fault.target(Target::Connections(targets.to_vec())))
    }
}

/// See the module.
pub(super) struct Campaign;

impl Scenario for Campaign {
    fn name(&self) -> &'static str {
        "every_fault_at_every_moment"
    }

    fn claim(&self) -> &'static str {
        "each kind of fault strikes at each moment of a conversation, from the connect to the close, on clients of its own: all are back once it is over and miss nothing, and nobody else feels anything"
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, anyhow::Result<Report>> {
        self.go(context).boxed()
    }
}

impl Campaign {
    async fn go(&self, context: &Context) -> anyhow::Result<Report> {
        let each = context.scaled(3, 1);
        let rate = RATES[usize::from(context.scale < 0.5)];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of publications")]
        let publications = (LASTS.as_secs_f64() * rate) as u64;
        let mut members = BYSTANDERS..;
        let mut publishers = PUBLISHER_CONNECTIONS + PUBLISHERS..;
        let mut cells: Vec<(Cell, Vec<u64>)> = Vec::new();
        for cell in Cell::all() {
            let targets = match cell.aim {
                Aim::PublishUnacked => publishers.by_ref().take(1).collect(),
                _ => members.by_ref().take(usize::try_from(each).unwrap_or(1)).collect(),
            };
            cells.push((cell, targets));
        }
        let (connections, publishers) = (members.start, publishers.start - PUBLISHER_CONNECTIONS);
        let topology = Topology { connections, channels: CHANNELS, ..Topology::default() };
        let workload = Workload { publishers: publishers * CHANNELS, publications, rate, payload_bytes: 256 };
        let plan = Plan { seed: context.seed, topology, workload, faults: Vec::new() };
        let config = ServerConfig::default().with("client.ping_interval", "3s").with("client.pong_timeout", "2s");
        let options = FleetOptions {
            connect_timeout: DEADLINE,
            request_timeout: DEADLINE,
            pong_timeout: Duration::from_millis(1_500),
            ..FleetOptions::default()
        };
        let mut stage = Stage::set(context, self, plan, config, options).await?;
        let faults = stage.faults.clone();
        let begin = |which: &dyn Fn(&Cell) -> bool| -> Vec<FaultGuard> {
            cells.iter().filter(|(cell, _)| which(cell)).map(|(cell, targets)| cell.inject(&faults, targets)).collect()
        };
        let early = begin(&Cell::is_early);
        stage.connect(publishers, |member| member < BYSTANDERS).await?;
        let late = begin(&|cell| !cell.is_early() && cell.aim != Aim::Close);
        let again: Vec<u64> =
            cells.iter().filter(|(cell, _)| cell.needs_a_loss()).flat_map(|(_, targets)| targets.clone()).collect();
        let lost = Fault::new("so_that_they_connect_again", Kind::Reset).aimed(Aim::Reply("push".into()));
        let lost = faults.inject(lost.direction(Direction::In).target(Target::Connections(again)));
        stage.publish("publish, everything happens", publications, rate, 1).await;
        drop((early, late, lost));
        let closing = begin(&|cell| cell.aim == Aim::Close);
        stage.rest(Duration::from_secs(60), connections, connections).await?;

        let recoveries = stage.fleet.recoveries();
        let run = &mut stage.run;
        run.number("cells", cells.len() as f64);
        run.threshold(
            Threshold::exactly("subscriptions in force in the end", connections as f64, "", SOURCE)
                .measured(stage.fleet.live() as f64),
        );
        run.latencies("recovery", &recoveries);
        let mut laws = BREAKING.to_vec();
        laws.push(Law::I13);
        let report = stage.verdict(&laws).await;
        drop(closing);
        report
    }
}
