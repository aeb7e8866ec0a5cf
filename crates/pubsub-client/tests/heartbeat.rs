//! Both kinds of heartbeat: a missed pong, or a server that falls silent, forces a reconnect.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use pubsub_client::{CloseReason, PingKind};
use pubsub_protocol::Reply;
use pubsub_protocol::command::Request;
use pubsub_protocol::reply::ConnectResult;
use pubsub_protocol::websocket::Opcode;
use support::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn server_pings(pong: bool) -> ConnectResult {
    ConnectResult { client: "id".into(), version: "mock".into(), ping: 25, pong, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn the_servers_pings_are_answered_where_it_wants_that() {
    for pong in [true, false] {
        let (client, mut mock) = started(config());
        let mut peer = mock.connected_with(server_pings(pong)).await;
        client.ready().await.unwrap();
        peer.reply(&Reply::Ping).await;
        settle().await;
        client.send_json(&1).unwrap();
        client.close().await;
        let mut answered = false;
        while let Some(command) = peer.command().await {
            answered |= command.request == Request::Pong;
        }
        assert_eq!(answered, pong);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_pinging_is_given_up_after_ping_and_grace() {
    let (client, mut mock) = started(config());
    let mut peer = mock.connected_with(server_pings(true)).await;
    client.ready().await.unwrap();
    tokio::time::sleep(20 * SECOND).await;
    // Anything is a sign of life.
    peer.publish("nobody", [1]).await;
    let heard = Instant::now();
    let mut next = mock.stream().await;
    let silent = heard.elapsed();
    assert!(silent >= 35 * SECOND && silent <= 36 * SECOND, "{silent:?}");
    assert!(matches!(client.last_loss(), Some(CloseReason::NoPong { silent_for }) if silent_for == 35 * SECOND));
    request_head(&mut next).await;
}

#[tokio::test(start_paused = true)]
async fn websocket_pings_go_out_and_a_missed_pong_forces_a_reconnect() {
    let (client, mut mock, mut peer) = connected(config().ping_interval(25 * SECOND).pong_timeout(10 * SECOND)).await;
    let start = Instant::now();
    for beat in 1..=3 {
        assert_eq!(peer.hear().await, Some(Heard::Ping(vec![])));
        assert_eq!(start.elapsed(), 25 * SECOND * beat);
        peer.bytes(&frame(Opcode::Pong, b"")).await;
    }
    assert!(client.is_connected());
    assert_eq!(peer.hear().await, Some(Heard::Ping(vec![])));
    let _next = mock.stream().await;
    assert!(matches!(client.last_loss(), Some(CloseReason::NoPong { .. })));
    let given_up = start.elapsed();
    assert!(given_up >= 110 * SECOND && given_up <= 111 * SECOND, "{given_up:?}");
}

#[tokio::test(start_paused = true)]
async fn a_protocol_without_pings_of_its_own_falls_back_to_websockets() {
    let (_client, _mock, mut peer) = connected(config().ping_kind(PingKind::Protocol)).await;
    assert_eq!(peer.hear().await, Some(Heard::Ping(vec![])));
}

#[tokio::test(start_paused = true)]
async fn a_protocols_own_pings_go_out_and_a_missed_pong_forces_a_reconnect() {
    let (connector, mut mock) = mock();
    let client = start(config().ping_kind(PingKind::Protocol), connector, pubsub_client::JsonHandler::default());
    let mut peer = mock.upgraded().await;
    for _ in 0..3 {
        assert_eq!(peer.text().await, r#"{"op":"ping"}"#);
        peer.send(br#"{"op":"pong"}"#).await;
    }
    // And the other way round.
    peer.send(br#"{"op":"ping"}"#).await;
    assert_eq!(peer.text().await, r#"{"op":"pong"}"#);
    assert_eq!(peer.text().await, r#"{"op":"ping"}"#);
    let start = Instant::now();
    let _next = mock.stream().await;
    assert!(start.elapsed() >= 10 * SECOND, "{:?}", start.elapsed());
    assert!(matches!(client.last_loss(), Some(CloseReason::NoPong { .. })));
    assert_eq!(client.stats().strays, 0);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_data_does_not_hide_that_pings_are_due() {
    let (_client, _mock, mut peer) = connected(config().ping_interval(5 * SECOND).pong_timeout(SECOND)).await;
    for _ in 0..60 {
        peer.publish("nobody", 0..100).await;
        tokio::time::sleep(SECOND / 10).await;
    }
    assert_eq!(peer.hear().await, Some(Heard::Ping(vec![])));
}

#[tokio::test(start_paused = true)]
async fn no_pings_means_no_pings() {
    let (client, mut mock, _peer) = connected(config().ping_interval(Duration::ZERO)).await;
    assert!(!mock.is_dialled_within(100_000 * SECOND).await);
    assert!(client.is_connected());
}
