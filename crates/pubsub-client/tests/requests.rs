//! Requests: answers, timeouts, the queue while there is no connection, and what becomes of them when it is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use pubsub_client::{
    Capacity, CentrifugeHandler, CloseReason, HistoryQuery, JsonHandler, Payload, ProtocolError, PublishError,
    RequestError, SendError,
};
use pubsub_protocol::ErrorCode;
use pubsub_protocol::command::Request;
use pubsub_protocol::reply::{Answer, ConnectResult, HistoryResult, RpcResult};
use pubsub_protocol::websocket::{self, Opcode};
use support::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn rpc_data(json: &str) -> Answer {
    Answer::Rpc(RpcResult { data: Some(Payload::from_json(json).unwrap()) })
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let (client, _mock, mut peer) = connected(config()).await;
    let (a, b, ()) = tokio::join!(client.request::<_, u32>("a", &1), client.request::<_, u32>("b", &2), async {
        let first = peer.command().await.unwrap();
        let second = peer.command().await.unwrap();
        peer.answer(second.id, rpc_data("22")).await;
        peer.answer(first.id, rpc_data("11")).await;
    });
    assert_eq!((a.unwrap(), b.unwrap()), (11, 22));
    assert_eq!(client.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_and_wrong_answers_are_told_apart() {
    let (client, _mock, mut peer) = connected(config()).await;
    let (refused, unread, mismatched, ()) = tokio::join!(
        client.request::<_, u32>("a", &1),
        client.request::<_, u32>("b", &1),
        client.history("c", HistoryQuery::default()),
        async {
            let ids = [peer.command().await, peer.command().await, peer.command().await].map(|one| one.unwrap().id);
            peer.refuse(ids[0], ErrorCode::MethodNotFound).await;
            peer.answer(ids[1], rpc_data(r#""text""#)).await;
            peer.answer(ids[2], Answer::Publish).await;
            // Nobody waits for these.
            peer.answer(ids[0], Answer::Publish).await;
            peer.answer(999, Answer::Publish).await;
        }
    );
    assert!(matches!(&refused, Err(RequestError::Server(error)) if error.code == 104), "{refused:?}");
    assert!(matches!(unread, Err(RequestError::Decode(_))));
    assert!(matches!(&mismatched, Err(RequestError::Server(error)) if error.message.contains("asked for History")));
    settle().await;
    assert_eq!(client.stats().strays, 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_times_out_on_time_and_leaves_nothing() {
    let (client, _mock, mut peer) = connected(config()).await;
    let start = Instant::now();
    let (short, long) =
        tokio::join!(client.request_with_timeout::<_, u32>("a", &1, SECOND), client.request::<_, u32>("b", &1),);
    match short.unwrap_err() {
        RequestError::Timeout { id, after, sent: true } => assert_eq!((id.number(), after), (Some(2), SECOND)),
        other => panic!("{other}"),
    }
    let error = long.unwrap_err();
    assert!(error.outcome_unknown());
    assert!(matches!(error, RequestError::Timeout { after, .. } if after == 5 * SECOND));
    assert_eq!(start.elapsed().as_secs(), 5, "the second waited its own time");
    assert_eq!(client.stats().pending_requests, 0);
    // An answer that comes too late is nobody's.
    let late = peer.command().await.unwrap();
    peer.answer(late.id, rpc_data("1")).await;
    settle().await;
    assert_eq!(client.stats().strays, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let (client, _mock, _peer) = connected(config()).await;
    let given_up = tokio::time::timeout(SECOND, client.request::<_, u32>("a", &1)).await;
    assert!(given_up.is_err());
    assert_eq!(client.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn commands_given_without_a_connection_wait_up_to_a_bound_and_are_refused_beyond_it() {
    let (client, mut mock) = started(config().command_capacity(3usize));
    let waiting: Vec<_> = (0..2)
        .map(|i| {
            tokio::spawn({
                let client = client.clone();
                async move { client.request::<_, u32>("m", &i).await }
            })
        })
        .collect();
    settle().await;
    client.send_json(&"note").unwrap();
    assert_eq!(client.stats().queued_commands, 3);
    let refused = client.request::<_, u32>("m", &9).await.unwrap_err();
    assert!(matches!(refused, RequestError::CapacityExceeded { what: Capacity::Commands, limit: 3 }), "{refused}");
    assert!(!refused.outcome_unknown());
    assert!(matches!(client.send_json(&1), Err(SendError::CapacityExceeded { .. })));
    let mut peer = mock.connected().await;
    for expected in 0..2u32 {
        let command = peer.command().await.unwrap();
        peer.answer(command.id, rpc_data(&expected.to_string())).await;
    }
    assert!(matches!(peer.command().await.unwrap().request, Request::Send(_)), "in the order given");
    for (expected, waiting) in waiting.into_iter().enumerate() {
        assert_eq!(waiting.await.unwrap().unwrap() as usize, expected);
    }
    assert_eq!(client.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_queued_request_times_out_while_there_is_no_connection_and_is_never_sent() {
    let (client, mut mock) = started(config().connect_timeout(60 * SECOND));
    let start = Instant::now();
    let error = client.request::<_, u32>("m", &1).await.unwrap_err();
    assert!(matches!(error, RequestError::Timeout { sent: false, .. }) && !error.outcome_unknown(), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(client.stats().queued_commands, 0);
    let mut peer = mock.connected().await;
    client.ready().await.unwrap();
    client.send_json(&1).unwrap();
    assert!(matches!(peer.command().await.unwrap().request, Request::Send(_)));
}

#[tokio::test(start_paused = true)]
async fn too_many_without_an_answer_are_refused() {
    let (client, _mock, mut peer) = connected(config().pending_requests_max(2usize)).await;
    let (a, b, c) = tokio::join!(
        biased;
        client.request::<_, u32>("a", &1),
        client.request::<_, u32>("b", &1),
        client.request::<_, u32>("c", &1),
    );
    assert!(matches!((a, b), (Err(RequestError::Timeout { .. }), Err(RequestError::Timeout { .. }))));
    assert!(matches!(c, Err(RequestError::CapacityExceeded { what: Capacity::PendingRequests, limit: 2 })));
    drop(peer.command().await);
}

#[tokio::test(start_paused = true)]
async fn a_publish_of_unknown_outcome_is_told_and_not_repeated() {
    let (client, mut mock, mut peer) = connected(config()).await;
    let (outcome, mut peer) = tokio::join!(client.publish("c", &1), async {
        assert!(matches!(peer.command().await.unwrap().request, Request::Publish(_)));
        drop(peer);
        mock.connected().await
    });
    assert!(matches!(outcome, Err(PublishError::OutcomeUnknown(RequestError::ConnectionLost { .. }))), "{outcome:?}");
    client.send_json(&1).unwrap();
    assert!(matches!(peer.command().await.unwrap().request, Request::Send(_)), "nothing was sent again");
    let keyed = client.publish_idempotent("c", Payload::from_json("1").unwrap(), "k").await;
    assert!(matches!(keyed, Err(PublishError::IdempotencyNotSupported)));
}

#[tokio::test(start_paused = true)]
async fn a_publish_with_a_key_is_repeated_under_the_same_key() {
    let (connector, mut mock) = mock();
    let handler = CentrifugeHandler::default().server_honours_idempotency_keys(true);
    let client = start(config(), connector, handler);
    let mut peer = mock.connected().await;
    let publish = client.publish_idempotent("c", Payload::from_json("1").unwrap(), "k");
    let (outcome, ()) = tokio::join!(publish, async {
        let first = peer.text().await;
        assert!(first.contains(r#""idempotency_key":"k""#), "{first}");
        drop(peer);
        let mut peer = mock.connected().await;
        let again = peer.text().await;
        assert_eq!(first, again);
        let command = pubsub_protocol::Format::Json.commands(again.as_bytes()).next().unwrap().unwrap();
        peer.answer(command.id, Answer::Publish).await;
        settle().await;
    });
    outcome.unwrap();
    assert_eq!(client.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn reading_history_is_repeated_after_a_loss() {
    let (client, mut mock, mut peer) = connected(config()).await;
    let (history, ()) = tokio::join!(client.history("c", HistoryQuery { limit: -1, ..Default::default() }), async {
        peer.command().await.unwrap();
        drop(peer);
        let mut peer = mock.connected().await;
        let again = peer.command().await.unwrap();
        let publications = vec![publication(1), publication(2)];
        peer.answer(again.id, Answer::History(HistoryResult { publications, epoch: "e".into(), offset: 2 })).await;
        settle().await;
    });
    let history = history.unwrap();
    assert_eq!(history.position, pubsub_client::StreamPosition::new(2, "e"));
    assert_eq!(history.publications[1].position(), Some(history.position));
}

#[tokio::test(start_paused = true)]
async fn requests_sent_before_a_loss_fail_and_those_behind_them_go_on() {
    let (client, mut mock, mut peer) = connected(config()).await;
    let (sent, queued, ()) = tokio::join!(
        client.request::<_, u32>("a", &1),
        async {
            let mut watch = client.watch_state();
            watch.wait_for(|state| !state.is_ready()).await.unwrap();
            client.request::<_, u32>("b", &1).await
        },
        async {
            peer.command().await.unwrap();
            drop(peer);
            let mut peer = mock.connected().await;
            let command = peer.command().await.unwrap();
            peer.answer(command.id, rpc_data("5")).await;
            settle().await;
        }
    );
    assert!(matches!(sent, Err(RequestError::ConnectionLost { .. })), "{sent:?}");
    assert_eq!(queued.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_in_flight_are_all_answered() {
    const COUNT: u32 = 10_000;
    let config = config().pending_requests_max(COUNT as usize).command_capacity(COUNT as usize);
    let (client, _mock, mut peer) = connected(config).await;
    let requests: Vec<_> = (0..COUNT)
        .map(|i| {
            tokio::spawn({
                let client = client.clone();
                async move { client.request::<_, u32>("m", &i).await }
            })
        })
        .collect();
    let mut commands = Vec::new();
    for _ in 0..COUNT {
        commands.push(peer.command().await.unwrap());
    }
    assert_eq!(client.stats().pending_requests, COUNT as usize);
    for command in commands.into_iter().rev() {
        let Request::Rpc(rpc) = command.request else { panic!("{command:?}") };
        peer.answer(command.id, Answer::Rpc(RpcResult { data: rpc.data })).await;
    }
    for (i, request) in requests.into_iter().enumerate() {
        assert_eq!(request.await.unwrap().unwrap() as usize, i);
    }
    assert_eq!((client.stats().pending_requests, client.stats().queued_commands), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn after_close_everything_is_refused_and_what_waits_is_told() {
    let (client, _mock, mut peer) = connected(config()).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.request::<_, u32>("m", &1).await }
    });
    peer.command().await.unwrap();
    client.send_json(&"the last word").unwrap();
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close().await }
    });
    assert!(matches!(peer.command().await.unwrap().request, Request::Send(_)), "what was queued is still sent");
    assert_eq!(peer.hear().await, Some(Heard::Close(1000)));
    assert!(matches!(
        client.request::<_, u32>("m", &1).await,
        Err(RequestError::ConnectionClosed(CloseReason::Requested))
    ));
    peer.bytes(&frame(Opcode::Close, &[0x03, 0xE8])).await;
    closing.await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(RequestError::ConnectionLost { .. })));
    assert!(matches!(client.send_json(&1), Err(SendError::ConnectionClosed(CloseReason::Requested))));
    assert!(matches!(client.close_reason(), Some(CloseReason::Requested)));
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_peer_has_kept_in_the_queue_is_sent_before_the_close() {
    let (client, _mock, mut peer) = connected(config()).await;
    // What the pipe holds, and as much as the client writes ahead: the last ones stay in the queue.
    let message = "x".repeat(64 * 1_024);
    let sent = 2 * PIPE_BYTES / message.len() + 5;
    for _ in 0..sent {
        client.send_json(&message).unwrap();
        settle().await;
    }
    assert!(client.stats().queued_commands > 0);
    let (heard, ()) = tokio::join!(
        async {
            let mut heard = 0;
            while peer.command().await.is_some() {
                heard += 1;
            }
            heard
        },
        client.close()
    );
    assert_eq!(heard, sent);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_in_a_connections_last_turn_leaves_before_the_close() {
    let (_client, mut mock) = started(config());
    let ping = ConnectResult { ping: 25, pong: true, ..Default::default() };
    let mut peer = mock.connected_with(ping).await;
    let close = frame(Opcode::Close, &websocket::close_payload(3_000, ""));
    peer.bytes(&[frame(Opcode::Text, b"{}"), close].concat()).await;
    assert_eq!(peer.hear().await, Some(Heard::Text(b"{}".to_vec())), "the pong");
    assert_eq!(peer.hear().await, Some(Heard::Close(3_000)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_a_close_is_left_after_the_close_timeout() {
    let (client, _mock, _peer) = connected(config().close_timeout(3 * SECOND)).await;
    let start = Instant::now();
    client.close().await;
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes() {
    let (client, _mock, mut peer) = connected(config()).await;
    let other = client.clone();
    drop(client);
    settle().await;
    assert!(other.is_connected());
    drop(other);
    assert_eq!(peer.hear().await, Some(Heard::Close(1000)));
}

#[tokio::test(start_paused = true)]
async fn what_a_protocol_has_no_words_for_is_said() {
    let (connector, mut mock) = mock();
    let client = start(config(), connector, JsonHandler::default());
    let _peer = mock.upgraded().await;
    client.ready().await.unwrap();
    let history = client.history("c", HistoryQuery::default()).await;
    assert!(matches!(history, Err(RequestError::Protocol(ProtocolError::NotSupported("history")))), "{history:?}");
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_may_be_as_long_as_there_are_numbers() {
    let (client, _mock, mut peer) = connected(config()).await;
    let (answer, ()) = tokio::join!(client.request_with_timeout::<_, u32>("m", &1, Duration::MAX), async {
        let id = peer.command().await.unwrap().id;
        peer.answer(id, rpc_data("2")).await;
    });
    assert_eq!(answer.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_keeps_nobody_out_of_the_queue() {
    let (client, _mock) = started(config().command_capacity(1usize).connect_timeout(60 * SECOND));
    let given_up = tokio::time::timeout(SECOND, client.request::<_, u32>("m", &1)).await;
    assert!(given_up.is_err());
    for _ in 0..2 {
        let error = client.request::<_, u32>("m", &1).await.unwrap_err();
        assert!(matches!(error, RequestError::Timeout { sent: false, .. }), "{error}");
    }
}
