//! A shard: one thread, one loop, its own connections, which never move.
//!
//! A turn of the loop takes in what has come (new sockets, messages of the inbox), polls the connections that
//! want it, and visits every connection that has something to send once, with one vectored write of all that
//! waits. So a burst of publications costs each subscriber one system call, and an idle connection nothing.
//!
//! The loop gives way after [`TURN`] connections: a channel with ten thousand subscribers delays nobody by
//! more than a part of its fan-out. What is taken from the inbox in one *pass* over the waiting connections is
//! bounded: a server that is short of time makes publishers wait, and never cuts a subscriber for its own
//! slowness.
//!
//! - [`inbox`]: what others have for the shard; [`control`]: what they want done
//! - [`connection`]: one socket; [`poller`], [`wake`]: who wants to be polled; [`deadlines`]: who is out of time
//! - [`members`]: who gets what; [`channels`]: the map that these are in
//! - [`work`]: what a connection waits for
//! - [`turn`]: the loop itself; [`share`]: how long it does one thing; [`input`], [`apply`]: what a turn does with bytes, and with a session's effects

pub mod connection;
pub mod control;
pub mod deadlines;
pub mod inbox;
pub mod members;
pub mod poller;
pub mod wake;

mod apply;
mod channels;
mod input;
mod share;
mod turn;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use rand_chacha::ChaCha12Rng;
use slab::Slab;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::batches::Batches;
use crate::clock::Now;
use crate::hub::Encoded;
use crate::metrics::{Metrics, ShardMetrics};
use crate::node::Node;
use crate::session;
use crate::session::effect::Effect;
use crate::session::id::Place;
use connection::{Adopted, Connection};
use deadlines::Deadlines;
use inbox::ShardMessage;
pub use input::ANSWER_BYTES_MAX;
use members::Members;
use poller::Poller;
use wake::Ready;

/// Connections visited before the loop gives way to the runtime.
const TURN: usize = 64;

/// Of these, the ones that were not done after their first visit; as many that were not after more; and beside them as many
/// whose time is up, or a whole turn's if nobody else waits. Who comes meanwhile waits for so many visits.
const TURN_LATE: usize = 8;

/// Where sockets are handed to a shard.
pub struct Door<S> {
    adopted: Mutex<Vec<Adopted<S>>>,
    waker: AtomicWaker,
}

impl<S> Default for Door<S> {
    fn default() -> Self {
        Self { adopted: Mutex::default(), waker: AtomicWaker::new() }
    }
}

impl<S> Door<S> {
    /// Hands a socket over.
    pub fn adopt(&self, adopted: Adopted<S>) {
        self.adopted.lock().push(adopted);
        self.waker.wake();
    }
}

/// Settings of a shard, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Messages larger than this are refused with 1009.
    pub message_bytes_max: usize,
    /// Pushes that may wait for one connection.
    pub queue_bytes_max: usize,
    /// How long a socket may take nothing before the connection is closed with 3009.
    pub write_timeout_ms: u64,
    /// Time between pings.
    pub ping_interval_ms: u64,
    /// Time for a pong.
    pub pong_timeout_ms: u64,
}

