//! What other threads have for a shard, in the order it was put in.
//!
//! The bound is kept by the writers: before a publication is accepted, [`Inbox::has_room`] is asked (through
//! [`crate::hub::Hub::poll_room`]), and whoever publishes waits while a shard is behind. Markers and control
//! messages always enter: there are never more of them than connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use crate::hub::Encoded;
use crate::shard::control::Control;
use crate::sync::{AtomicUsize, AtomicWaker, Mutex, Ordering};

/// Messages that may wait before publishers have to.
const MESSAGES_MAX: usize = 1024;

/// Bytes of publications that may wait before publishers have to.
const BYTES_MAX: usize = 4 << 20;

/// Something for a shard.
pub enum ShardMessage {
    /// From here on, publications of `channel` are for this member too.
    Join(Marker),
    /// A publication to hand to all members.
    Publication(Delivery),
    /// A join or leave to hand to the members that asked for such.
    PresenceEvent {
        /// The channel.
        channel: Arc<str>,
        /// The encoded push.
        push: Encoded,
    },
    /// Something the server API or the server itself wants of connections.
    Control(Control),
}

/// Says when a subscription's membership begins.
#[derive(Clone, Debug)]
pub struct Marker {
    /// The channel.
    pub channel: Arc<str>,
    /// The connection.
    pub slot: u32,
    /// Which of the shard's subscriptions: a slot, and even a channel on it, is used again.
    pub join: u64,
}

/// A publication on its way to a shard's members.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The channel.
    pub channel: Arc<str>,
    /// Its offset; 0 without history.
    pub offset: u64,
    /// The stream's epoch, see [`crate::hub::epoch_tag`]; 0 without history.
    pub epoch: u64,
    /// The encoded push.
    pub push: Encoded,
}

/// A shard's queue of messages from everywhere.
#[derive(Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
    /// Copies of the queue's measures, to be read without its lock.
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<ShardMessage>,
    bytes: usize,
    /// The shard has ended: what is put in is dropped.
    closed: bool,
}

impl ShardMessage {
    fn bytes(&self) -> usize {
        match self {
            Self::Publication(delivery) => delivery.push.bytes(),
            Self::PresenceEvent { push, .. } => push.bytes(),
            Self::Join(_) | Self::Control(_) => 0,
        }
    }
}

impl Inbox {
    /// Puts a message in and wakes the shard if it may be asleep.
    pub fn push(&self, message: ShardMessage) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        let was_empty = queue.messages.is_empty();
        queue.bytes += message.bytes();
        queue.messages.push_back(message);
        self.note(&queue);
        drop(queue);
        if was_empty {
            self.waker.wake();
        }
    }

    /// Takes messages until `messages_max` or `bytes_max` is reached.
    pub fn take(&self, messages_max: usize, bytes_max: usize, into: &mut VecDeque<ShardMessage>) {
        if self.messages.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut queue = self.queue.lock();
        let mut bytes = 0;
        while into.len() < messages_max && bytes < bytes_max {
            let Some(message) = queue.messages.pop_front() else { break };
            bytes += message.bytes();
            into.push_back(message);
        }
        queue.bytes -= bytes;
        self.note(&queue);
    }

    /// The shard has ended: whoever waits for its answers waits no longer, and nobody for room in here.
    pub fn close(&self) {
        let mut queue = self.queue.lock();
        let left = std::mem::take(&mut *queue);
        queue.closed = true;
        self.note(&queue);
        drop(queue);
        // Not under the lock: to drop a question wakes whoever has asked it.
        drop(left);
    }

    fn note(&self, queue: &Queue) {
        self.messages.store(queue.messages.len(), Ordering::Release);
        self.bytes.store(queue.bytes, Ordering::Release);
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.messages.load(Ordering::Acquire)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether another publication may come.
    pub fn has_room(&self) -> bool {
        self.messages.load(Ordering::Acquire) < MESSAGES_MAX && self.bytes.load(Ordering::Acquire) < BYTES_MAX
    }

    /// Who to wake when the first message arrives. Register before looking whether there is one.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// The shard is awake, and will register and look before it sleeps: nobody has to wake it meanwhile, least of all itself.
    pub fn attend(&self) {
        drop(self.waker.take());
    }
}
