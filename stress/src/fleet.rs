//! Seeded publishers and subscribers, ten thousand in one process, each behind its own faults.
//!
//! Whatever they do and get goes into the ledger as it happens. A member is a client of `pubsub-client` with the real socket
//! wrapped by [`connector`]; a subscriber reads events and judges nothing. Publications leave at their planned times
//! whether or not earlier ones were answered, since waiting would hide a slow server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pubsub_client::{CentrifugeHandler, Client, ClientConfig, Format, SubscribeOptions, Subscription};
use pubsub_protocol::reply::HistoryResult;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::fault::{Faults, Plan};
use crate::histogram::Latencies;
use crate::ledger::{Event, Ledger, Policy};
use crate::payload::PublicationId;
use crate::timeline::Timeline;
use crate::virtual_time::network::Network;

pub mod coming;
mod common;
pub mod connector;
mod options;
mod publishing;
mod recorder;
mod subscriber;
mod wire;

pub(crate) use common::Common;
use connector::{FaultyConnector, MemoryConnector};
pub use options::{Credentials, FleetOptions};
pub use publishing::Offered;
pub use recorder::Recorder;

/// Publishers have connections of their own, numbered from here, so that faults on subscribers leave them alone.
pub const PUBLISHER_CONNECTIONS: u64 = 1 << 32;

/// How connecting went.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    /// Members that were asked for.
    pub wanted: u64,
    /// Subscriptions that came into force within the time.
    pub subscribed: u64,
    /// From the first connect until the last subscription was in force.
    pub took: Duration,
    /// What those that failed said, the first few.
    pub errors: Vec<String>,
}

/// Breaks of continuity with one code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    /// How many.
    pub count: u64,
    /// When the first was seen, since the run began.
    pub first: Duration,
    /// And the last.
    pub last: Duration,
}

/// How members come to the server.
#[derive(Clone, Debug)]
enum Road {
    /// By sockets, from these addresses by turns.
    Sockets(Vec<IpAddr>),
    /// Through memory, to a server in this process.
    Memory(Network),
}

/// A fleet.
#[derive(Debug)]
pub struct Fleet {
    common: Arc<Common>,
    faults: Faults,
    /// Where members connect to, and where publishers do.
    urls: [String; 2],
    road: Road,
    options: FleetOptions,
    members: Vec<Client>,
    publishers: Vec<Client>,
    /// Next number of each publisher.
    numbers: Vec<u64>,
    payload_bytes: usize,
    readers: JoinSet<()>,
    /// See [`Fleet::sequences`].
    sequences: Vec<Arc<AtomicU64>>,
    wires: JoinSet<()>,
    stay: Arc<AtomicBool>,
    /// What had to be cut down, in words.
    pub clamped: Vec<String>,
}

/// The name of a channel of the lab.
#[must_use]
pub fn channel_name(channel: u64) -> String {
    ["lab", itoa::Buffer::new().format(channel)].concat()
}

impl Fleet {
    /// Nobody is there yet. `address` is host and port of the server.
    #[must_use]
    pub fn new(plan: &Plan, faults: Faults, address: &str, options: FleetOptions) -> Self {
        let mut plan = plan.clone();
        let budget = Budget::plan(plan.topology.connections);
        plan.topology.connections = budget.connections.max(1);
        let url = url(address);
        Self { clamped: budget.clamped, ..Self::on(plan, faults, url, Road::Sockets(budget.sources), options) }
    }

    /// The same with a server in this process, which costs neither descriptors nor ports.
    #[must_use]
    pub fn in_memory(plan: &Plan, faults: Faults, network: Network, options: FleetOptions) -> Self {
        let url = "ws://memory/connection/websocket".to_owned();
        Self::on(plan.clone(), faults, url, Road::Memory(network), options)
    }

    fn on(plan: Plan, faults: Faults, url: String, road: Road, options: FleetOptions) -> Self {
        let mut ledger = Ledger::new();
        let policy = Policy {
            history_size: plan.topology.history_size,
            history_ttl: plan.topology.history_ttl,
            recovery_max: plan.topology.history_size.min(plan.topology.sessions.recovery_max),
        };
        for channel in 0..plan.topology.channels {
            ledger.record(Event::Channel { channel: number(channel), policy });
        }
        for publisher in 0..publishers(&plan) {
            let channel = number(publisher % plan.topology.channels.max(1));
            ledger.record(Event::Publisher { publisher: number(publisher), channel });
        }
        let payload_bytes = plan.workload.payload_bytes;
        let subscriptions = number(plan.topology.subscriptions());
        let numbers = vec![1; usize::try_from(publishers(&plan)).unwrap_or(0)];
        let common = Arc::new(Common {
            plan,
            ledger: Mutex::new(ledger),
            latencies: Default::default(),
            recoveries: Mutex::default(),
            healed: Mutex::default(),
            breaks: Mutex::default(),
            verified: Mutex::default(),
            began: Instant::now(),
            sentinels: OnceLock::new(),
            delivered: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            live: AtomicU64::new(0),
            changed: Notify::new(),
            sampler: Mutex::default(),
            subscriptions: AtomicU32::new(subscriptions),
        });
        Self {
            common,
            faults,
            urls: [url.clone(), url],
            road,
            options,
            members: Vec::new(),
            publishers: Vec::new(),
            numbers,
            payload_bytes,
            readers: JoinSet::new(),
            sequences: Vec::new(),
            wires: JoinSet::new(),
            stay: Arc::default(),
            clamped: Vec::new(),
        }
    }

