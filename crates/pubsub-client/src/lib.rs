//! A WebSocket pub/sub client that a bad network cannot confuse.
//!
//! In reading order:
//!
//! - [`client`] and [`subscription`]: the handles; begin with [`Client`]
//! - [`config`]: settings; [`ids`]: the names that travel; [`event`]: what a subscriber is told; [`error`]
//! - [`connector`] and [`handler`]: the two seams, where bytes come from and what they mean
//! - [`state`], [`backoff`], [`breaker`]: when to connect; pure
//! - [`planted`]: bugs for the stress lab to find, in no build that serves anybody

pub mod backoff;
pub mod breaker;
mod chance;
pub mod client;
pub mod config;
mod connection;
pub mod connector;
pub mod error;
pub mod event;
pub mod handler;
pub mod ids;
mod inbox;
mod mailbox;
pub mod options;
mod pending;
pub mod planted;
mod registry;
mod shared;
mod socket;
pub mod state;
pub mod subscription;
mod timers;
pub mod token;
mod upgrade;

pub use backoff::Backoff;
pub use breaker::{Admission, BreakerConfig, BreakerState, CircuitBreaker, Permit};
pub use client::{Client, ClientBuilder, History};
pub use config::{ClientConfig, ClientConfigBuilder, ConfigError, ConfigProblem, PingKind};
pub use connector::{
    AnyConnector, Connector, PipeAcceptor, PipeConnector, Target, TargetError, TcpConnector, TlsConnector,
};
pub use error::{
    Capacity, CloseReason, ConnectError, DialError, ProtocolError, PublishError, RequestError, SendError, ServerError,
    SubscribeError,
};
pub use event::{Event, Publication, Recovery, Subscribed};
pub use handler::centrifuge::CentrifugeHandler;
pub use handler::exchange::{ExchangeAdapter, ExchangeHandler};
pub use handler::json::{JsonHandler, JsonNames};
pub use handler::json_rpc::{JsonRpcError, JsonRpcHandler};
pub use handler::{HistoryQuery, ProtocolHandler};
pub use ids::{MessageKind, RequestId, Topic};
pub use options::{Overflow, SubscribeOptions};
pub use pubsub_protocol::{ClientInfo, Format, Payload, StreamPosition};
pub use shared::ClientStats;
pub use state::ConnectionState;
pub use subscription::{Messages, Subscription};
pub use token::{TokenError, TokenFuture, TokenRequest, TokenSource};
