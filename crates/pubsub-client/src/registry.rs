//! The subscriptions of a client: who wants which topic, and how far each has got.
//!
//! Shared by all handles, which attach and detach local subscribers, and by the connection's task, which brings what
//! *is* in line with what is *wanted* ([`Entry::step`]). Topics survive a disconnect here. Like the pending requests it
//! is a concurrent map with two shards and a fixed hasher. Readers are woken after a shard's lock is released.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as MapEntry;
use pubsub_protocol::reply::SubscribeResult;
use pubsub_protocol::{Payload, StreamPosition, UnsubscribeCode, codes};
use smallvec::SmallVec;

use crate::event::{Event, Publication, Recovery, Subscribed};
use crate::ids::Topic;
use crate::mailbox::{Mailbox, Wake};
use crate::options::{Overflow, SubscribeOptions};
use crate::pending::{FixedHasher, SHARDS};
use crate::planted::{self, Bug};

/// The store.
#[derive(Debug)]
pub(crate) struct Registry {
    entries: DashMap<Topic, Entry, FixedHasher>,
}

/// One remote subscription and the local subscribers that share it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) options: SubscribeOptions,
    pub(crate) phase: Phase,
    /// The token to subscribe with, once it was had.
    pub(crate) token: Option<Arc<str>>,
    /// Refusals and losses in a row, for the delay before the next try.
    pub(crate) attempts: u32,
    locals: Vec<Arc<Mailbox>>,
    /// The server made it, and it alone ends it.
    by_server: bool,
    /// Where the stream stands, in channels that have positions.
    stream: Option<Stream>,
    recoverable: bool,
    /// It has to begin anew: a gap was seen, or a local subscriber has caught up with its own backlog.
    restart: bool,
    /// The position was declared void: what follows is not a continuation.
    invalidated: bool,
    /// What the subscribe request asked to recover from.
    asked: Option<StreamPosition>,
    /// Which connection it is in force on, and what the server said: for those who join later.
    generation: u64,
    data: Option<Payload>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    epoch: Arc<str>,
    /// Of the last publication that came.
    offset: u64,
}

/// How far a remote subscription has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Its token is being fetched, by this number.
    FetchingToken {
        number: u64,
    },
    /// Refused for now; a timer will try again.
    WaitingRetry,
    Subscribing,
    InForce,
    Unsubscribing,
}

/// What the connection has to do for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Subscribe,
    Unsubscribe,
    Forget,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// Seen before.
    Duplicate,
    /// Something before it is missing: it is not delivered, the subscription has to begin anew.
    Gap,
    /// Nobody is subscribed.
    Stray,
}

/// Readers to be woken. Most topics have one local subscriber: no list for it.
#[derive(Debug, Default)]
#[must_use = "readers have to be woken"]
pub(crate) struct Wakes(SmallVec<[Wake; 1]>);

impl Wakes {
    fn of(locals: &[Arc<Mailbox>], put: impl Fn(&Mailbox) -> Wake) -> Self {
        let mut wakes = Self::default();
        wakes.put(locals, put);
        wakes
    }

    fn put(&mut self, locals: &[Arc<Mailbox>], put: impl Fn(&Mailbox) -> Wake) {
        self.0.extend(locals.iter().map(|local| put(local)));
    }

    pub(crate) fn now(self) {
        for wake in self.0 {
            wake.now();
        }
    }
}

impl Entry {
    fn new(options: SubscribeOptions) -> Self {
        Self {
            options,
            phase: Phase::Idle,
            token: None,
            attempts: 0,
            locals: Vec::new(),
            by_server: false,
            stream: None,
            recoverable: false,
            restart: false,
            invalidated: false,
            asked: None,
            generation: 0,
            data: None,
        }
    }

    /// What is to be done next, on a connection that is ready.
    pub(crate) fn step(&self) -> Step {
        let wanted = !self.locals.is_empty();
        match self.phase {
            _ if self.by_server => Step::Nothing,
            Phase::Idle if wanted => Step::Subscribe,
            Phase::Idle | Phase::FetchingToken { .. } | Phase::WaitingRetry if !wanted => Step::Forget,
            Phase::InForce if !wanted || self.restart => Step::Unsubscribe,
            _ => Step::Nothing,
        }
    }

