//! What the server counts, and how it is told: in the text format of Prometheus, and as a plain [`Stats`].
//!
//! Counting must not slow down what is counted. Each shard has cells of its own, on cache lines of their own, and
//! adds to them without a lock; only a scrape adds the shards up. Where a thing happens once per subscriber (a
//! delivery, bytes into an outbox), the shard adds once for all of them.
//!
//! **The counts are exact at rest**: nothing is sampled, nothing is lost by two threads at once, and what can be
//! worked out from other counts (connections now, slow consumers) is, so that no two of them can disagree. While
//! things move, a scrape may see one count a moment before another.
//!
//! - [`cell`]: what one number is kept in
//! - [`stats`]: all numbers of one moment
//! - [`family`]: every metric with its name, kind and meaning; `docs/metrics.md` is checked against it
//! - [`process`]: what the operating system knows of us

pub mod cell;
pub mod family;
pub mod process;
pub mod stats;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use cell::{Codes, Counter, Gauge, Histogram, Rows};
use pubsub_protocol::codes::close;
use pubsub_protocol::reply::SubscribeResult;
use pubsub_protocol::{DisconnectCode, ErrorCode, UnsubscribeCode};

pub use stats::Stats;

/// The `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Commands of the protocol, by the names that `Request::name` gives them. The last one takes all others.
pub const COMMANDS: &[&str] = &[
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "send",
    "refresh",
    "sub_refresh",
    "ping",
    "pong",
    "unknown",
];

/// Methods of the HTTP API. The last one takes all others, so that a stranger cannot make up new ones.
pub const API_METHODS: &[&str] = &[
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "rpc",
    "batch",
    "unknown",
];

/// HTTP statuses that the API answers with.
const API_STATUSES: &[u32] = &[200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 416, 429, 500, 503];

/// Why a connection was refused before it could say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `client.connection_limit` is reached.
    Limit,
    /// More new connections per second than allowed.
    Rate,
    /// No complete HTTP request in time.
    HandshakeTimeout,
    /// Not HTTP, or a head that is too large.
    BadRequest,
    /// It did not read what it was answered.
    Unread,
    /// The TLS handshake failed.
    Tls,
    /// Not a WebSocket upgrade that we can answer.
    BadUpgrade,
    /// Its `Origin` is not on the list.
    Origin,
    /// The process has no descriptor left.
    Descriptors,
    /// The server is going down.
    Draining,
}

impl Refused {
    /// All of them, in the order of their cells.
    pub const ALL: &[Self] = &[
        Self::Limit,
        Self::Rate,
        Self::HandshakeTimeout,
        Self::BadRequest,
        Self::Unread,
        Self::Tls,
        Self::BadUpgrade,
        Self::Origin,
        Self::Descriptors,
        Self::Draining,
    ];

    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::BadRequest => "bad_request",
            Self::Unread => "unread",
            Self::Tls => "tls",
            Self::BadUpgrade => "bad_upgrade",
            Self::Origin => "origin",
            Self::Descriptors => "descriptors",
            Self::Draining => "draining",
        }
    }
}

/// All counts of one server.
#[derive(Debug)]
pub struct Metrics {
    /// What is counted once for the whole node.
    pub node: NodeMetrics,
    shards: Box<[ShardMetrics]>,
    started: Instant,
}

impl Metrics {
    /// Everything at zero; the uptime begins now.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self {
            node: NodeMetrics::default(),
            shards: (0..shards).map(|_| ShardMetrics::default()).collect(),
            started: Instant::now(),
        }
    }

    /// How many shards are counted.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The cells of one shard.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn shard(&self, shard: usize) -> &ShardMetrics {
        &self.shards[shard]
    }

    /// All numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Stats {
        Stats::read(&self.node, &self.shards, self.started.elapsed())
    }

    /// All numbers in the text format of OpenMetrics, which Prometheus reads. See [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        family::encode(self.snapshot(), process::Process::read())
    }
}