/// A shard's connections and all that it takes to serve them. A future: it ends when it is told to.
pub struct Shard<S> {
    desk: Desk,
    index: u16,
    settings: Settings,
    metrics: Arc<Metrics>,
    batches: Arc<Batches>,
    door: Arc<Door<S>>,
    ready: Arc<Ready>,
    poller: Option<Poller>,
    connections: Slab<Option<Box<Connection<S>>>>,
    /// The most connections there were since memory was last given back.
    most: usize,
    members: Members,
    /// Answers to subscriptions whose markers have not come yet, by number.
    answers: BTreeMap<u64, Option<(u64, u64)>>,
    /// Frames and commands that the connection being visited may still have dealt with.
    visit: usize,
    /// Connections to be polled: those that have news, those that had one visit and were not done, and those that had more.
    runnable: VecDeque<u32>,
    unfinished: VecDeque<u32>,
    deferred: VecDeque<u32>,
    /// Whether the connection being visited is not there for its news.
    again: bool,
    /// Subscriptions that ended in this turn.
    ended: usize,
    /// Connections with something to send, and of these the ones that turned out to have much.
    dirty: VecDeque<u32>,
    heavy: VecDeque<u32>,
    /// What was taken from the inbox in this pass: since all who got something of it were last visited.
    pass_messages: usize,
    pass_bytes: usize,
    pass_event_bytes: usize,
    /// How many of `dirty` and `heavy` are to be visited before this pass is over.
    pass_visits: usize,
    deadlines: Deadlines,
    /// Those whose time is up, and the tick that said so.
    due: VecDeque<(u64, u32)>,
    timer: Pin<Box<Sleep>>,
    timer_ms: Option<u64>,
    /// Time that this shard did not live through, as when its process was stopped: it counts against nobody.
    stalled_ms: u64,
    drain: Option<Drain>,
    stopped: bool,
    scratch: Box<[u8]>,
    /// Taken from the inbox, and not dealt with yet.
    messages: VecDeque<ShardMessage>,
    /// Joins and leaves to be told once nothing else is.
    events: VecDeque<(Arc<str>, Encoded)>,
    /// Those who are gone and have not been seen off.
    departures: VecDeque<work::Departure>,
    /// Those whose engine has yet to take note of it, and by when it has to if the shard is ending.
    leaving: JoinSet<()>,
    ends_at: Option<Instant>,
    /// Deliveries made in this turn.
    delivered: usize,
}

/// What sessions need, apart from the connections they live in.
struct Desk {
    node: Arc<Node>,
    now: Now,
    chance: ChaCha12Rng,
    next_join: u64,
    effects: VecDeque<Effect>,
}

/// Connections to be closed, each at its time.
struct Drain {
    schedule: VecDeque<(u64, u32)>,
}

impl Desk {
    fn context(&mut self) -> session::Context<'_> {
        session::Context {
            rules: &self.node.rules,
            now: self.now,
            chance: &mut self.chance,
            next_join: &mut self.next_join,
            effects: &mut self.effects,
        }
    }
}

impl<S> Shard<S> {
    /// Bytes read at once. Shared by all connections of the shard.
    const SCRATCH_BYTES: usize = 64 * 1024;

    /// A shard without connections.
    pub fn new(
        index: u16,
        node: Arc<Node>,
        settings: Settings,
        metrics: Arc<Metrics>,
        batches: Arc<Batches>,
        door: Arc<Door<S>>,
        chance: ChaCha12Rng,
    ) -> Self {
        let now = node.clock.now();
        let members = Members::new(node.id_secret.clone(), settings.queue_bytes_max);
        Self {
            desk: Desk { node, now, chance, next_join: 1, effects: VecDeque::new() },
            index,
            settings,
            metrics,
            batches,
            door,
            ready: Arc::default(),
            poller: None,
            connections: Slab::new(),
            most: 0,
            members,
            answers: BTreeMap::new(),
            visit: 0,
            runnable: VecDeque::new(),
            unfinished: VecDeque::new(),
            deferred: VecDeque::new(),
            again: false,
            ended: 0,
            dirty: VecDeque::new(),
            heavy: VecDeque::new(),
            pass_messages: 0,
            pass_bytes: 0,
            pass_event_bytes: 0,
            pass_visits: 0,
            deadlines: Deadlines::new(now),
            due: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            timer_ms: None,
            stalled_ms: 0,
            drain: None,
            stopped: false,
            scratch: Self::scratch(),
            messages: VecDeque::new(),
            events: VecDeque::new(),
            departures: VecDeque::new(),
            leaving: JoinSet::new(),
            ends_at: None,
            delivered: 0,
        }
    }

    fn scratch() -> Box<[u8]> {
        vec![0; Self::SCRATCH_BYTES].into()
    }

    fn cells(&self) -> &ShardMetrics {
        self.metrics.shard(usize::from(self.index))
    }

    fn place(&self, slot: u32) -> Place {
        Place { shard: self.index, slot }
    }
}

impl<S> Drop for Shard<S> {
    fn drop(&mut self) {
        let hub = &self.desk.node.hub;
        hub.inbox(usize::from(self.index)).close();
        hub.made_room();
    }
}

/// A slot as a place in the slab.
fn at(slot: u32) -> usize {
    usize::try_from(slot).expect("slots are 32 bits wide, and so is no machine less")
}