    pub(crate) fn in_force(&self) -> bool {
        self.phase == Phase::InForce
    }

    pub(crate) fn by_server(&self) -> bool {
        self.by_server
    }

    /// Whether the application has to be asked for a token first.
    pub(crate) fn lacks_token(&self) -> bool {
        self.token.is_none() && self.options.token.is_renewable()
    }

    /// Where to recover from: the earliest place where a local subscriber stands that has room for what comes.
    fn position(&self) -> Option<StreamPosition> {
        match &self.stream {
            Some(stream) if self.recoverable => {
                let offset =
                    self.locals.iter().filter_map(|local| local.recovers_from()).min().unwrap_or(stream.offset);
                let offset = offset + u64::from(planted::is(Bug::ResumedOnePast));
                Some(StreamPosition::new(offset, &*stream.epoch))
            }
            Some(_) => None,
            None if self.invalidated => None,
            None => self.options.since.clone(),
        }
    }

    /// A subscribe request leaves. Returns where it asks to recover from.
    pub(crate) fn subscribing(&mut self) -> Option<StreamPosition> {
        self.phase = Phase::Subscribing;
        self.restart = false;
        self.asked = self.position();
        self.asked.clone()
    }

    /// Whether what was refused was asked for by somebody who has left, with other options: then it is to begin anew.
    pub(crate) fn asked_for_another(&mut self) -> bool {
        let restart = std::mem::take(&mut self.restart);
        if restart {
            self.phase = Phase::Idle;
        }
        restart
    }

    /// The server's answer: not in force any more. True: it is to begin anew, and not at once, since beginning anew has
    /// not helped before.
    pub(crate) fn left(&mut self) -> bool {
        self.phase = Phase::Idle;
        self.attempts > 1 && !self.locals.is_empty()
    }

    /// The server's answer: in force.
    fn subscribed(&mut self, result: SubscribeResult, generation: u64) -> Wakes {
        self.phase = Phase::InForce;
        if self.restart {
            // It was asked for by somebody who has left, with other options: whoever came since wants another.
            return Wakes::default();
        }
        let asked = self.asked.take();
        if let Some(asked) = &asked
            && !result.recovered
            && self.leave_behind(asked, &result)
        {
            return Wakes::default();
        }
        let recovery = match &asked {
            Some(_) if result.recovered || planted::is(Bug::RecoveryTakenForGranted) => Recovery::Recovered,
            Some(_) => Recovery::NotRecovered,
            None if self.invalidated => Recovery::NotRecovered,
            None => Recovery::Fresh,
        };
        let tracked = result.recoverable || result.positioned;
        let base = match (&asked, recovery) {
            // The server repeats the offset it was asked for; what it says of itself then does not matter.
            (Some(asked), Recovery::Recovered) => asked.offset,
            _ => result.offset,
        };
        self.invalidated = false;
        self.recoverable = result.recoverable;
        let old = self.stream.take().filter(|_| planted::is(Bug::OldEpochKept));
        let epoch = old.map_or_else(|| Arc::from(result.epoch.as_str()), |old| old.epoch);
        self.stream = tracked.then_some(Stream { epoch, offset: base });
        self.generation = generation;
        self.data = result.data;
        let event = Subscribed::new(recovery, self.stream_position(), self.data.clone(), generation);
        let recovers = self.recovers();
        let mut wakes = Wakes::of(&self.locals, |local| local.subscribed(event.clone(), base, recovers));
        if planted::is(Bug::PositionAdoptedEarly) {
            self.adopt(base + result.publications.len() as u64);
        }
        for publication in result.publications {
            let (verdict, more) = self.publication(publication, Mailbox::recovered);
            wakes.0.extend(more.0);
            if verdict == Verdict::Gap {
                break;
            }
        }
        // Who was left out, and has read meanwhile.
        self.restart |= self.recovers() && self.locals.iter().any(|local| local.wants_catch_up());
        wakes
    }

    /// Moves everybody to an offset, as only a planted bug does.
    fn adopt(&mut self, offset: u64) {
        self.locals.iter().for_each(|local| local.stand_at(offset));
        self.stream.iter_mut().for_each(|stream| stream.offset = offset);
    }

