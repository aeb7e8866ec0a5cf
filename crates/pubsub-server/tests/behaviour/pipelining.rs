//! Commands that come together are answered in their order, once each, whatever waits in between.

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

/// Replies by id in the order they came, and offsets of the pushes.
async fn converse(channel: &str, in_one_frame: bool) -> (Vec<u64>, Vec<u64>) {
    let config = quiet();
    let rig = Rig::start(config);
    let mut peer = rig.opened().await;
    let commands = batch(channel);
    if in_one_frame {
        // A newline at the end is fine.
        let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
        peer.text(&(lines.join("\n") + "\n")).await;
    } else {
        for command in commands {
            peer.say(&[command]).await;
        }
    }
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
        for in_one_frame in [true, false] {
            let heard = converse(channel, in_one_frame).await;
            assert_eq!(heard.0, ids, "{channel} {in_one_frame}");
            // As many as came before the unsubscribe was answered: all of them in order, if the engine took its time.
            assert!(heard.1.iter().copied().eq(1..=heard.1.len() as u64), "{channel} {in_one_frame}: {:?}", heard.1);
            assert!(channel != "late" || !heard.1.is_empty(), "put to the test");
        }
    }
}
