//! The server API: what backends and operators ask of a running server, and the HTTP around it. axum stays here and
//! in `transport`.
//!
//! [`Service`] does the work, by plain async methods that know nothing of HTTP: one per method of the API, each with
//! a struct of parameters and one of results, so that a program that embeds the server has the same API without a
//! socket. `docs/api.md` is the manual.
//!
//! - [`publish`]: publish, broadcast; [`channels`]: history, presence, channels
//! - [`connections`]: subscribe, unsubscribe, disconnect, refresh; [`info`]: the node
//! - [`error`]: why a call failed; [`call`]: a method's name and JSON to one of the above, and batches of them
//! - [`http`]: requests to calls, calls to answers; [`key`]: who may; [`probes`]: health, readiness, metrics

pub mod call;
pub mod channels;
pub mod connections;
pub mod error;
pub mod http;
pub mod info;
pub mod key;
pub mod probes;
pub mod publish;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;

use crate::channel::ResolvedChannel;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::transport::Gate;

pub use error::ApiError;

/// What the API works on.
pub struct Service {
    node: Arc<Node>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    config: Arc<Config>,
    name: String,
}

impl Service {
    /// A service over a node whose public listener has this address.
    pub fn new(
        node: Arc<Node>,
        gate: Arc<Gate>,
        metrics: Arc<Metrics>,
        config: Arc<Config>,
        address: Option<SocketAddr>,
    ) -> Self {
        let port = address.map_or(config.http_server.port, |address| address.port());
        let name = match config.node.name.as_str() {
            "" => info::default_name(port),
            name => name.to_owned(),
        };
        Self { node, gate, metrics, config, name }
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Who is let in.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Reads the name of a channel. The application names its channels as it likes.
    fn resolve<'a>(&'a self, channel: &'a str) -> Result<ResolvedChannel<'a>, ApiError> {
        if channel.is_empty() {
            return Err(ApiError::bad_request("channel is missing"));
        }
        let resolved = self.node.rules.channels.resolve_trusted(channel);
        resolved.map_err(|code| ApiError::new(code, format!("channel {channel:?}")))
    }
}

/// What stands on the internal port.
pub fn internal_router(service: &Arc<Service>) -> Router {
    let api = !service.config.http_api.disabled;
    probes::router(service).merge(if api { http::router(service) } else { Router::new() })
}

/// What stands on the public port beside the WebSocket: everything, unless there is an internal port for it.
pub fn public_router(service: &Arc<Service>) -> Router {
    let config = &service.config;
    if config.http_server.internal_addr().is_none() {
        internal_router(service)
    } else if config.http_api.external && !config.http_api.disabled {
        http::router(service)
    } else {
        Router::new()
    }
}
