//! The server as a library: a configuration and a listener go in, a handle comes out.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use pubsub_server::config::Config;
//! use pubsub_server::server::Server;
//! use pubsub_server::transport::listener::TcpListener;
//!
//! let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 4096, None)?;
//! let server = Server::new(Config::open_default()).start(listener)?;
//! println!("listening on {:?}", server.local_addr());
//! server.shutdown().await;
//! # Ok(()) }
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use axum::Router;
use axum::routing::get;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::affinity;
use crate::api;
use crate::batches::Batches;
use crate::clock::{Clock, millis};
use crate::config::Config;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, Feed};
use crate::hub::Hub;
use crate::metrics::{Metrics, Refused};
use crate::node::Node;
use crate::planted::{self, Bug};
use crate::session::rules::Rules;
use crate::shard::connection::Purpose;
use crate::shard::control::{Census, Control};
use crate::shard::inbox::ShardMessage;
use crate::shard::{Door, Settings, Shard};
use crate::stopping::Stopping;
use crate::token::KeyError;
use crate::transport::Gate;
use crate::transport::http::{Ended, Terms, serve};
use crate::transport::listener::{Listener, is_exhausted};
use crate::transport::newcomer::{Newcomer, ShortWay};
use crate::transport::upgrade::{Entrance, upgrade};
use crate::users::Users;
use crate::vital::{Alarm, Vital};

/// Connections on their way from the accept loop to one shard.
const INTAKE: usize = 1024;

/// How often what is past its time is looked for in engine and gate.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long what was asked of the API may still take once all else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How many connections are closed per millisecond of a drain at most: a window wider than the connections
/// need would only delay the end.
const DRAIN_PER_MS: u64 = 2;

/// A server that is about to start.
pub struct Server {
    config: Config,
    seed: Option<u64>,
    clock: Option<Clock>,
    engine: Option<MakeEngine>,
    on_current_runtime: bool,
}

/// Makes an engine whose publications come out at a feed.
type MakeEngine = Box<dyn FnOnce(Arc<dyn Feed>) -> Arc<dyn Engine>>;

/// Why a server can not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A key for tokens that can not be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A thread that can not be started.
    #[error("a shard's thread can not be started: {0}")]
    Thread(std::io::Error),
}

impl Server {
    /// A server by this configuration, which is taken as checked.
    pub fn new(config: Config) -> Self {
        Self { config, seed: None, clock: None, engine: None, on_current_runtime: false }
    }

    /// Draws all chance (ids, epochs, first pings) from `seed` instead of from the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells the time by `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Keeps streams and presence in an engine of one's own instead of in memory. Its publications have to come out
    /// at the feed that `make` is given.
    #[must_use]
    pub fn engine(mut self, make: impl FnOnce(Arc<dyn Feed>) -> Arc<dyn Engine> + 'static) -> Self {
        self.engine = Some(Box::new(make));
        self
    }

    /// Runs on the runtime of the caller instead of on threads of its own, with as many shards as the configuration says, and
    /// one if it leaves that open. With a paused clock and a seed the whole server is then deterministic.
    #[must_use]
    pub fn on_current_runtime(mut self) -> Self {
        self.on_current_runtime = true;
        self
    }

    /// Starts. Must be called within a tokio runtime, which accepts connections and keeps house.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start<L: Listener>(self, listener: L) -> Result<ServerHandle, StartError> {
        let config = Arc::new(self.config);
        let mut chance = self.seed.map_or_else(chance_from_system, ChaCha12Rng::seed_from_u64);
        let clock = self.clock.unwrap_or_else(Clock::system);
        let shards = match (self.on_current_runtime, config.http_server.shards) {
            (true, shards) => shards.max(1),
            (false, 0) => std::thread::available_parallelism().map_or(1, usize::from),
            (false, shards) => shards,
        };
        let pin_shards = config.http_server.pin_shards;
        let hub = Arc::new(Hub::new(shards, chance.next_u64()));
        let engine_seed = chance.next_u64();
        let engine = match self.engine {
            Some(make) => make(hub.clone()),
            None => Arc::new(MemoryEngine::new(hub.clone(), engine_seed)),
        };
        let hasher =
            RandomState::with_seeds(chance.next_u64(), chance.next_u64(), chance.next_u64(), chance.next_u64());
        let node = Arc::new(Node {
            hub,
            engine: engine.clone(),
            users: Users::new(hasher.clone()),
            rules: Rules::new(&config)?,
            clock: clock.clone(),
            id_secret: hasher,
        });
        let client = &config.client;
        let gate =
            Gate::new(client.connection_limit, client.connection_rate_limit, client.connection_rate_limit_per_address);
        let metrics = Arc::new(Metrics::new(shards));
        let batches = Arc::new(Batches::default());
        let local_addr = listener.local_addr();
        let service = Arc::new(api::Service::new(node, gate.clone(), metrics.clone(), config, local_addr));

