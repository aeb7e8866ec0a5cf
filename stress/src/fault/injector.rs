//! The plan at work: which fault holds for which connection now, and what came of it.
//!
//! [`Faults`] is shared by everything a run consists of. [`Faults::stream`] puts a stream under it, [`Faults::connect`] is asked
//! before there is one, [`Faults::inject`] begins a fault and hands out the guard that ends it, and
//! [`Faults::run`] does the last two by the plan's own times.
//!
//! Streams look at a version number on each poll and otherwise pay nothing; whoever begins or ends a fault wakes
//! the streams, in the order in which they were made, so that the same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Wake;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::carrier::Carrier;
use super::conduct::Conduct;
use super::counters::{FaultCounters, FaultCounts};
use super::kind::Bucket;
use super::lane::LANE_BYTES_MAX;
use super::latency_simulator::LatencySimulator;
use super::plan::{Aim, Fault, Kind, Plan, Topology};
use super::stream::FaultyStream;
use crate::chance::Seed;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fault that holds now.
#[derive(Debug)]
pub(crate) struct Active {
    /// Tells two injections of one fault apart.
    pub(crate) key: u64,
    pub(crate) fault: Fault,
    pub(crate) seed: Seed,
    pub(crate) began: Instant,
    pub(crate) counters: Arc<FaultCounters>,
    /// For a shared bandwidth cap.
    pub(crate) bucket: Arc<Mutex<Bucket>>,
    targets: Option<Vec<u64>>,
    /// Connections on which its moment has come: it strikes each once, however often that connects again.
    struck: Mutex<BTreeSet<u64>>,
    /// The streams this happened on: what lasts, lasts there and not on the next stream of the same connection.
    held: Mutex<BTreeSet<u64>>,
    healed: AtomicBool,
}

impl Active {
    /// Its guard has gone.
    pub(crate) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    fn means(&self, connection: u64) -> bool {
        self.targets.as_ref().is_none_or(|ids| ids.binary_search(&connection).is_ok())
    }

    /// Whether its moment has come on `connection`.
    pub(crate) fn has_struck(&self, connection: u64) -> bool {
        lock(&self.struck).contains(&connection)
    }

    /// Its moment has come on `link`. False if it had before, on the other way or an earlier stream.
    pub(crate) fn strike(&self, link: &Link) -> bool {
        let first = lock(&self.struck).insert(link.connection);
        if first {
            lock(&self.held).insert(link.serial);
        }
        first
    }

    /// Whether its moment came on this very stream.
    pub(crate) fn holds_on(&self, serial: u64) -> bool {
        lock(&self.held).contains(&serial)
    }
}

/// What the injector knows of a stream: how to wake it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The connection it belongs to; several streams of one connection follow each other.
    pub(crate) connection: u64,
    /// Distinguishes those.
    pub(crate) serial: u64,
    pub(crate) read: AtomicWaker,
    pub(crate) write: AtomicWaker,
    /// Frames that a mutant sent here by mistake.
    pub(crate) strays: Mutex<Vec<Vec<u8>>>,
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.read.wake();
        self.write.wake();
    }
}

#[derive(Debug, Default)]
struct State {
    keys: u64,
    active: Vec<Arc<Active>>,
    links: BTreeMap<u64, Weak<Link>>,
    /// Every fault there has been, by id, with what it counted.
    counted: BTreeMap<String, (Fault, Arc<FaultCounters>)>,
}

#[derive(Debug)]
struct Shared {
    seed: Seed,
    topology: Topology,
    began: Instant,
    lane_bytes: usize,
    version: AtomicU64,
    serials: AtomicU64,
    peak: AtomicUsize,
    changed: Notify,
    conduct: Mutex<Observed>,
    state: Mutex<State>,
    /// Streams whose owner has gone while their last bytes are still on the way.
    lingering: Mutex<JoinSet<()>>,
}

/// How servers behaved on the streams that have gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Frames they sent.
    pub frames: u64,
    /// What was wrong, the first on each stream.
    pub wrong: Vec<String>,
}

/// The faults of one run. Cloning shares.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

