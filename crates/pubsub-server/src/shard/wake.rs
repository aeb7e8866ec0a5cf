//! Which of a shard's connections want to be polled: a connection's waker puts its slot into the shard's queue.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::sync::{AtomicBool, AtomicWaker, Mutex, Ordering};

/// Slots that want to be polled.
#[derive(Default)]
pub struct Ready {
    slots: Mutex<Vec<u32>>,
    shard: AtomicWaker,
}

impl Ready {
    /// Who to wake when a slot comes in. Register before looking.
    pub fn register(&self, waker: &Waker) {
        self.shard.register(waker);
    }

    /// Moves all slots behind those in `into`.
    pub fn take(&self, into: &mut std::collections::VecDeque<u32>) {
        into.extend(self.slots.lock().drain(..));
    }
}

/// Wakes one connection.
pub struct ConnectionWaker {
    ready: Arc<Ready>,
    slot: u32,
    queued: AtomicBool,
}

impl ConnectionWaker {
    /// The waker of the connection in `slot`.
    pub fn new(ready: Arc<Ready>, slot: u32) -> Arc<Self> {
        Arc::new(Self { ready, slot, queued: AtomicBool::new(false) })
    }

    /// The connection is about to be polled: from now on a wake counts again.
    pub fn polling(&self) {
        // A swap, not a store: it has to see what was changed before a wake that found the connection still queued. With a
        // store, that change and this mark could pass each other, and the wake be lost (the model checker found it).
        self.queued.swap(false, Ordering::AcqRel);
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut slots = self.ready.slots.lock();
        slots.push(self.slot);
        let first = slots.len() == 1;
        drop(slots);
        if first {
            self.ready.shard.wake();
        }
    }
}
