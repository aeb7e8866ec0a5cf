//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`, as the clients see them that they act upon.

use std::future::Future as _;
use std::task::{Context, Waker};
use std::time::Duration;

use pubsub_protocol::Payload;
use pubsub_server::api::channels::OfChannel;
use pubsub_server::api::connections::{Disconnect, Subscribe, Unsubscribe};
use pubsub_server::api::publish::Publish;
use serde_json::{Value, json};

use crate::rig::{Rig, START, config};

#[tokio::test(start_paused = true)]
async fn a_user_is_subscribed_on_all_connections_or_on_the_one_that_is_named() {
    let rig = Rig::open();
    let (mut phone, mut desk) = (rig.connected("anna").await, rig.connected("anna").await);
    let (mut ben, mut nobody) = (rig.connected("ben").await, rig.connected("").await);

    let params = json!({ "user": "anna", "channel": "news", "data": { "hello": 1 }, "info": { "as": "editor" } });
    assert_eq!(rig.call("subscribe", params).await, json!({}));
    for client in [&mut phone, &mut desk] {
        let push = client.push().await;
        assert_eq!(push["channel"], "news");
        assert_eq!(push["subscribe"]["data"], json!({ "hello": 1 }));
        assert_eq!(push["subscribe"]["recoverable"], true);
    }
    let presence = rig.call("presence", json!({ "channel": "news" })).await;
    assert_eq!(presence["presence"].as_object().unwrap().len(), 2);
    assert_eq!(presence["presence"][&phone.id]["chan_info"], json!({ "as": "editor" }));

    rig.call("subscribe", json!({ "user": "anna", "client": desk.id, "channel": "plain:x" })).await;
    assert_eq!(desk.push().await, json!({ "channel": "plain:x", "subscribe": {} }));
    rig.call("publish", json!({ "channel": "plain:x", "data": 1 })).await;
    assert_eq!(desk.data().await, 1);

    rig.call("subscribe", json!({ "user": "", "channel": "plain:y" })).await;
    assert_eq!(nobody.push().await["channel"], "plain:y");
    rig.call("subscribe", json!({ "client": ben.id, "channel": "plain:z", "b64data": "eyJhIjoxfQ==" })).await;
    assert_eq!(ben.push().await["subscribe"]["data"], json!({ "a": 1 }));

    // Once more changes nothing.
    rig.call("subscribe", json!({ "user": "anna", "channel": "news" })).await;
    for client in [&mut phone, &mut desk, &mut ben, &mut nobody] {
        client.is_at_rest().await;
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_by_the_server_can_begin_in_the_past() {
    let rig = Rig::open();
    let mut epoch = Value::Null;
    for data in 1..=4 {
        epoch = rig.call("publish", json!({ "channel": "news", "data": data })).await["epoch"].take();
    }
    let mut client = rig.connected("anna").await;
    let since = json!({ "offset": 2, "epoch": epoch });
    rig.call("subscribe", json!({ "user": "anna", "channel": "news", "recover_since": since })).await;
    let push = client.push().await;
    assert_eq!((&push["subscribe"]["offset"], &push["subscribe"]["epoch"]), (&json!(2), &epoch));
    assert_eq!([client.data().await, client.data().await], [3, 4]);
    rig.call("publish", json!({ "channel": "news", "data": 5 })).await;
    assert_eq!(client.data().await, 5);
    client.is_at_rest().await;
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_subscription_by_the_server_recovers_may_be_more_than_may_wait() {
    let mut config = config();
    config.client.queue_max_size = 10_000;
    let rig = Rig::new(config);
    let data = "x".repeat(4_000);
    let epoch = rig.call("publish", json!({ "channel": "news", "data": data })).await["epoch"].take();
    for _ in 2..=9 {
        rig.call("publish", json!({ "channel": "news", "data": data })).await;
    }
    let mut client = rig.connected("anna").await;
    let since = json!({ "offset": 0, "epoch": epoch });
    rig.call("subscribe", json!({ "user": "anna", "channel": "news", "recover_since": since })).await;
    assert_eq!(client.push().await["subscribe"]["epoch"], epoch);
    for offset in 1..=9 {
        assert_eq!(client.push().await["pub"]["offset"], offset);
    }
    client.is_at_rest().await;
    let stats = rig.server.service().metrics().snapshot();
    assert_eq!((stats.recoveries_asked, stats.recoveries_succeeded, stats.recovered_publications), (1, 1, 9));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_by_the_server_may_differ_from_its_channel() {
    let rig = Rig::open();
    let mut anna = rig.connected("anna").await;
    let differs = json!({ "presence": { "value": false }, "force_recovery": { "value": false } });
    rig.call("subscribe", json!({ "user": "anna", "channel": "news", "override": differs })).await;
    assert_eq!(anna.push().await, json!({ "channel": "news", "subscribe": {} }));
    assert_eq!(rig.call("presence", json!({ "channel": "news" })).await, json!({ "presence": {} }));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_by_the_server_ends_its_connection_when_it_expires() {
    let rig = Rig::open();
    let mut anna = rig.connected("anna").await;
    let past = json!({ "user": "anna", "channel": "news", "expire_at": START });
    let (code, detail) = rig.refused("subscribe", past).await;
    assert_eq!(code, 107);
    assert!(detail.contains("expire_at"), "{detail}");
    rig.call("subscribe", json!({ "user": "anna", "channel": "news", "expire_at": START + 10 })).await;
    anna.push().await;
    // The client has 25 s of grace, and answers pings meanwhile.
    let before = tokio::time::Instant::now();
    assert_eq!(anna.closed().await, (3006, "subscription expired".to_owned()));
    let took = before.elapsed();
    assert!(took > Duration::from_secs(34) && took < Duration::from_secs(37), "{took:?}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_subscriptions_by_the_server_cost_the_connection() {
    let mut config = config();
    config.client.channel_limit = 1;
    let rig = Rig::new(config);
    let anna = rig.subscribed("anna", "one").await;
    rig.call("subscribe", json!({ "user": "anna", "channel": "two" })).await;
    assert_eq!(anna.closed().await.0, 3505);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_is_unsubscribed_from_one_channel_or_from_all() {
    let rig = Rig::open();
    let (mut phone, mut desk) = (rig.subscribed("anna", "a").await, rig.subscribed("anna", "a").await);
    let mut ben = rig.subscribed("ben", "a").await;
    for channel in ["b", "c"] {
        phone.ask(json!({ "subscribe": { "channel": channel } })).await;
    }
    let ended =
        |channel: &str| json!({ "channel": channel, "unsubscribe": { "code": 2000, "reason": "server unsubscribe" } });

    rig.call("unsubscribe", json!({ "user": "anna", "channel": "a" })).await;
    assert_eq!([phone.push().await, desk.push().await], [ended("a"), ended("a")]);
    rig.call("publish", json!({ "channel": "a", "data": 1 })).await;
    assert_eq!(ben.data().await, 1);
    desk.is_at_rest().await;

    rig.call("unsubscribe", json!({ "user": "anna", "client": phone.id })).await;
    let mut channels = [phone.push().await, phone.push().await].map(|push| push["channel"].clone());
    channels.sort_by_key(ToString::to_string);
    assert_eq!(channels, ["b", "c"]);
    let stats = rig.call("presence_stats", json!({ "channel": "b" })).await;
    assert_eq!(stats["num_clients"], 0, "who was unsubscribed is no longer present");

    // Of a channel that it is not in, nobody needs to be told.
    rig.call("unsubscribe", json!({ "user": "anna", "channel": "a" })).await;
    assert_eq!(rig.refused("unsubscribe", json!({ "user": "anna", "channel": "unknown:a" })).await.0, 102);
    for client in [&mut phone, &mut desk, &mut ben] {
        client.is_at_rest().await;
    }
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_user_is_disconnected_for_good_unless_another_code_is_given() {
    let rig = Rig::open();
    let (phone, desk) = (rig.connected("anna").await, rig.connected("anna").await);
    let mut ben = rig.connected("ben").await;
    assert_eq!(rig.call("disconnect", json!({ "user": "anna" })).await, json!({}));
    for client in [phone, desk] {
        assert_eq!(client.closed().await, (3503, "force disconnect".to_owned()));
    }
    ben.is_at_rest().await;
    let reason = json!({ "code": 4001, "reason": "come back" });
    rig.call("disconnect", json!({ "user": "ben", "disconnect": reason })).await;
    assert_eq!(ben.closed().await, (4001, "come back".to_owned()));
    let disconnects = rig.server.service().metrics().snapshot().disconnects;
    assert_eq!(disconnects.get(&3503), Some(&2));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_on_the_list_stays_and_so_does_everyone_else() {
    let rig = Rig::open();
    let (mut keep, go) = (rig.connected("anna").await, rig.connected("anna").await);
    let whitelist = json!([keep.id, "not an id"]);
    rig.call("disconnect", json!({ "user": "anna", "whitelist": whitelist })).await;
    assert_eq!(go.closed().await.0, 3503);
    rig.call("disconnect", json!({ "client": keep.id, "whitelist": whitelist })).await;
    keep.is_at_rest().await;
    rig.call("disconnect", json!({ "user": "anna", "client": keep.id })).await;
    assert_eq!(keep.closed().await.0, 3503);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_anonymous_are_meant_only_by_an_empty_user() {
    let rig = Rig::open();
    let (nobody, mut listed) = (rig.connected("").await, rig.connected("").await);
    let mut anna = rig.connected("anna").await;
    rig.call("disconnect", json!({ "user": "", "whitelist": [listed.id] })).await;
    assert_eq!(nobody.closed().await.0, 3503);
    listed.is_at_rest().await;
    anna.is_at_rest().await;

    for method in ["subscribe", "unsubscribe", "disconnect", "refresh"] {
        for nobody_in_particular in [json!({ "channel": "news" }), json!({ "channel": "news", "user": null })] {
            let (code, detail) = rig.refused(method, nobody_in_particular).await;
            assert_eq!(code, 107, "{method}");
            assert!(detail.contains("user or client"), "{detail}");
        }
    }
    listed.is_at_rest().await;
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_fits_nobody_does_nothing() {
    let rig = Rig::open();
    let mut anna = rig.connected("anna").await;
    let gone = rig.connected("anna").await;
    let gone_id = gone.id.clone();
    drop(gone);
    while rig.server.connections() > 1 {
        tokio::task::yield_now().await;
    }
    let mut heir = rig.connected("anna").await;
    for whose in [
        json!({ "user": "unknown" }),
        json!({ "user": "ben", "client": anna.id }),
        json!({ "user": "anna", "client": gone_id }),
        json!({ "client": "not an id" }),
        // Made elsewhere: read as ours, it may lead to any shard and slot.
        json!({ "client": "0193f5ce-8d4a-8000-8000-000000000001" }),
        json!({ "client": "ffffffff-ffff-8fff-bfff-ffffffffffff" }),
        json!({ "user": "anna", "session": "of another transport" }),
    ] {
        for method in ["subscribe", "unsubscribe", "disconnect", "refresh"] {
            let mut params = whose.clone();
            params["channel"] = "news".into();
            params["expired"] = true.into();
            assert_eq!(rig.call(method, params).await, json!({}), "{method} {whose}");
        }
    }
    anna.is_at_rest().await;
    heir.is_at_rest().await;
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_code_must_be_one_that_an_application_may_send() {
    let rig = Rig::open();
    let mut anna = rig.connected("anna").await;
    for code in [0, 1000, 2999, 5000, 70_000] {
        let reason = json!({ "code": code, "reason": "" });
        let (refused, detail) = rig.refused("disconnect", json!({ "user": "anna", "disconnect": reason })).await;
        assert_eq!(refused, 107);
        assert!(detail.contains("disconnect.code") && detail.contains(&code.to_string()), "{detail}");
    }
    let reason = json!({ "code": 4000, "reason": "é".repeat(62) });
    let (_, detail) = rig.refused("disconnect", json!({ "user": "anna", "disconnect": reason })).await;
    assert!(detail.contains("disconnect.reason: 124 bytes"), "{detail}");
    anna.is_at_rest().await;

    let longest = "x".repeat(123);
    let reason = json!({ "code": 4999, "reason": longest });
    rig.call("disconnect", json!({ "user": "anna", "disconnect": reason })).await;
    assert_eq!(anna.closed().await, (4999, longest));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_says_when_the_connection_expires() {
    let rig = Rig::open();
    let mut anna = rig.connected("anna").await;
    let mut ben = rig.connected("ben").await;
    let params = json!({ "user": "anna", "expire_at": START + 60, "info": { "name": "Anna" } });
    assert_eq!(rig.call("refresh", params).await, json!({}));
    let push = anna.push().await;
    assert_eq!(push["refresh"]["expires"], true);
    let ttl = push["refresh"]["ttl"].as_u64().unwrap();
    assert!((59..=60).contains(&ttl), "{push}");
    anna.ask(json!({ "subscribe": { "channel": "news" } })).await;
    let presence = rig.call("presence", json!({ "channel": "news" })).await;
    assert_eq!(presence["presence"][&anna.id]["conn_info"], json!({ "name": "Anna" }));
    // And where she is already.
    rig.call("refresh", json!({ "user": "anna", "expire_at": START + 60, "info": { "name": "Ann" } })).await;
    anna.push().await;
    let presence = rig.call("presence", json!({ "channel": "news" })).await;
    assert_eq!(presence["presence"][&anna.id]["conn_info"], json!({ "name": "Ann" }));
    assert_eq!(
        rig.call("presence_stats", json!({ "channel": "news" })).await,
        json!({ "num_clients": 1, "num_users": 1 })
    );

    rig.call("refresh", json!({ "user": "ben", "expire_at": START + 60 })).await;
    ben.push().await;
    rig.call("refresh", json!({ "user": "ben" })).await;
    assert_eq!(ben.push().await, json!({ "refresh": {} }), "it never expires");

    let before = tokio::time::Instant::now();
    assert_eq!(anna.closed().await, (3005, "connection expired".to_owned()));
    let took = before.elapsed();
    assert!(took > Duration::from_secs(84) && took < Duration::from_secs(87), "60 s and 25 s of grace: {took:?}");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_already_is_closed_and_comes_back_with_a_new_token() {
    let rig = Rig::open();
    let (anna, ben) = (rig.connected("anna").await, rig.connected("ben").await);
    rig.call("refresh", json!({ "user": "anna", "expired": true })).await;
    assert_eq!(anna.closed().await.0, 3005);
    rig.call("refresh", json!({ "user": "ben", "expire_at": START - 1 })).await;
    assert_eq!(ben.closed().await.0, 3005);
    rig.end().await;
}

/// A backend that publishes right after it subscribed a user must not be too early.
#[tokio::test(start_paused = true)]
async fn a_call_is_over_when_it_is_done() {
    let rig = Rig::open();
    let service = rig.server.service();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(rig.connected("anna").await);
    }
    let whom = || (Some("anna".to_owned()), "news".to_owned());
    let members = async || {
        let room = OfChannel { channel: "news".to_owned() };
        service.presence_stats(room).await.unwrap().num_clients
    };

    // The shard lives on this very thread: until something here waits, it has done nothing.
    let (user, channel) = whom();
    let mut subscribing = Box::pin(service.subscribe(Subscribe { user, channel, ..Subscribe::default() }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(subscribing.as_mut().poll(&mut cx).is_pending());
    assert_eq!(members().await, 0);
    subscribing.await.unwrap();
    assert_eq!(members().await, 20);
    let data = Some(Payload::from_json("1").unwrap());
    service.publish(Publish { channel: "news".to_owned(), data, ..Publish::default() }).await.unwrap();
    for client in &mut clients {
        assert!(client.push().await.get("subscribe").is_some());
        assert_eq!(client.data().await, 1);
    }

    let (user, channel) = whom();
    service.unsubscribe(Unsubscribe { user, channel, ..Unsubscribe::default() }).await.unwrap();
    assert_eq!(members().await, 0);
    rig.end().await;
}

/// The answer of a shard that has ended can not be waited for.
#[tokio::test(start_paused = true)]
async fn a_call_to_a_server_that_has_ended_fails() {
    let rig = Rig::open();
    let service = rig.server.service().clone();
    rig.end().await;
    let disconnect = Disconnect { user: Some(String::new()), ..Disconnect::default() };
    let error = service.disconnect(disconnect).await.unwrap_err();
    assert_eq!(error.code, pubsub_protocol::ErrorCode::Internal);
}

#[tokio::test]
async fn a_user_is_reached_in_every_shard() {
    let rig = Rig::with_shards(config(), 3);
    let mut clients = Vec::new();
    for _ in 0..7 {
        clients.push((rig.subscribed("anna", "news").await, rig.connected("").await));
    }
    rig.call("unsubscribe", json!({ "user": "anna", "channel": "news" })).await;
    assert_eq!(rig.call("channels", json!({})).await, json!({ "channels": {} }));
    rig.call("disconnect", json!({ "user": "" })).await;
    for (mut anna, nobody) in clients {
        assert_eq!(anna.push().await["unsubscribe"]["code"], 2000);
        anna.is_at_rest().await;
        rig.call("disconnect", json!({ "client": anna.id })).await;
        assert_eq!(anna.closed().await.0, 3503);
        assert_eq!(nobody.closed().await.0, 3503);
    }
    rig.end().await;
}
