//! What the server may be told: the typed configuration, and the ways it comes about.
//!
//! - [`http`], [`client`], [`channel`], [`process`]: the keys. Each is written down once, with its kind, default, bounds
//!   and documentation; everything else here is derived from that.
//! - `section`, `value`, `duration`: how a key is written down, and the kinds of value.
//!
//! The keys and their defaults are those of Centrifugo v6 wherever it has them.

// The loader that reads through these comes with the next commits.
#![allow(dead_code)]

pub mod channel;
pub mod client;
mod duration;
pub mod http;
pub mod process;
mod section;
mod value;

use std::time::Duration;

pub use channel::{ChannelConfig, Namespace, NamespaceOptions, PublicationDataFormat, RecoveryMode};
pub use client::{ClientConfig, PersonalChannelConfig, SubscriptionTokenConfig, TokenConfig};
pub use http::{EchoConfig, EndpointConfig, ErrorMode, HttpApiConfig, HttpServerConfig, TlsConfig, WebsocketConfig};
pub use process::{EngineConfig, EngineKind, LogConfig, LogFormat, LogLevel, NodeConfig, ShutdownConfig};
use section::section;
pub use value::{Pattern, Secret};

section! {
    /// Everything the server may be told. Read once at the start, then never changed.
    pub struct Config {
        /// Where the server listens.
        http_server: HttpServerConfig = HttpServerConfig::default();
        /// What is logged, and where.
        log: LogConfig = LogConfig::default();
        /// Connections of clients.
        client: ClientConfig = ClientConfig::default();
        /// Names of channels, and what may be done in them.
        channel: ChannelConfig = ChannelConfig::default();
        /// The WebSocket transport.
        websocket: WebsocketConfig = WebsocketConfig::default();
        /// The HTTP API for backends.
        http_api: HttpApiConfig = HttpApiConfig::default();
        /// Metrics for Prometheus.
        prometheus: EndpointConfig = EndpointConfig::at("/metrics");
        /// Health: alive, and ready.
        health: EndpointConfig = EndpointConfig::at("/health");
        /// Where streams and presence are kept.
        engine: EngineConfig = EngineConfig::default();
        /// How the server ends.
        shutdown: ShutdownConfig = ShutdownConfig::default();
        /// This process among others.
        node: NodeConfig = NodeConfig::default();
        /// A plain WebSocket echo on `/echo`.
        echo: EchoConfig = EchoConfig::default();
    }
}

impl Config {
    /// What runs when nothing is configured: on loopback only, open to everyone there, with history, recovery, presence
    /// and join/leave in every channel, so that a newcomer's first client and first `curl` work.
    #[must_use]
    pub fn open_default() -> Self {
        let mut config = Self::default();
        config.client.insecure = true;
        config.client.allowed_origins = vec!["*".to_owned()];
        config.http_api.insecure = true;
        // No namespaces: every name is a channel, also `chat:1`.
        config.channel.namespace_boundary = String::new();
        config.channel.without_namespace = NamespaceOptions {
            // As many as one recovery may return.
            history_size: config.client.recovery_max_publication_limit,
            history_ttl: Duration::from_secs(5 * 60),
            force_recovery: true,
            presence: true,
            join_leave: true,
            force_push_join_leave: true,
            ..NamespaceOptions::default()
        };
        config
    }
}
