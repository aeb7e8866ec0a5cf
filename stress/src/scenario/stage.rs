//! What every claim needs around it: a server of its own, watched from outside; a fleet; rest at the end, and the verdict.
//!
//! A scenario sets the [`Stage`], hurts it, lets it come to [`rest`](Stage::rest), states its thresholds, and asks for the
//! [`verdict`](Stage::verdict). After the verdict's evidence is in, everybody leaves, and what the server still
//! holds then is a leak.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::gone::{self, Gone};
use super::run::{Run, Watch};
use super::stats::{self, Counts, Expected};
use super::unfinished::Scene;
use super::{Context, Scenario, Subject};
use crate::chance::Seed;
use crate::fault::Faults;
use crate::fault::plan::{Plan, Sessions};
use crate::fleet::{Connected, Fleet, FleetOptions, Offered};
use crate::monitor::{ResourceMonitor, ResourceReport, Sample};
use crate::oracle::Law;
use crate::progress::Progress;
use crate::raw::RawPeer;
use crate::report::Report;
use crate::server::{Server, ServerConfig};

/// How long everybody may take to connect and subscribe, or the server to notice that all have gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after the last one has left a descriptor may still be open, or memory not be given back.
const GONE_MAX: Duration = Duration::from_secs(5);
/// The server's allocator gives back what was freed within half a second, and looks about as often.
pub(super) const GIVEN_BACK: Duration = Duration::from_millis(1_500);
/// Less than that is no change of memory.
const STEP_BYTES: f64 = 1_048_576.0;
/// A quarter of what it may keep: for less nobody waits.
const LITTLE_BYTES: f64 = 8.0 * 1_048_576.0;
/// How long the server's rest is watched: 20 ticks of the kernel's clock.
const REST: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Stage {
    pub(super) run: Run,
    pub(super) progress: Progress,
    pub(super) subject: Subject,
    pub(super) faults: Faults,
    pub(super) fleet: Fleet,
    watch: Option<Watch>,
    /// Of the server, if it is a child of ours.
    memory: Option<ResourceMonitor>,
    /// What the server used and had counted before the first member came.
    before: Before,
    pub(super) publishers: u64,
    worst: Option<Offered>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Before {
    sample: Sample,
    counts: Counts,
    /// The server has been started again since: its counters began anew.
    is_past: bool,
}

impl Stage {
    /// Starts the server, with the plan's history in all its channels; or takes the one that runs already, if any will do.
    pub(super) async fn set(
        context: &Context,
        scenario: &dyn Scenario,
        plan: Plan,
        config: ServerConfig,
        options: FleetOptions,
    ) -> anyhow::Result<Self> {
        context.suits(scenario)?;
        let mut run = Run::new(context, scenario, &plan);
        for (key, value) in config.settings() {
            run.option(&key, value);
        }
        let defaults = FleetOptions::default();
        if options.message_bytes_max != defaults.message_bytes_max {
            run.option("client_message_bytes_max", options.message_bytes_max.to_string());
        }
        if let Some(bytes) = options.receive_buffer_bytes {
            run.option("receive_buffer_bytes", bytes.to_string());
        }
        if plan.topology.sessions.mailbox != Sessions::default().mailbox {
            run.option("mailbox", plan.topology.sessions.mailbox.to_string());
        }
        let progress = if context.quiet { Progress::quiet() } else { Progress::new(scenario.name()) };
        let topology = &plan.topology;
        let history_ttl = format!("{}s", topology.history_ttl.as_secs());
        let config = config
            .with("channel.without_namespace.history_size", topology.history_size)
            .with("channel.without_namespace.history_ttl", history_ttl);
        let subject = context.subject(config).await?;
        warm_up(subject.address(), context.seed).await?;
        let mut memory = subject.server().map(|server| ResourceMonitor::of(server.pid())).transpose()?;
        // Before it is watched: whoever watches it asks it, over a connection.
        let sample = memory.as_mut().map(ResourceMonitor::sample).transpose()?.unwrap_or_default();
        let watch = Watch::begin(&subject);
        let before = Before { sample, counts: Counts::read(subject.address()).await?, is_past: false };
        let faults = Faults::new(&plan);
        let fleet = Fleet::new(&plan, faults.clone(), subject.address(), options);
        context.unfinished.set(Scene {
            recorder: fleet.recorder(),
            faults: faults.clone(),
            progress: progress.clone(),
            watched: watch.watched(),
        });
        let watch = Some(watch);
        Ok(Self { run, progress, subject, faults, fleet, watch, memory, before, publishers: 0, worst: None })
    }

    /// The server: a child of ours.
    pub(super) fn server(&self) -> &Server {
        self.subject.server().expect("a stage is set only with a child of ours")
    }

    /// The server is another process now.
    pub(super) fn look_again(&mut self) -> anyhow::Result<()> {
        self.memory = Some(ResourceMonitor::of(self.server().pid())?);
        self.before.is_past = true;
        Ok(())
    }

    /// Host and port of the server.
    pub(super) fn address(&self) -> &str {
        self.subject.address()
    }

    /// Connects all members and so many publishers. Those for whom `is_bystander` must feel nothing.
    pub(super) async fn connect(
        &mut self,
        publishers: u64,
        is_bystander: impl Fn(u64) -> bool,
    ) -> anyhow::Result<Connected> {
        let connections = self.fleet.plan().topology.connections;
        let connected = self.members("connect and subscribe", 0..connections, is_bystander).await;
        self.publishers(publishers).await?;
        Ok(connected)
    }

    /// Connects some of the members.
    pub(super) async fn members(
        &mut self,
        phase: &str,
        members: Range<u64>,
        is_bystander: impl Fn(u64) -> bool,
    ) -> Connected {
        self.progress.phase(phase, members.end - members.start);
        let progress = self.progress.clone();
        let connected = self.fleet.connect(members, PATIENCE, is_bystander, |n| progress.at(n)).await;
        for error in &connected.errors {
            self.run.doubt(format!("while connecting: {error}"));
        }
        connected
    }

    /// Connects so many publishers, where the members come otherwise than all at once.
    pub(super) async fn publishers(&mut self, publishers: u64) -> anyhow::Result<()> {
        self.fleet.connect_publishers(publishers, PATIENCE).await?;
        self.publishers = publishers;
        Ok(())
    }

    /// What the server uses now. All zero where it is not a child of ours.
    pub(super) fn sample(&mut self) -> anyhow::Result<Sample> {
        Ok(self.memory.as_mut().map(ResourceMonitor::sample).transpose()?.unwrap_or_default())
    }

    /// Publishes; what was offered counts for the verdict.
    pub(super) async fn publish(&mut self, phase: &str, publications: u64, rate: f64, window: usize) -> Offered {
        self.progress.phase(phase, publications);
        let progress = self.progress.clone();
        let offered = self.fleet.publish(publications, rate, window, |n| progress.at(n)).await;
        self.offered(offered);
        offered
    }

    /// A stretch of load: the worst of all counts.
    pub(super) fn offered(&mut self, offered: Offered) {
        if self.worst.is_none_or(|worst| offered.ratio < worst.ratio) {
            self.worst = Some(offered);
        }
    }

    /// Bytes resident in the server now.
    pub(super) fn resident(&mut self) -> anyhow::Result<f64> {
        Ok(self.sample()?.resident_bytes as f64)
    }

    /// The quiet point: `subscriptions` of `connections` members (publishers not counted) have everything, the server's
    /// counts are held against that, and the ledger is closed. What was used until then.
    pub(super) async fn rest(
        &mut self,
        limit: Duration,
        connections: u64,
        subscriptions: u64,
    ) -> anyhow::Result<BTreeMap<String, ResourceReport>> {
        self.progress.phase("settle", subscriptions);
        if !self.fleet.settle(limit, subscriptions).await {
            self.run.doubt("not everybody had reached the end of its channel when the time was up");
        }
        let address = self.address().to_owned();
        let before = (!self.before.is_past).then_some(self.before.counts);
        let expected = Expected { clients: connections + self.publishers, subscriptions, before };
        stats::compare(&self.fleet, &address, expected).await?;
        self.fleet.census(&address, 200).await?;
        let Some(watch) = self.watch.take() else { return Ok(BTreeMap::new()) };
        Ok(watch.finish(&mut self.run))
    }

    /// The judgement, and what stays behind when all have left.
    pub(super) async fn verdict(mut self, laws: &[Law]) -> anyhow::Result<Report> {
        if let Some(offered) = self.worst {
            self.run.offered(offered);
        }
        self.run.latencies("delivery", &self.fleet.latencies());
        self.run.timeline(self.fleet.timeline(&self.progress.phases()));
        self.run.judge(&self.fleet, laws);
        for (code, breaks) in self.fleet.breaks() {
            self.run.number(&format!("breaks_with_code_{code}"), breaks.count as f64);
        }
        self.progress.phase("leave", 1);
        self.leave().await
    }

    /// Everybody leaves, histories are removed, and what the server holds on to then is a leak (I15).
    async fn leave(self) -> anyhow::Result<Report> {
        let Self { mut run, progress, subject, faults, fleet, mut memory, before, .. } = self;
        let channels = fleet.plan().topology.channels;
        let breaks = fleet.breaks();
        fleet.close(Duration::from_secs(10)).await;
        // Not before: some faults wait for the close.
        run.faults(&faults);
        let address = subject.address();
        stats::forget_histories(address, channels).await?;
        let then = if before.is_past { Counts::default() } else { before.counts };
        let (now, counts) = settled(address, &mut memory, before.sample, then).await?;
        let gone = Gone {
            counts: (then, counts),
            process: now.map(|now| (before.sample, now)),
            rest: at_rest(&mut memory, &subject).await?,
            observed: faults.observed(),
            breaks,
            is_damaged: gone::is_damaged(&faults.counts()),
        };
        gone.judge(&mut run);
        if run.has_failed()
            && let Some(server) = subject.server()
        {
            let log = server.log();
            let serious = log.iter().filter(|line| line.contains("WARN") || line.contains("ERROR"));
            serious.rev().take(5).for_each(|line| run.doubt(format!("the server's log: {line}")));
        }
        progress.finish();
        Ok(run.finish())
    }
}

/// What the server counts once nothing of it changes any more: what is left then stays. Memory is given back a while after
/// its last use, so a moment at which it happens to be low enough tells nothing.
async fn settled(
    address: &str,
    memory: &mut Option<ResourceMonitor>,
    before: Sample,
    then: Counts,
) -> anyhow::Result<(Option<Sample>, Counts)> {
    let began = Instant::now();
    let (mut lowest, mut since) = (f64::INFINITY, began);
    loop {
        // First the process: asking it opens a descriptor there.
        let sample = memory.as_mut().map(ResourceMonitor::sample).transpose()?;
        let now = sample.unwrap_or(before);
        let counts = Counts::read(address).await?;
        let kept = gone::kept_bytes(before, now);
        if kept < lowest - STEP_BYTES {
            (lowest, since) = (kept, Instant::now());
        }
        let level = kept < LITTLE_BYTES || since.elapsed() > GIVEN_BACK;
        let gone = counts.connections <= then.connections && counts.channels <= then.channels;
        let descriptors = now.descriptors <= before.descriptors;
        if (level && gone && descriptors && counts.queued == 0.0) || began.elapsed() > GONE_MAX {
            return Ok((sample, counts));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Cores that the server uses now that nobody is there, and the panics it told of.
async fn at_rest(
    memory: &mut Option<ResourceMonitor>,
    subject: &Subject,
) -> anyhow::Result<Option<(f64, Vec<String>)>> {
    let (Some(monitor), Some(server)) = (memory, subject.server()) else { return Ok(None) };
    let first = monitor.sample()?;
    tokio::time::sleep(REST).await;
    let last = monitor.sample()?;
    let cores = (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at).max(1e-3);
    Ok(Some((cores, server.panics())))
}

/// Starts the server again, on the port it had.
pub(super) async fn restart(subject: &mut Subject) -> anyhow::Result<()> {
    let server = subject.server.take().ok_or_else(|| anyhow::anyhow!("the server is not a child of ours"))?;
    subject.server = Some(server.restart().await?);
    Ok(())
}

/// A few connections that come and go: what the server opens with its first ones belongs to it, and is no leak.
async fn warm_up(address: &str, seed: Seed) -> anyhow::Result<()> {
    let others = stats::metric(address, "pubsub_connections").await?;
    let mut peers = Vec::new();
    for n in 0..16 {
        let stream = TcpStream::connect(address).await?;
        peers.push(RawPeer::upgrade(stream, address, seed.chance(n, "warm-up")).await?);
    }
    drop(peers);
    let deadline = Instant::now() + GONE_MAX;
    while stats::metric(address, "pubsub_connections").await? > others {
        anyhow::ensure!(Instant::now() < deadline, "the server does not notice that connections have gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The laws of a scenario in which connections break.
pub(super) const BREAKING: [Law; 10] =
    [Law::I1, Law::I2, Law::I3, Law::I4, Law::I5, Law::I7, Law::I8, Law::I9, Law::I12, Law::I14];

/// The laws of a scenario in which nobody should notice anything.
pub(super) const UNBROKEN: [Law; 9] =
    [Law::I1, Law::I2, Law::I3, Law::I4, Law::I8, Law::I9, Law::I12, Law::I13, Law::I14];