    /// The plan, with what had to be cut down.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.common.plan
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.common.ledger()
    }

    /// Delivery latencies so far.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        self.recorder().latencies()
    }

    /// Those of bystanders alone.
    #[must_use]
    pub fn bystander_latencies(&self) -> Latencies {
        lock(&self.common.latencies[1]).clone()
    }

    /// Forgets the latencies so far: the next phase has its own.
    pub fn reset_latencies(&self) -> Latencies {
        let all = self.latencies();
        self.common.latencies.iter().for_each(|latencies| *lock(latencies) = Latencies::default());
        all
    }

    /// How long subscriptions were not in force, each time they came back. Response: since the break; service: since the
    /// fault was [healed](Recorder::healed).
    #[must_use]
    pub fn recoveries(&self) -> Latencies {
        self.recorder().recoveries()
    }

    /// Has these members unsubscribe from all their channels.
    pub fn unsubscribe(&self, members: &[u64]) {
        for &member in members {
            let Some(client) = usize::try_from(member).ok().and_then(|at| self.members.get(at)) else { continue };
            for channel in self.common.plan.topology.channels_of(member) {
                client.unsubscribe(channel_name(channel));
            }
        }
    }

    /// Has a member that has unsubscribed subscribe anew to all its channels. Does not wait.
    ///
    /// # Errors
    /// When its client takes no more subscriptions.
    pub fn subscribe_again(&mut self, member: u64) -> anyhow::Result<()> {
        let Some(client) = usize::try_from(member).ok().and_then(|at| self.members.get(at)).cloned() else {
            anyhow::bail!("member {member} has never been connected");
        };
        for channel in self.common.plan.topology.channels_of(member) {
            // A number of its own: what the old subscription missed while it was away was not promised to it.
            let (sub, channel) = (self.common.new_subscription(), number(channel));
            self.ledger().record(Event::Subscription { sub, channel, bystander: false });
            let subscription = client.try_subscribe(channel_name(channel.into()), &SubscribeOptions::default())?;
            self.read_late(subscription, sub, channel);
        }
        Ok(())
    }

    /// Publishes to a channel that were begun so far.
    #[must_use]
    pub fn published(&self, channel: u64) -> u64 {
        let channels = self.common.plan.topology.channels.max(1);
        let of = |&(publisher, _): &(u64, &u64)| publisher % channels == channel;
        (0..).zip(&self.numbers).filter(of).map(|(_, next)| next - 1).sum()
    }

    /// Payloads are of this size from now on.
    pub fn set_payload_bytes(&mut self, bytes: usize) {
        self.payload_bytes = bytes;
    }

    /// For each subscription a number made of the publications it was given, in their order: two runs that delivered the
    /// same have the same numbers.
    #[must_use]
    pub fn sequences(&self) -> Vec<u64> {
        self.sequences.iter().map(|sequence| sequence.load(Relaxed)).collect()
    }

    /// Breaks of continuity so far, by the code that members saw.
    #[must_use]
    pub fn breaks(&self) -> BTreeMap<u32, Breaks> {
        lock(&self.common.breaks).clone()
    }

    /// Writes into the ledger while the fleet is busy, and knows what it got when it has gone.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::of(&self.common)
    }

    /// Waits until so many publications have arrived since the beginning, at most `limit`. Whether they have.
    pub async fn wait_delivered(&self, publications: u64, limit: Duration) -> bool {
        let looking = async {
            while self.delivered() < publications {
                // Deliveries are too many to announce each.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(limit, looking).await.is_ok()
    }

    /// Subscriptions in force now.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.common.live.load(Relaxed)
    }

    /// Publications that arrived so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.common.delivered.load(Relaxed)
    }

    /// How it went so far. `phases` are added: whoever leads the run knows them.
    #[must_use]
    pub fn timeline(&self, phases: &[(Instant, String)]) -> Timeline {
        self.recorder().timeline(phases)
    }

    /// Time since the fleet was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.common.now()
    }

    /// The members' clients.
    #[must_use]
    pub fn members(&self) -> &[Client] {
        &self.members
    }

    /// Members that connect from now on do so at `address`, where somebody passes on what they send; publishers do not.
    pub fn through(&mut self, address: &str) {
        self.urls[0] = url(address);
    }

    fn config(&self, connection: u64) -> ClientConfig {
        let options = &self.options;
        let mut config = ClientConfig::new(self.urls[usize::from(connection >= PUBLISHER_CONNECTIONS)].clone());
        config.request_timeout = options.request_timeout;
        config.connect_timeout = options.connect_timeout;
        config.reconnect_initial_delay = options.reconnect_initial_delay;
        config.reconnect_max_delay = options.reconnect_max_delay;
        config.pong_timeout = options.pong_timeout;
        config.command_capacity = 65_536;
        config.pending_requests_max = 65_536;
        config.message_bytes_max = options.message_bytes_max;
        config.subscription_capacity = self.common.plan.topology.sessions.mailbox;
        config.seed = Some(self.common.plan.seed.value(connection, "client", 0));
        if self.common.plan.topology.sessions.ping_interval.is_zero() {
            // A plan without heartbeats has none from either side.
            config.ping_interval = Duration::ZERO;
        }
        if let Some(Credentials(source)) = &options.credentials {
            config.token = source(connection);
        }
        config
    }

    fn client(&self, connection: u64) -> Client {
        let Plan { seed, topology, .. } = &self.common.plan;
        let in_protobuf = seed.chance(connection, "format").bernoulli(topology.sessions.protobuf);
        let format = if in_protobuf { Format::Protobuf } else { Format::Json };
        let handler = CentrifugeHandler::default().format(format).server_honours_idempotency_keys(true);
        let mut builder = Client::builder(self.config(connection)).handler(handler);
        if let Some(breaker) = self.options.breaker.as_ref().filter(|_| connection < PUBLISHER_CONNECTIONS) {
            builder = builder.breaker(breaker.clone());
        }
        let started = match &self.road {
            Road::Sockets(sources) => {
                let at = usize::try_from(connection).unwrap_or(0) % sources.len();
                let buffer =
                    self.options.receive_buffer_bytes.filter(|_| connection < self.options.receive_buffer_below);
                let mut sources = sources.clone();
                sources.rotate_left(at);
                sources.truncate(if self.options.roams { sources.len() } else { 1 });
                builder.connector(FaultyConnector::new(connection, self.faults.clone(), sources, buffer)).start()
            }
            Road::Memory(network) => {
                builder.connector(MemoryConnector::new(connection, self.faults.clone(), network.clone())).start()
            }
        };
        started.expect("the lab's client settings are constants and a URL it made itself")
    }

    /// Connects members `from..to`, all at once, and subscribes each to its channels; waits until all are in force, at most
    /// `limit`.
    /// Those for whom `is_bystander` are judged for feeling nothing.
    pub async fn connect(
        &mut self,
        members: std::ops::Range<u64>,
        limit: Duration,
        is_bystander: impl Fn(u64) -> bool,
        progress: impl Fn(u64),
    ) -> Connected {
        let began = Instant::now();
        let deadline = began + limit;
        if self.members.is_empty() {
            self.readers.spawn(Common::sample(Arc::downgrade(&self.common)));
        }
        let topology = self.common.plan.topology.clone();
        let before = self.live();
        let each = topology.each();
        let members = members.start..members.end.min(topology.connections);
        let wanted = members.end.saturating_sub(members.start);
        let mut connected = Connected { wanted: wanted * each, ..Connected::default() };
        let mut waiting = FuturesUnordered::new();
        for connection in members {
            let client = self.client(connection);
            for (index, channel) in topology.channels_of(connection).enumerate() {
                let sub = number(connection * each + index as u64);
                let bystander = is_bystander(connection);
                let channel_number = number(channel);
                self.ledger().record(Event::Subscription { sub, channel: channel_number, bystander });
                match client.try_subscribe(channel_name(channel), &SubscribeOptions::default()) {
                    Ok(subscription) => self.read(subscription, sub, channel_number, bystander),
                    Err(error) => connected.errors.push(error.to_string()),
                }
            }
            self.members.push(client.clone());
            waiting.push(async move {
                let _ready = tokio::time::timeout_at(deadline, client.ready()).await;
            });
        }
        while waiting.next().await.is_some() {
            progress(self.live() - before);
        }
        let target = before + connected.wanted;
        let left = deadline.saturating_duration_since(Instant::now());
        self.common.wait_for(left, |common| common.live.load(Relaxed) >= target).await;
        connected.subscribed = self.live().saturating_sub(before);
        connected.took = began.elapsed();
        let lost = self.members.iter().filter(|client| !client.is_connected()).filter_map(Client::last_loss);
        connected.errors.extend(lost.take(5).map(|loss| loss.to_string()));
        connected
    }

    fn read(&mut self, subscription: Subscription, sub: u32, channel: u32, bystander: bool) {
        let sequence = Arc::new(AtomicU64::new(0));
        self.sequences.push(Arc::clone(&sequence));
        let reader = subscriber::Subscriber::new(Arc::clone(&self.common), sub, channel, bystander, sequence);
        self.readers.spawn(reader.run(subscription));
    }

    /// Reads a subscription of somebody who comes and goes: nobody compares what those were given.
    fn read_late(&mut self, subscription: Subscription, sub: u32, channel: u32) {
        let reader = subscriber::Subscriber::new(Arc::clone(&self.common), sub, channel, false, Arc::default());
        self.readers.spawn(reader.run(subscription));
    }

    /// The quiet point: waits until all subscriptions are in force again, publishes the last publication of each
    /// channel, and waits until everybody has it; at most `limit` altogether. Whether everything came to rest.
    pub async fn settle(&mut self, limit: Duration, subscriptions: u64) -> bool {
        let deadline = Instant::now() + limit;
        let mut rested = self.common.wait_for(limit, |common| common.live.load(Relaxed) >= subscriptions).await;
        let channels = self.common.plan.topology.channels.min(self.numbers.len() as u64);
        let mut sentinels = BTreeMap::new();
        let mut waiting = FuturesUnordered::new();
        // Known before they are sent, so that no subscriber can miss the moment.
        for channel in 0..channels {
            let at = usize::try_from(channel).unwrap_or(0);
            let id =
                PublicationId { run: run_number(&self.common.plan), publisher: number(channel), n: self.numbers[at] };
            sentinels.insert(number(channel), id);
        }
        let _once = self.common.sentinels.set(sentinels.clone());
        // Nobody reaches a sentinel that is not there: where a publisher's connection may be broken without knowing it, what is not
        // answered is sent again. By sockets there is no fault left, and a key would be memory that is counted.
        let keyed = matches!(self.road, Road::Memory(_));
        for channel in 0..channels {
            let due = self.common.now();
            let (id, publishing) = self.begin_publish(channel, due, keyed);
            waiting.extend(publishing);
            self.ledger().record(Event::Sentinel { channel: number(channel), id });
        }
        while waiting.next().await.is_some() {}
        let left = deadline.saturating_duration_since(Instant::now());
        rested &= self.common.wait_for(left, |common| common.reached.load(Relaxed) >= subscriptions).await;
        rested
    }

    /// Records what the server's own interface says of the histories of at most `most` channels, and closes the ledger.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn census(&mut self, address: &str, most: u64) -> anyhow::Result<()> {
        if self.common.plan.topology.history_size > 0 {
            for channel in 0..self.common.plan.topology.channels.min(most) {
                let params = serde_json::json!({ "channel": channel_name(channel), "limit": -1 });
                let history: HistoryResult = crate::server::http::call(address, "history", &params).await?;
                let entries = history.publications.iter();
                let entries = entries.map(|one| (one.offset, self.common.content(one.data.as_bytes()))).collect();
                self.common.record_history(None, number(channel), (&history.epoch, history.offset), entries);
            }
        }
        self.close_ledger();
        Ok(())
    }

    /// Closes all members and publishers, at most `limit`.
    pub async fn close(mut self, limit: Duration) {
        self.wires.shutdown().await;
        let closing = async {
            let mut closing: FuturesUnordered<_> =
                self.members.iter().chain(&self.publishers).map(Client::close).collect();
            while closing.next().await.is_some() {}
        };
        let _late = tokio::time::timeout(limit, closing).await;
        self.readers.shutdown().await;
    }
}

fn url(address: &str) -> String {
    format!("ws://{address}/connection/websocket")
}

/// At least one publisher for each channel: each channel has its sentinel.
fn publishers(plan: &Plan) -> u64 {
    plan.workload.publishers.max(plan.topology.channels)
}

/// Tells runs apart on a server that has seen others.
fn run_number(plan: &Plan) -> u32 {
    u32::try_from(plan.seed.value(0, "run", 0) >> 32).unwrap_or(0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(n: u64) -> u32 {
    u32::try_from(n).expect("the lab numbers its members, channels and publishers below 2^32")
}
