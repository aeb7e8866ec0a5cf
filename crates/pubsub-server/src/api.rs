//! The server API, health and metrics over HTTP. axum stays here and in `transport`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::transport::Gate;

/// What the API works on.
pub struct Service {
    node: Arc<Node>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    config: Arc<Config>,
}

impl Service {
    /// A service over a node.
    pub fn new(node: Arc<Node>, gate: Arc<Gate>, metrics: Arc<Metrics>, config: Arc<Config>) -> Self {
        Self { node, gate, metrics, config }
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
}

/// What stands on the internal port.
pub fn internal_router(service: &Arc<Service>) -> Router {
    public_router(service)
}

/// What stands on the public port beside the WebSocket.
pub fn public_router(service: &Arc<Service>) -> Router {
    let ready = service.clone();
    Router::new().route("/health", get(|| async { "{}" })).route(
        "/ready",
        get(move || {
            let closed = ready.gate.is_closed();
            async move { if closed { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") } else { (StatusCode::OK, "ready\n") } }
        }),
    )
}
