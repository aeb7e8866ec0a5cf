//! Publish against subscribe: the orders that hub, engine and node keep.

use pubsub_protocol::Format;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ahash::RandomState;
use loom::thread;

use crate::bounded;
use crate::clock::Clock;
use crate::delivery::{offset, publication};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Feed as _, PublishOptions, Published};
use crate::hub::Hub;
use crate::node::Node;
use crate::recovery::Mode;
use crate::session::id::Place;
use crate::session::operation::{Completion, Operation, Subscribe, Subscribed, SubscribedBy};
use crate::session::rules::{Client, Personal, Rules};
use crate::shard::inbox::ShardMessage;
use crate::stream::Retention;
use crate::users::Users;

const RETENTION: Retention = Retention { size: 10, ttl: Duration::from_secs(60), meta_ttl: Duration::from_secs(60) };

/// The engine needs more of a stack than the checker gives to a thread.
fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    const WORDS: usize = 32 * 1024;
    thread::Builder::new().stack_size(WORDS).spawn(work).unwrap()
}

fn with_engine(check: impl Fn() + Copy + Send + Sync + 'static) {
    bounded(move || spawn(check).join().unwrap());
}

/// All that a shard has been told since it was last asked, in order.
fn told(hub: &Hub, shard: usize) -> Vec<ShardMessage> {
    let mut messages = VecDeque::new();
    hub.inbox(shard).take(usize::MAX, usize::MAX, &mut messages);
    messages.into()
}

/// The embedded engine answers at once.
fn answered<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("the embedded engine makes nobody wait"),
    }
}

fn node(shards: usize) -> Arc<Node> {
    let hub = Arc::new(Hub::new(shards, 7));
    let id_secret = RandomState::with_seeds(1, 2, 3, 4);
    Arc::new(Node {
        engine: Arc::new(MemoryEngine::new(hub.clone(), 7)),
        hub,
        users: Users::new(id_secret.clone()),
        rules: Rules { client: Client { subscribe_to_user_personal_channel: Personal } },
        clock: Clock::starting_at(0),
        id_secret,
    })
}

fn publish(node: &Node) -> Published {
    let options = PublishOptions { retention: Some(RETENTION), ..PublishOptions::default() };
    answered(node.publish("c", publication(0), options)).expect("the embedded engine does not fail")
}

fn subscribe(node: &Arc<Node>, recover: Option<Published>) -> Subscribed {
    let mode = Mode::Stream { publications_max: 10 };
    let subscribe = Subscribe {
        channel: "c".into(),
        join: 1,
        position: Some(RETENTION),
        recover: recover.map(|published| (mode, published.position)),
        reject_unrecovered: false,
        presence: None,
        announce: None,
    };
    let operation = Operation::Subscribe(SubscribedBy::Client { id: 1 }, subscribe);
    match answered(node.run(operation, Place { shard: 0, slot: 0 }, Format::Json)) {
        Completion::Subscribe { result, .. } => result.expect("the embedded engine does not fail"),
        other => unreachable!("{other:?}"),
    }
}

/// Two publishers, and members in two shards.
#[test]
fn all_shards_see_one_order() {
    bounded(|| {
        let hub = Arc::new(Hub::new(2, 7));
        for shard in 0..2 {
            hub.join(shard, "c", 0, 1, Format::Json);
            told(&hub, shard);
        }
        let publishers = [1, 2].map(|offset| {
            let hub = hub.clone();
            thread::spawn(move || hub.publication("c", publication(offset), ""))
        });
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let [first, second] = [0, 1].map(|shard| told(&hub, shard).iter().map(offset).collect::<Vec<_>>());
        assert_eq!(first, second);
        assert_eq!(first.len(), 2);
    });
}

/// The last member of a channel leaves, which removes the channel, while another comes.
#[test]
fn who_comes_while_the_last_one_leaves_is_there() {
    bounded(|| {
        let hub = Arc::new(Hub::new(2, 7));
        hub.join(0, "c", 0, 1, Format::Json);
        let theirs = hub.clone();
        let leaving = thread::spawn(move || theirs.leave(0, &"c".into()));
        hub.join(1, "c", 0, 2, Format::Json);
        leaving.join().unwrap();
        assert_eq!((hub.channels(), hub.members("c")), (1, 1));
        hub.publication("c", publication(1), "");
        let told = told(&hub, 1);
        assert!(matches!(&told[..], [ShardMessage::Join(_), ShardMessage::Publication(_)]));
    });
}

/// Somebody comes who is spoken to in another format than all who are there, while something is published. It is encoded
/// before the channel is locked.
#[test]
fn who_comes_meanwhile_is_told_in_a_format_of_its_own() {
    bounded(|| {
        let hub = Arc::new(Hub::new(2, 7));
        hub.join(0, "c", 0, 1, Format::Json);
        let theirs = hub.clone();
        let publisher = thread::spawn(move || theirs.publication("c", publication(1), ""));
        hub.join(1, "c", 0, 2, Format::Protobuf);
        publisher.join().unwrap();
        let frame = |message: &ShardMessage, format| match message {
            ShardMessage::Publication(delivery) => delivery.push.frame(format).as_bytes().to_vec(),
            _ => unreachable!("nothing else comes behind the marker"),
        };
        assert_eq!(frame(&told(&hub, 0)[1], Format::Json)[0], 0x81, "a text frame");
        match &told(&hub, 1)[..] {
            [ShardMessage::Join(_)] => {}
            [ShardMessage::Join(_), it] => assert_eq!(frame(it, Format::Protobuf)[0], 0x82, "a binary frame"),
            _ => unreachable!("the marker comes first"),
        }
    });
}

/// Two who publish into a channel with history.
#[test]
fn publications_reach_a_shard_in_the_order_of_their_offsets() {
    with_engine(|| {
        let node = node(1);
        node.hub.join(0, "c", 0, 1, Format::Json);
        told(&node.hub, 0);
        let theirs = node.clone();
        let publisher = spawn(move || publish(&theirs).position.offset);
        let offsets = (publish(&node).position.offset, publisher.join().unwrap());
        assert!(matches!(offsets, (1, 2) | (2, 1)), "{offsets:?}");
        assert_eq!(told(&node.hub, 0).iter().map(offset).collect::<Vec<_>>(), [1, 2]);
    });
}

/// Somebody subscribes while two publications are made: what the answer gives and what the shard is told behind the marker,
/// above the answer's position, is together everything, once, in order.
fn joins_without_gap_or_overlap(recovers: bool) {
    with_engine(move || {
        let node = node(1);
        let before = publish(&node);
        let theirs = node.clone();
        let publisher = spawn(move || {
            publish(&theirs);
            publish(&theirs);
        });
        let subscribed = subscribe(&node, recovers.then_some(before));
        publisher.join().unwrap();

        let top = subscribed.top.expect("it has a position").offset;
        let mut got: Vec<u64> = match subscribed.recovery {
            Some(recovery) => {
                assert!(recovery.recovered);
                recovery.publications.iter().map(|publication| publication.offset).collect()
            }
            None => (2..=top).collect(),
        };
        let told = told(&node.hub, 0);
        let marker = told.iter().position(|message| matches!(message, ShardMessage::Join(_)));
        let behind = &told[marker.expect("it has entered") + 1..];
        got.extend(behind.iter().map(offset).filter(|&offset| offset > top));
        assert_eq!(got, [2, 3]);
    });
}

#[test]
fn who_recovers_gets_each_publication_exactly_once() {
    joins_without_gap_or_overlap(true);
}

#[test]
fn who_begins_gets_each_publication_above_its_position_exactly_once() {
    joins_without_gap_or_overlap(false);
}
