//! What the server may be told: the typed configuration, and the ways it comes about.
//!
//! - [`http`], [`client`], [`channel`], [`process`]: the keys. Each is written down once, with its kind, default, bounds
//!   and documentation; everything else here is derived from that.
//! - `section`, `value`, `duration`: how a key is written down, and the kinds of value.
//!
//! The keys and their defaults are those of Centrifugo v6 wherever it has them.

mod apply;
pub mod channel;
mod check;
mod choice;
pub mod client;
mod describe;
mod duration;
mod exposure;
mod foreign;
pub mod http;
mod inventory;
mod layer;
mod load;
mod nearest;
mod pattern;
mod problem;
pub mod process;
mod raw;
mod report;
mod secret;
mod section;
mod stock;
mod tls;
mod value;

pub use channel::{ChannelConfig, Namespace, NamespaceOptions, PublicationDataFormat, RecoveryMode};
pub use client::{ClientConfig, PersonalChannelConfig, SubscriptionTokenConfig, TokenConfig};
pub use describe::{Notation, default_config, help, markdown};
pub use duration::parse as parse_duration;
pub use http::{EchoConfig, EndpointConfig, ErrorMode, HttpApiConfig, HttpServerConfig, TlsConfig, WebsocketConfig};
pub use layer::{CONFIG_VARIABLE, FlagValue};
pub use load::{Loaded, Sources};
pub use pattern::Pattern;
pub use problem::{Origin, Problem, Problems};
pub use process::{EngineConfig, EngineKind, LogConfig, LogFormat, LogLevel, NodeConfig, ShutdownConfig};
pub use secret::Secret;
use section::section;
pub use tls::KeyPair;

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