        let alarm = Alarm::default();
        let stopping = Stopping::default();
        let mut intakes = Vec::with_capacity(shards);
        let mut ends = Vec::with_capacity(shards);
        for index in 0..shards {
            let (intake, incoming) = mpsc::channel(INTAKE);
            let work = serve_shard::<L>(ShardParts {
                index,
                incoming,
                service: service.clone(),
                batches: batches.clone(),
                stopping: stopping.clone(),
                chance: ChaCha12Rng::seed_from_u64(chance.next_u64()),
            });
            let (ended, end) = oneshot::channel();
            let vital = alarm.part(format!("shard-{index}"));
            if self.on_current_runtime {
                tokio::spawn(async move {
                    let _vital = vital;
                    work.await;
                    let _ = ended.send(());
                });
            } else {
                start_thread(vital, pin_shards.then_some(index), work, ended).map_err(StartError::Thread)?;
            }
            intakes.push(intake);
            ends.push(end);
        }
        let accepting = spawn_vital(&alarm, "the accept loop", accept(listener, intakes, metrics));
        let housekeeping = spawn_vital(&alarm, "housekeeping", keep_house(engine, batches, gate, clock));
        Ok(ServerHandle {
            local_addr,
            service,
            stopping,
            alarm,
            accepting: accepting.abort_handle(),
            housekeeping: housekeeping.abort_handle(),
            ends: Mutex::new(ends),
            internal: Mutex::default(),
        })
    }
}

/// The one place where chance comes from outside: a server that was given no seed.
#[expect(clippy::disallowed_methods, reason = "this is the seam")]
fn chance_from_system() -> ChaCha12Rng {
    rand::make_rng()
}

fn spawn_vital(alarm: &Alarm, part: &str, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let vital = alarm.part(part);
    tokio::spawn(async move {
        let _vital = vital;
        work.await;
    })
}

fn start_thread(
    vital: Vital,
    processor: Option<usize>,
    work: impl Future<Output = ()> + Send + 'static,
    ended: oneshot::Sender<()>,
) -> std::io::Result<()> {
    // A shard looks at its sockets again after every turn: the runtime must not put that off.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(2).build()?;
    std::thread::Builder::new().name(vital.name().to_owned()).spawn(move || {
        // First in, last out: when it tells of a panic, all that the shard served is gone already.
        let (_vital, runtime) = (vital, runtime);
        if let Some(Err(error)) = processor.map(affinity::pin) {
            tracing::warn!(%error, "http_server.pin_shards: this shard stays on any processor");
        }
        runtime.block_on(work);
        // What was upgraded or served when the shard ended goes with the runtime.
        drop(runtime);
        let _ = ended.send(());
    })?;
    Ok(())
}

struct ShardParts<L: Listener> {
    index: usize,
    incoming: mpsc::Receiver<(L::Raw, Option<SocketAddr>)>,
    service: Arc<api::Service>,
    batches: Arc<Batches>,
    stopping: Stopping,
    chance: ChaCha12Rng,
}

/// A shard and the HTTP of the connections on their way into it. Ends when the shard does, and what was asked of the API by
/// then is answered.
async fn serve_shard<L: Listener>(parts: ShardParts<L>) {
    let ShardParts { index, mut incoming, service, batches, stopping, chance } = parts;
    let config = service.config();
    let door = Arc::new(Door::default());
    let settings = Settings {
        message_bytes_max: config.websocket.message_size_limit,
        queue_bytes_max: config.client.queue_max_size,
        write_timeout_ms: match millis(config.websocket.write_timeout) {
            0 => u64::MAX / 2,
            ms => ms,
        },
        ping_interval_ms: millis(config.client.ping_interval),
        pong_timeout_ms: millis(config.client.pong_timeout),
    };
    let index = u16::try_from(index).expect("the configuration allows 1,024 shards");
    let (node, metrics) = (service.node().clone(), service.metrics().clone());
    let shard = Shard::new(index, node, settings, metrics, batches, door.clone(), chance);
    let ways = Ways::<L>::open(&service, door, stopping);
    let mut connections = JoinSet::new();
    let intake = async {
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next() => {}
                received = incoming.recv() => {
                    let Some((raw, peer)) = received else { break };
                    connections.spawn(serve_raw(raw, peer, ways.clone(), service.clone()));
                }
            }
        }
        // Nothing is accepted any more; what is being served goes on until the shard ends.
        while connections.join_next().await.is_some() {}
        std::future::pending::<()>().await;
    };
    // A shard gives way by itself; tokio's own budget would make sockets look blocked that are not.
    let mut shard = Box::pin(tokio::task::unconstrained(shard));
    let mut intake = Box::pin(intake);
    std::future::poll_fn(|cx| {
        if shard.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        intake.as_mut().poll(cx).map(|()| ())
    })
    .await;
    drop((shard, intake));
    last_answers(connections).await;
}

