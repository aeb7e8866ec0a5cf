//! JSON and protobuf: who is spoken to in which, and that both are told the same.

use std::time::Duration;

use pubsub_protocol::Format;
use pubsub_protocol::websocket::Opcode;
use serde_json::{Value, json};

use super::rig::peer::{Heard, Peer};
use super::rig::{Rig, quiet};

/// An anonymous connection that speaks protobuf.
async fn connected(rig: &Rig) -> Peer {
    let mut peer = rig.opened_at("/connection/websocket?format=protobuf").await;
    peer.format = Format::Protobuf;
    let reply = peer.ask(json!({"id": 1, "connect": {}})).await;
    assert!(reply["connect"].is_object(), "not connected: {reply}");
    peer
}

async fn subscribed(rig: &Rig, channel: &str) -> Peer {
    let mut peer = connected(rig).await;
    let reply = peer.ask(json!({"id": 2, "subscribe": {"channel": channel}})).await;
    assert!(reply["subscribe"].is_object(), "not subscribed: {reply}");
    peer
}

/// Publishes bytes that JSON has no place for.
async fn publish_bytes(peer: &mut Peer, channel: &str, data: &[u8]) {
    let (name, data_bytes) = (u8::try_from(channel.len()).unwrap(), u8::try_from(data.len()).unwrap());
    let body = [&[0x0a, name], channel.as_bytes(), &[0x12, data_bytes], data].concat();
    let command = [&[0x08, 9, 0x3a, u8::try_from(body.len()).unwrap()], &body[..]].concat();
    peer.frame(Opcode::Binary, &[&[u8::try_from(command.len()).unwrap()], &command[..]].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_speaks_the_format_it_asked_for() {
    let rig = Rig::start(quiet());
    for (path, headers, format) in [
        ("/connection/websocket", &[][..], Format::Json),
        ("/connection/websocket", &[("Sec-WebSocket-Protocol", "centrifuge-json")], Format::Json),
        // The Python SDK sends the header without a value.
        ("/connection/websocket", &[("Sec-WebSocket-Protocol", "")], Format::Json),
        ("/connection/websocket?format=protobuf", &[], Format::Protobuf),
        ("/connection/websocket?cf_protocol=protobuf", &[], Format::Protobuf),
        ("/connection/websocket", &[("Sec-WebSocket-Protocol", "centrifuge-protobuf")], Format::Protobuf),
        ("/connection/websocket", &[("Sec-WebSocket-Protocol", "other, centrifuge-protobuf")], Format::Protobuf),
    ] {
        let mut peer = rig.raw(4096);
        assert_eq!(peer.upgrade(path, headers).await, 101);
        peer.format = format;
        let reply = peer.ask(json!({"id": 1, "connect": {}})).await;
        assert!(reply["connect"].is_object(), "{path} {headers:?}: {reply}");
    }
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_other_kind_ends_the_connection() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    peer.frame(Opcode::Binary, b"{}").await;
    assert_eq!(peer.closed().await, 3501);
    let mut peer = connected(&rig).await;
    peer.text("{}").await;
    assert_eq!(peer.closed().await, 3501);
    for garbage in [&b""[..], b"\x05\x08", b"\x02\x0a\x00", &[0xff; 20], b"\x00\x00\x7f"] {
        let mut peer = connected(&rig).await;
        peer.frame(Opcode::Binary, garbage).await;
        assert_eq!(peer.closed().await, 3501, "{garbage:?}");
    }
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn pings_and_pongs_are_empty_messages() {
    let rig = Rig::start(quiet());
    let mut alive = connected(&rig).await;
    assert_eq!(alive.idle(Duration::from_secs(300)).await, [], "it answers, and stays");
    assert!(rig.stats().bytes_received > 10);
    alive.pongs = false;
    assert_eq!(alive.reply().await, json!({}));
    assert_eq!(alive.closed().await, 3012);
    rig.at_rest().await;
}

/// Every publication, once, in order, whatever the format and whoever published.
#[tokio::test]
async fn members_of_both_formats_are_told_the_same() {
    let rig = Rig::start_threaded(quiet(), 3);
    let mut members = Vec::new();
    for n in 0..12 {
        members.push(if n % 2 == 0 { subscribed(&rig, "c").await } else { rig.subscribed("c").await.0 });
    }
    for n in 0..200_u64 {
        let publisher = &mut members[n as usize % 12];
        publisher.say(&[json!({"id": 10 + n, "publish": {"channel": "c", "data": {"n": n}}})]).await;
        // Its own answer and publication, in either order: the next of the others publishes only after that.
        let mut heard = [publisher.reply().await, publisher.reply().await];
        heard.sort_by_key(|reply| reply["push"].is_object());
        assert_eq!(heard[0], json!({"id": 10 + n, "publish": {}}));
        check(&heard[1], n);
        for (i, member) in members.iter_mut().enumerate() {
            if i != n as usize % 12 {
                check(&member.reply().await, n);
            }
        }
    }
    drop(members);
    rig.at_rest().await;
}

fn check(reply: &Value, n: u64) {
    let publication = &reply["push"]["pub"];
    assert_eq!((&publication["data"], &publication["offset"]), (&json!({"n": n}), &json!(n + 1)), "{reply}");
    assert!(publication["info"]["client"].is_string());
}

/// While others publish without a pause, members of both formats come and go; the first of a format is not overlooked.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_others_publish_misses_nothing_after_its_answer() {
    let rig = Rig::start_threaded(quiet(), 3);
    for round in 0..60_u64 {
        let channel = format!("c{round}");
        let (mut first, _) = rig.subscribed(&channel).await;
        let publishing = async {
            for n in 1..=30_u64 {
                rig.publish(&channel, json!(n)).await;
            }
        };
        let joining = async {
            let mut peer = connected(&rig).await;
            let reply = peer.ask(json!({"id": 2, "subscribe": {"channel": channel}})).await;
            (peer, reply["subscribe"]["offset"].as_u64().unwrap_or(0))
        };
        let ((), (mut second, top)) = tokio::join!(publishing, joining);
        for n in top + 1..=30 {
            assert_eq!(second.reply().await["push"]["pub"]["offset"], json!(n), "round {round}, answered at {top}");
        }
        for n in 1..=30_u64 {
            assert_eq!(first.reply().await["push"]["pub"]["offset"], json!(n));
        }
    }
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_json_reach_everybody() {
    let rig = Rig::start(quiet());
    let (mut text, _) = rig.subscribed("c").await;
    let mut publisher = subscribed(&rig, "c").await;
    let mut bytes = subscribed(&rig, "c").await;
    publish_bytes(&mut publisher, "c", b"\xff\x00").await;
    publish_bytes(&mut publisher, "c", b"{\"a\":\n1}").await;
    for (offset, data) in [(1, json!("/wA=")), (2, json!({"a": 1}))] {
        // The test's own peer puts into JSON what it is told in protobuf: by the same rule.
        for peer in [&mut text, &mut bytes] {
            let publication = peer.reply().await["push"]["pub"].clone();
            assert_eq!((&publication["data"], &publication["offset"]), (&data, &json!(offset)));
        }
    }
    let history = text.ask(json!({"id": 3, "history": {"channel": "c", "limit": 10}})).await;
    assert_eq!(history["history"]["publications"][0]["data"], json!("/wA="));
    // And nothing at all is no publication, unless the channel takes it.
    publish_bytes(&mut publisher, "c", b"").await;
    let heard = [publisher.next().await, publisher.next().await, publisher.next().await, publisher.next().await];
    assert!(heard.contains(&Heard::Reply(json!({"id": 9, "publish": {}}))), "{heard:?}");
    assert_eq!(publisher.reply().await["error"]["code"], json!(107));
    drop((text, publisher, bytes));
    rig.at_rest().await;
}

/// Long enough for its publications to be shared with others who recover them, in pieces.
#[tokio::test(start_paused = true)]
async fn a_long_recovery_is_the_same_in_both_formats() {
    let rig = Rig::start(quiet());
    let (_, first) = rig.subscribed("c").await;
    let word = "x".repeat(500);
    for n in 1..=100_u64 {
        rig.publish("c", json!([n, word])).await;
    }
    let mut answers = Vec::new();
    for mut peer in [rig.connected().await, connected(&rig).await, rig.connected().await, connected(&rig).await] {
        let request = json!({"channel": "c", "recover": true, "offset": 3, "epoch": first["epoch"]});
        let reply = peer.ask(json!({"id": 2, "subscribe": request})).await;
        let page = peer.ask(json!({"id": 3, "history": {"channel": "c", "limit": 70, "reverse": true}})).await;
        answers.push((reply["subscribe"].clone(), page["history"].clone()));
    }
    let recovered = answers[0].0["publications"].as_array().unwrap();
    assert_eq!((recovered.len(), &answers[0].0["recovered"]), (97, &json!(true)));
    assert_eq!(recovered[96]["data"], json!([100, word]));
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    rig.at_rest().await;
}
