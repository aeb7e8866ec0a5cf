//! The counts are those of a ledger kept by hand.

use serde_json::json;

use crate::rig::{Rig, quiet};

#[tokio::test(start_paused = true)]
async fn at_rest_the_counts_are_exact() {
    let mut config = quiet();
    config.channel.without_namespace.history_size = 4;
    let rig = Rig::start(config);
    let (mut first, result) = rig.subscribed("news").await;
    let epoch = result["epoch"].clone();
    let (mut second, _) = rig.subscribed("news").await;
    for id in 3..9 {
        first.say(&[json!({"id": id, "publish": {"channel": "news", "data": id}})]).await;
        first.reply().await;
        first.reply().await;
        second.reply().await;
    }
    rig.publish("news", json!(9)).await;
    rig.publish("empty", json!(9)).await;
    first.reply().await;
    second.reply().await;
    let recover = |offset: u64, flag: u64| {
        let request = json!({"channel": "news", "recover": true, "offset": offset, "epoch": epoch, "flag": flag});
        json!({"id": 20, "subscribe": request})
    };
    let mut third = rig.connected().await;
    let reply = third.ask(recover(4, 0)).await;
    assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");
    assert_eq!(reply["subscribe"]["offset"], 4, "the offset of the request comes back");
    assert_eq!(reply["subscribe"]["publications"].as_array().unwrap().len(), 3);
    third.ask(json!({"id": 21, "unsubscribe": {"channel": "news"}})).await;
    let reply = third.ask(recover(2, 0)).await;
    assert_eq!((&reply["subscribe"]["recovered"], &reply["subscribe"]["was_recovering"]), (&json!(null), &json!(true)));
    assert_eq!((&reply["subscribe"]["offset"], &reply["subscribe"]["publications"]), (&json!(7), &json!(null)));
    third.ask(json!({"id": 22, "unsubscribe": {"channel": "news"}})).await;
    assert_eq!(third.refused(recover(2, 2)).await, 112);
    assert_eq!(rig.stats().subscriptions(), 2);
    drop((first, second, third));
    rig.at_rest().await;

    let stats = rig.stats();
    assert_eq!((stats.connections_accepted, stats.connections_opened, stats.connections_closed), (3, 3, 3));
    assert_eq!((stats.subscriptions_opened, stats.subscriptions_closed), (4, 4));
    assert_eq!((stats.publications_by_clients, stats.publications_by_api), (6, 2));
    assert_eq!(stats.deliveries, 14);
    assert_eq!((stats.recoveries_asked, stats.recoveries_succeeded, stats.recoveries_failed), (3, 1, 2));
    assert_eq!(stats.recovered_publications, 3);
    assert!(stats.disconnects.is_empty() && stats.unsubscribes.is_empty());
    assert_eq!(stats.commands["publish"].count(), 6);
    assert_eq!(stats.commands["connect"].count(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_twice_and_published_once_counts_once() {
    let rig = Rig::start(quiet());
    let (mut client, _) = rig.subscribed("news").await;
    for id in [3, 4] {
        client.say(&[json!({"id": id, "publish": {"channel": "news", "data": 1, "idempotency_key": "k"}})]).await;
    }
    for _ in 0..3 {
        client.reply().await;
    }
    drop(client);
    rig.at_rest().await;
    let stats = rig.stats();
    assert_eq!((stats.publications_by_clients, stats.deliveries, stats.commands["publish"].count()), (1, 1, 2));
}