/// Waits for what is still being answered. Whoever is not done in time is cut.
async fn last_answers(mut connections: JoinSet<()>) {
    let answered = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, answered).await;
}

/// The ways in.
struct Ways<L: Listener> {
    /// For plain upgrades, where there are any.
    short: Option<Arc<ShortWay<L>>>,
    /// For all else.
    router: Router,
    stopping: Stopping,
}

impl<L: Listener> Clone for Ways<L> {
    fn clone(&self) -> Self {
        Self { short: self.short.clone(), router: self.router.clone(), stopping: self.stopping.clone() }
    }
}

impl<L: Listener> Ways<L> {
    /// All that stands on the public port.
    fn open(service: &Arc<api::Service>, door: Arc<Door<L::Socket>>, stopping: Stopping) -> Self {
        let config = service.config();
        let entrance = Arc::new(Entrance::<L>::new(
            door,
            service.gate().clone(),
            service.node().clock.clone(),
            service.metrics().clone(),
            &config.client,
        ));
        let mut paths = Vec::new();
        if !config.websocket.disabled {
            paths.push((config.websocket.handler_prefix.clone(), Purpose::Session));
        }
        if config.echo.enabled {
            paths.push(("/echo".to_owned(), Purpose::Echo));
        }
        let mut router = api::public_router(service);
        for (path, purpose) in &paths {
            let (entrance, purpose) = (entrance.clone(), *purpose);
            router = router.route(path, get(move |request| upgrade(entrance.clone(), purpose, request)));
        }
        Self { short: Some(Arc::new(ShortWay::new(entrance, paths))), router, stopping }
    }
}

/// Serves one accepted connection, until it is a WebSocket or has ended.
async fn serve_raw<L: Listener>(raw: L::Raw, peer: Option<SocketAddr>, ways: Ways<L>, service: Arc<api::Service>) {
    let handshake = service.config().http_server.handshake_timeout;
    let begun_at = Instant::now();
    let received = tokio::time::timeout(handshake, async {
        let stream = match L::attach(raw).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(?peer, %error, "connection failed before its first request");
                service.metrics().node.refuse(Refused::Tls);
                return None;
            }
        };
        let Some(short) = &ways.short else { return Some((stream, Vec::new())) };
        match short.receive(stream, peer).await {
            Ok(Newcomer::Upgraded) => None,
            Ok(Newcomer::Other(stream, begun)) => Some((stream, begun)),
            Err(error) => {
                tracing::debug!(?peer, %error, "connection broke before its first request");
                None
            }
        }
    });
    let stopping = ways.stopping;
    let received = tokio::select! {
        biased;
        received = received => received,
        // Whoever has not asked for anything is owed no answer.
        () = stopping.told() => return,
    };
    let ended = match received {
        Ok(Some((stream, begun))) => {
            let terms = Terms {
                first_by: begun_at + handshake,
                patience: handshake,
                dated: service.node().clock.is_system(),
                stopping,
            };
            serve(stream, begun, peer, ways.router, terms).await
        }
        Ok(None) => return,
        Err(_) => Ended::NoRequestInTime,
    };
    match ended {
        Ended::Served => {}
        Ended::NoRequestInTime => {
            tracing::info!(?peer, "connection refused: no whole request in time");
            service.metrics().node.refuse(Refused::HandshakeTimeout);
        }
        Ended::Malformed => {
            tracing::info!(?peer, "connection refused: this is no HTTP, or too much of it");
            service.metrics().node.refuse(Refused::BadRequest);
        }
        Ended::Unread => {
            tracing::info!(?peer, "connection refused: it does not read what it is answered");
            service.metrics().node.refuse(Refused::Unread);
        }
    }
}

async fn accept<L: Listener>(
    mut listener: L,
    intakes: Vec<mpsc::Sender<(L::Raw, Option<SocketAddr>)>>,
    metrics: Arc<Metrics>,
) {
    for intake in intakes.iter().cycle() {
        let accepted = loop {
            match listener.accept().await {
                Ok(accepted) => break accepted,
                Err(_) if planted::is(Bug::AcceptLoopDies) => return,
                Err(error) => not_accepted(&error, &metrics),
            }
        };
        metrics.node.connections_accepted.increment();
        if intake.send(accepted).await.is_err() {
            // The shard has ended, and with it the server.
            return;
        }
    }
}

