//! What runs out: time to ask, time to connect, time to pong, tokens.

use std::time::Duration;

use pubsub_protocol::websocket::Opcode;
use pubsub_server::config::{Config, Secret};
use pubsub_server::token::Signer;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::rig::peer::Heard;
use crate::rig::{EPOCH, Rig, quiet};

/// Deadlines are kept in ticks of 100 ms.
const TICK: Duration = Duration::from_millis(250);

fn within(took: Duration, expected: Duration) {
    assert!(expected <= took && took <= expected + TICK, "took {took:?}, expected {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn who_never_connects_is_stale() {
    let rig = Rig::start(quiet());
    let mut peer = rig.opened().await;
    let begun = Instant::now();
    assert_eq!(peer.closed().await, 3502);
    within(begun.elapsed(), Duration::from_secs(10));
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn an_echo_is_there_for_as_long_as_somebody_calls() {
    let mut config = quiet();
    config.echo.enabled = true;
    let rig = Rig::start(config);
    let mut peer = rig.opened_at("/echo").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        peer.text("1").await;
        assert_eq!(peer.next().await, Heard::Reply(json!(1)));
        tokio::time::sleep(Duration::from_secs(9)).await;
        peer.frame(Opcode::Ping, b"x").await;
        assert_eq!(peer.next().await, Heard::NativePong(b"x".to_vec()));
    }
    let begun = Instant::now();
    assert_eq!(peer.closed().await, 3502);
    within(begun.elapsed(), Duration::from_secs(10));
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn who_never_asks_for_anything_is_cut_and_counted() {
    let rig = Rig::start(quiet());
    let timeout = rig.server.service().config().http_server.handshake_timeout;
    for begin in ["", "GET /connection/websocket HTTP/1.1\r\nHost: loc"] {
        let mut peer = rig.raw(4096);
        let started = Instant::now();
        peer.bytes(begin.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = peer.stream.read_to_end(&mut answer).await;
        within(started.elapsed(), timeout);
    }
    rig.at_rest().await;
    assert_eq!(rig.stats().connections_refused["handshake_timeout"], 2);
    assert_eq!(rig.stats().connections_accepted, 2);
}

#[tokio::test(start_paused = true)]
async fn who_answers_no_ping_is_cut_and_who_does_is_not() {
    let rig = Rig::start(quiet());
    let (mut dead, result) = rig.connected_with(json!({})).await;
    assert_eq!((&result["ping"], &result["pong"]), (&json!(25), &json!(true)));
    dead.pongs = false;
    let (mut live, _) = rig.subscribed("news").await;
    let begun = Instant::now();
    assert_eq!(dead.next().await, Heard::Reply(json!({})));
    let first = begun.elapsed();
    assert!(Duration::from_millis(12_400) < first && first < Duration::from_millis(25_200), "{first:?}");
    assert_eq!(dead.closed().await, 3012);
    within(begun.elapsed() - first, Duration::from_secs(8));
    assert_eq!(live.idle(Duration::from_secs(600)).await, [], "the one who answers hears nothing but pings");
    rig.publish("news", json!(1)).await;
    assert_eq!(live.reply().await["push"]["pub"]["offset"], 1);
    drop(live);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_pong_for_one_ping_is_an_offence() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    peer.pongs = false;
    assert_eq!(peer.next().await, Heard::Reply(json!({})));
    peer.text("{}\n{}").await;
    assert_eq!(peer.closed().await, 3501);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn native_pings_replace_those_of_the_protocol() {
    let rig = Rig::start(quiet());
    let mut peer = rig.opened_at("/connection/websocket?cf_ws_frame_ping_pong=true").await;
    let reply = peer.ask(json!({"id": 1, "connect": {}})).await;
    assert!(reply["connect"]["ping"].is_null() && reply["connect"]["pong"].is_null(), "{reply}");
    for _ in 0..3 {
        assert_eq!(peer.next().await, Heard::NativePing);
        peer.frame(Opcode::Pong, b"").await;
    }
    assert_eq!(peer.next().await, Heard::NativePing);
    assert_eq!(peer.closed().await, 3012);
    rig.at_rest().await;
}

fn with_tokens() -> (Config, Signer) {
    let mut config = quiet();
    config.client.insecure = false;
    config.client.token.hmac_secret_key = Some(Secret::new("a secret"));
    config.channel.without_namespace.allow_subscribe_for_client = true;
    (config, Signer::hs256("a secret"))
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_its_token_unless_refreshed() {
    let (config, signer) = with_tokens();
    let rig = Rig::start(config);
    let token = signer.connection("anna", Some(EPOCH + 60));
    let (mut lost, result) = rig.connected_with(json!({"token": token})).await;
    assert_eq!((&result["expires"], &result["ttl"]), (&json!(true), &json!(60)));
    let (mut kept, _) = rig.connected_with(json!({"token": token})).await;
    let begun = Instant::now();
    let (heard_lost, heard_kept) = tokio::join!(lost.idle(Duration::from_secs(50)), kept.idle(Duration::from_secs(50)));
    assert_eq!((heard_lost, heard_kept), (vec![], vec![]));
    let refresh = json!({"id": 2, "refresh": {"token": signer.connection("anna", Some(EPOCH + 300))}});
    let refreshed = kept.ask(refresh).await;
    assert_eq!((&refreshed["id"], &refreshed["refresh"]["ttl"]), (&json!(2), &json!(250)), "{refreshed}");
    let ((), ()) = tokio::join!(
        async {
            assert_eq!(lost.closed().await, 3005);
            within(begun.elapsed(), Duration::from_secs(85));
        },
        async {
            assert_eq!(kept.idle(Duration::from_secs(240)).await, []);
            assert_eq!(kept.closed().await, 3005);
            within(begun.elapsed(), Duration::from_secs(325));
        },
    );
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_token_unless_refreshed() {
    let (config, signer) = with_tokens();
    let rig = Rig::start(config);
    let (mut peer, _) = rig.connected_with(json!({"token": signer.connection("anna", None)})).await;
    let begun = Instant::now();
    for (id, channel) in [(2, "lost"), (3, "kept")] {
        let token = signer.subscription("anna", channel, Some(EPOCH + 60));
        let reply = peer.ask(json!({"id": id, "subscribe": {"channel": channel, "token": token}})).await;
        assert_eq!((&reply["subscribe"]["expires"], &reply["subscribe"]["ttl"]), (&json!(true), &json!(60)), "{reply}");
    }
    // Without the channel, as the Python SDK sends it.
    let token = signer.subscription("anna", "kept", Some(EPOCH + 600));
    let reply = peer.ask(json!({"id": 4, "sub_refresh": {"token": token}})).await;
    assert_eq!(reply["sub_refresh"]["ttl"], 600, "{reply}");
    let push = peer.reply().await;
    assert_eq!(push["push"]["channel"], "lost", "{push}");
    assert_eq!(push["push"]["unsubscribe"]["code"], 2501);
    within(begun.elapsed(), Duration::from_secs(85));
    assert_eq!(peer.refused(json!({"id": 5, "sub_refresh": {"channel": "lost", "token": token}})).await, 103);
    assert_eq!(peer.idle(Duration::from_secs(500)).await, []);
    let push = peer.reply().await;
    assert_eq!((&push["push"]["channel"], &push["push"]["unsubscribe"]["code"]), (&json!("kept"), &json!(2501)));
    within(begun.elapsed(), Duration::from_secs(625));
    drop(peer);
    rig.at_rest().await;
    assert_eq!(rig.stats().unsubscribes, [(2501, 2)].into());
}

/// A history of 400 KB in `news`.
async fn with_long_answers(ping_interval: Duration) -> Rig {
    let mut config = quiet();
    config.client.ping_interval = ping_interval;
    config.client.pong_timeout = Duration::from_secs(8);
    config.channel.without_namespace.history_size = 100;
    let rig = Rig::start(config);
    for _ in 0..100 {
        rig.publish("news", json!("x".repeat(4_000))).await;
    }
    rig
}

/// Its answers come in slowly and without a pause, its pong lies behind commands that are not read before they are out, and nothing
/// of that is its fault.
#[tokio::test(start_paused = true)]
async fn a_slow_link_full_of_answers_is_no_silence() {
    let rig = with_long_answers(Duration::from_secs(25)).await;
    let mut peer = rig.connected().await;
    let history = |id: u32| json!({"id": id, "history": {"channel": "news", "limit": -1}});
    // Four answers of 400 KB, and then what says that it is there.
    peer.say(&[history(2), history(3), history(4), history(5)]).await;
    peer.text("{}").await;
    let mut some = [0; 8 << 10];
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        peer.stream.read_exact(&mut some).await.unwrap();
    }
    assert!(rig.stats().disconnects.is_empty(), "{:?}", rig.stats().disconnects);
}

/// A ping waits behind an answer that is long on its way. The time for its pong begins when it has left.
#[tokio::test(start_paused = true)]
async fn a_ping_that_waits_behind_a_large_answer_can_not_be_answered_yet() {
    let rig = with_long_answers(Duration::from_secs(60)).await;
    let mut peer = rig.connected().await;
    peer.say(&[json!({"id": 2, "history": {"channel": "news", "limit": -1}})]).await;
    // The first ping comes within a minute, and can leave after 82 s, when all that is before it is in the pipe.
    let mut some = [0; 2 << 10];
    for _ in 0..172 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        peer.stream.read_exact(&mut some).await.unwrap();
    }
    assert!(rig.stats().disconnects.is_empty(), "{:?}", rig.stats().disconnects);
    // Now it has all of it, and says nothing.
    let mut rest = Vec::new();
    let begun = Instant::now();
    let _ = peer.stream.read_to_end(&mut rest).await;
    assert_eq!(rig.stats().disconnects[&3012], 1);
    assert!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
}
