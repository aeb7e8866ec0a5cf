//! `history`, `history_remove`, `presence`, `presence_stats`, `channels` and `info`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{Rig, config};

/// A server whose channel `news` holds publications 1 to `n`, each its own number, and the stream's epoch.
async fn filled(rig: &Rig, n: u64) -> String {
    let mut epoch = String::new();
    for data in 1..=n {
        let published = rig.call("publish", json!({ "channel": "news", "data": data })).await;
        epoch = published["epoch"].as_str().unwrap().to_owned();
    }
    epoch
}

fn offsets(history: &Value) -> Vec<u64> {
    let publications = history["publications"].as_array().expect("also an empty list is told");
    let offsets = publications.iter().map(|publication| publication["offset"].as_u64().unwrap());
    offsets.collect()
}

#[tokio::test(start_paused = true)]
async fn history_is_read_from_either_end_and_from_any_place() {
    let rig = Rig::open();
    let epoch = filled(&rig, 12).await;
    let since = |offset: u64| json!({ "offset": offset, "epoch": epoch });
    for (query, expected) in [
        (json!({}), vec![]),
        (json!({ "limit": 0 }), vec![]),
        (json!({ "limit": 2 }), vec![3, 4]),
        (json!({ "limit": -1 }), (3..=12).collect()),
        (json!({ "limit": -1, "since": since(10) }), vec![11, 12]),
        (json!({ "limit": 1, "since": since(10) }), vec![11]),
        (json!({ "limit": -1, "since": since(12) }), vec![]),
        (json!({ "limit": -1, "since": { "offset": 11 } }), vec![12]),
        (json!({ "limit": 2, "reverse": true }), vec![12, 11]),
        (json!({ "limit": 2, "reverse": true, "since": since(5) }), vec![4, 3]),
        (json!({ "limit": 2, "since": null, "reverse": null }), vec![3, 4]),
    ] {
        let mut params = query.clone();
        params["channel"] = "news".into();
        let history = rig.call("history", params).await;
        assert_eq!(offsets(&history), expected, "{query}");
        assert_eq!((&history["offset"], &history["epoch"]), (&json!(12), &json!(epoch)), "{query}");
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn history_that_can_not_be_told_is_refused() {
    let rig = Rig::open();
    filled(&rig, 1).await;
    let history = |more: Value| {
        let mut params = json!({ "channel": "news", "limit": -1 });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let before_the_first = history(json!({ "since": { "offset": 0 }, "reverse": true }));
    assert_eq!(rig.refused("history", before_the_first).await.0, 107);
    let another_life = history(json!({ "since": { "offset": 1, "epoch": "other" } }));
    assert_eq!(rig.refused("history", another_life).await.0, 112);
    let (code, detail) = rig.refused("history", history(json!({ "channel": "plain:a" }))).await;
    assert_eq!(code, 108);
    assert!(detail.contains("history_size"), "{detail}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_application_may_read_more_than_a_client() {
    let mut config = config();
    config.client.history_max_publication_limit = 2;
    let rig = Rig::new(config);
    filled(&rig, 5).await;
    let mut client = rig.subscribed("", "news").await;
    let theirs = client.ask(json!({ "history": { "channel": "news", "limit": -1 } })).await;
    assert_eq!(offsets(&theirs["history"]), [1, 2]);
    let ours = rig.call("history", json!({ "channel": "news", "limit": -1 })).await;
    assert_eq!(offsets(&ours), [1, 2, 3, 4, 5]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_or_expired_leaves_its_position() {
    let rig = Rig::open();
    let epoch = filled(&rig, 3).await;
    assert_eq!(rig.call("history_remove", json!({ "channel": "news" })).await, json!({}));
    let nothing = json!({ "publications": [], "offset": 3, "epoch": epoch });
    assert_eq!(rig.call("history", json!({ "channel": "news", "limit": -1 })).await, nothing);
    assert_eq!(rig.refused("history_remove", json!({ "channel": "plain:a" })).await.0, 108);

    rig.call("publish", json!({ "channel": "news", "data": 4 })).await;
    tokio::time::advance(Duration::from_secs(61)).await;
    let nothing = json!({ "publications": [], "offset": 4, "epoch": epoch });
    assert_eq!(rig.call("history", json!({ "channel": "news", "limit": -1 })).await, nothing);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn presence_tells_who_is_there_until_they_leave() {
    let rig = Rig::open();
    let anna = rig.subscribed("anna", "room").await;
    let anna_again = rig.subscribed("anna", "room").await;
    let nobody = rig.subscribed("", "room").await;
    rig.subscribed("ben", "elsewhere").await;

    let presence = rig.call("presence", json!({ "channel": "room" })).await;
    let presence = presence["presence"].as_object().unwrap();
    assert_eq!(presence.len(), 3);
    assert_eq!(presence[&anna.id], json!({ "user": "anna", "client": anna.id }));
    assert_eq!(presence[&nobody.id], json!({ "user": "", "client": nobody.id }));
    let stats = async || rig.call("presence_stats", json!({ "channel": "room" })).await;
    assert_eq!(stats().await, json!({ "num_clients": 3, "num_users": 2 }));

    drop((anna, nobody));
    // The departed are noticed as soon as the server has looked at their sockets.
    while rig.server.connections() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stats().await, json!({ "num_clients": 1, "num_users": 1 }));
    drop(anna_again);
    while rig.server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stats().await, json!({ "num_clients": 0, "num_users": 0 }));
    assert_eq!(rig.call("presence", json!({ "channel": "room" })).await, json!({ "presence": {} }));

    for method in ["presence", "presence_stats"] {
        assert_eq!(rig.refused(method, json!({ "channel": "plain:a" })).await.0, 108);
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn channels_are_listed_by_pattern_while_somebody_is_in_them() {
    let rig = Rig::open();
    let one = rig.subscribed("", "chat-1").await;
    let _two = rig.subscribed("", "chat-2").await;
    let _also_two = rig.subscribed("", "chat-2").await;
    let _plain = rig.subscribed("", "plain:chat-1").await;
    rig.call("publish", json!({ "channel": "empty", "data": 1 })).await;

    let list = async |params: Value| {
        let result = rig.call("channels", params).await;
        let channels = result["channels"].as_object().unwrap().clone();
        channels.into_iter().map(|(name, info)| (name, info["num_clients"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    let named = |names: &[(&str, u64)]| names.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
    let all = named(&[("chat-1", 1), ("chat-2", 2), ("plain:chat-1", 1)]);
    assert_eq!(list(json!({})).await, all);
    assert_eq!(list(json!({ "pattern": "*" })).await, all);
    assert_eq!(list(json!({ "pattern": "chat-?" })).await, all[..2]);
    assert_eq!(list(json!({ "pattern": "*-1" })).await, named(&[("chat-1", 1), ("plain:chat-1", 1)]));
    assert_eq!(list(json!({ "pattern": "chat" })).await, []);

    drop(one);
    while rig.server.connections() > 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(list(json!({ "pattern": "chat-1" })).await, []);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn info_counts_what_is_there() {
    let mut config = config();
    config.node.name = "north".to_owned();
    let rig = Rig::new(config);
    let node = async || rig.call("info", json!({})).await["nodes"][0].clone();
    let numbers = |node: &Value| {
        ["num_clients", "num_users", "num_channels", "num_subs"].map(|number| node[number].as_u64().unwrap())
    };
    let before = node().await;
    assert_eq!(numbers(&before), [0; 4]);
    assert_eq!((&before["name"], &before["version"]), (&json!("north"), &json!(env!("CARGO_PKG_VERSION"))));
    assert!(before["process"]["rss"].as_u64().unwrap() > 1 << 20, "{before}");

    let _anna = rig.subscribed("anna", "a").await;
    let mut anna_again = rig.subscribed("anna", "a").await;
    anna_again.ask(json!({ "subscribe": { "channel": "b" } })).await;
    assert_eq!(numbers(&node().await), [2, 1, 2, 3]);
    let _ben = rig.connected("ben").await;
    assert_eq!(numbers(&node().await), [3, 2, 2, 3]);
    let (_nobody, _nobody_else) = (rig.connected("").await, rig.connected("").await);
    assert_eq!(numbers(&node().await), [5, 3, 2, 3]);

    tokio::time::advance(Duration::from_secs(5)).await;
    let later = node().await;
    assert!(later["uptime"].as_u64().unwrap() >= 5, "{later}");
    assert_eq!(later["uid"], before["uid"]);
    rig.end().await;

    let unnamed = Rig::open();
    let name = unnamed.call("info", json!({})).await["nodes"][0]["name"].clone();
    assert!(name.as_str().unwrap().ends_with("_8000"), "host and port: {name}");
    unnamed.end().await;
}
