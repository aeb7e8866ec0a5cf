//! A publication's way: into the inbox of a shard, out of it into the outbox of a peer, and out of that as the peer reads.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};
use std::task::{Poll, Wake as _};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use pubsub_protocol::push::PushBody;
use pubsub_protocol::{Format, Payload, Publication, Push, Reply};

use crate::bounded;
use crate::hub::Encoded;
use crate::outbox::Outbox;
use crate::shard::inbox::{Delivery, Inbox, ShardMessage};
use crate::shard::wake::{ConnectionWaker, Ready};

/// What is published, named by its offset.
pub(crate) fn publication(offset: u64) -> Publication {
    let data = Payload::from_bytes(b"1");
    Publication { data, info: None, offset, tags: BTreeMap::new(), epoch: String::new() }
}

/// The same on its way to a shard.
pub(crate) fn delivery(offset: u64) -> ShardMessage {
    let push = Push { channel: "c".to_owned(), body: PushBody::Publication(publication(offset)) };
    let push = Encoded::new(&Reply::Push(push), Format::Json.into());
    ShardMessage::Publication(Delivery { channel: "c".into(), offset, epoch: 0, push })
}

pub(crate) fn offset(message: &ShardMessage) -> u64 {
    match message {
        ShardMessage::Publication(delivery) => delivery.offset,
        _ => unreachable!("nothing else was put in"),
    }
}

fn bytes(message: &ShardMessage) -> Vec<u8> {
    match message {
        ShardMessage::Publication(delivery) => delivery.push.frame(Format::Json).as_bytes().to_vec(),
        _ => unreachable!("nothing else was put in"),
    }
}

/// Two publications for a peer that makes room for them in two steps, and a shard that serves it. Returns whether the peer
/// was cut because its outbox, which takes `bytes_max`, was full.
fn deliver(bytes_max: usize) -> bool {
    let expected: Vec<u8> = [1, 2].iter().flat_map(|&offset| bytes(&delivery(offset))).collect();
    let (inbox, ready) = (Arc::new(Inbox::default()), Arc::new(Ready::default()));
    let waker = ConnectionWaker::new(ready.clone(), 0);
    let taken = Arc::new(AtomicUsize::new(0));

    let theirs = inbox.clone();
    thread::spawn(move || [1, 2].into_iter().for_each(|offset| theirs.push(delivery(offset))));
    let (theirs, takes, half) = (waker.clone(), taken.clone(), expected.len() / 2);
    thread::spawn(move || {
        for _ in 0..2 {
            takes.fetch_add(half, Ordering::Release);
            theirs.wake_by_ref();
        }
    });

    let (mut outbox, mut written, mut room) = (Outbox::default(), Vec::new(), 0);
    let (mut runnable, mut cut) = (VecDeque::new(), false);
    block_on(poll_fn(|cx| {
        ready.register(cx.waker());
        inbox.register(cx.waker());
        let mut messages = VecDeque::new();
        inbox.take(usize::MAX, usize::MAX, &mut messages);
        for message in &messages {
            let ShardMessage::Publication(delivery) = message else { unreachable!("nothing else was put in") };
            cut |= outbox.push(delivery.push.frame(Format::Json).clone(), bytes_max).is_err();
        }
        ready.take(&mut runnable);
        for _ in runnable.drain(..) {
            waker.polling();
        }
        room += taken.swap(0, Ordering::Acquire);
        let mut slices = Outbox::slices();
        let filled = outbox.fill(&mut slices);
        let waits: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        let n = waits.len().min(room);
        written.extend(&waits[..n]);
        outbox.advance(n);
        room -= n;
        assert!(outbox.bytes() <= bytes_max.saturating_add(half), "one frame above the bound at most");
        if cut || written.len() == expected.len() { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert!(expected.starts_with(&written), "what was written is what was published, in order");
    cut
}

#[test]
fn a_peer_that_reads_gets_everything() {
    bounded(|| assert!(!deliver(usize::MAX)));
}

/// With room for one frame, whether the second finds room is a matter of who comes first.
#[test]
fn a_peer_gets_everything_or_is_cut() {
    let outcomes = Arc::new([Count::new(0), Count::new(0)]);
    let count = outcomes.clone();
    bounded(move || {
        count[usize::from(deliver(0))].fetch_add(1, Relaxed);
    });
    assert!(outcomes.iter().all(|outcome| outcome.load(Relaxed) > 0), "both happened: {outcomes:?}");
}
