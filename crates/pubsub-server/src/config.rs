//! What the server may be told: the typed configuration, and the ways it comes about.
//!
//! The keys, each written down once, with its kind, default, bounds and documentation:
//! - [`http`], [`client`], [`channel`], [`process`]: the sections; `stock`: configurations that are ready to use
//! - `section`: how a section is written down; `value`, `choice`, `duration`, `pattern`, `secret`: the kinds of value
//! - `inventory`: the keys as a list; `foreign`: those that only Centrifugo has
//!
//! From files, variables and flags to a configuration:
//! - `raw`: the formats of files; `layer`: what one file, the environment or the flags say
//! - `load`: the layers over each other; `apply`: one layer; `nearest`: what an unknown key was meant to be
//! - `check`, `tls`, `exposure`: how keys fit together, whether certificates are any good, who could get in from outside
//! - `report`, `problem`: all that is wrong, told at once
//!
//! To people: `describe` makes `defaultconfig`, `--help` and `docs/configuration.md` of the same keys.
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
pub mod tls;
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
