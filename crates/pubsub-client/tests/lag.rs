//! Who reads more slowly than publications come: what it did not take is fetched again, once, and nobody else is hurt.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use pubsub_client::{Event, Overflow, Recovery, SubscribeOptions, Subscription};
use pubsub_protocol::Command;
use pubsub_protocol::command::Request;
use pubsub_protocol::reply::Answer;
use support::*;

/// What catching up has cost the server.
#[derive(Debug, Default, PartialEq)]
struct Cost {
    subscribes: u64,
    publications: u64,
}

/// Answers what the client asks, with a stream that stands at `top` and keeps everything.
async fn answer(peer: &mut Peer, command: Command, top: u64, cost: &mut Cost) {
    match command {
        Command { id, request: Request::Unsubscribe(_) } => peer.answer(id, Answer::Unsubscribe).await,
        Command { id, request: Request::Subscribe(request) } => {
            assert!(request.recover);
            cost.subscribes += 1;
            cost.publications += top - request.offset;
            peer.answer(id, Answer::Subscribe(recovered(request.offset, request.offset + 1..=top))).await;
        }
        other => panic!("{other:?}"),
    }
}

/// Lets a subscriber read until it has `offset`, while the server recovers whatever is asked for. Returns the offsets.
async fn read_up_to(
    offset: u64,
    subscription: &mut Subscription,
    peer: &mut Peer,
    top: u64,
    cost: &mut Cost,
) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&offset) {
        tokio::select! {
            biased;
            command = peer.command() => answer(peer, command.expect("the client is there"), top, cost).await,
            Some(event) = subscription.next() => match event {
                Event::Publication(publication) => seen.push(publication.offset),
                Event::Subscribed(subscribed) => assert_ne!(subscribed.recovery, Recovery::NotRecovered),
                other => panic!("{other:?}"),
            },
        }
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn what_did_not_fit_is_asked_for_once_however_small_the_mailbox() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config().subscription_capacity(4usize), 0).await;
    peer.publish("c", 1..=1_000).await;
    settle().await;
    let mut cost = Cost::default();
    let seen = read_up_to(1_000, &mut subscription, &mut peer, 1_000, &mut cost).await;
    assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
    // Four were taken as they came. Asking anew whenever there is room for a few would take hundreds of subscribes.
    assert_eq!(cost, Cost { subscribes: 1, publications: 996 });
}

#[tokio::test(start_paused = true)]
async fn what_keeps_coming_is_recovered_once_as_well() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config().subscription_capacity(4usize), 0).await;
    let (mut cost, mut seen) = (Cost::default(), Vec::new());
    // It reads a third of what comes.
    for turn in 1..=100 {
        peer.publish("c", turn * 3 - 2..=turn * 3).await;
        settle().await;
        seen.extend(read_up_to(turn, &mut subscription, &mut peer, turn * 3, &mut cost).await);
    }
    seen.extend(read_up_to(300, &mut subscription, &mut peer, 300, &mut cost).await);
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
    assert!(cost.publications <= 300 && cost.subscribes <= 10, "{cost:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_never_reads_is_not_recovered_for() {
    let (client, _mock, mut peer, mut slow) = subscribed(config().subscription_capacity(4usize), 0).await;
    let mut stuck = client.subscribe("c").await.unwrap();
    let (mut cost, mut seen) = (Cost::default(), Vec::new());
    for turn in 1..=20 {
        peer.publish("c", turn * 10 - 9..=turn * 10).await;
        settle().await;
        seen.extend(read_up_to(turn * 10, &mut slow, &mut peer, turn * 10, &mut cost).await);
    }
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
    assert!(cost.publications <= 200, "what is fetched for one is not fetched for the other each time: {cost:?}");
    let seen = read_up_to(200, &mut stuck, &mut peer, 200, &mut cost).await;
    assert_eq!(seen, (1..=200).collect::<Vec<_>>(), "and once it reads it misses nothing");
    assert_eq!(read_now(&mut slow), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_local_subscriber_catches_up_by_recovery_and_misses_nothing() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config().subscription_capacity(4usize), 0).await;
    peer.publish("c", 1..=9).await;
    settle().await;
    // It has got four and reads two of them: room again, and the connection fetches the rest.
    assert_eq!(read(&mut subscription, 2).await, ["1", "2"]);
    let seen = read_up_to(9, &mut subscription, &mut peer, 9, &mut Cost::default()).await;
    assert_eq!(seen, [3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn who_reads_hears_nothing_of_a_neighbour_that_does_not() {
    let (client, _mock, mut peer, mut quick) = subscribed(config().subscription_capacity(4usize), 0).await;
    let mut slow = client.subscribe("c").await.unwrap();
    let mut seen = Vec::new();
    for offset in 1..=9 {
        peer.publish("c", [offset]).await;
        seen.extend(read(&mut quick, 1).await);
    }
    assert_eq!(read(&mut slow, 4).await, ["fresh", "1", "2", "3"]);
    assert_eq!(peer.unsubscribe().await, "c");
    let (id, request) = peer.subscribe().await;
    assert_eq!((request.recover, request.offset), (true, 3));
    peer.answer(id, Answer::Subscribe(recovered(3, 4..=10))).await;
    assert_eq!(read(&mut slow, 4).await, ["recovered", "4", "5", "6"]);
    seen.extend(read(&mut quick, 1).await);
    assert_eq!(seen, (1..=10).map(|offset| offset.to_string()).collect::<Vec<_>>());
    assert_eq!(read_now(&mut quick), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_local_subscriber_that_skips_is_told_how_much() {
    let (client, _mock, mut peer) = connected(config().subscription_capacity(4usize)).await;
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default().overflow(Overflow::Skip)).unwrap();
    let (id, _) = peer.subscribe().await;
    peer.answer(id, Answer::Subscribe(recoverable(0))).await;
    peer.publish("c", 1..=9).await;
    settle().await;
    assert_eq!(read(&mut subscription, 5).await, ["fresh", "1", "2", "3", "missed 6"]);
    peer.publish("c", [10]).await;
    assert_eq!(read(&mut subscription, 1).await, ["10"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_skips_is_told_how_much_also_when_the_connection_recovers_first() {
    let (client, mut mock, mut peer) = connected(config().subscription_capacity(4usize)).await;
    let mut subscription = client.try_subscribe("c", &SubscribeOptions::default().overflow(Overflow::Skip)).unwrap();
    let (id, _) = peer.subscribe().await;
    peer.answer(id, Answer::Subscribe(recoverable(0))).await;
    peer.publish("c", 1..=9).await;
    settle().await;
    assert_eq!(read(&mut subscription, 2).await, ["fresh", "1"]);
    drop(peer);
    let mut peer = mock.connected().await;
    let (id, request) = peer.subscribe().await;
    assert_eq!(request.offset, 9);
    peer.answer(id, Answer::Subscribe(recovered(9, [10]))).await;
    settle().await;
    assert_eq!(read(&mut subscription, 5).await, ["2", "3", "missed 6", "recovered", "10"]);
}
