//! Commands that come together are answered in their order, once each, whatever waits in between.

use pubsub_protocol::websocket::{Opcode, encode_frame};
use serde_json::{Value, json};

use crate::rig::{Rig, quiet};

fn batch(channel: &str) -> Vec<Value> {
    let mut commands = vec![json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": channel}})];
    for id in (3..=60).step_by(3) {
        commands.push(json!({"id": id, "publish": {"channel": channel, "data": id}}));
        commands.push(json!({"id": id + 1, "history": {"channel": channel, "limit": 1, "reverse": true}}));
        commands.push(json!({"id": id + 2, "presence_stats": {"channel": channel}}));
    }
    commands.push(json!({"id": 63, "unsubscribe": {"channel": channel}}));
    commands
}

/// Replies by id in the order they came, and offsets of the pushes. In each frame are so many commands.
async fn converse(channel: &str, in_a_frame: usize) -> (Vec<u64>, Vec<u64>) {
    let config = quiet();
    let rig = Rig::start(config);
    let mut peer = rig.opened().await;
    let commands = batch(channel);
    // In one write, so that much is read at once.
    let mut bytes = Vec::new();
    for commands in commands.chunks(in_a_frame) {
        let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
        // A newline at the end is fine.
        let message = lines.join("\n") + "\n";
        encode_frame(Opcode::Text, message.as_bytes(), Some([1, 2, 3, 4]), true, &mut bytes);
    }
    peer.bytes(&bytes).await;
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
    while ids.last() != Some(&63) {
        let reply = peer.reply().await;
        match reply["id"].as_u64() {
            Some(id) => {
                assert!(reply["error"].is_null(), "{reply}");
                ids.push(id);
            }
            None => offsets.push(reply["push"]["pub"]["offset"].as_u64().unwrap_or_else(|| panic!("{reply}"))),
        }
    }
    drop(peer);
    rig.at_rest().await;
    (ids, offsets)
}

#[tokio::test(start_paused = true)]
async fn replies_keep_the_order_of_the_commands() {
    let ids: Vec<u64> = (1..=63).collect();
    for channel in ["at_once", "late"] {
        for in_a_frame in [63, 1, 2, 7] {
            let heard = converse(channel, in_a_frame).await;
            assert_eq!(heard.0, ids, "{channel} {in_a_frame}");
            // As many as came before the unsubscribe was answered: all of them in order, if the engine took its time.
            assert!(heard.1.iter().copied().eq(1..=heard.1.len() as u64), "{channel} {in_a_frame}: {:?}", heard.1);
            assert!(channel != "late" || !heard.1.is_empty(), "put to the test");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_and_comes_back_at_once_is_present() {
    let rig = Rig::start(quiet());
    let mut peer = rig.opened().await;
    peer.say(&[json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "late"}})]).await;
    for id in (3..103).step_by(3) {
        let and_back = json!({"id": id + 1, "subscribe": {"channel": "late"}});
        let asks = json!({"id": id + 2, "presence_stats": {"channel": "late"}});
        peer.say(&[json!({"id": id, "unsubscribe": {"channel": "late"}}), and_back, asks]).await;
        let reply = loop {
            let reply = peer.reply().await;
            if reply["id"] == id + 2 {
                break reply;
            }
        };
        assert_eq!(reply["presence_stats"]["num_clients"], 1, "{reply}");
    }
    drop(peer);
    rig.at_rest().await;
}

/// An upgrade that goes by way of HTTP, with more behind it than HTTP reads at once.
#[tokio::test(start_paused = true)]
async fn what_comes_with_an_upgrade_is_read_whichever_way_that_goes() {
    for strange in ["", "Content-Length: 0\r\n"] {
        let rig = Rig::start(quiet());
        let mut peer = rig.raw(64 * 1024);
        let mut bytes = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             {strange}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes();
        let mut say = |command: Value| {
            encode_frame(Opcode::Text, command.to_string().as_bytes(), Some([1, 2, 3, 4]), true, &mut bytes);
        };
        say(json!({"id": 1, "connect": {}}));
        for id in 2..200 {
            say(json!({"id": id, "publish": {"channel": "news", "data": "x".repeat(40)}}));
        }
        assert!(bytes.len() > 16 * 1024);
        peer.bytes(&bytes).await;
        assert!(peer.response_head().await.starts_with("HTTP/1.1 101"));
        for id in 1..200 {
            assert_eq!(peer.reply().await["id"], id, "{strange}");
        }
        drop(peer);
        rig.at_rest().await;
    }
}
