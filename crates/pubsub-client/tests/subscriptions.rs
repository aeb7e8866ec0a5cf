//! Subscriptions: shared, batched, restored, ended; and nothing left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use pubsub_client::{CentrifugeHandler, Event, JsonHandler, SubscribeError, SubscribeOptions, TokenSource};
use pubsub_protocol::command::Request;
use pubsub_protocol::push::{Message, PushBody, Subscribed};
use pubsub_protocol::reply::{Answer, ConnectResult};
use pubsub_protocol::{ClientInfo, Command, ErrorCode, Format, Payload, StreamPosition};
use support::*;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn two_local_subscribers_share_one_and_the_last_to_leave_unsubscribes() {
    let (client, _mock, mut peer, mut first) = subscribed(config(), 5).await;
    let mut second = client.subscribe("c").await.unwrap();
    peer.publish("c", [6]).await;
    assert_eq!(read(&mut first, 1).await, ["6"]);
    assert_eq!(read(&mut second, 2).await, ["fresh", "6"]);
    drop(first);
    settle().await;
    peer.publish("c", [7]).await;
    assert_eq!(read(&mut second, 1).await, ["7"]);
    drop(second);
    assert_eq!(peer.unsubscribe().await, "c");
    settle().await;
    assert_eq!(client.stats().topics, 0);
    peer.publish("c", [8]).await;
    settle().await;
    assert_eq!(client.stats().strays, 1);
}