    /// What the one furthest behind lacks is not kept any more: it moves on to where the next one stands, and the
    /// subscription begins anew from there. So a subscriber that lags too far takes no other with it. False: nobody
    /// stands further on, or the stream is another.
    fn leave_behind(&mut self, asked: &StreamPosition, result: &SubscribeResult) -> bool {
        let next = self.locals.iter().map(|local| local.offset()).filter(|&offset| offset > asked.offset).min();
        let Some(next) = next.filter(|_| result.recoverable && result.epoch == asked.epoch) else { return false };
        for local in self.locals.iter().filter(|local| local.offset() < next) {
            local.move_on(next);
        }
        self.restart = true;
        true
    }

    fn stream_position(&self) -> Option<StreamPosition> {
        self.stream.as_ref().map(|stream| StreamPosition::new(stream.offset, &*stream.epoch))
    }

    /// Whether a local subscriber that lags gets later what it misses now.
    fn recovers(&self) -> bool {
        self.recoverable && !self.by_server && self.options.overflow == Overflow::Recover
    }

    /// A publication came, and is `put` into each mailbox.
    fn publication(
        &mut self,
        publication: pubsub_protocol::Publication,
        put: impl Fn(&Mailbox, &Publication, bool) -> Wake,
    ) -> (Verdict, Wakes) {
        if self.phase != Phase::InForce || self.restart {
            return (Verdict::Stray, Wakes::default());
        }
        let Some(stream) = &mut self.stream else {
            let publication = Publication::new(publication, Arc::default());
            return (Verdict::Delivered, Wakes::of(&self.locals, |local| put(local, &publication, false)));
        };
        let mut wakes = Wakes::default();
        if !publication.epoch.is_empty() && *publication.epoch != *stream.epoch {
            if !stream.epoch.is_empty() && !self.by_server {
                return (Verdict::Gap, self.gap());
            }
            stream.epoch = Arc::from(publication.epoch.as_str());
        }
        if publication.offset > 0 {
            if publication.offset <= stream.offset {
                return (Verdict::Duplicate, wakes);
            }
            let missed = publication.offset - stream.offset - 1;
            if missed > 0 {
                // (What the server subscribed it cannot be asked to subscribe anew; it watches the position itself.)
                if self.recoverable && !self.by_server {
                    return (Verdict::Gap, self.gap());
                }
                wakes.put(&self.locals, |local| local.notice(Event::Lagged { missed }));
            }
            stream.offset = publication.offset;
        }
        // What works is not a failure in a row any more.
        self.attempts = 0;
        let publication = Publication::new(publication, stream.epoch.clone());
        wakes.put(&self.locals, |local| put(local, &publication, true));
        (Verdict::Delivered, wakes)
    }

    /// Something is missing: it has to begin anew. Told like the server's own word for the same.
    fn gap(&mut self) -> Wakes {
        self.restart = true;
        self.attempts = self.attempts.saturating_add(1);
        let code = UnsubscribeCode::Insufficient;
        let event = Event::Interrupted { code: code.code(), reason: "a publication is missing".to_owned() };
        Wakes::of(&self.locals, |local| local.notice(event.clone()))
    }

    /// It is not in force any more, but will be again.
    fn interrupted(&mut self, code: u32, reason: &str) -> Wakes {
        let was = std::mem::take(&mut self.phase);
        self.restart = false;
        if !matches!(was, Phase::InForce | Phase::Unsubscribing) {
            return Wakes::default();
        }
        let event = Event::Interrupted { code, reason: reason.to_owned() };
        Wakes::of(&self.locals, |local| local.notice(event.clone()))
    }

    /// What this code of an unsubscribe says is void.
    fn forget_what_is_void(&mut self, code: u32) {
        match UnsubscribeCode::from_code(code) {
            Some(UnsubscribeCode::Expired) => self.token = None,
            Some(UnsubscribeCode::StateInvalidated) => self.invalidate(),
            _ => {}
        }
    }

    fn invalidate(&mut self) {
        self.token = None;
        self.invalidated |= self.stream.take().is_some();
    }

