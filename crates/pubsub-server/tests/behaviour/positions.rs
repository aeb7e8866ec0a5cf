//! Positions on the wire: what a returning subscriber gets, in a stream and in a cache, by its own command and by its
//! token; and what history tells.

use pubsub_server::config::{Config, RecoveryMode, Secret};
use pubsub_server::token::Signer;
use serde_json::{Value, json};

use crate::rig::{Rig, quiet};

/// Publishes 0, 1, 2, … and returns the epoch.
async fn filled(rig: &Rig, channel: &str, publications: u64) -> String {
    let (_, result) = rig.subscribed(channel).await;
    for n in 0..publications {
        assert_eq!(rig.publish(channel, json!(n)).await, n + 1);
    }
    result["epoch"].as_str().unwrap().to_owned()
}

/// What a new connection is answered that subscribes like this.
async fn answer(rig: &Rig, channel: &str, mut request: Value) -> Value {
    request["channel"] = json!(channel);
    let reply = rig.connected().await.ask(json!({"id": 2, "subscribe": request})).await;
    match reply.get("subscribe") {
        Some(result) => result.clone(),
        None => reply["error"]["code"].clone(),
    }
}

/// The publications with these offsets, as [`filled`] made them.
fn publications(offsets: &[u64]) -> Value {
    offsets.iter().map(|offset| json!({"data": offset - 1, "offset": offset})).collect()
}

