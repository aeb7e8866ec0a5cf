//! What strangers send: each mistake gets its code, and hurts nobody else.

use pubsub_protocol::websocket::Opcode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::peer::Heard;
use crate::rig::{Rig, quiet};

/// Sends `mistake` on a connected connection and returns the close code, having seen that another one lives on.
async fn closed_for(opcode: Opcode, mistake: &[u8]) -> u16 {
    let rig = Rig::start(quiet());
    let (mut neighbour, _) = rig.subscribed("news").await;
    let mut peer = rig.connected().await;
    peer.frame(opcode, mistake).await;
    let code = peer.closed().await;
    rig.publish("news", json!(1)).await;
    assert_eq!(neighbour.reply().await["push"]["pub"]["offset"], 1);
    drop(neighbour);
    rig.at_rest().await;
    assert_eq!(rig.stats().disconnects.get(&code.into()), Some(&1), "counted under {code}");
    code
}

#[tokio::test(start_paused = true)]
async fn each_mistake_has_its_close_code() {
    for (mistake, code) in [
        ("", 3501),
        ("nonsense", 3501),
        (r#"{"id":1"#, 3501),
        ("[]", 3501),
        ("{}\n\n{}", 3501),
        // A pong nobody asked for.
        ("{}", 3501),
        (r#"{"id":2}"#, 3501),
        (r#"{"id":2,"frobnicate":{}}"#, 3501),
        (r#"{"id":2,"ping":{}}"#, 3501),
        (r#"{"id":2,"connect":{}}"#, 3501),
        (r#"{"subscribe":{"channel":"x"}}"#, 3501),
        (r#"{"id":2,"subscribe":{}}"#, 3501),
        (r#"{"id":2,"unsubscribe":{}}"#, 3501),
        (r#"{"id":2,"publish":{"data":1}}"#, 3501),
        (r#"{"id":2,"history":{}}"#, 3501),
        (r#"{"id":2,"presence":{}}"#, 3501),
        (r#"{"id":2,"presence_stats":{}}"#, 3501),
        (r#"{"id":2,"subscribe":{"channel":"x","delta":"other"}}"#, 3501),
        (r#"{"id":2,"refresh":{}}"#, 3501),
        (r#"{"send":{"data":1}}"#, 3508),
    ] {
        assert_eq!(closed_for(Opcode::Text, mistake.as_bytes()).await, code, "{mistake}");
    }
    assert_eq!(closed_for(Opcode::Binary, br#"{"id":2,"subscribe":{"channel":"x"}}"#).await, 3501, "binary for JSON");
    assert_eq!(closed_for(Opcode::Text, &[0xff, 0xfe]).await, 1007, "not UTF-8");
    assert_eq!(closed_for(Opcode::Text, &vec![b' '; 65_537]).await, 1009, "larger than a message may be");
}

#[tokio::test(start_paused = true)]
async fn an_unmasked_frame_breaks_the_rules_of_websocket() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    peer.bytes(&[0x81, 0x02, b'{', b'}']).await;
    assert_eq!(peer.closed().await, 1002);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_before_connect_closes() {
    let rig = Rig::start(quiet());
    let mut peer = rig.opened().await;
    peer.say(&[json!({"id": 1, "subscribe": {"channel": "x"}})]).await;
    assert_eq!(peer.closed().await, 3501);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_error() {
    let mut config = quiet();
    config.client.insecure = false;
    config.client.allow_anonymous_connect_without_token = true;
    config.client.channel_limit = 2;
    config.channel.namespace_boundary = ":".to_owned();
    let options = &mut config.channel.without_namespace;
    options.allow_subscribe_for_client = true;
    options.allow_subscribe_for_anonymous = true;
    let rig = Rig::start(config);
    let mut peer = rig.connected().await;
    let long = "x".repeat(256);
    for (code, command) in [
        (107, json!({"id": 2, "subscribe": {"channel": long}})),
        (107, json!({"id": 2, "subscribe": {"channel": "é"}})),
        (107, json!({"id": 2, "subscribe": {"channel": "a", "tf": {"key": "a"}}})),
        (107, json!({"id": 2, "subscribe": {"channel": "a", "type": 1}})),
        (102, json!({"id": 2, "subscribe": {"channel": "nowhere:a"}})),
        (102, json!({"id": 2, "publish": {"channel": "nowhere:a", "data": 1}})),
        (103, json!({"id": 2, "subscribe": {"channel": "$private"}})),
        (103, json!({"id": 2, "subscribe": {"channel": "a", "token": "not.a.token"}})),
        (103, json!({"id": 2, "publish": {"channel": "a", "data": 1}})),
        (103, json!({"id": 2, "history": {"channel": "a"}})),
        (103, json!({"id": 2, "presence": {"channel": "a"}})),
        (103, json!({"id": 2, "presence_stats": {"channel": "a"}})),
        (103, json!({"id": 2, "sub_refresh": {"channel": "a", "token": "t"}})),
        (107, json!({"id": 2, "sub_refresh": {"channel": "a"}})),
        (108, json!({"id": 2, "rpc": {"method": "m"}})),
    ] {
        assert_eq!(peer.refused(command.clone()).await, code, "{command}");
    }
    for channel in ["a", "b"] {
        assert!(peer.ask(json!({"id": 3, "subscribe": {"channel": channel}})).await["subscribe"].is_object());
    }
    assert_eq!(peer.refused(json!({"id": 4, "subscribe": {"channel": "a"}})).await, 105);
    assert_eq!(peer.refused(json!({"id": 4, "subscribe": {"channel": "c"}})).await, 106);
    assert_eq!(
        peer.ask(json!({"id": 5, "unsubscribe": {"channel": "never"}})).await,
        json!({"id": 5, "unsubscribe": {}})
    );
    drop(peer);
    rig.at_rest().await;
    let stats = rig.stats();
    assert_eq!(stats.reply_errors.get(&("subscribe", 107)), Some(&4));
    assert_eq!(stats.reply_errors.get(&("publish", 103)), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_can_not_be_is_refused_with_its_status() {
    let mut config = quiet();
    config.client.connection_limit = 1;
    config.client.allowed_origins = vec!["https://*.example.com".to_owned()];
    let rig = Rig::start(config);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let (version, key) = ("Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    for (status, headers) in [
        ("400", String::new()),
        ("400", format!("{upgrade}{version}")),
        ("400", format!("{upgrade}{version}Sec-WebSocket-Key: short\r\n")),
        ("400", format!("{version}{key}")),
        ("426", format!("{upgrade}{key}")),
        ("426", format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n")),
        ("403", format!("{upgrade}{version}{key}Origin: https://evil.example\r\n")),
        ("101", format!("{upgrade}{version}{key}Origin: https://a.example.com\r\n")),
    ] {
        let mut peer = rig.raw(4096);
        let request = format!("GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        peer.stream.write_all(request.as_bytes()).await.unwrap();
        let head = peer.response_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {head}");
        drop(peer);
        rig.at_rest().await;
    }
    let holder = rig.connected().await;
    let mut second = rig.raw(4096);
    assert_eq!(second.upgrade("/connection/websocket", &[]).await, 503, "client.connection_limit");
    drop(holder);
    rig.at_rest().await;
    let refused = rig.stats().connections_refused;
    assert_eq!((refused["bad_upgrade"], refused["origin"], refused["limit"]), (6, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_one_by_one_mean_the_same() {
    let rig = Rig::start(quiet());
    let mut peer = rig.raw(1);
    assert_eq!(peer.upgrade("/connection/websocket", &[]).await, 101);
    let commands = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}\n";
    for byte in crate::rig::peer::Peer::<tokio::io::DuplexStream>::encode(Opcode::Text, commands.as_bytes()) {
        peer.bytes(&[byte]).await;
    }
    assert!(peer.reply().await["connect"].is_object());
    assert!(peer.reply().await["subscribe"].is_object());
    drop(peer);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_in_the_middle_of_a_frame_leaves_nothing() {
    let rig = Rig::start(quiet());
    let (mut peer, _) = rig.subscribed("news").await;
    peer.bytes(&[0x81, 0xfe, 0x10]).await;
    drop(peer);
    rig.at_rest().await;
    assert_eq!(rig.stats().disconnects.len(), 0, "nobody was sent away");
}

#[tokio::test(start_paused = true)]
async fn a_native_ping_is_answered_with_its_payload() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    peer.frame(Opcode::Ping, b"are you there").await;
    assert_eq!(peer.next().await, Heard::NativePong(b"are you there".to_vec()));
    drop(peer);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    let rig = Rig::start(quiet());
    let mut peer = rig.raw(4096);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let (mut read, mut write) = tokio::io::split(peer.stream);
    let writing = async { drop(write.write_all(head.as_bytes()).await) };
    let mut answer = Vec::new();
    let (_, _) = tokio::join!(writing, read.read_to_end(&mut answer));
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    peer = rig.connected().await;
    drop(peer);
    rig.at_rest().await;
}