    fn end(&mut self, code: u32, reason: &str) -> Wakes {
        let wakes = Wakes::of(&self.locals, |local| local.end(code, reason));
        self.locals.clear();
        wakes
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { entries: DashMap::with_capacity_and_hasher_and_shard_amount(0, FixedHasher::default(), SHARDS) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All topics, in an order that does not depend on the map.
    pub(crate) fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> = self.entries.iter().map(|entry| entry.key().clone()).collect();
        topics.sort_unstable();
        topics
    }

    /// Adds a local subscriber. `Ok(true)`: the connection has to be told. `Err`: the options do not agree.
    pub(crate) fn attach(&self, topic: &Topic, options: &SubscribeOptions, local: Arc<Mailbox>) -> Result<bool, ()> {
        let (wake, tell) = {
            let mut entry = match self.entries.entry(topic.clone()) {
                MapEntry::Occupied(entry) => entry.into_ref(),
                MapEntry::Vacant(place) => place.insert(Entry::new(options.clone())),
            };
            let entry = entry.value_mut();
            if entry.by_server {
                // In force or about to be, on the server's terms.
            } else if entry.locals.is_empty() {
                // Whoever was here is gone: nothing to agree with, and nothing to continue.
                let phase = match entry.phase {
                    // By another's means.
                    Phase::FetchingToken { .. } => Phase::Idle,
                    phase => phase,
                };
                *entry = Entry { phase, ..Entry::new(options.clone()) };
                // Under way for somebody else: let it end, and begin anew.
                entry.restart = matches!(phase, Phase::InForce | Phase::Subscribing);
            } else if !entry.options.agrees_with(options) {
                return Err(());
            }
            let mut wake = Wake::default();
            let stands_at = entry.stream.as_ref().map_or(0, |stream| stream.offset);
            local.stand_at(stands_at);
            if entry.phase == Phase::InForce && !entry.restart {
                let event =
                    Subscribed::new(Recovery::Fresh, entry.stream_position(), entry.data.clone(), entry.generation);
                wake = local.subscribed(event, stands_at, entry.recovers());
            }
            entry.locals.push(local);
            (wake, entry.step() != Step::Nothing)
        };
        wake.now();
        Ok(tell)
    }

    /// Removes a local subscriber. True: it was the last, the connection has to be told.
    pub(crate) fn detach(&self, topic: &Topic, local: &Arc<Mailbox>) -> bool {
        let Some(mut entry) = self.entries.get_mut(topic) else { return false };
        entry.locals.retain(|other| !Arc::ptr_eq(other, local));
        entry.locals.is_empty()
    }

    /// Ends the topic for all local subscribers. True: the connection has to be told.
    pub(crate) fn unsubscribe(&self, topic: &Topic) -> bool {
        self.unsubscribe_with(topic, Event::UNSUBSCRIBED_BY_US, "unsubscribed")
    }

    /// The same for another reason.
    pub(crate) fn unsubscribe_with(&self, topic: &Topic, code: u32, reason: &str) -> bool {
        let wakes = self.with(topic, |entry| entry.end(code, reason));
        let known = wakes.is_some();
        wakes.unwrap_or_default().now();
        known
    }

    /// A local subscriber has room again: begin anew to fetch what it lacks.
    pub(crate) fn catch_up(&self, topic: &Topic) {
        if let Some(mut entry) = self.entries.get_mut(topic)
            && entry.phase == Phase::InForce
            && entry.locals.iter().any(|local| local.wants_catch_up())
        {
            entry.restart = true;
        }
    }

    /// Looks at, or changes, the entry of a topic. `change` must not call back into the store.
    pub(crate) fn with<T>(&self, topic: &Topic, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.entries.get_mut(topic).map(|mut entry| change(entry.value_mut()))
    }

    /// Forgets a topic, if still nobody wants it.
    pub(crate) fn forget(&self, topic: &Topic) {
        self.entries.remove_if(topic, |_, entry| entry.locals.is_empty() && !entry.by_server);
    }

    pub(crate) fn subscribed(&self, topic: &Topic, result: SubscribeResult, generation: u64) {
        self.with(topic, |entry| entry.subscribed(result, generation)).unwrap_or_default().now();
    }

    /// The server refused for good, or the application has no token.
    pub(crate) fn refused(&self, topic: &Topic, code: u32, reason: &str) {
        let wakes = self.with(topic, |entry| {
            entry.phase = Phase::Idle;
            entry.by_server = false;
            entry.end(code, reason)
        });
        self.forget(topic);
        wakes.unwrap_or_default().now();
    }

    // -- Subscriptions that the server makes

    /// Where to recover those from that the server made, and will make again.
    pub(crate) fn server_positions(&self) -> Vec<(Topic, StreamPosition)> {
        let mut positions = Vec::new();
        for mut entry in self.entries.iter_mut().filter(|entry| entry.by_server) {
            entry.asked = entry.position();
            let asked = entry.asked.clone();
            positions.extend(asked.map(|position| (entry.key().clone(), position)));
        }
        positions.sort_by(|(a, _), (b, _)| a.cmp(b));
        positions
    }

    /// The server made a subscription.
    pub(crate) fn server_subscribed(&self, topic: &Topic, result: SubscribeResult, generation: u64) {
        let wakes = {
            let mut entry =
                self.entries.entry(topic.clone()).or_insert_with(|| Entry::new(SubscribeOptions::default()));
            entry.by_server = true;
            entry.restart = false;
            entry.subscribed(result, generation)
        };
        wakes.now();
    }

    /// Of those that the server made only these are left.
    pub(crate) fn end_server_subscriptions_except(&self, left: &std::collections::BTreeSet<Topic>) {
        for topic in self.topics() {
            let gone = self.with(&topic, |entry| entry.by_server && !left.contains(&topic)).unwrap_or_default();
            if gone {
                let code = UnsubscribeCode::Server;
                self.refused(&topic, code.code(), code.message());
            }
        }
    }

    pub(crate) fn publication(&self, topic: &Topic, publication: pubsub_protocol::Publication) -> Verdict {
        let Some((verdict, wakes)) = self.with(topic, |entry| entry.publication(publication, Mailbox::publication))
        else {
            return Verdict::Stray;
        };
        wakes.now();
        verdict
    }

    pub(crate) fn notice(&self, topic: &Topic, event: &Event) {
        let wakes = self.with(topic, |entry| match entry.phase {
            Phase::InForce => Wakes::of(&entry.locals, |local| local.notice(event.clone())),
            _ => Wakes::default(),
        });
        wakes.unwrap_or_default().now();
    }

    /// The server ended the subscription. True: it is to be made again.
    pub(crate) fn unsubscribed(&self, topic: &Topic, code: u32, reason: &str) -> bool {
        // What the server subscribed is the server's to subscribe again.
        let by_server = self.with(topic, |entry| entry.by_server).unwrap_or_default();
        if by_server || !codes::should_resubscribe(code) {
            self.refused(topic, code, reason);
            return false;
        }
        let wakes = self.with(topic, |entry| {
            entry.forget_what_is_void(code);
            entry.interrupted(code, reason)
        });
        let known = wakes.is_some();
        wakes.unwrap_or_default().now();
        known
    }

    /// The server ended the subscription while our own unsubscribe was on its way.
    pub(crate) fn unsubscribed_meanwhile(&self, topic: &Topic, code: u32, reason: &str) {
        let wakes = self.with(topic, |entry| {
            entry.forget_what_is_void(code);
            if codes::should_resubscribe(code) { Wakes::default() } else { entry.end(code, reason) }
        });
        wakes.unwrap_or_default().now();
    }

    /// The connection is lost. With `invalidate` the server has declared tokens and positions void.
    pub(crate) fn connection_lost(&self, code: u32, reason: &str, invalidate: bool) {
        for topic in self.topics() {
            let wakes = self.with(&topic, |entry| {
                if invalidate {
                    entry.invalidate();
                }
                entry.attempts = 0;
                entry.interrupted(code, reason)
            });
            wakes.unwrap_or_default().now();
            self.forget(&topic);
        }
    }

    /// The client has ended.
    pub(crate) fn close(&self, reason: &str) {
        for topic in self.topics() {
            self.refused(&topic, Event::CONNECTION_CLOSED, reason);
        }
    }
}

#[cfg(test)]
mod tests;