fn with(mut result: Value, more: &Value) -> Value {
    result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    result
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_a_stream_is_closed_or_said_to_be_open() {
    let mut config = quiet();
    config.client.recovery_max_publication_limit = 3;
    config.channel.without_namespace.history_size = 4;
    let rig = Rig::start(config);
    let epoch = filled(&rig, "news", 6).await;
    let base = json!({"recoverable": true, "positioned": true, "epoch": epoch});
    let recovered = |offset: u64, missed: &[u64]| {
        let more = json!({"recovered": true, "was_recovering": true, "offset": offset});
        let result = with(base.clone(), &more);
        if missed.is_empty() { result } else { with(result, &json!({"publications": publications(missed)})) }
    };
    let lost = with(base.clone(), &json!({"was_recovering": true, "offset": 6}));
    for (request, expected) in [
        (json!({}), with(base.clone(), &json!({"offset": 6}))),
        (json!({"offset": 2, "epoch": epoch}), with(base.clone(), &json!({"offset": 6}))),
        // The offset is that of the request: the client moves it as it handles what it missed.
        (json!({"recover": true, "offset": 3, "epoch": epoch}), recovered(3, &[4, 5, 6])),
        (json!({"recover": true, "offset": 5, "epoch": epoch}), recovered(5, &[6])),
        (json!({"recover": true, "offset": 6, "epoch": epoch}), recovered(6, &[])),
        (json!({"recover": true, "offset": 4}), recovered(4, &[5, 6])),
        (json!({"recover": true, "offset": 2, "epoch": epoch}), lost.clone()),
        (json!({"recover": true, "offset": 1, "epoch": epoch}), lost.clone()),
        (json!({"recover": true, "offset": 7, "epoch": epoch}), lost.clone()),
        (json!({"recover": true, "offset": 6, "epoch": "another"}), lost.clone()),
        (json!({"recover": true}), lost.clone()),
        // Bit 1 asks for something else that is not spoken; bit 2 for an error.
        (json!({"recover": true, "offset": 1, "epoch": epoch, "flag": 1}), lost.clone()),
        (json!({"recover": true, "offset": 1, "epoch": epoch, "flag": 2}), json!(112)),
        (json!({"recover": true, "offset": 6, "epoch": "another", "flag": 3}), json!(112)),
        (json!({"recover": true, "offset": 5, "epoch": epoch, "flag": 2}), recovered(5, &[6])),
        (json!({"flag": 2}), with(base.clone(), &json!({"offset": 6}))),
    ] {
        assert_eq!(answer(&rig, "news", request.clone()).await, expected, "{request}");
    }
    let empty = filled(&rig, "empty", 0).await;
    let result = json!({"recoverable": true, "positioned": true, "epoch": empty});
    assert_eq!(answer(&rig, "empty", json!({})).await, result);
    let recovered = with(result, &json!({"recovered": true, "was_recovering": true}));
    assert_eq!(answer(&rig, "empty", json!({"recover": true, "epoch": empty})).await, recovered);
    assert_eq!(answer(&rig, "empty", json!({"recover": true})).await, recovered);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn after_error_112_the_same_connection_may_begin_anew() {
    let rig = Rig::start(quiet());
    let epoch = filled(&rig, "news", 3).await;
    let mut peer = rig.connected().await;
    let lost = json!({"channel": "news", "recover": true, "offset": 1, "epoch": "another", "flag": 2});
    assert_eq!(peer.refused(json!({"id": 2, "subscribe": lost})).await, 112);
    let since = json!({"channel": "news", "recover": true, "offset": 3, "epoch": epoch, "flag": 2});
    assert_eq!(peer.ask(json!({"id": 3, "subscribe": since})).await["subscribe"]["recovered"], true);
    rig.publish("news", json!("live")).await;
    assert_eq!(peer.reply().await["push"]["pub"]["offset"], 4);
    drop(peer);
    rig.at_rest().await;
}

fn cache(auto: bool) -> Config {
    let mut config = quiet();
    config.channel.without_namespace.force_recovery_mode = RecoveryMode::Cache;
    config.channel.without_namespace.auto_cache_recover = auto;
    config
}

#[tokio::test(start_paused = true)]
async fn a_cache_gives_its_newest_publication_to_whoever_has_another() {
    let rig = Rig::start(cache(false));
    let epoch = filled(&rig, "price", 3).await;
    let base = json!({"recoverable": true, "positioned": true, "epoch": epoch});
    let given = |offset: u64| {
        let more = json!({"recovered": true, "was_recovering": true, "publications": publications(&[3])});
        let result = with(base.clone(), &more);
        if offset == 0 { result } else { with(result, &json!({"offset": offset})) }
    };
    for (request, expected) in [
        (json!({}), with(base.clone(), &json!({"offset": 3}))),
        (json!({"recover": true}), given(0)),
        (json!({"recover": true, "offset": 1, "epoch": epoch}), given(1)),
        (json!({"recover": true, "offset": 1, "epoch": "another"}), given(1)),
        (json!({"recover": true, "offset": 3, "epoch": "another"}), given(3)),
        (
            json!({"recover": true, "offset": 3, "epoch": epoch}),
            with(base.clone(), &json!({"recovered": true, "was_recovering": true, "offset": 3})),
        ),
    ] {
        assert_eq!(answer(&rig, "price", request.clone()).await, expected, "{request}");
    }
    // Nothing is there to be given: only who has that already has all there is.
    let epoch = filled(&rig, "empty", 0).await;
    for (position, recovered) in [(json!({"epoch": epoch}), json!(true)), (json!({}), Value::Null)] {
        let result = answer(&rig, "empty", with(json!({"recover": true}), &position)).await;
        assert_eq!((&result["recovered"], &result["publications"]), (&recovered, &Value::Null), "{result}");
    }
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn with_auto_cache_recover_the_first_subscribe_brings_it_too() {
    let rig = Rig::start(cache(true));
    filled(&rig, "price", 3).await;
    let result = answer(&rig, "price", json!({})).await;
    assert_eq!((&result["recovered"], &result["publications"]), (&json!(true), &publications(&[3])), "{result}");
    let result = answer(&rig, "empty", json!({})).await;
    assert_eq!((&result["recovered"], &result["publications"]), (&Value::Null, &Value::Null), "{result}");
    rig.at_rest().await;
}

/// Positions of subscriptions that the token makes ride in the connect command.
#[tokio::test(start_paused = true)]
async fn server_side_subscriptions_recover_by_the_connect_command() {
    let mut config = quiet();
    config.client.token.hmac_secret_key = Some(Secret::new("a secret"));
    let rig = Rig::start(config);
    let token = Signer::hs256("a secret").sign(&json!({"sub": "anna", "channels": ["a", "b", "c"]}));
    let epoch = filled(&rig, "a", 3).await;
    filled(&rig, "b", 3).await;
    let positions = json!({
        "a": {"recover": true, "offset": 1, "epoch": epoch},
        "b": {"recover": true, "offset": 1, "epoch": "another"},
        "not mine": {"recover": true, "offset": 1},
    });
    let (mut peer, result) = rig.connected_with(json!({"token": token, "subs": positions})).await;
    let subs = &result["subs"];
    assert_eq!(
        subs["a"],
        json!({"recoverable": true, "positioned": true, "epoch": epoch, "offset": 1, "recovered": true,
               "was_recovering": true, "publications": publications(&[2, 3])})
    );
    assert_eq!((&subs["b"]["recovered"], &subs["b"]["was_recovering"]), (&Value::Null, &json!(true)), "{subs}");
    assert_eq!(subs["b"]["offset"], 3);
    assert_eq!((&subs["c"]["was_recovering"], &subs["c"]["offset"]), (&Value::Null, &Value::Null), "{subs}");
    assert_eq!(subs.as_object().unwrap().len(), 3, "{subs}");
    rig.publish("b", json!("live")).await;
    assert_eq!(peer.reply().await["push"]["pub"]["offset"], 4);
    drop(peer);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn history_tells_what_was_asked_for() {
    let mut config = quiet();
    config.client.history_max_publication_limit = 3;
    let rig = Rig::start(config);
    let epoch = filled(&rig, "news", 5).await;
    let mut peer = rig.connected().await;
    for (request, offsets) in [
        // Without a limit it is the position that is asked for.
        (json!({}), &[][..]),
        (json!({"limit": 2}), &[1, 2]),
        (json!({"limit": -1}), &[1, 2, 3]),
        (json!({"limit": 100}), &[1, 2, 3]),
        (json!({"limit": 2, "reverse": true}), &[5, 4]),
        (json!({"limit": -1, "reverse": true}), &[5, 4, 3]),
        (json!({"limit": 2, "since": {"offset": 2, "epoch": epoch}}), &[3, 4]),
        (json!({"limit": 2, "since": {"offset": 2}}), &[3, 4]),
        (json!({"limit": 2, "since": {"offset": 5, "epoch": epoch}}), &[]),
        (json!({"limit": 2, "since": {"offset": 9, "epoch": epoch}}), &[]),
        (json!({"limit": 2, "since": {"offset": 4, "epoch": epoch}, "reverse": true}), &[3, 2]),
        (json!({"limit": 2, "since": {"offset": 1, "epoch": epoch}, "reverse": true}), &[]),
    ] {
        let reply = peer.ask(json!({"id": 2, "history": with(json!({"channel": "news"}), &request)})).await;
        let expected = json!({"publications": publications(offsets), "epoch": epoch, "offset": 5});
        assert_eq!(reply["history"], expected, "{request}");
    }
    for (request, code) in [
        (json!({"limit": 1, "since": {"offset": 1, "epoch": "another"}}), 112),
        (json!({"limit": 1, "since": {"offset": 0, "epoch": epoch}, "reverse": true}), 107),
    ] {
        let command = json!({"id": 2, "history": with(json!({"channel": "news"}), &request)});
        assert_eq!(peer.refused(command).await, code, "{request}");
    }
    drop(peer);
    rig.at_rest().await;
}