#[tokio::test(start_paused = true)]
async fn many_topics_go_in_batches_and_each_learns_its_own_fate() {
    let (client, _mock, mut peer) = connected(config().subscribe_batch(10usize)).await;
    let names: Vec<String> = (0..25).map(|i| format!("t{i:02}")).collect();
    let (outcomes, batches) = tokio::join!(client.subscribe_many(names.clone()), async {
        let (mut batches, mut answered) = (Vec::new(), 0);
        while answered < 25 {
            let mut batch = vec![peer.subscribe().await];
            while let Ok(more) = tokio::time::timeout(SECOND / 10, peer.subscribe()).await {
                batch.push(more);
            }
            batches.push(batch.len());
            answered += batch.len();
            for (id, request) in batch {
                match request.channel.ends_with('3') {
                    true => peer.refuse(id, ErrorCode::PermissionDenied).await,
                    false => peer.answer(id, Answer::Subscribe(recoverable(0))).await,
                }
            }
        }
        batches
    });
    assert!(batches.iter().all(|&batch| batch <= 10), "never more than a batch is under way: {batches:?}");
    assert_eq!(outcomes.iter().map(|(topic, _)| topic.to_string()).collect::<Vec<_>>(), names);
    for (topic, outcome) in outcomes {
        match outcome {
            Err(SubscribeError::Failed { topic: failed, code: 103, .. }) => {
                assert!(topic == failed && topic.as_str().ends_with('3'));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => assert!(!topic.as_str().ends_with('3')),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_protocol_is_told_of_partial_failure_by_topic() {
    let (connector, mut mock) = mock();
    let client = start(config(), connector, JsonHandler::default());
    let mut peer = mock.upgraded().await;
    client.ready().await.unwrap();
    let (outcomes, ()) = tokio::join!(client.subscribe_many(["a", "b"]), async {
        let text = peer.text().await;
        let id = text.split('"').skip_while(|part| *part != "id").nth(2).unwrap().to_owned();
        assert!(text.contains(r#""topics":["a","b"]"#), "{text}");
        peer.send(format!(r#"{{"id":"{id}","failed":{{"b":"no such topic"}}}}"#).as_bytes()).await;
        peer.send(br#"{"topic":"a","data":"hello"}"#).await;
    });
    let [(_, Ok(mut a)), (_, Err(b))] = <[_; 2]>::try_from(outcomes).unwrap() else { panic!("one of two fails") };
    assert!(b.to_string().contains("no such topic"), "{b}");
    assert_eq!(read(&mut a, 2).await, ["fresh", "\"hello\""]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_the_answer_does_not_mention_is_not_in_force_and_is_tried_again() {
    let (client, _mock, mut peer) = connected(config()).await;
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
    let (id, _) = peer.subscribe().await;
    // The answer to another question.
    peer.answer(id, Answer::Publish).await;
    peer.publish("c", [1]).await;
    let (id, _) = peer.subscribe().await;
    assert_eq!(read_now(&mut subscription), [""; 0]);
    assert_eq!(client.stats().strays, 1, "what came without a subscription");
    peer.answer(id, Answer::Subscribe(recoverable(1))).await;
    peer.publish("c", [2]).await;
    assert_eq!(read(&mut subscription, 2).await, ["fresh", "2"]);
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_subscription_times_out_and_is_withdrawn() {
    let (client, _mock) = started(config());
    let start = Instant::now();
    let error = client.subscribe("c").await.unwrap_err();
    assert!(matches!(error, SubscribeError::Timeout { after, .. } if after == 5 * SECOND), "{error}");
    assert_eq!(start.elapsed(), 5 * SECOND);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_a_subscribe_is_replaced() {
    let (client, mut mock, mut peer) = connected(config()).await;
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
    peer.subscribe().await;
    let mut peer = mock.connected().await;
    assert!(client.last_loss().unwrap().to_string().contains("no answer to subscribe within 5s"));
    let (id, _) = peer.subscribe().await;
    peer.answer(id, Answer::Subscribe(recoverable(1))).await;
    assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
}

#[tokio::test(start_paused = true)]
async fn interest_given_before_there_is_a_connection_is_kept() {
    let (client, mut mock) = started(config());
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default().join_leave(true)).unwrap();
    let mut peer = mock.connected().await;
    let (id, request) = peer.subscribe().await;
    assert!(request.join_leave);
    peer.answer(id, Answer::Subscribe(recoverable(1))).await;
    let info = ClientInfo { client: "x".into(), ..Default::default() };
    peer.push("c", PushBody::Join(info.clone())).await;
    peer.push("c", PushBody::Leave(info)).await;
    assert_eq!(read(&mut subscription, 3).await, ["fresh", "x joined", "x left"]);
}

#[tokio::test(start_paused = true)]
async fn unsubscribing_ends_every_local_subscriber_with_all_it_had() {
    let (client, _mock, mut peer, mut first) = subscribed(config(), 5).await;
    let mut second = client.subscribe("c").await.unwrap();
    peer.publish("c", [6]).await;
    settle().await;
    assert!(client.unsubscribe("c"));
    assert!(!client.unsubscribe("other"));
    assert_eq!(read(&mut first, 2).await, ["6", "unsubscribed 0"]);
    assert_eq!(first.next().await, None);
    assert_eq!(read(&mut second, 3).await, ["fresh", "6", "unsubscribed 0"]);
    assert_eq!(peer.unsubscribe().await, "c");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_and_comes_back_at_once_begins_anew() {
    let (client, _mock, mut peer, first) = subscribed(config(), 5).await;
    drop(first);
    let mut again = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
    assert_eq!(peer.unsubscribe().await, "c");
    let (id, request) = peer.subscribe().await;
    assert!(!request.recover);
    peer.answer(id, Answer::Subscribe(recoverable(7))).await;
    assert_eq!(read(&mut again, 1).await, ["fresh"]);
}

#[tokio::test(start_paused = true)]
async fn the_clients_end_is_the_last_event() {
    let (client, _mock, _peer, mut subscription) = subscribed(config(), 5).await;
    client.close().await;
    match subscription.next().await {
        Some(Event::Unsubscribed { code: Event::CONNECTION_CLOSED, reason }) => {
            assert_eq!(reason, "closed by this client");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.subscribe("d").await, Err(SubscribeError::ConnectionClosed(_))));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_subscribes_can_be_listened_to_and_is_recovered() {
    let (client, mut mock) = started(config());
    let mut subscription = client.try_subscribe("mine", &SubscribeOptions::default()).unwrap();
    let result = |subs| ConnectResult { client: "id".into(), version: "mock".into(), subs, ..Default::default() };
    let mut peer = mock.connected_with(result([("mine".to_owned(), recoverable(3))].into())).await;
    // Our own subscribe had left with the credentials.
    let (id, _) = peer.subscribe().await;
    peer.refuse(id, ErrorCode::AlreadySubscribed).await;
    assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
    peer.publish("mine", [4]).await;
    assert_eq!(read(&mut subscription, 1).await, ["4"]);
    drop(peer);
    let mut peer = mock.upgraded().await;
    let Some(Command { id, request: Request::Connect(connect) }) = peer.command().await else { panic!("no connect") };
    assert_eq!(connect.subs["mine"].position(), StreamPosition::new(4, "e"));
    peer.answer(id, Answer::Connect(result([("mine".to_owned(), recovered(4, [5]))].into()))).await;
    assert_eq!(read(&mut subscription, 3).await, ["interrupted 1006", "recovered", "5"]);
    // No subscribe command: the server has made it. Then it ends it.
    peer.push_unsubscribe("mine", 2000).await;
    assert_eq!(read(&mut subscription, 1).await, ["unsubscribed 2000"]);
    // And makes another.
    peer.push("late", PushBody::Subscribe(Subscribed { recoverable: true, epoch: "e".into(), ..Default::default() }))
        .await;
    settle().await;
    let mut late = client.subscribe("late").await.unwrap();
    peer.publish("late", [1]).await;
    assert_eq!(read(&mut late, 2).await, ["fresh", "1"]);
}

#[tokio::test(start_paused = true)]
async fn messages_to_the_connection_alone_can_be_read() {
    let (client, _mock, mut peer) = connected(config()).await;
    let mut messages = client.messages();
    peer.push("", PushBody::Message(Message { data: Payload::from_json("1").unwrap() })).await;
    assert_eq!(word(&messages.next().await.unwrap()), "1");
}

#[tokio::test(start_paused = true)]
async fn quick_connect_and_disconnect_cycles_leave_nothing_behind() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for seed in 0..100u64 {
        let (connector, mut mock) = mock();
        let client = start(config().seed(seed), connector, CentrifugeHandler::default());
        let subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
        let request = tokio::spawn({
            let client = client.clone();
            async move { client.request::<_, u32>("m", &1).await }
        });
        match seed % 4 {
            0 => {}
            1 => drop(mock.stream().await),
            2 => drop(mock.connected().await),
            _ => {
                let mut peer = mock.connected().await;
                peer.command().await.unwrap();
            }
        }
        settle().await;
        client.close().await;
        assert!(request.await.unwrap().is_err());
        let stats = client.stats();
        assert_eq!((stats.pending_requests, stats.queued_commands, stats.topics), (0, 0, 0));
        drop(subscription);
    }
    settle().await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_runtime_ends_leaves_nobody_waiting() {
    let (client, _subscription) = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _mock) = started(config());
            let subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
            (client, subscription)
        })
    })
    .join()
    .unwrap();
    assert!(client.closed().await.to_string().contains("stopped"));
    assert!(client.request::<_, u32>("m", &1).await.unwrap_err().to_string().contains("stopped"));
}

#[tokio::test(start_paused = true)]
async fn connect_and_the_first_subscribes_leave_in_one_message() {
    let (client, mut mock) = started(config().subscribe_batch(3usize));
    let topics: Vec<_> = ["a", "b", "c", "d"]
        .map(|topic| client.try_subscribe(topic, &SubscribeOptions::default()).unwrap())
        .into_iter()
        .collect();
    // Whose token has to be asked for waits until the session is open.
    let asked = SubscribeOptions::default().token(TokenSource::callback(|_| async { Ok("T".to_owned()) }));
    let _asked = client.try_subscribe("a0", &asked).unwrap();
    let mut peer = mock.upgraded().await;
    let Some(Heard::Text(message)) = peer.hear().await else { panic!("no text") };
    let commands: Vec<Command> = Format::Json.commands(&message).map(Result::unwrap).collect();
    let names = |commands: &[Command]| -> Vec<String> {
        commands
            .iter()
            .map(|command| match &command.request {
                Request::Connect(_) => "connect".to_owned(),
                Request::Subscribe(subscribe) => subscribe.channel.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(names(&commands), ["connect", "a", "b", "c"], "no more than a batch");
    // The time of a subscribe begins when it can be answered.
    tokio::time::sleep(7 * SECOND).await;
    peer.answer(commands[0].id, Answer::Connect(ConnectResult::default())).await;
    client.ready().await.unwrap();
    for command in &commands[1..] {
        peer.answer(command.id, Answer::Subscribe(recoverable(0))).await;
    }
    let (one, two) = (peer.subscribe().await, peer.subscribe().await);
    assert_eq!([one.1.channel, two.1.channel], ["d", "a0"]);
    assert_eq!(client.stats().connections, 1);
    drop(topics);
}

#[tokio::test(start_paused = true)]
async fn what_left_with_credentials_that_were_refused_is_sent_anew() {
    let (client, mut mock) = started(config());
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
    let mut peer = mock.upgraded().await;
    let connect = peer.command().await.unwrap();
    peer.refuse(connect.id, ErrorCode::TooManyRequests).await;
    let mut peer = mock.connected().await;
    let (id, _) = peer.subscribe().await;
    peer.answer(id, Answer::Subscribe(recoverable(0))).await;
    assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
    // Nor is an answer to the first one waited for.
    tokio::time::sleep(20 * SECOND).await;
    assert!(client.is_connected(), "{:?}", client.last_loss());
}

#[tokio::test(start_paused = true)]
async fn a_loss_with_a_whole_batch_under_way_leaves_room_for_the_next() {
    let (client, mut mock, mut peer) = connected(config().subscribe_batch(2usize)).await;
    let _topics = ["a", "b", "c"].map(|topic| client.try_subscribe(topic, &SubscribeOptions::default()).unwrap());
    peer.subscribe().await;
    peer.subscribe().await;
    drop(peer);
    let mut peer = mock.connected().await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        let (id, request) = peer.subscribe().await;
        peer.answer(id, Answer::Subscribe(recoverable(0))).await;
        channels.push(request.channel);
    }
    assert_eq!(channels, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_early_subscribes_is_replaced() {
    // Less and more than a request may take: their time begins when the session is open.
    for until_open in [3, 7] {
        let (client, mut mock) = started(config());
        let mut subscription = client.try_subscribe("c", &SubscribeOptions::default()).unwrap();
        let mut silent = mock.upgraded().await;
        let connect = silent.command().await.unwrap();
        tokio::time::sleep(until_open * SECOND).await;
        silent.answer(connect.id, Answer::Connect(ConnectResult::default())).await;
        let start = Instant::now();
        let mut peer = mock.connected().await;
        let waited = start.elapsed();
        assert!(waited >= 5 * SECOND && waited < 6 * SECOND, "{waited:?}");
        assert!(client.last_loss().unwrap().to_string().contains("no answer to subscribe within 5s"));
        let (id, _) = peer.subscribe().await;
        peer.answer(id, Answer::Subscribe(recoverable(0))).await;
        assert_eq!(read(&mut subscription, 1).await, ["fresh"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_to_one_who_has_left_is_not_held_against_the_next() {
    let (client, _mock, mut peer) = connected(config()).await;
    let first = client.try_subscribe("c", &SubscribeOptions::default().token("bad")).unwrap();
    let (id, request) = peer.subscribe().await;
    assert_eq!(request.token, "bad");
    drop(first);
    settle().await;
    let mut second = client.try_subscribe("c", &SubscribeOptions::default().token("good")).unwrap();
    peer.refuse(id, ErrorCode::PermissionDenied).await;
    let (id, request) = tokio::time::timeout(5 * SECOND, peer.subscribe()).await.expect("asked for at once");
    assert_eq!(request.token, "good");
    peer.answer(id, Answer::Subscribe(recoverable(0))).await;
    assert_eq!(read(&mut second, 1).await, ["fresh"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_crosses_our_own_unsubscribe_is_heard() {
    let (client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    // A hole: it unsubscribes, to begin anew.
    peer.publish("c", [7]).await;
    let id = match peer.command().await.unwrap() {
        Command { id, request: Request::Unsubscribe(_) } => id,
        other => panic!("{other:?}"),
    };
    peer.push_unsubscribe("c", 2000).await;
    peer.answer(id, Answer::Unsubscribe).await;
    settle().await;
    assert_eq!(read_now(&mut subscription), ["interrupted 2500", "unsubscribed 2000"]);
    settle().await;
    assert_eq!(client.stats().topics, 0, "nobody wants it any more");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_messages_whose_place_is_taken_reads_to_the_end() {
    let (client, _mock, mut peer) = connected(config()).await;
    let mut first = client.messages();
    let mut second = client.messages();
    peer.push("", PushBody::Message(Message { data: Payload::from_json("1").unwrap() })).await;
    assert_eq!(word(&second.next().await.unwrap()), "1");
    let told = tokio::time::timeout(5 * SECOND, first.next()).await.expect("told at once");
    assert!(matches!(told, Some(Event::Unsubscribed { .. })), "{told:?}");
    assert!(first.next().await.is_none());
    drop(first);
    peer.push("", PushBody::Message(Message { data: Payload::from_json("2").unwrap() })).await;
    assert_eq!(word(&second.next().await.unwrap()), "2", "who has lost its place takes none away");
}
