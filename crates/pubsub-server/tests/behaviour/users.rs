//! Limits per user and per connection.

use std::time::Duration;

use pubsub_server::config::{Config, Secret};
use pubsub_server::shard::control::Control;
use pubsub_server::shard::inbox::ShardMessage;
use pubsub_server::token::Signer;
use serde_json::json;

use crate::rig::{Rig, quiet};

fn with_tokens() -> (Config, Signer) {
    let mut config = quiet();
    config.client.token.hmac_secret_key = Some(Secret::new("a secret"));
    (config, Signer::hs256("a secret"))
}

#[tokio::test]
async fn a_user_has_as_many_connections_as_it_may_over_all_shards() {
    let (mut config, signer) = with_tokens();
    config.client.user_connection_limit = 3;
    let rig = Rig::start_threaded(config, 4);
    let anna = json!({"token": signer.connection("anna", None)});
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(rig.connected_with(anna.clone()).await.0);
    }
    let mut fourth = rig.opened().await;
    fourth.say(&[json!({"id": 1, "connect": anna})]).await;
    assert_eq!(fourth.closed().await, 3504);
    peers.push(rig.connected_with(json!({"token": signer.connection("ben", None)})).await.0);
    peers.remove(0);
    while rig.server.connections() > 3 {
        tokio::task::yield_now().await;
    }
    peers.push(rig.connected_with(anna).await.0);
    drop((peers, fourth));
    rig.at_rest().await;
}

#[tokio::test]
async fn a_new_connection_of_a_user_closes_the_older_ones_where_there_may_be_one() {
    let (mut config, signer) = with_tokens();
    config.client.subscribe_to_user_personal_channel.enabled = true;
    config.client.subscribe_to_user_personal_channel.single_connection = true;
    let rig = Rig::start_threaded(config, 3);
    let mut ben = rig.connected_with(json!({"token": signer.connection("ben", None)})).await.0;
    let anna = json!({"token": signer.connection("anna", None)});
    let mut last = rig.connected_with(anna.clone()).await.0;
    for _ in 0..5 {
        let next = rig.connected_with(anna.clone()).await.0;
        assert_eq!(last.closed().await, 3504);
        last = next;
    }
    rig.publish("#anna", json!("hello")).await;
    loop {
        let push = last.reply().await;
        if push["push"]["pub"]["data"] == "hello" {
            break;
        }
    }
    ben.ask(json!({"id": 2, "presence": {"channel": "#anna"}})).await;
    drop((ben, last));
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn word_for_an_older_connection_that_comes_late_does_not_close_the_newest_in_its_place() {
    let (config, signer) = with_tokens();
    let rig = Rig::start(config);
    let anna = json!({"token": signer.connection("anna", None)});
    let first = rig.connected_with(anna.clone()).await.0;
    drop(first);
    rig.at_rest().await;
    // It lives where the first did, and what was meant for the first arrives now.
    let mut newest = rig.connected_with(anna.clone()).await.0;
    let late = || ShardMessage::Control(Control::Outdated { user: "anna".into(), slot: 0 });
    rig.server.node().hub.inbox(0).push(late());
    assert_eq!(newest.idle(Duration::from_secs(1)).await, []);
    // Once there is a newer one, the same word closes it.
    let mut newer = rig.connected_with(anna).await.0;
    rig.server.node().hub.inbox(0).push(late());
    assert_eq!(newest.closed().await, 3504);
    assert_eq!(newer.idle(Duration::from_secs(1)).await, []);
    drop((newest, newer));
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn commands_beyond_the_rate_are_refused_and_pongs_are_free() {
    let mut config = quiet();
    config.client.command_rate_limit = 2;
    config.client.command_rate_burst = 5;
    let rig = Rig::start(config);
    let mut peer = rig.connected().await;
    let ask = |id| json!({"id": id, "unsubscribe": {"channel": "x"}});
    for id in 2..7 {
        assert!(peer.ask(ask(id)).await["unsubscribe"].is_object());
    }
    let reply = peer.ask(ask(7)).await;
    assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(111), &json!(true)));
    tokio::time::sleep(Duration::from_millis(1000)).await;
    for id in 8..10 {
        assert!(peer.ask(ask(id)).await["unsubscribe"].is_object());
    }
    assert_eq!(peer.refused(ask(10)).await, 111);
    // An hour of pings, each answered.
    assert!(tokio::time::timeout(Duration::from_secs(3600), peer.next()).await.is_err());
    drop(peer);
    rig.at_rest().await;
    assert_eq!(rig.stats().reply_errors.get(&("unsubscribe", 111)), Some(&2));
}
