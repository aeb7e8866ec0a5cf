//! The loop of a shard.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pubsub_protocol::DisconnectCode;
use rand::RngExt;

use super::connection::{Connection, Stage, Written};
use super::control::{Census, Control, Target};
use super::inbox::{Inbox, ShardMessage};
use super::input::{FIRST_VISIT, LAST_VISIT, VISIT, answers_pile_up};
use super::poller::Watch;
use super::share::Share;
use super::{Drain, Settings, Shard, TURN, TURN_LATE, at};
use crate::outbox::Outbox;
use crate::planted::{self, Bug};
use crate::session::Session;
use crate::session::control::Action;
use crate::session::effect::{Close, Effect};
use crate::session::id::ClientId;
use crate::sparse::is_sparse;
use crate::transport::socket::Socket;

/// Messages taken from the inbox in one pass over the connections that wait to be written to.
const PASS_MESSAGES_MAX: usize = 256;

/// Bytes of publications taken in one pass. A connection that takes all it is given never has more waiting.
const PASS_BYTES_MAX: usize = 256 * 1024;

/// Deliveries of one turn: what waits for them is answered a few milliseconds later.
const TURN_DELIVERIES: usize = 8192;

/// Who has more than this to be sent is written to after those who have less: to copy it takes the kernel longer than all
/// else about a write.
const HEAVY_BYTES: usize = 4 * 1024;

/// Joins and leaves that wait for others, before publications wait for them too.
const EVENTS_MAX: usize = 1024;

/// So many connections at once are a storm: after it memory is given back, though some are still there.
const STORM: usize = 1024;

/// A timer that fires this late was not late by chance: the process stood still.
const STALL_MS: u64 = 1000;

/// What becomes of a connection after it was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    Drop,
}