impl Faults {
    /// Under the plan's seed, for its topology, with nothing broken yet. The plan's time begins now.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self::with_lane_bytes(plan, LANE_BYTES_MAX)
    }

    /// The same, where each direction of a stream holds at most so many bytes back.
    #[must_use]
    pub fn with_lane_bytes(plan: &Plan, lane_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            seed: plan.seed,
            topology: plan.topology.clone(),
            began: Instant::now(),
            lane_bytes,
            version: AtomicU64::new(1),
            serials: AtomicU64::new(0),
            peak: AtomicUsize::new(0),
            changed: Notify::new(),
            conduct: Mutex::default(),
            state: Mutex::default(),
            lingering: Mutex::default(),
        }))
    }

    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.0.seed
    }

    /// Time since the plan began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Begins a fault now, whatever its times say. It ends when the guard is dropped.
    #[must_use = "the fault ends when the guard is dropped"]
    pub fn inject(&self, fault: Fault) -> FaultGuard {
        FaultGuard { key: self.begin(fault), faults: self.clone() }
    }

    /// Begins a fault now. It ends with the run.
    pub(crate) fn begin(&self, fault: Fault) -> u64 {
        let targets = fault.target.resolve(self.0.seed, &fault.id, &self.0.topology);
        let now = Instant::now();
        let bucket = match fault.kind {
            Kind::Bandwidth { bytes_per_second, burst, .. } => Bucket::shared(bytes_per_second, burst, now),
            _ => Bucket::shared(1, 1, now),
        };
        // What is written down is when it really held, which the plan of a whole run may not know.
        let begun = Fault { from: self.elapsed(), until: None, ..fault.clone() };
        let mut state = lock(&self.0.state);
        let counted = state.counted.entry(fault.id.clone()).or_insert_with(|| (begun, Arc::default()));
        let counters = Arc::clone(&counted.1);
        state.keys += 1;
        let key = state.keys;
        let seed = self.0.seed;
        let (struck, held, healed) = Default::default();
        let active = Active { key, fault, seed, began: now, counters, bucket, targets, struck, held, healed };
        state.active.push(Arc::new(active));
        drop(state);
        self.announce();
        key
    }

    /// Begins and ends the faults of `plan` at their times; over when the last has ended. Faults without an end
    /// hold until the returned guards are dropped.
    pub async fn run(&self, plan: &Plan) -> Vec<FaultGuard> {
        let mut begins: Vec<&Fault> = plan.faults.iter().collect();
        // A stable sort: faults that begin together begin in the plan's order.
        begins.sort_by_key(|fault| fault.from);
        let mut held: Vec<(Option<Duration>, FaultGuard)> = Vec::new();
        let mut begins = begins.into_iter().peekable();
        loop {
            let next_end = held.iter().filter_map(|(until, _)| *until).min();
            let next_begin = begins.peek().map(|fault| fault.from);
            let Some(next) = [next_end, next_begin].into_iter().flatten().min() else { break };
            let due = self.0.began + next;
            // What holds from the beginning holds at the first poll: nobody comes before it.
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            // Heal before hurting: a fault that follows another at the same moment replaces it.
            held.retain(|(until, _)| until.is_none_or(|until| until > next));
            while let Some(fault) = begins.next_if(|fault| fault.from <= next) {
                held.push((fault.until, self.inject(fault.clone())));
            }
        }
        held.into_iter().map(|(_, guard)| guard).collect()
    }

    /// Puts `stream`, of connection number `connection`, under the faults.
    pub fn stream<S: Carrier>(&self, connection: u64, stream: S) -> FaultyStream<S> {
        let serial = self.0.serials.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link { connection, serial, ..Link::default() });
        lock(&self.0.state).links.insert(serial, Arc::downgrade(&link));
        FaultyStream::new(self.clone(), link, stream)
    }

    /// What the faults make of a connect, before it is tried: refused, hanging until healed, late, or nothing.
    ///
    /// # Errors
    /// `ConnectionRefused` where a fault says so.
    pub async fn connect(&self, connection: u64) -> io::Result<()> {
        let mut delayed = BTreeSet::new();
        loop {
            // Before looking, so that a change between the look and the wait is not missed.
            let changed = self.0.changed.notified();
            let mut hangs = Vec::new();
            for active in self.active_for(connection) {
                let counters = &active.counters;
                match &active.fault.kind {
                    Kind::Refuse => {
                        counters.attempt();
                        counters.apply();
                        counters.see();
                        return Err(io::ErrorKind::ConnectionRefused.into());
                    }
                    Kind::Blackhole => {
                        counters.attempt();
                        counters.apply();
                        hangs.push(Wait(Arc::clone(counters)));
                    }
                    Kind::Latency(latency) if active.fault.aim == Aim::Connect && delayed.insert(active.key) => {
                        counters.attempt();
                        counters.apply();
                        let chance = active.seed.chance(connection, &active.fault.id);
                        LatencySimulator::from_latency(*latency).with_chance(chance).apply().await;
                        counters.see();
                    }
                    _ => {}
                }
            }
            if hangs.is_empty() {
                return Ok(());
            }
            changed.await;
        }
    }

    /// What each fault has counted, by id. Its times are those at which it began first and was healed last.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, (Fault, FaultCounts)> {
        let state = lock(&self.0.state);
        state.counted.iter().map(|(id, (fault, counters))| (id.clone(), (fault.clone(), counters.counts()))).collect()
    }

    /// The counters of one fault, for whoever sees its effect on the other side.
    #[must_use]
    pub fn counters(&self, id: &str) -> Option<Arc<FaultCounters>> {
        lock(&self.0.state).counted.get(id).map(|(_, counters)| Arc::clone(counters))
    }

    /// The most bytes that any one direction of a stream held back: the lab's own queue, which is no one else's fault.
    #[must_use]
    pub fn lane_peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// How servers behaved on the streams that have gone, before any fault of ours.
    #[must_use]
    pub fn observed(&self) -> Observed {
        lock(&self.0.conduct).clone()
    }

    pub(crate) fn observe(&self, link: &Link, conduct: &Conduct) {
        let mut observed = lock(&self.0.conduct);
        observed.frames += conduct.frames();
        observed.wrong.extend(conduct.wrong().map(|wrong| format!("connection {}: {wrong}", link.connection)));
    }

    /// The connections a target means.
    #[must_use]
    pub fn targets(&self, fault: &Fault) -> Option<Vec<u64>> {
        fault.target.resolve(self.0.seed, &fault.id, &self.0.topology)
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(crate) fn lane_bytes(&self) -> usize {
        self.0.lane_bytes
    }

    pub(crate) fn note_peak(&self, bytes: usize) {
        self.0.peak.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn active_for(&self, connection: u64) -> Vec<Arc<Active>> {
        lock(&self.0.state).active.iter().filter(|active| active.means(connection)).cloned().collect()
    }

    pub(crate) fn forget(&self, link: &Link) {
        lock(&self.0.state).links.remove(&link.serial);
    }

    /// Sends a frame astray: to the stream made after `link`, or the first.
    pub(crate) fn stray(&self, link: &Link, frame: Vec<u8>) -> bool {
        let state = lock(&self.0.state);
        let after = state.links.range(link.serial + 1..);
        let next = after.chain(state.links.range(..link.serial)).find_map(|(_, link)| link.upgrade());
        drop(state);
        let Some(next) = next else { return false };
        lock(&next.strays).push(frame);
        next.wake();
        true
    }

    /// Lets the last bytes of a stream whose owner has gone arrive, as a kernel would.
    pub(crate) fn linger(&self, rest: impl Future<Output = ()> + Send + 'static) {
        let mut lingering = lock(&self.0.lingering);
        while lingering.try_join_next().is_some() {}
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            lingering.spawn_on(rest, &runtime);
        }
    }

    /// Ends what is still on its way from streams that have gone.
    pub fn forget_lingering(&self) {
        lock(&self.0.lingering).abort_all();
    }

    fn announce(&self) {
        self.0.version.fetch_add(1, Ordering::AcqRel);
        let links: Vec<Arc<Link>> = lock(&self.0.state).links.values().filter_map(Weak::upgrade).collect();
        for link in links {
            link.wake();
        }
        self.0.changed.notify_waiters();
    }
}

/// A connect that hangs, until it is let through or given up: either way whoever tried has felt it.
struct Wait(Arc<FaultCounters>);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.see();
    }
}

/// Holds a fault; dropping it heals.
#[derive(Debug)]
#[must_use = "the fault ends when the guard is dropped"]
pub struct FaultGuard {
    faults: Faults,
    key: u64,
}

impl FaultGuard {
    /// Ends the fault now.
    pub fn heal(self) {}
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.faults.0.state);
        if let Some(at) = state.active.iter().position(|active| active.key == self.key) {
            let healed = state.active.remove(at);
            healed.healed.store(true, Ordering::Relaxed);
            let until = Some(self.faults.elapsed());
            state.counted.entry(healed.fault.id.clone()).and_modify(|(fault, _)| fault.until = until);
        }
        drop(state);
        self.faults.announce();
    }
}
