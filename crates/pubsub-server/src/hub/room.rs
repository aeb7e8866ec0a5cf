//! Whoever publishes waits here while a shard is behind.

use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering, fence};

/// Those who wait for room.
#[derive(Default)]
pub(crate) struct Room {
    waiting: Mutex<Vec<Waker>>,
    /// How many, to be read without the lock.
    waiters: AtomicUsize,
}

impl Room {
    /// Ready when there is room. Otherwise the caller is woken when there may be.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, has_room: impl Fn() -> bool) -> Poll<()> {
        if has_room() {
            return Poll::Ready(());
        }
        self.waiting.lock().push(cx.waker().clone());
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // Room may have been made between the look and the note; then nobody would wake us.
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Messages were taken out of an inbox: whoever waits may look again.
    pub(crate) fn made(&self, has_room: impl Fn() -> bool) {
        // One side writes its note and then looks for room, the other makes room and then looks for the note: with
        // a fence between the two on either side, at least one of them sees what the other has done.
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::SeqCst) == 0 || !has_room() {
            return;
        }
        self.waiters.store(0, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for waker in waiting {
            waker.wake();
        }
    }
}
