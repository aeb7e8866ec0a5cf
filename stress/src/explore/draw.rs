//! A plan from a seed: a swarm. Each run leaves much out, so that what it has can be much.

use std::time::Duration;

use super::Options;
use crate::chance::{Chance, Seed};
use crate::fault::plan::{
    Aim, Corruption, Direction, Fault, Kind, Latency, Mutation, Plan, Sessions, Target, Topology, Workload,
};
use crate::virtual_time::world::FRAME_BYTES;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Chance that a kind of fault takes part in a run.
const ACTIVE: f64 = 0.25;
/// Faults of one kind in a run at most.
const EACH_MAX: u64 = 4;

/// The plan of this seed.
#[must_use]
pub fn draw(seed: Seed, options: &Options) -> Plan {
    let mut chance = seed.chance(0, "swarm");
    let mut topology = topology(&mut chance);
    if options.strained {
        strain(&mut topology, &mut seed.chance(0, "strain"));
    }
    let workload = workload(&mut chance, &topology);
    // A burst that is more than may wait for one connection is too much for it without any fault.
    let fits = (topology.sessions.queue_bytes / (workload.payload_bytes + FRAME_BYTES)).max(1) as u64;
    topology.sessions.burst = pick(&mut seed.chance(0, "burst"), &[1, 1, 4, 16]).min(fits);
    topology.sessions.protobuf = pick(&mut seed.chance(0, "protobuf"), &[0.0, 0.5, 0.5, 1.0]);
    let load = Duration::from_secs_f64(workload.publications as f64 / workload.rate);
    let mut plan = Plan { seed, topology, workload, faults: Vec::new() };
    for name in Kind::virtual_names() {
        let wanted =
            if options.faults.is_empty() { name != "mutant" } else { options.faults.iter().any(|f| f == name) };
        // A chance of its own: leaving a kind out must not move the others.
        let mut chance = seed.chance(0, name);
        if !wanted || !(chance.bernoulli(ACTIVE) || options.faults.len() == 1) {
            continue;
        }
        for n in 0..=chance.below(0..EACH_MAX) {
            if let Some(fault) = fault(&format!("{name}{n}"), name, &plan, load, &mut chance) {
                plan.faults.push(fault);
            }
        }
    }
    // Byte by byte is as good on short payloads, and a thousand times as many polls on long ones.
    if plan.faults.iter().any(|fault| matches!(fault.kind, Kind::Slices { .. } | Kind::Yields { .. })) {
        plan.workload.payload_bytes = plan.workload.payload_bytes.min(200);
    }
    // A byte that no text has is like any other in protobuf: nobody could know that it is wrong.
    if plan.faults.iter().any(|fault| matches!(fault.kind, Kind::Corrupt(Corruption::Utf8))) {
        plan.topology.sessions.protobuf = 0.0;
    }
    // A key is remembered by the node that is asked; one that forgets it with everything else may do the same again.
    if plan.faults.iter().any(|fault| fault.kind.is_of_node()) {
        plan.topology.sessions.keyed = 0.0;
    }
    plan
}

fn pick<T: Copy>(chance: &mut Chance, items: &[T]) -> T {
    *chance.choose(items).expect("the lists are constants with something in them")
}

fn sometimes<T>(chance: &mut Chance, make: impl FnOnce(&mut Chance) -> T) -> Option<T> {
    chance.bernoulli(0.4).then(|| make(chance))
}

fn topology(chance: &mut Chance) -> Topology {
    let channels = chance.below(1..5);
    let (ping_ms, pong_ms) = pick(chance, &[(1_000, 400), (3_000, 1_000), (10_000, 4_000), (25_000, 8_000)]);
    let topology = Topology {
        connections: chance.below(1..13),
        channels,
        subscriptions_each: chance.below(1..channels + 1),
        history_size: pick(chance, &[0, 1, 2, 5, 10, 30, 100, 300, 300, 300]),
        history_ttl: pick(chance, &[1, 5, 60, 300, 300]) * SECOND,
        sessions: Sessions {
            ping_interval: ping_ms * MS,
            pong_timeout: pong_ms * MS,
            queue_bytes: pick(chance, &[2 << 10, 8 << 10, 64 << 10, 1 << 20]),
            token_ttl: sometimes(chance, |chance| Duration::from_secs(chance.below(3..20))),
            departures: sometimes(chance, |chance| 0.2 + 2.0 * chance.uniform()).unwrap_or(0.0),
            away: pick(chance, &[0, 20, 300, 2_000]) * MS,
            requests: sometimes(chance, |chance| 0.5 + 5.0 * chance.uniform()).unwrap_or(0.0),
            keyed: sometimes(chance, Chance::uniform).unwrap_or(0.0),
            by_api: sometimes(chance, Chance::uniform).unwrap_or(0.0),
            ..Sessions::default()
        },
        ..Topology::default()
    };
    // Longer than any of these worlds: a stream that is forgotten takes with it what was acknowledged.
    Topology { history_meta_ttl: topology.history_ttl + 600 * SECOND, ..topology }
}

