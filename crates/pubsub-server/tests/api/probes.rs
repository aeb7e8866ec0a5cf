//! Where the API stands, and what stands beside it: health, readiness, metrics.

use http::StatusCode;
use pubsub_server::config::{Config, EndpointConfig};
use serde_json::json;

use crate::rig::{Rig, config, get, post, request_over};

#[tokio::test(start_paused = true)]
async fn health_readiness_and_metrics_are_told() {
    let rig = Rig::open();
    let _client = rig.subscribed("anna", "news").await;
    rig.call("publish", json!({ "channel": "news", "data": 1 })).await;

    let health = rig.request(get("/health")).await;
    assert_eq!((health.status, health.text.as_str()), (StatusCode::OK, "{}"));
    assert_eq!(rig.request(get("/ready")).await.status, StatusCode::OK);
    let metrics = rig.request(get("/metrics")).await;
    assert_eq!(metrics.headers["content-type"], pubsub_server::metrics::CONTENT_TYPE);
    for line in [
        "pubsub_connections 1",
        "pubsub_subscriptions 1",
        "pubsub_channels 1",
        "pubsub_publications_total{source=\"api\"} 1",
        "pubsub_deliveries_total 1",
        "pubsub_http_api_requests_total{method=\"publish\",status=\"200\"} 1",
    ] {
        assert!(metrics.text.lines().any(|other| other == line), "{line} in\n{}", metrics.text);
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drains_is_alive_and_not_ready() {
    let rig = Rig::open();
    let client = rig.connected("anna").await;
    let drained = rig.server.drain();
    let asked = async {
        assert_eq!(client.closed().await.0, 3001);
        assert_eq!(rig.request(get("/ready")).await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(rig.request(get("/health")).await.status, StatusCode::OK);
        rig.call("info", json!({})).await;
    };
    tokio::join!(drained, asked);
    rig.end().await;
}

/// The statuses of: a call, health, readiness, metrics.
async fn standing(request: impl AsyncFn(http::Request<http_body_util::Full<axum::body::Bytes>>) -> u16) -> [u16; 4] {
    [
        request(post("/api/info", "{}")).await,
        request(get("/health")).await,
        request(get("/ready")).await,
        request(get("/metrics")).await,
    ]
}

async fn public(rig: &Rig) -> [u16; 4] {
    standing(async |request| rig.request(request).await.status.as_u16()).await
}

async fn internal(rig: &Rig) -> [u16; 4] {
    let connector = rig.internal();
    standing(async |request| request_over(&connector, request).await.status.as_u16()).await
}

fn with_internal_port() -> Config {
    let mut config = config();
    config.http_server.internal_port = Some(0);
    config
}

#[tokio::test(start_paused = true)]
async fn with_an_internal_port_nothing_but_websockets_is_left_on_the_public_one() {
    let rig = Rig::new(with_internal_port());
    assert_eq!(public(&rig).await, [404; 4]);
    assert_eq!(internal(&rig).await, [200; 4]);
    let mut client = rig.subscribed("", "news").await;
    let publish = post("/api/publish", r#"{"channel":"news","data":1}"#);
    request_over(&rig.internal(), publish).await;
    assert_eq!(client.data().await, 1);
    let upgrade = request_over(&rig.internal(), get("/connection/websocket")).await;
    assert_eq!(upgrade.status, StatusCode::NOT_FOUND, "clients have no business on the internal port");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_api_alone_may_stay_on_the_public_port() {
    let mut config = with_internal_port();
    config.http_api.external = true;
    let rig = Rig::new(config);
    assert_eq!(public(&rig).await, [200, 404, 404, 404]);
    assert_eq!(internal(&rig).await, [200; 4]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_is_nowhere() {
    let mut off = with_internal_port();
    off.http_api.disabled = true;
    off.http_api.external = true;
    off.health.enabled = false;
    off.prometheus.enabled = false;
    let rig = Rig::new(off);
    assert_eq!(public(&rig).await, [404; 4]);
    assert_eq!(internal(&rig).await, [404, 404, 200, 404]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn everything_may_stand_elsewhere() {
    let mut config = config();
    config.http_api.handler_prefix = "/v1/calls/".to_owned();
    config.health = EndpointConfig::at("/");
    config.prometheus = EndpointConfig::at("/numbers/");
    let rig = Rig::new(config);
    assert_eq!(public(&rig).await, [404, 404, 200, 404]);
    assert_eq!(rig.post("/v1/calls/info", "{}").await.status, StatusCode::OK);
    assert_eq!(rig.post("/v1/calls", r#"{"method":"info"}"#).await.status, StatusCode::OK);
    assert_eq!(rig.request(get("/")).await.text, "{}");
    assert!(rig.request(get("/numbers")).await.text.ends_with("# EOF\n"));
    rig.end().await;

    let mut config = self::config();
    config.http_api.handler_prefix = "/".to_owned();
    let rig = Rig::new(config);
    assert_eq!(public(&rig).await, [404, 200, 200, 200]);
    assert_eq!(rig.post("/info", "{}").await.status, StatusCode::OK);
    assert_eq!(rig.post("/", r#"{"method":"info"}"#).await.status, StatusCode::OK);
    let mut client = rig.connected("").await;
    client.is_at_rest().await;
    rig.end().await;
}