fn not_accepted(error: &std::io::Error, metrics: &Metrics) {
    tracing::warn!(%error, "a connection could not be accepted");
    if is_exhausted(error) {
        metrics.node.refuse(Refused::Descriptors);
    }
}

async fn keep_house(engine: Arc<dyn Engine>, batches: Arc<Batches>, gate: Arc<Gate>, clock: Clock) {
    let mut interval = tokio::time::interval(HOUSEKEEPING);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        engine.sweep(Instant::now());
        batches.sweep();
        gate.sweep(clock.now().ms);
    }
}

/// A server that runs. Dropping it stops the server at once.
pub struct ServerHandle {
    local_addr: Option<SocketAddr>,
    service: Arc<api::Service>,
    stopping: Stopping,
    alarm: Alarm,
    accepting: AbortHandle,
    housekeeping: AbortHandle,
    ends: Mutex<Vec<oneshot::Receiver<()>>>,
    internal: Mutex<Option<Held>>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections there were when it began.
    pub connections: usize,
    /// Connections that were still there when time was up.
    pub left: usize,
}

impl ServerHandle {
    /// The address listened on; `None` for a listener without one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// What the server API does, without HTTP.
    pub fn service(&self) -> &Arc<api::Service> {
        &self.service
    }

    /// The node, to publish or look around from within the process.
    pub fn node(&self) -> &Arc<Node> {
        self.service.node()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.service.gate().connections()
    }

    /// What there is in all shards, for those who look for something left behind. It is exact at rest.
    pub async fn census(&self) -> Census {
        let mut census = self.node().hub.census().await.into_iter().fold(Census::default(), Census::plus);
        (census.routes, census.users) = (self.node().hub.channels(), self.node().users.len());
        census
    }

    /// Lets no new client in (503, and `/ready` says so), asks every connection to come back elsewhere (3001) at a
    /// moment of its own within `shutdown.spread`, and waits until all are gone, at most `shutdown.timeout`.
    pub async fn drain(&self) -> Drained {
        let config = self.service.config();
        let gate = self.service.gate();
        gate.close();
        let connections = gate.connections();
        let spread_ms = millis(config.shutdown.spread).min(connections as u64 / DRAIN_PER_MS);
        self.node().hub.tell_all(|_| ShardMessage::Control(Control::Drain { spread_ms }));
        // Whether time was up shows in what is left.
        let _ = tokio::time::timeout(config.shutdown.timeout, gate.empty()).await;
        Drained { connections, left: gate.connections() }
    }

    /// Waits until a part that the server can not do without has ended by a panic, which no connection survives that
    /// it served; names the part. What is left can still be drained, and has to be ended.
    pub async fn failed(&self) -> String {
        self.alarm.raised().await
    }

    /// Drains, then ends everything and waits until it has ended.
    pub async fn shutdown(self) -> Drained {
        let drained = self.drain().await;
        self.stop();
        let ends = std::mem::take(&mut *self.ends.lock());
        for end in ends {
            // An error means that the shard is gone already.
            let _ = end.await;
        }
        let internal = self.internal.lock().take();
        if let Some(mut internal) = internal {
            // An error means that it is gone already.
            let _ = (&mut internal.0).await;
        }
        drained
    }

    /// Serves API, metrics and health on a listener of their own, for as long as the server runs. Returns its
    /// address.
    pub fn serve_internal<L: Listener>(&self, mut listener: L) -> Option<SocketAddr> {
        let address = listener.local_addr();
        let stopping = self.stopping.clone();
        let ways = Ways { short: None, router: api::internal_router(&self.service), stopping: stopping.clone() };
        let service = self.service.clone();
        let serving = spawn_vital(&self.alarm, "the internal listener", async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stopping.told() => break,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((raw, peer)) => {
                        service.metrics().node.connections_accepted.increment();
                        connections.spawn(serve_raw::<L>(raw, peer, ways.clone(), service.clone()));
                    }
                    Err(error) => not_accepted(&error, service.metrics()),
                }
                while connections.try_join_next().is_some() {}
            }
            last_answers(connections).await;
        });
        *self.internal.lock() = Some(Held(serving));
        address
    }

    fn stop(&self) {
        self.service.gate().close();
        self.stopping.tell();
        self.accepting.abort();
        self.housekeeping.abort();
        self.node().hub.tell_all(|_| ShardMessage::Control(Control::Stop));
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A task that ends with its handle.
struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}
