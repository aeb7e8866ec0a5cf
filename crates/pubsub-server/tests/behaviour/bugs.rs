//! A bug of ours that shows in one connection costs that connection and no other.

use pubsub_server::config::Secret;
use serde_json::json;

use crate::rig::peer::Heard;
use crate::rig::{Rig, quiet};

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_connection_and_leaves_the_others_alone() {
    let rig = Rig::start(quiet());
    let (mut witness, _) = rig.subscribed("news").await;
    for panics in [
        json!({"id": 3, "publish": {"channel": "bug", "data": 1}}),
        json!({"id": 3, "subscribe": {"channel": "bug"}}),
        json!({"id": 3, "history": {"channel": "bug"}}),
    ] {
        let (mut unlucky, _) = rig.subscribed("other").await;
        unlucky.say(&[panics]).await;
        while unlucky.next().await != Heard::End {}
        // The shard still reads, for those who were there and for those who come.
        assert_eq!(witness.ask(json!({"id": 9, "publish": {"channel": "other", "data": 1}})).await["id"], 9);
        let (mut later, _) = rig.subscribed("news").await;
        let offset = rig.publish("news", json!(2)).await;
        assert_eq!(witness.reply().await["push"]["pub"]["offset"], offset);
        assert_eq!(later.reply().await["push"]["pub"]["offset"], offset);
    }
    drop(witness);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_is_an_internal_error_and_leaves_nothing() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    for command in [
        json!({"id": 2, "subscribe": {"channel": "failing"}}),
        json!({"id": 2, "publish": {"channel": "failing", "data": 1}}),
        json!({"id": 2, "history": {"channel": "failing"}}),
        json!({"id": 2, "presence": {"channel": "failing"}}),
        json!({"id": 2, "presence_stats": {"channel": "failing"}}),
    ] {
        let reply = peer.ask(command).await;
        assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(100), &json!(true)), "{reply}");
    }
    drop(peer);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_while_the_engine_is_asked_leaves_nothing() {
    let mut config = quiet();
    config.client.token.hmac_secret_key = Some(Secret::new("a secret"));
    let rig = Rig::start(config);
    let (mut witness, _) = rig.subscribed("first").await;
    let token = pubsub_server::token::Signer::hs256("a secret")
        .sign(&json!({"sub": "anna", "channels": ["a", "first", "hanging", "z"]}));
    for command in [json!({"id": 1, "connect": {"token": token}}), json!({"id": 1, "connect": {}})] {
        let mut peer = rig.opened().await;
        peer.say(&[command, json!({"id": 2, "subscribe": {"channel": "hanging"}})]).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        drop(peer);
    }
    // The channel of both still has its one member left, and is not forgotten with the other.
    assert_eq!(witness.idle(std::time::Duration::from_secs(30)).await, []);
    rig.publish("first", json!(1)).await;
    assert_eq!(witness.reply().await["push"]["pub"]["offset"], 1);
    drop(witness);
    rig.at_rest().await;
}
