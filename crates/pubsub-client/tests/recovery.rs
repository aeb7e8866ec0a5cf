//! Exactly once and in order, whatever the connection does; and honesty where that cannot be had.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use proptest::prelude::*;
use pubsub_client::{CentrifugeHandler, Event, Recovery, StreamPosition, SubscribeOptions};
use pubsub_protocol::command::Request;
use pubsub_protocol::reply::{Answer, SubscribeResult};
use pubsub_protocol::{ErrorCode, Payload, Publication, Reply};
use support::*;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_reconnect_recovers_from_the_last_publication_handed_over() {
    let (_client, mut mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    peer.publish("c", [6, 7]).await;
    settle().await;
    drop(peer);
    let mut peer = mock.connected().await;
    let (id, request) = peer.subscribe().await;
    assert!(request.recover);
    assert_eq!(request.position(), StreamPosition::new(7, "e"));
    // In one message, as a server joins them: what was missed, and what has come since.
    let mut message = encoded(&Reply::Answer { id, outcome: Ok(Answer::Subscribe(recovered(7, [8, 9]))) });
    message.push(b'\n');
    message.extend(encoded(&Reply::Push(pubsub_protocol::Push {
        channel: "c".into(),
        body: pubsub_protocol::push::PushBody::Publication(publication(10)),
    })));
    peer.send(&message).await;
    assert_eq!(read(&mut subscription, 7).await, ["6", "7", "interrupted 1006", "recovered", "8", "9", "10"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_in_the_middle_is_not_half_delivered() {
    let whole = frame(
        pubsub_protocol::websocket::Opcode::Text,
        &encoded(&Reply::Push(pubsub_protocol::Push {
            channel: "c".into(),
            body: pubsub_protocol::push::PushBody::Publication(publication(6)),
        })),
    );
    for cut in 0..=whole.len() {
        let (_client, mut mock, mut peer, mut subscription) = subscribed(config(), 5).await;
        peer.bytes(&whole[..cut]).await;
        drop(peer);
        let mut peer = mock.connected().await;
        let (id, request) = peer.subscribe().await;
        let got = u64::from(cut == whole.len());
        assert_eq!(request.offset, 5 + got, "cut at byte {cut}");
        peer.answer(id, Answer::Subscribe(recovered(request.offset, request.offset + 1..=7))).await;
        let events = read(&mut subscription, 4).await;
        let expected: &[&str] = match got {
            0 => &["interrupted 1006", "recovered", "6", "7"],
            _ => &["6", "interrupted 1006", "recovered", "7"],
        };
        assert_eq!(events, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn not_recovered_is_said() {
    let (_client, mut mock, peer, mut subscription) = subscribed(config(), 5).await;
    drop(peer);
    let mut peer = mock.connected().await;
    let (id, _) = peer.subscribe().await;
    let reborn = SubscribeResult { epoch: "reborn".into(), was_recovering: true, ..recoverable(2) };
    peer.answer(id, Answer::Subscribe(reborn)).await;
    peer.publish("c", [3]).await;
    assert_eq!(read(&mut subscription, 3).await, ["interrupted 1006", "not recovered", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_makes_the_subscription_begin_anew_with_recovery() {
    let (client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    peer.publish("c", [6, 8]).await;
    assert_eq!(peer.unsubscribe().await, "c");
    let (id, request) = peer.subscribe().await;
    assert_eq!((request.recover, request.offset), (true, 6));
    peer.answer(id, Answer::Subscribe(recovered(6, [7, 8]))).await;
    peer.publish("c", [8, 9]).await;
    assert_eq!(read(&mut subscription, 6).await, ["6", "interrupted 2500", "recovered", "7", "8", "9"]);
    assert_eq!(client.stats().gaps, 1);
}

/// A server that gives what was missed in the wrong order, however often it is asked.
#[tokio::test(start_paused = true)]
async fn a_gap_that_recovery_does_not_close_is_not_asked_about_without_end() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    peer.publish("c", [8]).await;
    let mut delays = Vec::new();
    for _ in 0..3 {
        assert_eq!(peer.unsubscribe().await, "c");
        let left = tokio::time::Instant::now();
        let (id, request) = peer.subscribe().await;
        delays.push(left.elapsed());
        assert_eq!((request.recover, request.offset), (true, 5));
        peer.answer(id, Answer::Subscribe(recovered(5, [8, 7, 6]))).await;
        assert_eq!(read(&mut subscription, 2).await, ["interrupted 2500", "recovered"]);
    }
    assert_eq!(delays[0], Duration::ZERO);
    assert!(delays[1] > Duration::ZERO && delays[2] > Duration::ZERO, "no spinning: {delays:?}");
    // Once it is whole the next one is the first one.
    assert_eq!(peer.unsubscribe().await, "c");
    let (id, _) = peer.subscribe().await;
    peer.answer(id, Answer::Subscribe(recovered(5, [6, 7, 8]))).await;
    assert_eq!(read(&mut subscription, 5).await, ["interrupted 2500", "recovered", "6", "7", "8"]);
    peer.publish("c", [10]).await;
    assert_eq!(peer.unsubscribe().await, "c");
    let left = tokio::time::Instant::now();
    peer.subscribe().await;
    assert_eq!(left.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn insufficient_state_resubscribes_at_once_and_then_with_a_delay() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    let mut gaps = Vec::new();
    for _ in 0..3 {
        peer.push_unsubscribe("c", 2500).await;
        let told = tokio::time::Instant::now();
        let (id, request) = peer.subscribe().await;
        gaps.push(told.elapsed());
        assert_eq!((request.recover, request.offset), (true, 5));
        peer.answer(id, Answer::Subscribe(recovered(5, []))).await;
        assert_eq!(read(&mut subscription, 2).await, ["interrupted 2500", "recovered"]);
    }
    assert_eq!(gaps[0], Duration::ZERO);
    assert!(gaps[1] > Duration::ZERO && gaps[2] > Duration::ZERO, "no spinning: {gaps:?}");
    // Once it works again the next one is the first one.
    peer.publish("c", [6]).await;
    assert_eq!(read(&mut subscription, 1).await, ["6"]);
    peer.push_unsubscribe("c", 2500).await;
    let told = tokio::time::Instant::now();
    peer.subscribe().await;
    assert_eq!(told.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn state_invalidated_drops_the_position_and_says_that_something_may_be_missing() {
    let (_client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    peer.push_unsubscribe("c", 2502).await;
    let (id, request) = peer.subscribe().await;
    assert!(!request.recover);
    peer.answer(id, Answer::Subscribe(recoverable(9))).await;
    assert_eq!(read(&mut subscription, 2).await, ["interrupted 2502", "not recovered"]);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_for_invalidated_state_drops_every_position() {
    let (_client, mut mock, peer, mut subscription) = subscribed(config(), 5).await;
    peer.close(3014, "state invalidated").await;
    let mut peer = mock.connected().await;
    let (id, request) = peer.subscribe().await;
    assert!(!request.recover);
    peer.answer(id, Answer::Subscribe(recoverable(9))).await;
    assert_eq!(read(&mut subscription, 2).await, ["interrupted 3014", "not recovered"]);
}

#[tokio::test(start_paused = true)]
async fn a_final_unsubscribe_is_the_last_event() {
    let (client, _mock, mut peer, mut subscription) = subscribed(config(), 5).await;
    peer.push_unsubscribe("c", 2000).await;
    peer.publish("c", [6]).await;
    assert_eq!(read(&mut subscription, 1).await, ["unsubscribed 2000"]);
    assert_eq!(subscription.next().await, None);
    assert_eq!((client.stats().topics, client.stats().strays), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_resubscription_is_tried_again_and_still_recovers() {
    let (_client, mut mock, peer, mut subscription) = subscribed(config(), 5).await;
    drop(peer);
    let mut peer = mock.connected().await;
    let (id, _) = peer.subscribe().await;
    peer.refuse(id, ErrorCode::Internal).await;
    let (id, request) = peer.subscribe().await;
    assert_eq!((request.recover, request.offset), (true, 5));
    peer.answer(id, Answer::Subscribe(recovered(5, [6]))).await;
    assert_eq!(read(&mut subscription, 3).await, ["interrupted 1006", "recovered", "6"]);
}

/// What the model's server does to one connection.
#[derive(Clone, Debug)]
struct Cut {
    /// Bytes that reach the client after the upgrade, before everything ends.
    bytes: usize,
    /// Publications made before this connection begins, while nobody is connected.
    missed: u64,
    /// Publications made while it lasts.
    live: u64,
    /// Whether a publication is dropped on the way, so that a gap is seen.
    lossy: bool,
    /// Whether each publication is sent twice.
    echoed: bool,
    /// Whether the stream is born again before this connection begins, where history is short.
    reborn: bool,
    /// Whether bytes come one at a time.
    dripped: bool,
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), any::<bool>());
    let cut = (0usize..3_000, 0u64..12, 0u64..12, flags).prop_map(
        |(bytes, missed, live, (lossy, echoed, reborn, dripped))| Cut {
            bytes,
            missed,
            live,
            lossy,
            echoed,
            reborn,
            dripped,
        },
    );
    prop::collection::vec(cut, 1..12)
}

/// The stream of one channel, as a server keeps it.
#[derive(Default)]
struct Stream {
    /// Which life of it this is.
    life: u64,
    top: u64,
    /// The oldest that is kept.
    kept_from: u64,
}

impl Stream {
    fn epoch(&self) -> String {
        format!("e{}", self.life)
    }

    /// One of its publications. Its data says where it belongs.
    fn publication(&self, offset: u64) -> Publication {
        Publication { data: Payload::to_json(&(self.life, offset)).unwrap(), ..publication(offset) }
    }

    fn subscribe(&self, request: &pubsub_protocol::command::SubscribeRequest) -> SubscribeResult {
        let from = request.offset;
        let kept = request.epoch == self.epoch() && from + 1 >= self.kept_from && from <= self.top;
        let publications = (from + 1..=self.top).filter(|_| request.recover && kept);
        SubscribeResult {
            epoch: self.epoch(),
            was_recovering: request.recover,
            recovered: request.recover && kept,
            publications: publications.map(|offset| self.publication(offset)).collect(),
            ..recoverable(self.top)
        }
    }
}

/// Serves one connection until `cut` has let all its bytes through, or (`None`) until the client has seen the top.
async fn serve(mut peer: Peer, stream: &mut Stream, cut: Option<&Cut>, seen: &watch::Receiver<(u64, u64)>) {
    let mut left = cut.map_or(usize::MAX, |cut| cut.bytes);
    let mut drop_one = cut.is_some_and(|cut| cut.lossy);
    let echoed = cut.is_some_and(|cut| cut.echoed);
    let dripped = cut.is_some_and(|cut| cut.dripped);
    let mut to_publish = cut.map_or(0, |cut| cut.live);
    let mut subscribed = false;
    let mut subscribes = 0;
    let mut seen = seen.clone();
    loop {
        let finished = cut.is_none() && subscribed && *seen.borrow() == (stream.life, stream.top);
        if finished {
            return;
        }
        let command = tokio::select! {
            biased;
            command = peer.command() => match command {
                Some(command) => Some(command),
                None => return,
            },
            changed = seen.changed(), if cut.is_none() => match changed {
                Ok(()) => continue,
                // The reader has ended, and tells why.
                Err(_) => return,
            },
            () = tokio::time::sleep(SECOND / 10) => None,
        };
        let reply = match command {
            Some(pubsub_protocol::Command { id, request }) => Reply::Answer {
                id,
                outcome: Ok(match request {
                    Request::Connect(_) => Answer::Connect(Default::default()),
                    Request::Subscribe(request) => {
                        subscribed = true;
                        subscribes += 1;
                        // No clock moves in such a round: no time limit would end it. A sound client needs a few.
                        assert!(subscribes < 100, "subscribes again and again from {:?}", request.position());
                        Answer::Subscribe(stream.subscribe(&request))
                    }
                    Request::Unsubscribe(_) => {
                        subscribed = false;
                        Answer::Unsubscribe
                    }
                    other => panic!("{other:?}"),
                }),
            },
            None if to_publish > 0 => {
                to_publish -= 1;
                stream.top += 1;
                if !subscribed || std::mem::take(&mut drop_one) {
                    continue;
                }
                Reply::Push(pubsub_protocol::Push {
                    channel: "c".into(),
                    body: pubsub_protocol::push::PushBody::Publication(stream.publication(stream.top)),
                })
            }
            None if cut.is_some() => return,
            None => continue,
        };
        let mut bytes = frame(pubsub_protocol::websocket::Opcode::Text, &encoded(&reply));
        if echoed && matches!(reply, Reply::Push(_)) {
            bytes = bytes.repeat(2);
        }
        let part = &bytes[..bytes.len().min(left)];
        for piece in part.chunks(if dripped { 1 } else { usize::MAX }) {
            if peer.stream.write_all(piece).await.is_err() {
                return;
            }
            if dripped {
                tokio::task::yield_now().await;
            }
        }
        left -= part.len();
        if left == 0 {
            return;
        }
    }
}

/// What a subscriber was told: a publication's life and offset, or that something was not recovered.
type Told = Option<(u64, u64)>;

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    told: Vec<Told>,
    /// Life and offset where the client was told that it stands.
    stands_at: (u64, u64),
    /// Where the stream stands.
    top: (u64, u64),
}

/// Runs a client through the cuts, and lets it catch up.
async fn run(cuts: &[Cut], forgetful: bool, seed: u64) -> Outcome {
    let (connector, mut mock) = mock();
    // Down to mailboxes that hold less than what is recovered at once.
    let config = config().seed(seed).subscription_capacity(2 + seed as usize % 15);
    let client = start(config, connector, CentrifugeHandler::default());
    // From the beginning: everything is owed.
    let options = SubscribeOptions::default().since(StreamPosition::new(0, "e0"));
    let mut subscription = client.try_subscribe("c", &options).unwrap();
    let (seen_tx, seen) = watch::channel((0, 0));
    let reader = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Some(event) = subscription.next().await {
            match event {
                Event::Publication(publication) => {
                    let (life, offset) = publication.data.parse::<(u64, u64)>().unwrap();
                    assert_eq!(publication.position(), Some(StreamPosition::new(offset, format!("e{life}"))));
                    told.push(Some((life, offset)));
                    seen_tx.send_replace((life, offset));
                }
                Event::Subscribed(subscribed) if subscribed.recovery == Recovery::NotRecovered => {
                    told.push(None);
                    let position = subscribed.position.expect("a position");
                    seen_tx.send_replace((position.epoch[1..].parse().unwrap(), position.offset));
                }
                Event::Subscribed(_) | Event::Interrupted { .. } => {}
                Event::Unsubscribed { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        told
    });
    let mut stream = Stream::default();
    for cut in cuts {
        if forgetful && cut.reborn {
            stream = Stream { life: stream.life + 1, ..Stream::default() };
        }
        stream.top += cut.missed;
        if forgetful {
            stream.kept_from = stream.top.saturating_sub(5);
        }
        serve(mock.upgraded().await, &mut stream, Some(cut), &seen).await;
    }
    // Whoever still lacks something after a minute without faults has lost it: what was told shows what.
    let healed = serve(mock.upgraded().await, &mut stream, None, &seen);
    let _ = tokio::time::timeout(60 * SECOND, healed).await;
    client.close().await;
    let told = reader.await.unwrap();
    Outcome { told, stands_at: *seen.borrow(), top: (stream.life, stream.top) }
}

/// Runs under a paused clock, for at most a virtual hour: who waits for what never comes must fail, not hang.
fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let hour = 3_600 * SECOND;
    runtime.block_on(async { tokio::time::timeout(hour, future).await.expect("stuck: what is due never came") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_publication_comes_exactly_once_and_in_order_wherever_connections_are_cut(cuts in cuts(), seed in any::<u64>()) {
        let Outcome { told, top: (_, top), .. } = paused(run(&cuts, false, seed));
        prop_assert_eq!(told, (1..=top).map(|offset| Some((0, offset))).collect::<Vec<_>>());
    }

    // Here it shows as well whether recovery is asked for from too early a place. Where all history is kept that does no
    // harm, since what comes twice is dropped; at its edge it loses what could be had.
    #[test]
    fn where_history_is_short_or_lost_each_hole_is_announced(cuts in cuts(), seed in any::<u64>()) {
        let Outcome { told, stands_at, top } = paused(run(&cuts, true, seed));
        let mut last = (0, 0);
        let mut announced = false;
        for told in told {
            let Some(next) = told else {
                announced = true;
                continue;
            };
            prop_assert!(next > last, "{next:?} after {last:?}");
            prop_assert!(announced || next == (last.0, last.1 + 1), "silent gap: {next:?} after {last:?}");
            announced = false;
            last = next;
        }
        prop_assert_eq!(stands_at, top, "the end is missing: last came {:?}", last);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let cuts = [(900, 3, 5), (400, 0, 2), (0, 1, 1), (1_500, 7, 9)].map(|(bytes, missed, live)| Cut {
        bytes,
        missed,
        live,
        lossy: true,
        echoed: true,
        reborn: missed == 7,
        dripped: true,
    });
    let traced = |seed| {
        paused(async {
            let start = tokio::time::Instant::now();
            let outcome = run(&cuts, true, seed).await;
            (outcome, start.elapsed())
        })
    };
    assert_eq!(traced(1), traced(1));
    assert_ne!(traced(1).1, traced(2).1, "delays come from the seed");
}
