//! What is said wrongly, one connection at a time: each with the code that `docs/protocol.md` promises.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::frame::{Frame, PATIENCE, TEXT, binary};
use crate::peer::{PATH, Peer};
use crate::victim::Victim;

/// What has to come back.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The connection is closed with this code.
    Close(u16),
    /// An error with this code, under the id of the command; the connection lives on.
    Error(u32),
    /// A result under this name.
    Result(&'static str),
}
use Answer::{Close, Error, Result};

fn nested(depth: usize) -> String {
    format!(r#"{{"id":2,"publish":{{"channel":"c","data":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth))
}

fn subscribe(channel: &str) -> String {
    format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#)
}

/// Commands of a connected client.
fn commands() -> Vec<(&'static str, String, Answer)> {
    let of = |name, command: &str, answer| (name, command.to_owned(), answer);
    vec![
        of("a name at its limit", &subscribe(&"c".repeat(255)), Result("subscribe")),
        of("a name over its limit", &subscribe(&"c".repeat(256)), Error(107)),
        of("a name of 60,000 bytes", &subscribe(&"c".repeat(60_000)), Error(107)),
        of("an empty name", &subscribe(""), Close(3501)),
        of("a name with an escaped control character", &subscribe(r"a\u0000b"), Error(107)),
        of("a name with a newline, escaped", &subscribe(r"a\nb"), Error(107)),
        of("a name with a raw control character", &subscribe("a\u{1}b"), Close(3501)),
        of("a name beyond ASCII", &subscribe("café"), Error(107)),
        of("a name with half a surrogate", &subscribe(r"\ud800"), Close(3501)),
        of("data nested as deep as allowed", &nested(128), Result("publish")),
        of("data nested deeper", &nested(129), Error(107)),
        of("data nested ten thousand deep", &nested(10_000), Error(107)),
        of("a command nested ten thousand deep", &"[".repeat(10_000), Close(3501)),
        of("a command in ten thousand objects", &r#"{"a":"#.repeat(10_000), Close(3501)),
        of(
            "unknown fields nested ten thousand deep",
            &format!(r#"{{"id":2,"x":{}{},"ping":{{}}}}"#, "[".repeat(10_000), "]".repeat(10_000)),
            Close(3501),
        ),
        of(
            "data with a number beyond every type",
            r#"{"id":2,"publish":{"channel":"c","data":1e999999}}"#,
            Result("publish"),
        ),
        of(
            "data with a million digits' kin",
            &format!(r#"{{"id":2,"publish":{{"channel":"c","data":{}}}}}"#, "9".repeat(50_000)),
            Result("publish"),
        ),
        of("an id of 2^32", r#"{"id":4294967296,"history":{"channel":"c"}}"#, Close(3501)),
        of("an id below zero", r#"{"id":-1,"history":{"channel":"c"}}"#, Close(3501)),
        of("an id of 1e400", r#"{"id":1e400,"history":{"channel":"c"}}"#, Close(3501)),
        of("an id with a fraction", r#"{"id":1.5,"history":{"channel":"c"}}"#, Close(3501)),
        of("an id in quotes", r#"{"id":"2","history":{"channel":"c"}}"#, Close(3501)),
        of("an id of 0", r#"{"id":0,"history":{"channel":"c"}}"#, Close(3501)),
        of("a limit beyond its type", r#"{"id":2,"history":{"channel":"c","limit":99999999999}}"#, Close(3501)),
        of("a key given twice", r#"{"id":2,"id":3,"history":{"channel":"c"}}"#, Close(3501)),
        of("a key given twice further in", r#"{"id":2,"history":{"channel":"c","channel":"d"}}"#, Close(3501)),
        of(
            "a key given twice, escaped",
            "{\"id\":2,\"history\":{\"channel\":\"c\",\"chann\\u0065l\":\"d\"}}",
            Close(3501),
        ),
        of("no JSON", "hello", Close(3501)),
        of("two commands without a newline", r#"{"id":2,"ping":{}}{"id":3,"ping":{}}"#, Close(3501)),
        of("an empty message", "", Close(3501)),
        of("an empty line", "\n\n", Close(3501)),
        of("a lone comma", r#"{"id":2,}"#, Close(3501)),
        of("a connect again", r#"{"id":2,"connect":{}}"#, Close(3501)),
        of("a command that does not exist", r#"{"id":2,"conquer":{}}"#, Close(3501)),
        of("a pong that nobody asked for", "{}", Close(3501)),
        of("no data", r#"{"id":2,"publish":{"channel":"c"}}"#, Error(107)),
        of("a call", r#"{"id":2,"rpc":{"method":"m","data":{}}}"#, Error(108)),
        of("a message to nobody", r#"{"send":{"data":{}}}"#, Close(3508)),
    ]
}

async fn check(peer: &mut Peer, name: &str, answer: Answer) {
    match answer {
        Close(code) => assert_eq!(peer.close_code().await, Some(code), "{name}"),
        Error(code) => {
            let reply = reply(peer).await;
            assert_eq!(
                (&reply["id"], &reply["error"]["code"]),
                (&Value::from(2), &Value::from(code)),
                "{name}: {reply}"
            );
        }
        Result(result) => {
            let reply = reply(peer).await;
            assert!(reply["id"] == 2 && reply[result].is_object(), "{name}: {reply}");
        }
    }
}

async fn reply(peer: &mut Peer) -> Value {
    loop {
        let reply = peer.hear().await;
        if reply["id"].is_u64() {
            return reply;
        }
    }
}

#[tokio::test]
async fn every_wrong_command_gets_its_own_code_and_harms_nobody_else() {
    let mut victim = Victim::start(&[]).await;
    let mut other = Peer::raw(victim.address).await.connected().await;
    for (name, command, answer) in commands() {
        let mut peer = Peer::raw(victim.address).await.connected().await;
        peer.say(&command).await;
        check(&mut peer, name, answer).await;
        if !matches!(answer, Close(_)) {
            peer.say(r#"{"id":2,"history":{"channel":"c"}}"#).await;
            check(&mut peer, name, Result("history")).await;
        }
    }
    other.say(r#"{"id":2,"history":{"channel":"c"}}"#).await;
    check(&mut other, "the other", Result("history")).await;
    let closes = commands().iter().filter(|(_, _, answer)| matches!(answer, Close(_))).count();
    assert_eq!(victim.counted_in_all("pubsub_disconnects_total").await, closes as f64);
    let errors = commands().iter().filter(|(_, _, answer)| matches!(answer, Error(_))).count();
    assert_eq!(victim.counted_in_all("pubsub_reply_errors_total").await, errors as f64);
    victim.is_well().await;
}

#[tokio::test]
async fn what_comes_first_has_to_be_a_connect_in_its_limits() {
    let victim = Victim::start(&[]).await;
    let name = |length: usize| format!(r#"{{"id":2,"connect":{{"name":"{}"}}}}"#, "n".repeat(length));
    let version = |length: usize| format!(r#"{{"id":2,"connect":{{"version":"{}"}}}}"#, "v".repeat(length));
    for (what, command, answer) in [
        ("a name at its limit", name(16), Result("connect")),
        ("a name over its limit", name(17), Close(3501)),
        ("a version at its limit", version(64), Result("connect")),
        ("a version over its limit", version(65), Close(3501)),
        ("something else", subscribe("c"), Close(3501)),
        ("a pong", "{}".to_owned(), Close(3501)),
        ("a token that is none", r#"{"id":2,"connect":{"token":"x.y.z"}}"#.to_owned(), Close(3500)),
        (
            "a token signed by nobody",
            r#"{"id":2,"connect":{"token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."}}"#.to_owned(),
            Close(3500),
        ),
    ] {
        let mut peer = Peer::raw(victim.address).await.upgraded().await;
        peer.say(&command).await;
        check(&mut peer, what, answer).await;
    }
}

#[tokio::test]
async fn an_id_used_again_is_answered_again() {
    let victim = Victim::start(&[]).await;
    let mut peer = Peer::raw(victim.address).await.connected().await;
    peer.say(&vec![r#"{"id":1,"history":{"channel":"c"}}"#; 100].join("\n")).await;
    for _ in 0..100 {
        let reply = peer.hear().await;
        assert!(reply["id"] == 1 && reply["history"].is_object(), "{reply}");
    }
}

#[tokio::test]
async fn wrong_kinds_and_sizes_of_messages_are_refused() {
    let victim = Victim::start(&[]).await;
    for (name, frame, code) in [
        ("binary", binary(r#"{"id":2,"ping":{}}"#), 3501),
        ("one byte over the limit", Frame::new(TEXT, "x".repeat(65_537)), 1009),
        ("invalid UTF-8", Frame::new(TEXT, b"{\"id\":2,\"subscribe\":{\"channel\":\"\xff\"}}"), 1007),
        ("a surrogate in UTF-8", Frame::new(TEXT, b"{\"id\":2,\"subscribe\":{\"channel\":\"\xed\xa0\x80\"}}"), 1007),
    ] {
        let mut peer = Peer::raw(victim.address).await.connected().await;
        // The server may have heard enough before all is sent.
        let _ = peer.send(&frame).await;
        assert_eq!(peer.close_code().await, Some(code), "{name}");
    }
    assert_eq!(victim.counted_in_all("pubsub_disconnects_total").await, 4.0);
}

/// Requests that two readers may understand in two ways, and requests that are none. Each gets one answer at most, none
/// of them a 101, and nothing behind it is served.
#[tokio::test]
async fn requests_of_two_meanings_are_refused() {
    let mut victim = Victim::start(&[]).await;
    let upgrade = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let smuggled = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let get = |lines: &str| format!("GET {PATH} HTTP/1.1\r\n{upgrade}{lines}\r\n");
    for (name, request, statuses) in [
        ("both lengths", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), &["400"][..]),
        ("two lengths", get("Content-Length: 5\r\nContent-Length: 6\r\n"), &["400"]),
        ("a length that is none", get("Content-Length: +5\r\n"), &["400"]),
        ("a length below zero", get("Content-Length: -1\r\n"), &["400"]),
        ("a length beyond all", get("Content-Length: 99999999999999999999\r\n"), &["400"]),
        ("chunked, then something", get("Transfer-Encoding: chunked, identity\r\n"), &["400", "501"]),
        ("almost chunked", get("Transfer-Encoding: xchunked\r\n"), &["400", "501"]),
        ("a blank before the colon", get("Content-Length : 5\r\n"), &["400"]),
        ("a folded header", get("X: a\r\n b\r\n"), &["400"]),
        ("a header without name", get(": a\r\n"), &["400"]),
        ("a header with a control character", get("X: a\u{1}b\r\n"), &["400"]),
        ("a header with a bare return", get("X: a\rb\r\n"), &["400"]),
        ("two hosts", get("Host: y\r\n"), &["400"]),
        ("an upgrade with a body", get("Content-Length: 34\r\n"), &["400"]),
        ("no host", get("").replace("Host: x\r\n", ""), &["400"]),
        ("a host with a user in it", get("").replace("Host: x", "Host: x@y"), &["400"]),
        ("HTTP/1.2", get("").replace("HTTP/1.1", "HTTP/1.2"), &["400", "505"]),
        ("HTTP/2 by itself", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[""]),
        ("no version", format!("GET {PATH}\r\n{upgrade}\r\n"), &["400"]),
        ("another origin", get("Origin: https://evil.example\r\n"), &["403"]),
        ("an origin that is none", get("Origin: null\r\n"), &["403"]),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\r\n\r\n".to_owned(), &["400"]),
        ("a hundred and one headers", get(&"X: y\r\n".repeat(101)), &["431"]),
        ("a head of 20,000 bytes", get(&format!("X: {}\r\n", "y".repeat(20_000))), &["431"]),
        ("a target of 20,000 bytes", get("").replace(PATH, &format!("/{}", "y".repeat(20_000))), &["414", "431"]),
    ] {
        let mut victim_of_origin;
        let victim = if statuses == ["403"] {
            victim_of_origin = Victim::start(&["client.allowed_origins=https://here.example"]).await;
            victim_of_origin.is_well().await;
            &victim_of_origin
        } else {
            &victim
        };
        let mut peer = Peer::raw(victim.address).await;
        let _ = peer.writer.write_all(format!("{request}{smuggled}").as_bytes()).await;
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, peer.reader.read_to_end(&mut said)).await.expect("it is closed");
        let said = String::from_utf8(said).unwrap();
        if said.is_empty() && statuses.contains(&"") {
            continue;
        }
        let (version, rest) = said.split_once(' ').unwrap_or_else(|| panic!("{name}: no answer: {said:?}"));
        assert!(version.starts_with("HTTP/1."), "{name}: {said}");
        assert!(statuses.iter().any(|status| rest.starts_with(status)), "{name}: {said}");
        assert_eq!(said.matches("HTTP/1.").count(), 1, "{name}: what was behind it was served: {said}");
    }
    let refused =
        ["bad_request", "bad_upgrade"].map(|why| format!("pubsub_connections_refused_total{{reason=\"{why}\"}}"));
    assert!(victim.counted(&refused.each_ref().map(String::as_str)).await >= 20.0);
    victim.is_well().await;
}
