//! The server, the clients and the counters of these tests, in one place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use pubsub_client::{Client, ClientConfig, ClientConfigBuilder, Event, Subscription};
use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

/// Longest wait for something that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Clients of a large test whose number is not its point.
pub(crate) fn many() -> usize {
    std::env::var("PUBSUB_STRESS_CLIENTS").map_or(1000, |n| n.parse().expect("PUBSUB_STRESS_CLIENTS is a number"))
}

/// A server on a port of its own. Dropping it ends it; [`shutdown`](Self::shutdown) waits for that.
pub(crate) struct TestServer {
    handle: ServerHandle,
    pub(crate) address: SocketAddr,
}

impl TestServer {
    /// With echo, and no limit in the way.
    pub(crate) fn spawn() -> Self {
        let mut config = Config::generous();
        config.echo.enabled = true;
        // A herd waits for its last member, however long that takes.
        config.client.stale_close_delay = Duration::ZERO;
        // A pong stands behind all that its client has yet to read: a million deliveries take clients of a debug build longer
        // than the 8 s that it has.
        (config.client.ping_interval, config.client.pong_timeout) = (2 * PATIENCE, PATIENCE);
        // Joins and leaves of a herd would be a load of their own: each is told to all.
        config.channel.without_namespace.join_leave = false;
        config.channel.without_namespace.force_push_join_leave = false;
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 4096, None).unwrap();
        let handle = Server::new(config).start(listener).unwrap();
        let address = handle.local_addr().unwrap();
        Self { handle, address }
    }

    /// How many connections it counts.
    pub(crate) fn connections(&self) -> usize {
        self.handle.connections()
    }

    /// Waits until it counts so many.
    pub(crate) async fn settles_at(&self, connections: usize) {
        let settled = async {
            while self.connections() != connections {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let settled = timeout(PATIENCE, settled).await;
        assert!(settled.is_ok(), "{} connections, and {connections} were to be there", self.connections());
    }

    /// Ends it, once everybody is gone.
    pub(crate) async fn shutdown(self) {
        self.settles_at(0).await;
        let drained = self.handle.shutdown().await;
        assert_eq!((drained.connections, drained.left), (0, 0));
    }

    /// Settings of a client of this server.
    pub(crate) fn client_config(&self) -> ClientConfigBuilder {
        ClientConfig::builder(format!("ws://{}/connection/websocket", self.address))
            .connect_timeout(PATIENCE)
            .request_timeout(PATIENCE)
            // A test that reconnects without being asked to would hide what it is about.
            .reconnect_attempts_max(Some(1))
    }

    /// A connected client.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.client_config().build().unwrap()).await.expect("a client of an idle server connects")
    }

    /// A connection to `/echo` by an implementation that is not ours.
    pub(crate) async fn echo(&self) -> WebSocketStream<TcpStream> {
        echo(self.address).await
    }
}

/// The same for whoever has only the address.
pub(crate) async fn echo(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{address}/echo");
    tokio_tungstenite::client_async(url, stream).await.expect("an upgrade").0
}

/// Counters that any number of clients add to, without a lock.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) failed: AtomicU64,
    latencies: Latencies,
}

/// A histogram of relaxed counters: 16 steps to each doubling of microseconds, so that a quantile is right to 6 %.
struct Latencies([AtomicU64; 16 * 32]);

impl Default for Latencies {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Latencies {
    fn step(us: u64) -> usize {
        let us = us.max(16);
        let doubling = us.ilog2() - 4;
        let within = (us >> doubling) - 16;
        usize::try_from(u64::from(doubling) * 16 + within).unwrap_or(usize::MAX).min(16 * 32 - 1)
    }

    /// The most that step stands for.
    fn top(step: usize) -> u64 {
        (((step % 16) as u64 + 17) << (step / 16)) - 1
    }
}

impl Meter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Something took so long.
    pub(crate) fn took(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.0[Latencies::step(us)].fetch_add(1, Relaxed);
    }

    /// The latency that this share of all did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self.latencies.0.iter().map(|count| count.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let step = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_micros(Latencies::top(step.unwrap_or(0)))
    }

    /// One line: how many, how fast, how late.
    pub(crate) fn report(&self, what: &str, within: Duration) {
        let received = self.received.load(Relaxed);
        eprintln!(
            "{what}: {received} received ({} sent, {} failed) in {:.2} s = {:.0}/s; p50 {:?} p95 {:?} p99 {:?}",
            self.sent.load(Relaxed),
            self.failed.load(Relaxed),
            within.as_secs_f64(),
            received as f64 / within.as_secs_f64(),
            self.quantile(0.5),
            self.quantile(0.95),
            self.quantile(0.99),
        );
    }
}

/// Runs `one` for each of `count` clients. All wait at the barrier until all are there.
pub(crate) async fn together<F, T>(count: usize, one: impl Fn(usize, Arc<Barrier>) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut running = JoinSet::new();
    for n in 0..count {
        running.spawn(one(n, barrier.clone()));
    }
    let mut ended = Vec::with_capacity(count);
    while let Some(one) = timeout(PATIENCE, running.join_next()).await.expect("nobody is left hanging") {
        ended.push(one.unwrap());
    }
    ended
}

/// The data of the next publication, which has to be the next thing that is told.
pub(crate) async fn next_data<T: serde::de::DeserializeOwned>(subscription: &mut Subscription) -> T {
    loop {
        match timeout(PATIENCE, subscription.next()).await.expect("a publication, in time") {
            Some(Event::Publication(publication)) => return publication.data.parse().unwrap(),
            Some(Event::Subscribed(_)) => {}
            other => panic!("expected a publication, got {other:?}"),
        }
    }
}

#[test]
fn a_quantile_is_right_to_six_percent() {
    let meter = Meter::new();
    for us in 1..=100_000 {
        meter.took(Duration::from_micros(us));
    }
    for share in [0.5, 0.95, 0.99, 1.0] {
        let (told, right) = (meter.quantile(share).as_micros() as f64, share * 100_000.0);
        assert!(told >= right && told <= right * 1.0625, "{share}: {told} for {right}");
    }
}
