//! Sleeping and waiting: a shard for its connections and its inbox, publishers for room.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Wake as _};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::bounded;
use crate::delivery::{delivery, offset};
use crate::hub::room::Room;
use crate::shard::inbox::Inbox;
use crate::shard::wake::{ConnectionWaker, Ready};

/// Two threads each change something and wake a connection; the shard sleeps in between. What was changed before a wake
/// is seen by the visit that comes of it.
#[test]
fn a_shard_never_sleeps_through_a_wake_of_a_connection() {
    bounded(|| {
        let ready = Arc::new(Ready::default());
        let changed: Arc<[AtomicBool; 2]> = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let wakers = [ConnectionWaker::new(ready.clone(), 0), ConnectionWaker::new(ready.clone(), 1)];
        for slot in 0..2 {
            let (waker, changed) = (wakers[slot].clone(), changed.clone());
            thread::spawn(move || {
                changed[slot].store(true, Ordering::Relaxed);
                waker.wake_by_ref();
            });
        }
        let (mut runnable, mut seen) = (VecDeque::new(), [false; 2]);
        block_on(poll_fn(|cx| {
            ready.register(cx.waker());
            ready.take(&mut runnable);
            for slot in runnable.drain(..) {
                let slot = slot as usize;
                wakers[slot].polling();
                seen[slot] |= changed[slot].load(Ordering::Relaxed);
            }
            if seen == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

/// One connection that is woken twice, the second time perhaps while it is visited for the first.
#[test]
fn a_wake_during_a_visit_makes_another_visit() {
    loom::model(|| {
        let ready = Arc::new(Ready::default());
        let changes = Arc::new(AtomicUsize::new(0));
        let waker = ConnectionWaker::new(ready.clone(), 0);
        let (theirs, counted) = (waker.clone(), changes.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                counted.fetch_add(1, Ordering::Relaxed);
                theirs.wake_by_ref();
            }
        });
        let (mut runnable, mut seen) = (VecDeque::new(), 0);
        block_on(poll_fn(|cx| {
            ready.register(cx.waker());
            ready.take(&mut runnable);
            for _ in runnable.drain(..) {
                waker.polling();
                seen = changes.load(Ordering::Relaxed);
            }
            if seen == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
    });
}

/// Two publishers and a shard that takes one message at a time: all arrive, each publisher's in its order, and the
/// measures are exact in the end.
#[test]
fn an_inbox_loses_nothing_and_keeps_the_order_of_each_who_puts_in() {
    bounded(|| {
        let inbox = Arc::new(Inbox::default());
        let theirs = inbox.clone();
        thread::spawn(move || {
            theirs.push(delivery(11));
            theirs.push(delivery(12));
        });
        let theirs = inbox.clone();
        thread::spawn(move || theirs.push(delivery(21)));
        let mut taken = Vec::new();
        block_on(poll_fn(|cx| {
            inbox.attend();
            let mut messages = VecDeque::new();
            inbox.take(1, usize::MAX, &mut messages);
            taken.extend(messages.iter().map(offset));
            if taken.len() == 3 {
                return Poll::Ready(());
            }
            // As the shard does: who leaves something, or finds something that came meanwhile, comes back by itself.
            inbox.register(cx.waker());
            if !inbox.is_empty() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }));
        assert!(taken.iter().position(|&n| n == 11) < taken.iter().position(|&n| n == 12), "{taken:?}");
        assert!(taken.contains(&21) && inbox.is_empty() && inbox.has_room());
    });
}

/// No room, and a shard that is about to make some.
fn while_a_shard_makes_room() -> (Arc<AtomicBool>, Arc<Room>) {
    let full = Arc::new(AtomicBool::new(true));
    let room = Arc::new(Room::default());
    let (their_full, theirs) = (full.clone(), room.clone());
    thread::spawn(move || {
        their_full.store(false, Ordering::Release);
        theirs.made(|| !their_full.load(Ordering::Acquire));
    });
    (full, room)
}

/// A publisher that finds no room, while a shard makes some.
#[test]
fn nobody_waits_for_room_that_is_there() {
    loom::model(|| {
        let (full, room) = while_a_shard_makes_room();
        block_on(poll_fn(|cx| room.poll(cx, || !full.load(Ordering::Acquire))));
    });
}

/// Two shards of which each was behind: whichever catches up last wakes who waits.
#[test]
fn the_last_shard_that_makes_room_wakes_who_waits() {
    bounded(|| {
        let behind: Arc<[AtomicBool; 2]> = Arc::new([AtomicBool::new(true), AtomicBool::new(true)]);
        let room = Arc::new(Room::default());
        for shard in 0..2 {
            let (behind, room) = (behind.clone(), room.clone());
            thread::spawn(move || {
                behind[shard].store(false, Ordering::Release);
                room.made(|| !behind.iter().any(|behind| behind.load(Ordering::Acquire)));
            });
        }
        block_on(poll_fn(|cx| room.poll(cx, || !behind.iter().any(|behind| behind.load(Ordering::Acquire)))));
    });
}

/// Two who wait, and one shard.
#[test]
fn all_who_wait_are_woken() {
    bounded(|| {
        let (full, room) = while_a_shard_makes_room();
        let (their_full, theirs) = (full.clone(), room.clone());
        thread::spawn(move || block_on(poll_fn(|cx| theirs.poll(cx, || !their_full.load(Ordering::Acquire)))));
        block_on(poll_fn(|cx| room.poll(cx, || !full.load(Ordering::Acquire))));
    });
}
