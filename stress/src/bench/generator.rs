//! Does a workload to a server that was just started, and takes its figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::churn::Churn;
use super::fleet::{Fleet, Received, Wait};
use super::peer::Peer;
use super::process::{Child, busy_s, kernel_retries, own_cpu_s};
use super::publisher::Publisher;
use super::workload::{Figures, Load, Workload};

/// Quiet time before memory is read: three times what the server's allocator takes to give back what it does not use.
const SETTLE: Duration = Duration::from_millis(1_500);

/// How long no delivery may come before the rest is given up.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Load before the load that counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// Does it all.
///
/// # Errors
/// When the server refuses a connection, or does not do its work.
#[expect(clippy::cast_precision_loss, reason = "counts of connections and deliveries")]
pub fn run(workload: &Workload, peer: &Peer, child: &Child) -> anyhow::Result<Figures> {
    let mut figures = Figures { offered: 1.0, ..Figures::default() };
    let (before_kib, before_cpu, before_retries) = (child.pss_kib()?, child.cpu_s()?, kernel_retries());
    let mut fleet = Fleet::connect(workload, peer, child.address)?;
    let connections = workload.connections as f64;
    figures.storm_s = fleet.epoch().elapsed().as_secs_f64();
    figures.storm_cpu_us = (child.cpu_s()? - before_cpu) * 1e6 / connections;
    figures.storm_retries = kernel_retries() - before_retries;
    // Where memory is not what it is about, the whole run should not wait for it.
    fleet.rest(if workload.load == Load::Idle { SETTLE } else { SETTLE / 2 })?;
    figures.idle_kib = (child.pss_kib()? - before_kib) / connections;
    if workload.load != Load::Idle {
        load(&mut fleet, workload, peer, child, &mut figures)?;
    }
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "a count of deliveries")]
fn load(
    fleet: &mut Fleet,
    workload: &Workload,
    peer: &Peer,
    child: &Child,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut publisher = Publisher::connect(workload, peer, child.address, fleet.epoch())?;
    fleet.listen_to(publisher.line())?;
    let churn = Churn::start(peer, child.address);
    let warm_up = match workload.load {
        Load::Rate { per_s, .. } => Load::Rate { per_s, lasting: WARM_UP },
        Load::Saturate { window, .. } => Load::Saturate { window, lasting: WARM_UP },
        Load::Idle => Load::Idle,
    };
    let before = drive(fleet, &mut publisher, workload, warm_up)?.publications;
    fleet.received = Received::default();
    let (server, generator, machine) = (child.cpu_s()?, own_cpu_s(), busy_s());
    let done = drive(fleet, &mut publisher, workload, workload.load)?;
    let (server, generator, machine) = (child.cpu_s()? - server, own_cpu_s() - generator, busy_s() - machine);
    churn.stop()?;
    let received = &fleet.received;
    let deliveries = received.deliveries.max(1) as f64;
    figures.publications = done.publications - before;
    figures.deliveries = received.deliveries;
    figures.expected = done.expected;
    figures.wrong = received.wrong;
    figures.offered = done.offered;
    figures.per_s = deliveries / done.took.as_secs_f64();
    figures.cpu_us = server * 1e6 / deliveries;
    figures.generator_us = generator * 1e6 / deliveries;
    figures.others_cores = ((machine - server - generator) / done.took.as_secs_f64()).max(0.0);
    figures.p50_ms = received.latencies.value_at_quantile(0.5) as f64 / 1e3;
    figures.p99_ms = received.latencies.value_at_quantile(0.99) as f64 / 1e3;
    Ok(())
}

pub(super) struct Done {
    /// Publications since the publisher connected.
    publications: u64,
    /// Deliveries of this load that should have come.
    expected: u64,
    offered: f64,
    /// Until the last delivery came.
    took: Duration,
}

/// Publishes on one thread and receives on this one, until all that was published has come or nothing comes any more.
pub(super) fn drive(
    fleet: &mut Fleet,
    publisher: &mut Publisher,
    workload: &Workload,
    load: Load,
) -> anyhow::Result<Done> {
    let begun = Instant::now();
    let before = publisher.by_channel.clone();
    let already = fleet.received.deliveries;
    let delivered = AtomicU64::new(0);
    let offered = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publisher.publish(load, &delivered));
        while !publishing.is_finished() {
            fleet.turn(Wait::Polling, None)?;
            delivered.store(fleet.received.deliveries - already, Ordering::Release);
        }
        publishing.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))?
    })?;
    let made = publisher.by_channel.iter().zip(before).enumerate();
    let expected =
        made.map(|(channel, (now, before))| u64::from(now - before) * workload.subscribers_of(channel) as u64);
    let expected: u64 = expected.sum();
    let mut last = (fleet.received.deliveries, Instant::now());
    while fleet.received.deliveries - already < expected && last.1.elapsed() < DRAIN_TIMEOUT {
        fleet.turn(Wait::Polling, None)?;
        if fleet.received.deliveries > last.0 {
            last = (fleet.received.deliveries, Instant::now());
        }
    }
    let publications = publisher.by_channel.iter().map(|&n| u64::from(n)).sum();
    Ok(Done { publications, expected, offered, took: last.1 - begun })
}
