//! Tokens: had, refused, renewed in time, and given up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pubsub_client::{
    CloseReason, ConnectError, DialError, SubscribeError, SubscribeOptions, TokenError, TokenRequest, TokenSource,
};
use pubsub_protocol::command::Request;
use pubsub_protocol::reply::{Answer, ConnectResult, RefreshResult, SubRefreshResult, SubscribeResult};
use pubsub_protocol::{Command, ErrorCode};
use support::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Gives "T1", "T2", …
fn counted() -> TokenSource {
    let given = Arc::new(AtomicU32::new(0));
    TokenSource::callback(move |_| {
        let n = given.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("T{n}")) }
    })
}

async fn token(peer: &mut Peer) -> (u32, String) {
    match peer.command().await.unwrap() {
        Command { id, request: Request::Connect(connect) } => (id, connect.token),
        Command { id, request: Request::Refresh(refresh) } => (id, refresh.token),
        Command { id, request: Request::SubRefresh(refresh) } => (id, format!("{} {}", refresh.channel, refresh.token)),
        Command { id, request: Request::Subscribe(subscribe) } => (id, subscribe.token),
        other => panic!("{other:?}"),
    }
}

fn expiring(ttl: u32) -> ConnectResult {
    ConnectResult { client: "id".into(), version: "mock".into(), expires: true, ttl, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_final_and_says_so() {
    let (client, mut mock) = started(config().token("bad"));
    mock.upgraded().await.close(3500, "invalid token").await;
    let _ = ended(&client).await;
    let error = client.ready().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Closed(CloseReason::Dial(DialError::Closed { code: 3500, .. }))), "{error}");
    let (client, mut mock) = started(config().token("bad"));
    let mut peer = mock.upgraded().await;
    let (id, _) = token(&mut peer).await;
    peer.refuse(id, ErrorCode::Unauthorized).await;
    match ended(&client).await {
        CloseReason::Dial(DialError::Auth(error)) => assert_eq!(error.code, 101),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_replaced_where_another_can_be_had() {
    let (client, mut mock) = started(config().token(counted()));
    let mut peer = mock.upgraded().await;
    let (id, first) = token(&mut peer).await;
    peer.refuse(id, ErrorCode::TokenExpired).await;
    let mut peer = mock.upgraded().await;
    let (id, second) = token(&mut peer).await;
    assert_eq!((&*first, &*second), ("T1", "T2"));
    peer.answer(id, Answer::Connect(ConnectResult::default())).await;
    client.ready().await.unwrap();

    let (client, mut mock) = started(config().token("constant"));
    let mut peer = mock.upgraded().await;
    let (id, _) = token(&mut peer).await;
    peer.refuse(id, ErrorCode::TokenExpired).await;
    assert!(matches!(ended(&client).await, CloseReason::Dial(DialError::Auth(error)) if error.code == 109));
}

#[tokio::test(start_paused = true)]
async fn a_temporary_refusal_is_tried_again_with_the_same_token() {
    let (client, mut mock) = started(config().token(counted()));
    let mut peer = mock.upgraded().await;
    let (id, first) = token(&mut peer).await;
    peer.refuse(id, ErrorCode::TooManyRequests).await;
    let mut peer = mock.upgraded().await;
    let (id, again) = token(&mut peer).await;
    assert_eq!(first, again);
    peer.answer(id, Answer::Connect(ConnectResult::default())).await;
    client.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_token_is_renewed_before_it_runs_out() {
    let (client, mut mock) = started(config().ping_interval(Duration::ZERO).token(counted()));
    let mut peer = mock.connected_with(expiring(100)).await;
    client.ready().await.unwrap();
    let start = Instant::now();
    let (id, renewed) = token(&mut peer).await;
    assert_eq!((start.elapsed(), &*renewed), (80 * SECOND, "T2"));
    peer.answer(id, Answer::Refresh(RefreshResult { expires: true, ttl: 10, ..Default::default() })).await;
    let (_, renewed) = token(&mut peer).await;
    assert_eq!((start.elapsed(), &*renewed), (88 * SECOND, "T3"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_and_one_that_is_denied_ends_it() {
    let asked = Arc::new(AtomicU32::new(0));
    let source = TokenSource::callback({
        let asked = asked.clone();
        move |_| {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match n {
                    0 => Ok("T".to_owned()),
                    1 => Err(TokenError::temporary("the token service is down")),
                    _ => Err(TokenError::denied("logged out")),
                }
            }
        }
    });
    let (client, mut mock) = started(config().token(source));
    let _peer = mock.connected_with(expiring(10)).await;
    client.ready().await.unwrap();
    let start = Instant::now();
    assert!(matches!(ended(&client).await, CloseReason::Token(error) if error.is_final()));
    let ended = start.elapsed();
    assert!(ended >= 13 * SECOND && ended <= 18 * SECOND, "8 s, then 5 to 10 s: {ended:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_service_the_client_keeps_trying() {
    let failures = Arc::new(AtomicU32::new(0));
    let source = TokenSource::callback({
        let failures = failures.clone();
        move |request| {
            assert_eq!(request, TokenRequest::Connection);
            let failed = failures.fetch_add(1, Ordering::Relaxed) < 3;
            async move { if failed { Err(TokenError::temporary("down")) } else { Ok("T".to_owned()) } }
        }
    });
    let (client, mut mock) = started(config().token(source));
    let _peer = mock.connected().await;
    client.ready().await.unwrap();
    assert_eq!(client.stats().attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_token_is_had_renewed_and_replaced() {
    let (client, _mock, mut peer) = connected(config().ping_interval(Duration::ZERO)).await;
    let options = SubscribeOptions::default().token(counted());
    let mut subscription = client.try_subscribe("c", &options).unwrap();
    let (id, first) = token(&mut peer).await;
    assert_eq!(first, "T1");
    // Expired already: another is fetched.
    peer.refuse(id, ErrorCode::TokenExpired).await;
    let (id, second) = token(&mut peer).await;
    assert_eq!(second, "T2");
    peer.answer(id, Answer::Subscribe(SubscribeResult { expires: true, ttl: 50, ..recoverable(0) })).await;
    assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
    let start = Instant::now();
    let (id, renewed) = token(&mut peer).await;
    assert_eq!((start.elapsed(), &*renewed), (40 * SECOND, "c T3"));
    peer.answer(id, Answer::SubRefresh(SubRefreshResult { expires: true, ttl: 50 })).await;
    // 2501: the server says it is over; a new token is asked for.
    peer.push_unsubscribe("c", 2501).await;
    let (_, replaced) = token(&mut peer).await;
    assert_eq!(replaced, "T4");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_without_permission_fails_by_name() {
    let (client, _mock, mut peer) = connected(config()).await;
    let (refused, ()) = tokio::join!(client.subscribe("secret"), async {
        let (id, _) = peer.subscribe().await;
        peer.refuse(id, ErrorCode::PermissionDenied).await;
    });
    match refused.unwrap_err() {
        SubscribeError::Failed { topic, code: 103, message } => {
            assert_eq!((topic.as_str(), &*message), ("secret", "permission denied"));
        }
        other => panic!("{other}"),
    }
    let denied = TokenSource::callback(|_| async { Err(TokenError::denied("not yours")) });
    let refused = client.subscribe_with("other", SubscribeOptions::default().token(denied)).await.unwrap_err();
    assert!(refused.to_string().contains("not yours"), "{refused}");
    assert_eq!(client.stats().topics, 0);
}

/// Gives "T1", "T2", … so long after it was asked.
fn slow(delay: Duration) -> TokenSource {
    let given = Arc::new(AtomicU32::new(0));
    TokenSource::callback(move |_| {
        let n = given.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            tokio::time::sleep(delay).await;
            Ok(format!("T{n}"))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_after_its_subscriber_has_left_is_nobodys() {
    let (client, _mock, mut peer) = connected(config().ping_interval(Duration::ZERO)).await;
    let options = SubscribeOptions::default().token(slow(6 * SECOND));
    let first = client.try_subscribe("c", &options).unwrap();
    tokio::time::sleep(5 * SECOND).await;
    drop(first);
    settle().await;
    let mut second = client.try_subscribe("c", &options).unwrap();
    // The first token comes at 6 s, and the one that was fetched for this subscriber at 11 s.
    let begun = Instant::now();
    let (id, shown) = token(&mut peer).await;
    assert_eq!((begun.elapsed(), &*shown), (6 * SECOND, "T2"));
    peer.answer(id, Answer::Subscribe(recoverable(0))).await;
    assert_eq!(read(&mut second, 1).await, ["fresh"]);
    tokio::time::sleep(20 * SECOND).await;
    peer.publish("c", [1]).await;
    assert_eq!(read(&mut second, 1).await, ["1"], "in force, and asked for once");
}

#[tokio::test(start_paused = true)]
async fn a_token_for_a_subscription_that_is_over_is_not_shown() {
    let (client, _mock, mut peer) = connected(config().ping_interval(Duration::ZERO)).await;
    let options = SubscribeOptions::default().token(slow(SECOND));
    let mut subscription = client.try_subscribe("c", &options).unwrap();
    let (id, _) = token(&mut peer).await;
    peer.answer(id, Answer::Subscribe(SubscribeResult { expires: true, ttl: 50, ..recoverable(0) })).await;
    assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
    // The renewal is being fetched when the server says that it is over.
    tokio::time::sleep(40 * SECOND + SECOND / 2).await;
    peer.push_unsubscribe("c", 2501).await;
    match peer.command().await.unwrap() {
        Command { id, request: Request::Subscribe(request) } => {
            assert_eq!(request.token, "T3");
            peer.answer(id, Answer::Subscribe(recovered(0, []))).await;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read(&mut subscription, 2).await, ["interrupted 2501", "recovered"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_begins_anew_again_and_again_is_renewed_once() {
    let (client, _mock, mut peer) = connected(config().ping_interval(Duration::ZERO)).await;
    let options = SubscribeOptions::default().token(counted());
    let _subscription = client.try_subscribe("c", &options).unwrap();
    for _ in 0..10 {
        let (id, _) = token(&mut peer).await;
        peer.answer(id, Answer::Subscribe(SubscribeResult { expires: true, ttl: 50, ..recoverable(0) })).await;
        peer.push_unsubscribe("c", 2500).await;
    }
    let (id, _) = token(&mut peer).await;
    peer.answer(id, Answer::Subscribe(SubscribeResult { expires: true, ttl: 50, ..recoverable(0) })).await;
    let (id, renewed) = token(&mut peer).await;
    assert!(renewed.starts_with("c T"), "{renewed}");
    // The answer says that this one does not run out.
    peer.answer(id, Answer::SubRefresh(SubRefreshResult { expires: false, ttl: 0 })).await;
    let more = tokio::time::timeout(1_000 * SECOND, token(&mut peer)).await;
    assert!(more.is_err(), "{more:?}");
}