/// What one shard counts. Its thread alone writes here; nothing breaks if others do, it is only slower.
///
/// Two cache lines of alignment: processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Connections that became WebSocket connections.
    pub connections_opened: Counter,
    /// Of those, the ones that ended, for whatever reason.
    pub connections_closed: Counter,
    /// Subscriptions that began, client-side and server-side.
    pub subscriptions_opened: Counter,
    /// Of those, the ones that ended.
    pub subscriptions_closed: Counter,
    /// Publications that clients made.
    pub publications: Counter,
    /// Publications put into outboxes: add the number of members once per publication.
    pub deliveries: Counter,
    /// Subscribe commands that asked to recover.
    pub recoveries_asked: Counter,
    /// Answered `recovered: true`.
    pub recoveries_succeeded: Counter,
    /// Answered `recovered: false`, or error 112.
    pub recoveries_failed: Counter,
    /// Publications given back in subscribe and connect results.
    pub recovered_publications: Counter,
    /// Bytes read from sockets after the upgrade, frame headers included.
    pub bytes_received: Counter,
    /// Bytes written to sockets after the upgrade, frame headers included.
    pub bytes_sent: Counter,
    /// Bytes that wait in outboxes: set or add the difference once per turn of the shard's loop.
    pub outbox_bytes: Gauge,
    /// Messages that wait in the shard's inbox: set once per turn.
    pub inbox_messages: Gauge,
    commands: Rows<Histogram>,
    reply_errors: Rows<Codes>,
    disconnects: Codes,
    unsubscribes: Codes,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self {
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            subscriptions_opened: Counter::default(),
            subscriptions_closed: Counter::default(),
            publications: Counter::default(),
            deliveries: Counter::default(),
            recoveries_asked: Counter::default(),
            recoveries_succeeded: Counter::default(),
            recoveries_failed: Counter::default(),
            recovered_publications: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            outbox_bytes: Gauge::default(),
            inbox_messages: Gauge::default(),
            commands: Rows::new(COMMANDS, Histogram::default),
            reply_errors: Rows::new(COMMANDS, || Codes::new(ErrorCode::ALL.iter().map(|code| code.code()))),
            disconnects: Codes::new(close_codes()),
            unsubscribes: Codes::new(UnsubscribeCode::ALL.iter().map(|code| code.code())),
        }
    }
}

impl ShardMetrics {
    /// A command was dealt with, answered or not. `took`: from its decoding to its answer's place in the outbox.
    pub fn command(&self, method: &str, took: Duration) {
        self.commands.row(method).observe(took);
    }

    /// A command was answered with an error.
    pub fn reply_error(&self, method: &str, code: u32) {
        self.reply_errors.row(method).increment(code);
    }

    /// A subscription was answered: counts what it recovered, if it asked to.
    pub fn recovery(&self, result: &SubscribeResult) {
        self.recovered_publications.add(result.publications.len() as u64);
        if result.was_recovering {
            self.recoveries_asked.increment();
            let outcome = if result.recovered { &self.recoveries_succeeded } else { &self.recoveries_failed };
            outcome.increment();
        }
    }

    /// A subscription was answered with error 112 instead of unrecovered.
    pub fn recovery_rejected(&self) {
        self.recoveries_asked.increment();
        self.recoveries_failed.increment();
    }

    /// The server ends a connection with this close code. Code 3008 makes it a slow consumer.
    pub fn disconnect(&self, code: u16) {
        self.disconnects.increment(code.into());
    }

    /// The server ends a subscription with this code.
    pub fn unsubscribe(&self, code: u32) {
        self.unsubscribes.increment(code);
    }
}

/// Close codes that the server itself sends. The application's own are counted as "other".
fn close_codes() -> impl Iterator<Item = u32> {
    let websocket = [
        close::NORMAL,
        close::GOING_AWAY,
        close::PROTOCOL_ERROR,
        close::UNSUPPORTED_DATA,
        close::INVALID_PAYLOAD,
        close::MESSAGE_TOO_BIG,
    ];
    websocket.into_iter().map(u32::from).chain(DisconnectCode::ALL.iter().map(|code| code.code()))
}

/// What is counted for the whole node: by the accept loop, the HTTP API and the hub.
#[derive(Debug)]
pub struct NodeMetrics {
    /// Connections that the listeners accepted, whatever became of them.
    pub connections_accepted: Counter,
    /// Publications that the HTTP API made; one per channel for a broadcast.
    pub publications: Counter,
    /// Channels with at least one subscriber here.
    pub channels: Gauge,
    refused: Box<[Counter]>,
    api_requests: Rows<Codes>,
}

impl Default for NodeMetrics {
    fn default() -> Self {
        Self {
            connections_accepted: Counter::default(),
            publications: Counter::default(),
            channels: Gauge::default(),
            refused: Refused::ALL.iter().map(|_| Counter::default()).collect(),
            api_requests: Rows::new(API_METHODS, || Codes::new(API_STATUSES.iter().copied())),
        }
    }
}

impl NodeMetrics {
    /// A connection was refused before it became a WebSocket connection.
    pub fn refuse(&self, reason: Refused) {
        self.refused[reason as usize].increment();
    }

    /// A request to the HTTP API was answered. A method we do not know is counted as `unknown`.
    pub fn api_request(&self, method: &str, status: u16) {
        self.api_requests.row(method).increment(status.into());
    }
}
