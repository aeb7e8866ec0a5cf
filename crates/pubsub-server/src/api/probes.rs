//! Health, readiness and metrics: what those ask who keep the server running. They need no key.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Service;
use crate::config::EndpointConfig;
use crate::metrics;

/// How long a scrape waits for the shards.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn router(service: &Arc<Service>) -> Router {
    let mut router = Router::new();
    if let Some(path) = path(&service.config.health) {
        router = router.route(path, get(|| async { ([(CONTENT_TYPE, "application/json")], "{}") }));
    }
    let ready = service.clone();
    router = router.route("/ready", get(async move || ready.readiness()));
    if let Some(path) = path(&service.config.prometheus) {
        let service = service.clone();
        let scrape = async move || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], service.scrape().await);
        router = router.route(path, get(scrape));
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

    /// All metrics as text. What is not counted as it happens is asked of the shards; one that has more urgent
    /// things to do is not waited for long, and then says what it said the last time.
    async fn scrape(&self) -> String {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.node.channels.set(gauge(self.node.hub.channels()));
        if let Ok(shards) = tokio::time::timeout(CENSUS_TIMEOUT, self.node.hub.census()).await {
            for (index, census) in shards.into_iter().enumerate() {
                self.metrics.shard(index).outbox_bytes.set(gauge(census.outbox_bytes));
                self.metrics.shard(index).inbox_messages.set(gauge(census.inbox_messages));
            }
        }
        self.metrics.encode()
    }
}
