//! What is looked at once, for itself, and not beside a floor: heartbeats, what a storm leaves behind, and fairness.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::fleet::Fleet;
use super::peer::{OURS, Peer, floor, server};
use super::process::{Child, pause};
use super::publisher::Publisher;
use super::stream::Stream;
use super::workload::{self, Load, Workload};

/// Time between two pings of a server as it comes.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// How long after everybody has gone memory is read.
pub const AFTERWARDS: Duration = Duration::from_secs(10);

/// Time between two commands of the one who asks how long they take.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);

/// How long an answer may take before it is given up.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Once {
    /// CPU of the server with 10,000 idle connections, averaged over two ping periods, in milliseconds per second.
    pub heartbeat_ms_per_s: f64,
    /// The same of a floor that sends as many pings and reads their answers, and does nothing else.
    pub heartbeat_floor_ms_per_s: f64,
    /// Memory (PSS) of the server after it has started, in KiB.
    pub fresh_kib: f64,
    /// The same while 10,000 are connected.
    pub full_kib: f64,
    /// The same when they have been gone for [`AFTERWARDS`].
    pub after_kib: f64,
    /// Time that a command takes on a connection beside 10,000 idle ones.
    pub quiet: Delay,
    /// The same while each of the 10,000 gets ten publications a second.
    pub loaded: Delay,
}

/// Time from a command to its answer, in milliseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Delay {
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Of how many.
    pub commands: u64,
}

/// Does it all, with `options` set.
///
/// # Errors
/// When the server does not do its work.
pub fn run(options: &[String]) -> anyhow::Result<Once> {
    let mut once = Once::default();
    let idle = workload("W1");
    let floor = floor(Some(PING_INTERVAL))?;
    let child = Child::start(&floor)?;
    once.heartbeat_floor_ms_per_s = heartbeats(&child, &mut Fleet::connect(&idle, &floor, child.address)?)?;
    drop(child);

    let bare = server(OURS, options)?;
    let child = Child::start(&bare)?;
    once.fresh_kib = child.pss_kib()?;
    let mut fleet = Fleet::connect(&idle, &bare, child.address)?;
    once.heartbeat_ms_per_s = heartbeats(&child, &mut fleet)?;
    once.full_kib = child.pss_kib()?;
    drop(fleet);
    pause(AFTERWARDS);
    once.after_kib = child.pss_kib()?;
    drop(child);

    // With one shard all are served by one loop: whoever asks can not be lucky.
    let one_loop = server(OURS, &[options, &["http_server.shards=1".to_owned()]].concat())?;
    let child = Child::start(&one_loop)?;
    let crowd = workload("W3");
    let mut fleet = Fleet::connect(&crowd, &one_loop, child.address)?;
    let mut publisher = Publisher::connect(&crowd, &one_loop, child.address, fleet.epoch())?;
    fleet.listen_to(publisher.line())?;
    let stop = AtomicBool::new(false);
    let rest = Duration::from_secs(2);
    once.quiet = asking(&one_loop, &child, &stop, || fleet.rest(rest))?;
    let load = Load::Rate { per_s: 10.0, lasting: Duration::from_secs(4) };
    once.loaded = asking(&one_loop, &child, &stop, || {
        super::generator::drive(&mut fleet, &mut publisher, &crowd, load).map(drop)
    })?;
    Ok(once)
}

/// CPU of a server whose connections are all idle, in milliseconds per second.
fn heartbeats(child: &Child, fleet: &mut Fleet) -> anyhow::Result<f64> {
    let (before, begun) = (child.cpu_s()?, Instant::now());
    fleet.rest(2 * PING_INTERVAL)?;
    Ok((child.cpu_s()? - before) * 1e3 / begun.elapsed().as_secs_f64())
}

fn workload(name: &str) -> Workload {
    workload::all().into_iter().find(|workload| workload.name == name).expect("it is one of the workloads")
}

/// Asks while `work` is done.
fn asking(
    peer: &Peer,
    child: &Child,
    stop: &AtomicBool,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Delay> {
    stop.store(false, Ordering::Release);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(peer, child, stop));
        let worked = work();
        stop.store(true, Ordering::Release);
        let asked = asked.join().map_err(|_| anyhow::anyhow!("whoever asks panicked"))?;
        worked.and(asked)
    })
}

/// Publishes to a channel without subscribers, on a connection of its own, and waits for each answer.
fn ask(peer: &Peer, child: &Child, stop: &AtomicBool) -> anyhow::Result<Delay> {
    let mut stream = Stream::dial(0, child.address, None)?;
    let mut buffer = vec![0; 4096];
    let mut answer = |stream: &mut Stream, expected: &[u8]| -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => anyhow::bail!("the server closed the connection"),
                Ok(n) if buffer[..n].windows(expected.len()).any(|window| window == expected) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => pause(Duration::from_micros(50)),
                Err(error) => return Err(error.into()),
            }
            ensure!(begun.elapsed() < PROBE_TIMEOUT, "a command was not answered");
        }
    };
    stream.write(&peer.words.upgrade(&peer.path, child.address, ""))?;
    answer(&mut stream, b"101")?;
    stream.write(&peer.words.greet())?;
    answer(&mut stream, b"\"id\":1")?;
    let mut delays = Histogram::<u64>::new_with_bounds(1, 10_000_000, 3).expect("the bounds are constants");
    let begun = Instant::now();
    for n in 2u32.. {
        pause((begun + PROBE_INTERVAL * n).saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Acquire) {
            break;
        }
        let asked = Instant::now();
        stream.write(&peer.words.publish(n.into(), "nobody", "x"))?;
        answer(&mut stream, format!("\"id\":{n},").as_bytes())?;
        delays.saturating_record(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one answer")]
    let at = |quantile| delays.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Delay { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0), commands: delays.len() })
}