/// What brings out what everyday life hides. Its chance is its own, so that the rest of a seed's plan stays what it was.
fn strain(topology: &mut Topology, chance: &mut Chance) {
    let keeps_long = topology.history_size >= 300 && topology.history_ttl >= 60 * SECOND;
    let sessions = &mut topology.sessions;
    // They show no token.
    sessions.wires = if sessions.token_ttl.is_some() { 0 } else { chance.below(0..4) };
    sessions.wires_stay = pick(chance, &[0, 200, 1_000, 5_000]) * MS;
    sessions.hesitates = pick(chance, &[0, 0, 5, 30, 200]) * MS;
    sessions.recovery_max = pick(chance, &[3, 20, 300, 300]);
    sessions.accept_failures = pick(chance, &[0.0, 0.0, 0.0, 0.2]);
    // What is read late is judged late: where history runs out meanwhile, nobody could say what was due.
    if keeps_long && chance.bernoulli(0.5) {
        sessions.mailbox = pick(chance, &[4, 16, 64]);
        sessions.reader_pauses = pick(chance, &[10, 100]) * MS;
    }
    sessions.shards = pick(chance, &[1, 1, 2, 3]);
}

fn workload(chance: &mut Chance, topology: &Topology) -> Workload {
    Workload {
        publishers: topology.channels * chance.below(1..3),
        publications: pick(chance, &[10, 30, 100, 300]),
        rate: pick(chance, &[5.0, 20.0, 100.0, 500.0]),
        payload_bytes: pick(chance, &[100, 200, 1_000, 6_000]),
    }
}

fn fault(id: &str, name: &str, plan: &Plan, load: Duration, chance: &mut Chance) -> Option<Fault> {
    let kind = kind(name, chance)?;
    let weather = matches!(name, "latency" | "slices" | "coalesce" | "yields");
    let aim = if kind.is_of_node() || weather { Aim::At } else { aim(name, chance) };
    let targets = (0..plan.topology.connections).filter(|_| chance.bernoulli(0.5)).collect();
    let target = if kind.is_of_node() || chance.bernoulli(0.3) { Target::All } else { Target::Connections(targets) };
    let direction = match &kind {
        // What a client is made to say wrong is held against it, and it is told to stay away: rightly so.
        Kind::Corrupt(_) => Direction::In,
        Kind::HalfOpen => Direction::Both,
        _ => pick(chance, &[Direction::In, Direction::Out, Direction::Both]),
    };
    let from = load.mul_f64(chance.uniform());
    let lasts = match &kind {
        kind if kind.is_of_node() => chance.between(5 * SECOND, 15 * SECOND),
        _ => chance.between(10 * MS, load.max(2 * SECOND)),
    };
    let fault = Fault::new(id, kind).aimed(aim).target(target).direction(direction);
    Some(if weather { fault } else { fault.between(from, from + lasts) })
}

fn kind(name: &str, chance: &mut Chance) -> Option<Kind> {
    Some(match name {
        "latency" => {
            let min = chance.between(Duration::ZERO, 100 * MS);
            let max = min + chance.between(Duration::ZERO, 300 * MS);
            Kind::Latency(Latency { min, max, correlation: pick(chance, &[0.0, 0.5, 0.9]) })
        }
        "spikes" => Kind::Spikes { turn_bad: 0.1, turn_good: 0.5, delays: vec![200 * MS, 400 * MS, 800 * MS] },
        "bandwidth" => Kind::Bandwidth {
            bytes_per_second: pick(chance, &[500, 4_000, 64_000]),
            burst: pick(chance, &[100, 2_000]),
            shared: chance.bernoulli(0.5),
        },
        "drip" => Kind::Drip { bytes: pick(chance, &[1, 10, 100]), every: pick(chance, &[10, 100, 1_000]) * MS },
        "slices" => Kind::Slices { bytes: usize::try_from(pick(chance, &[1, 3, 100])).unwrap_or(1) },
        "coalesce" => Kind::Coalesce { window: pick(chance, &[5, 50, 200]) * MS },
        "yields" => Kind::Yields { chance: ACTIVE },
        "stall" => Kind::Stall,
        "half_open" => Kind::HalfOpen,
        "reset" => Kind::Reset,
        "fin" => Kind::Fin,
        "corrupt" => Kind::Corrupt(pick(
            chance,
            &[Corruption::Length, Corruption::Opcode, Corruption::Rsv, Corruption::Mask, Corruption::Utf8],
        )),
        "mutant" => Kind::Mutant(pick(
            chance,
            &[
                Mutation::Drop,
                Mutation::Duplicate,
                Mutation::Swap,
                Mutation::Replay(3),
                Mutation::LoseBytes,
                Mutation::SilentStall,
            ],
        )),
        "refuse" => Kind::Refuse,
        "blackhole" => Kind::Blackhole,
        "kill" => Kind::Kill,
        "restart" => Kind::Restart,
        _ => return None,
    })
}

fn aim(name: &str, chance: &mut Chance) -> Aim {
    if matches!(name, "refuse" | "blackhole") {
        return Aim::Connect;
    }
    let commands = ["connect", "subscribe", "publish", "unsubscribe", "history", "refresh"];
    let replies = ["connect", "subscribe", "publish", "push", "history", "error"];
    let aim = match chance.below(0..14) {
        0 | 1 => Aim::At,
        2 => Aim::Handshake,
        3 | 4 => Aim::Command(pick(chance, &commands).to_owned()),
        5 | 6 => Aim::Reply(pick(chance, &replies).to_owned()),
        7 => Aim::Frame(chance.below(0..40)),
        8 => Aim::Byte(chance.below(0..2_000)),
        9 if chance.bernoulli(0.5) => Aim::MidHeader,
        9 => Aim::MidPayload,
        10 => Aim::RecoveredBatch,
        11 => Aim::FirstLiveAfterRecovery,
        12 => Aim::PublishUnacked,
        _ if chance.bernoulli(0.5) => Aim::Ping,
        _ => Aim::Close,
    };
    // A bit is flipped in a whole frame, so there has to be one.
    if name == "corrupt" && (!aim.needs_frames() || aim == Aim::MidHeader) { Aim::MidPayload } else { aim }
}