impl<S: Socket> Future for Shard<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shard = self.get_mut();
        // Register first, look second: what comes in between wakes us again. Into the inbox something comes in nearly every turn,
        // and much of it from ourselves: it is looked at again before we sleep.
        shard.door.waker.register(cx.waker());
        shard.ready.register(cx.waker());
        shard.inbox().attend();

        shard.tell_time();
        shard.adopt();
        // After that: the first socket adopted brings the poller with it.
        shard.look(cx);
        shard.ready.take(&mut shard.runnable);
        shard.run();
        // After that: what was published just now is delivered in the same turn.
        shard.take_messages();
        shard.expire();
        shard.flush();
        shard.see_off_some();
        if shard.stopped {
            shard.drop_all();
            shard.inbox().register(cx.waker());
            return shard.poll_see_off_all(cx);
        }
        let timed = shard.poll_timer(cx);
        let more = timed || !shard.has_nothing_else() || !shard.departures.is_empty();
        shard.inbox().register(cx.waker());
        if more || !shard.inbox().is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S: Socket> Shard<S> {
    fn tell_time(&mut self) {
        let before_ms = self.desk.now.ms;
        self.desk.now = self.desk.node.clock.now();
        let now_ms = self.desk.now.ms.saturating_sub(self.stalled_ms);
        self.desk.now.ms = now_ms;
        // Before anything is judged by the time. What peers have said meanwhile is not even read yet, so that they
        // get a moment more than was left to them.
        let late_ms = self.timer_ms.and_then(|due_ms| now_ms.checked_sub(due_ms));
        if let Some(late_ms) = late_ms.filter(|late_ms| *late_ms >= STALL_MS) {
            tracing::warn!(late_ms, "the process stood still; its connections are not held to that time");
            self.desk.now.ms = before_ms.max((now_ms - late_ms).saturating_sub(STALL_MS));
            self.stalled_ms += now_ms - self.desk.now.ms;
        }
    }

    /// Finds out at which of the watched sockets something changed.
    fn look(&mut self, cx: &mut Context<'_>) {
        let Some(poller) = &self.poller else { return };
        let (connections, runnable) = (&mut self.connections, &mut self.runnable);
        let looked = poller.poll(cx, |slot, change| {
            if let Some(connection) = connections.get_mut(at(slot)).and_then(Option::as_mut) {
                connection.stream.change(change);
                if !std::mem::replace(&mut connection.queued, true) {
                    runnable.push_back(slot);
                }
            }
        });
        looked.expect("an epoll instance that we own can be waited for");
    }

    fn adopt(&mut self) {
        let adopted = std::mem::take(&mut *self.door.adopted.lock());
        for adopted in adopted {
            let entry = self.connections.vacant_entry();
            let slot = u32::try_from(entry.key()).expect("a shard has fewer than 2³² connections");
            let place = crate::session::id::Place { shard: self.index, slot };
            let id = ClientId::new(place, &mut self.desk.chance, &self.desk.node.id_secret);
            let session = Session::new(id, adopted.opening.clone(), &self.desk.node.rules, self.desk.now);
            let mut connection = Box::new(Connection::new(adopted, session, self.settings.message_bytes_max));
            if let Err(error) = connection.stream.register(&mut Watch { poller: &mut self.poller, slot }) {
                tracing::warn!(connection_id = %id, %error, "the connection can not be watched");
                continue;
            }
            tracing::debug!(connection_id = %id, "connection opened");
            entry.insert(Some(connection));
            self.most = self.most.max(self.connections.len());
            self.cells().connections_opened.increment();
            if self.drain.is_some() {
                self.close(slot, DisconnectCode::Shutdown.into());
            }
            self.runnable.push_back(slot);
        }
    }

    /// Deals with what came into the inbox, as far as one turn goes. What goes to many is parted by what others say.
    fn take_messages(&mut self) {
        if self.pass_visits == 0 {
            (self.pass_messages, self.pass_bytes, self.pass_event_bytes) = (0, 0, 0);
        }
        if self.messages.is_empty() && self.events.len() < EVENTS_MAX {
            self.fetch_messages();
        }
        if self.messages.is_empty() && self.events.is_empty() {
            return;
        }
        self.delivered = 0;
        let took_messages = !self.messages.is_empty();
        let mut share = Share::default();
        while !self.messages.is_empty() && self.delivered < TURN_DELIVERIES && share.has_more() {
            let Some(message) = self.messages.pop_front() else { break };
            match message {
                ShardMessage::Join(marker) => self.enter(&marker),
                ShardMessage::Publication(delivery) => {
                    self.pass_messages += 1;
                    self.pass_bytes += delivery.push.bytes();
                    self.deliver(&delivery);
                }
                ShardMessage::PresenceEvent { channel, push } => self.events.push_back((channel, push)),
                ShardMessage::Control(control) => self.control(control),
            }
        }
        let waited = self.events.len();
        self.tell_events();
        if took_messages || self.events.len() < waited {
            // Whoever has something to send by now has had its turn after so many visits, whatever comes behind it.
            self.pass_visits = self.dirty.len() + self.heavy.len();
        }
    }

    /// Tells of joins and leaves, after all else: a crowd that goes away is told to all who stay, a thousand times a
    /// thousand, and no publication waits for that. Among themselves they keep their order.
    fn tell_events(&mut self) {
        let mut share = Share::default();
        // Half of what publications may take in a pass, and nothing of theirs.
        while !self.events.is_empty() && self.pass_event_bytes < self.pass_bytes_max() / 2 && share.has_more() {
            let Some((channel, push)) = self.events.pop_front() else { break };
            self.pass_event_bytes += push.bytes();
            self.tell_presence(&channel, &push);
            if self.delivered >= TURN_DELIVERIES {
                break;
            }
        }
    }

    fn pass_bytes_max(&self) -> usize {
        PASS_BYTES_MAX.min(self.settings.queue_bytes_max / 2).max(2)
    }

    fn inbox(&self) -> &Inbox {
        self.desk.node.hub.inbox(usize::from(self.index))
    }

    fn fetch_messages(&mut self) {
        let bytes_max = self.pass_bytes_max();
        if self.pass_messages >= PASS_MESSAGES_MAX || self.pass_bytes >= bytes_max {
            return;
        }
        let hub = &self.desk.node.hub;
        hub.inbox(usize::from(self.index)).take(
            PASS_MESSAGES_MAX - self.pass_messages,
            bytes_max - self.pass_bytes,
            &mut self.messages,
        );
        hub.made_room();
        if planted::is(Bug::FanOutOvertaken) {
            self.messages.make_contiguous().reverse();
        }
    }

    /// Polls connections that want it: those with news first, then those that were not done with them, and then those that
    /// never are. Of all no more than are written to in a turn: nobody's answers pile up in front of somebody's publications.
    fn run(&mut self) {
        (self.again, self.ended) = (false, 0);
        let mut share = Share::default();
        for _ in 0..TURN - 2 * TURN_LATE {
            // A crowd that goes away leaves a hundred channels each.
            if self.runnable.is_empty() || self.ended >= TURN || !share.has_more() {
                break;
            }
            let Some(slot) = self.runnable.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(at(slot)).and_then(Option::as_mut) else { continue };
            connection.queued = false;
            if !connection.deferred {
                self.with(slot, |shard, connection| shard.drive(FIRST_VISIT, slot, connection));
            }
        }
        self.again = true;
        // What these leave unfinished waits for the next turn.
        let waiting = [self.unfinished.len(), self.deferred.len()].map(|waiting| waiting.min(TURN_LATE));
        for n in 0..waiting[0].max(waiting[1]) {
            if n > 0 && !share.has_more() {
                break;
            }
            if n < waiting[0]
                && let Some(slot) = self.unfinished.pop_front()
            {
                self.revisit(slot);
            }
            if n < waiting[1]
                && let Some(slot) = self.deferred.pop_front()
            {
                self.revisit(slot);
            }
        }
    }

    fn revisit(&mut self, slot: u32) {
        self.with(slot, |shard, connection| {
            connection.deferred = false;
            shard.drive(VISIT, slot, connection)
        });
    }

    /// Writes to connections that have something to send, at most a turn's worth: those with little first, and then as many
    /// of those with much as there is time for. A panic costs the connection that was written to and no other.
    fn flush(&mut self) {
        let mut writing = None;
        if catch_unwind(AssertUnwindSafe(|| self.flush_each(&mut writing))).is_err()
            && let Some(slot) = writing
            && let Some(connection) = self.connections.get_mut(at(slot)).and_then(Option::take)
        {
            self.remove_broken(slot, connection);
        }
    }

    fn flush_each(&mut self, writing: &mut Option<u32>) {
        let mut visits = 0;
        while visits < TURN {
            let Some(slot) = self.dirty.pop_front() else { break };
            if self.flush_one(slot, HEAVY_BYTES, writing) {
                visits += 1;
            } else {
                self.heavy.push_back(slot);
            }
        }
        let mut share = Share::default();
        for _ in 0..TURN.min(self.heavy.len()) {
            if !share.has_more() {
                break;
            }
            let Some(slot) = self.heavy.pop_front() else { break };
            self.flush_one(slot, usize::MAX, writing);
        }
    }

    /// Writes to one, unless it has more than so much waiting; returns whether it did.
    #[inline]
    fn flush_one(&mut self, slot: u32, bytes_max: usize, writing: &mut Option<u32>) -> bool {
        let connection = self.connections.get_mut(at(slot)).and_then(Option::as_mut);
        if connection.as_ref().is_some_and(|connection| connection.outbox.bytes() > bytes_max) {
            return false;
        }
        self.pass_visits = self.pass_visits.saturating_sub(1);
        let Some(connection) = connection else { return true };
        connection.dirty = false;
        // Nearly always all is written, and that is all: no deadline moves, no effect comes of it.
        let outbox = &connection.outbox;
        if connection.is_plain() && connection.blocked_ms == 0 && outbox.answer_bytes() == 0 && !outbox.has_ping() {
            *writing = Some(slot);
            let waker = connection.socket_waker(&self.ready, slot);
            let mut cx = Context::from_waker(&waker);
            let Written { flushed, bytes } = connection.flush(&mut cx, self.desk.now.ms);
            self.cells().bytes_sent.add(bytes);
            if !matches!(flushed, Poll::Ready(Ok(()))) {
                self.with(slot, |shard, connection| shard.after_write(slot, connection, flushed));
            }
            return true;
        }
        self.with(slot, |shard, connection| shard.write(slot, connection));
        true
    }

    /// Does something with a connection, and what its session wants done because of it. A panic costs this
    /// connection and no other.
    pub(super) fn with(&mut self, slot: u32, work: impl FnOnce(&mut Self, &mut Connection<S>) -> Fate) {
        let Some(mut connection) = self.connections.get_mut(at(slot)).and_then(Option::take) else { return };
        let fate = catch_unwind(AssertUnwindSafe(|| {
            let fate = work(self, &mut connection);
            if fate == Fate::Keep {
                self.apply(slot, &mut connection);
            }
            fate
        }));
        match fate {
            Ok(Fate::Keep) => {
                self.schedule(slot, &connection);
                self.connections[at(slot)] = Some(connection);
            }
            Ok(Fate::Drop) => self.remove(slot, connection),
            Err(_) => self.remove_broken(slot, connection),
        }
    }

    /// Takes out a connection whose visit panicked.
    fn remove_broken(&mut self, slot: u32, connection: Box<Connection<S>>) {
        tracing::error!(connection_id = %connection.session.id(), "a bug in the server ended this connection");
        if self.scratch.is_empty() {
            // It was lent to the reader that panicked. Without it every read would look like the end.
            self.scratch = Self::scratch();
        }
        // What has ended is ended in the hub too; of the rest nobody knows how much was meant.
        self.desk.effects.retain(|effect| matches!(effect, Effect::End(_)));
        self.remove(slot, connection);
    }

    /// Takes a connection out for good.
    fn remove(&mut self, slot: u32, mut connection: Box<Connection<S>>) {
        if !connection.session.is_closed() {
            connection.session.vanish(&mut self.desk.context());
        }
        if catch_unwind(AssertUnwindSafe(|| self.apply(slot, &mut connection))).is_err() {
            tracing::error!(connection_id = %connection.session.id(), "a bug in the server kept it from cleaning up");
            self.desk.effects.clear();
        }
        self.bequeath(&mut connection);
        self.desk.node.users.leave(connection.session.user(), self.place(slot));
        self.connections.remove(at(slot));
        self.deadlines.forget(slot);
        self.cells().connections_closed.increment();
        tracing::debug!(connection_id = %connection.session.id(), "connection closed");
        let left = self.connections.len();
        if left == 0 || (self.most >= STORM && is_sparse(left, self.most)) {
            self.most = left;
            self.give_back();
        }
    }

    /// Gives back what a storm needed.
    fn give_back(&mut self) {
        self.desk.node.hub.shrink();
        self.desk.node.users.shrink();
        if self.connections.is_empty() {
            self.connections = slab::Slab::new();
            self.dirty = std::collections::VecDeque::new();
            self.heavy = std::collections::VecDeque::new();
            self.events = std::collections::VecDeque::new();
            self.departures.shrink_to_fit();
            self.pass_visits = 0;
            self.runnable = std::collections::VecDeque::new();
            self.unfinished = std::collections::VecDeque::new();
            self.deferred = std::collections::VecDeque::new();
            self.due = std::collections::VecDeque::new();
            self.deadlines.give_back();
        }
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, slot: u32, close: Close) {
        self.with(slot, |shard, connection| {
            if !connection.session.is_closed() {
                connection.session.close(close, &mut shard.desk.context());
            }
            Fate::Keep
        });
    }

    fn schedule(&mut self, slot: u32, connection: &Connection<S>) {
        let closing = match connection.stage {
            Stage::Open => u64::MAX,
            Stage::Closing { until_ms } | Stage::Closed { until_ms } | Stage::Lingering { until_ms } => until_ms,
        };
        let blocked = match connection.blocked_ms {
            0 => u64::MAX,
            _ if connection.stage != Stage::Open => u64::MAX,
            since => since + self.settings.write_timeout_ms,
        };
        let Settings { pong_timeout_ms, ping_interval_ms, .. } = self.settings;
        let session = connection.session.deadline(pong_timeout_ms, ping_interval_ms).unwrap_or(u64::MAX);
        self.deadlines.schedule(slot, closing.min(blocked).min(session));
    }

    /// Arms the timer. Returns whether it may already have run out, or more are due than a turn takes.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.due.is_empty() {
            self.timer_ms = None;
            return true;
        }
        let drain = self.drain.as_ref().and_then(|drain| drain.schedule.front()).map(|&(ms, _)| ms);
        let next = self.deadlines.next_ms().into_iter().chain(drain).min();
        let Some(next) = next else {
            self.timer_ms = None;
            return false;
        };
        if self.timer_ms != Some(next) {
            self.timer_ms = Some(next);
            let instant = self.desk.node.clock.instant(next + self.stalled_ms);
            self.timer.as_mut().reset(instant);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer_ms = None;
        true
    }

    /// Does what the time demands.
    fn expire(&mut self) {
        while let Some((tick, slots)) = self.deadlines.take(self.desk.now) {
            self.due.extend(slots.into_iter().map(|slot| (tick, slot)));
        }
        // A thousand that were cut in one moment are dropped in another, and the kernel takes its time for each.
        let most = if self.has_nothing_else() { TURN } else { TURN_LATE };
        let mut share = Share::default();
        let mut visits = 0;
        while visits < most && !self.due.is_empty() && share.has_more() {
            let Some((tick, slot)) = self.due.pop_front() else { break };
            if self.deadlines.is_due(tick, slot) {
                self.with(slot, |shard, connection| shard.tick(slot, connection));
                visits += 1;
            }
        }
        while let Some(drain) = &mut self.drain {
            let Some(&(ms, slot)) = drain.schedule.front().filter(|(ms, _)| *ms <= self.desk.now.ms) else { return };
            tracing::trace!(ms, slot, "draining");
            drain.schedule.pop_front();
            self.close(slot, DisconnectCode::Shutdown.into());
        }
    }

    /// Whether nobody would wait for what is done beside the rest.
    fn has_nothing_else(&self) -> bool {
        let queues = [&self.runnable, &self.unfinished, &self.deferred, &self.dirty, &self.heavy];
        self.messages.is_empty() && self.events.is_empty() && queues.iter().all(|queue| queue.is_empty())
    }

    fn tick(&mut self, slot: u32, connection: &mut Connection<S>) -> Fate {
        let now = self.desk.now.ms;
        // What the peer has said in time counts, also if it was not read in time.
        if connection.stage == Stage::Open && self.drive(LAST_VISIT, slot, connection) == Fate::Drop {
            return Fate::Drop;
        }
        match connection.stage {
            Stage::Open => {}
            Stage::Closing { until_ms } | Stage::Closed { until_ms } | Stage::Lingering { until_ms } => {
                if now < until_ms {
                    return Fate::Keep;
                }
                if connection.wants_to_write() {
                    // It took nothing to the last: what the kernel holds for it would outlive it, and every limit.
                    connection.stream.abort();
                }
                return Fate::Drop;
            }
        }
        if connection.blocked_ms > 0 && now >= connection.blocked_ms + self.settings.write_timeout_ms {
            connection.session.close(DisconnectCode::WriteError.into(), &mut self.desk.context());
        } else {
            let deaf = self.is_kept_waiting(connection) || answers_pile_up(&connection.outbox);
            connection.session.tick(deaf, &mut self.desk.context());
        }
        Fate::Keep
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Act { target, action, done } => {
                let count = self.act(target, &action);
                // Whoever asked may have gone away meanwhile.
                let _ = done.send(count);
            }
            Control::Outdated { user, slot } => self.close_outdated(&user, slot),
            Control::Drain { spread_ms } => self.start_drain(spread_ms),
            Control::Count { done } => {
                // Whoever asked may have gone away meanwhile.
                let _ = done.send(self.census());
            }
            Control::Stop => self.stopped = true,
        }
    }

    fn census(&self) -> Census {
        let (channels, members, waiting) = self.members.census();
        let connections = self.connections.iter().filter_map(|(_, connection)| connection.as_ref());
        let outboxes = connections.map(|connection| &connection.outbox);
        Census {
            connections: self.connections.len(),
            channels,
            members,
            waiting,
            answers: self.answers.len(),
            outbox_bytes: outboxes.clone().map(Outbox::bytes).sum(),
            outbox_push_bytes_max: outboxes.clone().map(Outbox::push_bytes).max().unwrap_or(0),
            outbox_answer_bytes_max: outboxes.map(Outbox::answer_bytes).max().unwrap_or(0),
            inbox_messages: self.messages.len()
                + self.events.len()
                + self.departures.len()
                + self.desk.node.hub.inbox(usize::from(self.index)).len(),
            ..Census::default()
        }
    }

    fn act(&mut self, target: Target, action: &Action) -> usize {
        type Wanted = Box<dyn Fn(&Session) -> bool>;
        let (slots, wanted): (Vec<u32>, Wanted) = match target {
            Target::Client(slot, id) => (vec![slot], Box::new(move |session| session.id() == id)),
            Target::User { user, slots, except } => {
                (slots, Box::new(move |session| session.user() == &*user && !except.contains(&session.id())))
            }
            Target::Anonymous { except } => (
                self.connections.iter().map(|(slot, _)| u32::try_from(slot).unwrap_or(u32::MAX)).collect(),
                Box::new(move |session| session.user().is_empty() && !except.contains(&session.id())),
            ),
        };
        let mut count = 0;
        for slot in slots {
            self.with(slot, |shard, connection| {
                if connection.session.is_connected() && wanted(&connection.session) {
                    connection.session.control(action.clone(), &mut shard.desk.context());
                    count += 1;
                }
                Fate::Keep
            });
        }
        count
    }

    fn close_outdated(&mut self, user: &str, slot: u32) {
        let place = self.place(slot);
        self.with(slot, |shard, connection| {
            let session = &mut connection.session;
            // Also one that is still connecting.
            if !session.is_closed() && session.user() == user && shard.desk.node.users.newest(user) != Some(place) {
                session.close(DisconnectCode::ConnectionLimit.into(), &mut shard.desk.context());
            }
            Fate::Keep
        });
    }

    fn start_drain(&mut self, spread_ms: u64) {
        let now = self.desk.now.ms;
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        let mut schedule: Vec<_> = slots
            .into_iter()
            .map(|slot| (now + self.desk.chance.random_range(0..=spread_ms), u32::try_from(slot).unwrap_or(u32::MAX)))
            .collect();
        schedule.sort_unstable();
        self.drain = Some(Drain { schedule: schedule.into() });
    }

    fn drop_all(&mut self) {
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.with(u32::try_from(slot).unwrap_or(u32::MAX), |_, _| Fate::Drop);
        }
    }
}
