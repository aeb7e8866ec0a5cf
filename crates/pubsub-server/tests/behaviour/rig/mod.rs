//! What the tests of the running server share: a server in this process, peers that speak raw WebSocket to it, an
//! engine that misbehaves on purpose, and the check that nothing is left behind.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

pub mod engine;
pub mod peer;

use std::sync::Arc;
use std::time::Duration;

use pubsub_server::clock::Clock;
use pubsub_server::config::Config;
use pubsub_server::metrics::Stats;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::shard::control::Census;
use pubsub_server::transport::listener::{MemoryConnector, memory};
use serde_json::{Value, json};

use engine::TestEngine;
use peer::Peer;

/// Where virtual wall time begins, in seconds since 1970.
pub const EPOCH: i64 = 1_700_000_000;

/// Open to everyone, without joins and leaves: they would come between what is looked for.
pub fn quiet() -> Config {
    let mut config = Config::open_default();
    config.channel.without_namespace.join_leave = false;
    config
}

/// A server in this process and the way to it.
pub struct Rig {
    pub server: ServerHandle,
    pub connector: MemoryConnector,
    pub engine: Arc<TestEngine>,
}

impl Rig {
    /// One shard, on the runtime of the test: with a paused clock all of it is deterministic.
    pub fn start(config: Config) -> Self {
        Self::start_with(config, |server| server.on_current_runtime(), 7)
    }

    /// The same with another seed for chance and for the engine's delays.
    pub fn start_seeded(config: Config, seed: u64) -> Self {
        Self::start_with(config, |server| server.on_current_runtime(), seed)
    }

    /// Several shards, each on a thread of its own.
    pub fn start_threaded(mut config: Config, shards: usize) -> Self {
        config.http_server.shards = shards;
        Self::start_with(config, |server| server, 7)
    }

    fn start_with(config: Config, set: impl FnOnce(Server) -> Server, seed: u64) -> Self {
        let (listener, connector) = memory();
        let slot = Arc::new(std::sync::Mutex::new(None));
        let made = slot.clone();
        let server = Server::new(config).seed(seed).clock(Clock::starting_at(EPOCH)).engine(move |feed| {
            let engine = Arc::new(TestEngine::new(feed, seed));
            *made.lock().unwrap() = Some(engine.clone());
            engine
        });
        let server = set(server).start(listener).unwrap();
        let engine = slot.lock().unwrap().take().unwrap();
        Self { server, connector, engine }
    }

    /// A WebSocket on which nothing was said yet.
    pub async fn opened(&self) -> Peer {
        self.opened_at("/connection/websocket").await
    }

    pub async fn opened_at(&self, path: &str) -> Peer {
        let mut peer = self.raw(64 * 1024);
        let status = peer.upgrade(path, &[]).await;
        assert_eq!(status, 101, "the upgrade was refused");
        peer
    }

    /// A connection on which not even HTTP was spoken yet.
    pub fn raw(&self, buffer_bytes: usize) -> Peer {
        Peer::new(self.connector.connect(buffer_bytes).unwrap())
    }

    /// An anonymous connection.
    pub async fn connected(&self) -> Peer {
        self.connected_with(json!({})).await.0
    }

    /// A connection with this connect request, and the result.
    pub async fn connected_with(&self, request: Value) -> (Peer, Value) {
        let mut peer = self.opened().await;
        let reply = peer.ask(json!({"id": 1, "connect": request})).await;
        let result = reply["connect"].clone();
        assert!(result.is_object(), "not connected: {reply}");
        (peer, result)
    }

    /// An anonymous connection that is subscribed to `channel`, and the result.
    pub async fn subscribed(&self, channel: &str) -> (Peer, Value) {
        let mut peer = self.connected().await;
        let reply = peer.ask(json!({"id": 2, "subscribe": {"channel": channel}})).await;
        assert!(reply["subscribe"].is_object(), "not subscribed: {reply}");
        (peer, reply["subscribe"].clone())
    }

    /// All counts.
    pub fn stats(&self) -> Stats {
        self.server.service().metrics().snapshot()
    }

    /// Publishes as the server API does.
    pub async fn publish(&self, channel: &str, data: Value) -> u64 {
        let params = serde_json::from_str(&json!({"channel": channel, "data": data}).to_string()).unwrap();
        self.server.service().publish(params).await.unwrap().offset
    }

    /// Waits until nothing is left of any connection, or tells what is.
    pub async fn at_rest(&self) {
        let mut left = Census { connections: 1, ..Census::default() };
        for _ in 0..2000 {
            left = self.server.census().await;
            if left == Census::default() && self.server.connections() == 0 && self.engine.present() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(left, Census::default(), "left behind in shards, hub or users");
        assert_eq!(self.server.connections(), 0, "left behind in the gate");
        assert_eq!(self.engine.present(), 0, "channels with somebody in presence");
        let stats = self.stats();
        assert_eq!(stats.connections(), 0, "connections by count");
        assert_eq!(stats.subscriptions(), 0, "subscriptions by count");
    }
}
