//! Health, readiness and metrics: what those ask who keep the server running. They need no key.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Service;
use crate::config::EndpointConfig;
use crate::metrics;

pub(super) fn router(service: &Arc<Service>) -> Router {
    let mut router = Router::new();
    if let Some(path) = path(&service.config.health) {
        router = router.route(path, get(|| async { ([(CONTENT_TYPE, "application/json")], "{}") }));
    }
    let ready = service.clone();
    router = router.route("/ready", get(async move || ready.readiness()));
    if let Some(path) = path(&service.config.prometheus) {
        let service = service.clone();
        router = router.route(path, get(async move || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], service.scrape())));
    }
    router
}

/// Where an endpoint stands, if it is enabled. A slash at the end of a path means nothing.
fn path(endpoint: &EndpointConfig) -> Option<&str> {
    let path = endpoint.handler_prefix.trim_end_matches('/');
    endpoint.enabled.then_some(if path.is_empty() { "/" } else { path })
}

impl Service {
    /// Whether new connections may be sent here: no longer once the server drains.
    fn readiness(&self) -> impl IntoResponse + use<> {
        if self.gate.is_closed() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else {
            (StatusCode::OK, "ready\n")
        }
    }

    /// All metrics as text.
    fn scrape(&self) -> String {
        self.metrics.node.channels.set(i64::try_from(self.node.hub.channels()).unwrap_or(i64::MAX));
        self.metrics.encode()
    }
}
