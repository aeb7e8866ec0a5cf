//! Good ledgers by the thousand: a small, correct model of a server, its publishers and its subscribers, driven by chance.
//!
//! With a [`Bug`] the model does what no single change of a good ledger can show, because everybody tells the same story.

use std::collections::VecDeque;
use std::time::Duration;

use super::Law;
use crate::chance::{Chance, Seed};
use crate::ledger::{Cause, Epoch, Event, Outcome, Place, Policy};
use crate::payload::PublicationId;

/// What the model gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A publication gets two places.
    AppendsTwice,
    /// A publication gets its place only after a later one.
    AppendsLate,
    /// A publication is acknowledged and then forgotten.
    ForgetsAcked,
    /// A killed server comes back with a new epoch, undeclared.
    ForgetsAll,
}

struct Stream {
    policy: Policy,
    epoch: Epoch,
    log: Vec<PublicationId>,
    /// Oldest offset kept, minus one.
    trimmed: u64,
}

struct Publisher {
    channel: u32,
    next: u64,
}

struct Subscriber {
    channel: u32,
    bystander: bool,
    wants: bool,
    live: bool,
    generation: u32,
    position: Option<Place>,
    pending: VecDeque<(u64, PublicationId)>,
}

struct Model {
    chance: Chance,
    now: Duration,
    epochs: u64,
    channels: Vec<Stream>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    events: Vec<Event>,
    bug: Option<Bug>,
    delayed: Option<(u32, PublicationId)>,
    /// Publishes whose connection was lost: nobody knows whether they are carried out, and they may be at any time.
    on_their_way: Vec<(u32, PublicationId)>,
}

/// A ledger in which nothing is wrong.
#[must_use]
pub fn good(seed: Seed) -> Vec<Event> {
    Model::new(seed, None).run()
}

/// A ledger of a model with a bug.
#[must_use]
pub fn buggy(seed: Seed, bug: Bug) -> Vec<Event> {
    Model::new(seed, Some(bug)).run()
}

impl Model {
    fn new(seed: Seed, bug: Option<Bug>) -> Self {
        let mut chance = seed.chance(0, "model");
        let mut events = Vec::new();
        let (mut channels, mut publishers, mut subscribers) = (Vec::new(), Vec::new(), Vec::new());
        for channel in 0..u32::try_from(chance.below(1..4)).unwrap_or(1) {
            let history_size = if bug.is_some() { 50 } else { [0, 5, 50][chance.below(0..3) as usize] };
            let policy = Policy { history_size, history_ttl: Duration::from_secs(300), recovery_max: 300 };
            events.push(Event::Channel { channel, policy });
            channels.push(Stream { policy, epoch: Epoch(channel.into()), log: Vec::new(), trimmed: 0 });
            for _ in 0..chance.below(1..3) {
                events.push(Event::Publisher { publisher: publishers.len() as u32, channel });
                publishers.push(Publisher { channel, next: 1 });
            }
            for _ in 0..chance.below(1..4) {
                let bystander = chance.bernoulli(0.3);
                events.push(Event::Subscription { sub: subscribers.len() as u32, channel, bystander });
                subscribers.push(Subscriber {
                    channel,
                    bystander,
                    wants: false,
                    live: false,
                    generation: 0,
                    position: None,
                    pending: VecDeque::new(),
                });
            }
        }
        let epochs = channels.len() as u64;
        Self {
            chance,
            now: Duration::ZERO,
            epochs,
            channels,
            publishers,
            subscribers,
            events,
            bug,
            delayed: None,
            on_their_way: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Event> {
        for sub in 0..self.subscribers.len() {
            self.subscribe(sub);
        }
        for _ in 0..self.chance.below(20..80) {
            self.now += Duration::from_millis(self.chance.below(1..50));
            let sub = self.chance.below(0..self.subscribers.len() as u64) as usize;
            let publisher = self.chance.below(0..self.publishers.len() as u64) as usize;
            if self.chance.bernoulli(0.1) {
                self.carry_out_late();
            }
            match self.chance.below(0..100) {
                0..45 => self.publish(publisher),
                45..75 => self.deliver(sub),
                75..84 if !self.subscribers[sub].bystander => self.drop_connection(sub),
                84..93 => self.subscribe(sub),
                93..96 => self.leave(sub),
                96..98 if self.subscribers.iter().all(|subscriber| !subscriber.bystander) => self.restart(),
                _ => self.deliver(sub),
            }
        }
        self.finish();
        self.events
    }

    fn publish(&mut self, publisher: usize) {
        let channel = self.publishers[publisher].channel;
        let id = PublicationId { run: 1, publisher: publisher as u32, n: self.publishers[publisher].next };
        self.publishers[publisher].next += 1;
        self.events.push(Event::Invoke { at: self.now, id });
        let has_history = self.channels[channel as usize].policy.history_size > 0;
        let draw = self.chance.below(0..100);
        let (appended, names_place) = match draw {
            0..5 => (false, None),
            5..15 => (self.chance.bernoulli(0.5), None),
            15..60 => (true, Some(true)),
            _ => (true, Some(false)),
        };
        let mut place = None;
        if appended {
            place = self.append(channel, id);
        } else if draw >= 5 {
            self.on_their_way.push((channel, id));
        }
        let late = self.chance.bernoulli(0.5);
        if late {
            // The push may be seen before the acknowledgement.
            let sub = self.chance.below(0..self.subscribers.len() as u64) as usize;
            self.deliver(sub);
        }
        let outcome = match (draw, names_place) {
            (0..5, _) => Outcome::Failed,
            (_, Some(true)) if has_history => Outcome::Ok(place),
            (_, Some(_)) => Outcome::Ok(None),
            _ => Outcome::Unknown,
        };
        self.events.push(Event::Done { at: self.now, id, outcome });
    }

    /// One of those of which nobody knows is carried out, whatever its publisher has sent meanwhile.
    fn carry_out_late(&mut self) {
        if self.on_their_way.is_empty() {
            return;
        }
        let at = self.chance.below(0..self.on_their_way.len() as u64) as usize;
        let (channel, id) = self.on_their_way.swap_remove(at);
        self.append_one(channel, id);
    }

    fn append(&mut self, channel: u32, id: PublicationId) -> Option<Place> {
        let bites = self.chance.bernoulli(0.1);
        match self.bug {
            Some(Bug::ForgetsAcked) if bites => return None,
            Some(Bug::AppendsLate) if bites && self.delayed.is_none() => {
                self.delayed = Some((channel, id));
                return None;
            }
            _ => {}
        }
        let place = self.append_one(channel, id);
        if self.bug == Some(Bug::AppendsTwice) && bites {
            self.append_one(channel, id);
        }
        if let Some((late_channel, late)) = self.delayed.take() {
            if late_channel == channel {
                self.append_one(channel, late);
            } else {
                self.delayed = Some((late_channel, late));
            }
        }
        place
    }

    fn append_one(&mut self, channel: u32, id: PublicationId) -> Option<Place> {
        let stream = &mut self.channels[channel as usize];
        stream.log.push(id);
        let offset = if stream.policy.history_size > 0 { stream.log.len() as u64 } else { 0 };
        stream.trimmed = (stream.log.len() as u64).saturating_sub(stream.policy.history_size);
        for subscriber in &mut self.subscribers {
            if subscriber.channel == channel && subscriber.live {
                subscriber.pending.push_back((offset, id));
            }
        }
        (offset > 0).then_some(Place { epoch: stream.epoch, offset })
    }

    fn deliver(&mut self, sub: usize) {
        let subscriber = &mut self.subscribers[sub];
        let Some((offset, id)) = subscriber.pending.pop_front() else { return };
        let epoch = (offset == 1).then_some(self.channels[subscriber.channel as usize].epoch);
        if offset > 0 {
            subscriber.position = Some(Place { epoch: self.channels[subscriber.channel as usize].epoch, offset });
        }
        let (channel, generation) = (subscriber.channel, subscriber.generation);
        self.events.push(Event::Push {
            at: self.now,
            sub: sub as u32,
            generation,
            channel,
            epoch,
            offset,
            content: Ok(id),
        });
    }

    fn drop_connection(&mut self, sub: usize) {
        let subscriber = &mut self.subscribers[sub];
        if !std::mem::take(&mut subscriber.live) {
            return;
        }
        subscriber.pending.clear();
        let cause = Cause::Disconnected(1006);
        self.events.push(Event::Break { at: self.now, sub: sub as u32, generation: subscriber.generation, cause });
    }

    fn leave(&mut self, sub: usize) {
        let subscriber = &mut self.subscribers[sub];
        if !std::mem::take(&mut subscriber.live) {
            return;
        }
        subscriber.wants = false;
        subscriber.position = None;
        subscriber.pending.clear();
        self.events.push(Event::Left { at: self.now, sub: sub as u32, generation: subscriber.generation });
    }

    fn subscribe(&mut self, sub: usize) {
        let subscriber = &mut self.subscribers[sub];
        if std::mem::replace(&mut subscriber.live, true) {
            return;
        }
        subscriber.wants = true;
        subscriber.generation += 1;
        let (channel, generation, from) = (subscriber.channel, subscriber.generation, subscriber.position);
        let stream = &self.channels[channel as usize];
        let top = Place { epoch: stream.epoch, offset: stream.log.len() as u64 };
        let (at, sub_number) = (self.now, sub as u32);
        self.events.push(Event::Ask { at, sub: sub_number, generation, from });
        let kept = from.filter(|from| from.epoch == top.epoch && from.offset >= stream.trimmed);
        let batch: Vec<(u64, PublicationId)> = match kept {
            Some(from) => (from.offset + 1..=top.offset).map(|o| (o, stream.log[o as usize - 1])).collect(),
            None => Vec::new(),
        };
        let has_history = stream.policy.history_size > 0;
        self.subscribers[sub].position = has_history.then_some(top);
        self.events.push(Event::Reply {
            at,
            sub: sub_number,
            generation,
            recovered: kept.is_some(),
            was_recovering: from.is_some(),
            place: has_history.then_some(kept.unwrap_or(top)),
            batch: batch.into_iter().map(|(offset, id)| (offset, Ok(id))).collect(),
            batch_follows: false,
        });
    }

    fn restart(&mut self) {
        for sub in 0..self.subscribers.len() {
            self.drop_connection(sub);
        }
        self.on_their_way.clear();
        for stream in &mut self.channels {
            stream.log.clear();
            stream.trimmed = 0;
            stream.epoch = Epoch(self.epochs);
            self.epochs += 1;
        }
        if self.bug != Some(Bug::ForgetsAll) {
            self.events.push(Event::Amnesia);
        }
    }

    fn finish(&mut self) {
        self.now += Duration::from_secs(1);
        for sub in 0..self.subscribers.len() {
            if self.subscribers[sub].wants {
                self.subscribe(sub);
            }
        }
        for channel in 0..self.channels.len() as u32 {
            let publisher = self.publishers.iter().position(|publisher| publisher.channel == channel);
            let Some(publisher) = publisher else { continue };
            let id = PublicationId { run: 1, publisher: publisher as u32, n: self.publishers[publisher].next };
            self.publishers[publisher].next += 1;
            self.events.push(Event::Invoke { at: self.now, id });
            let place = self.append_one(channel, id);
            self.events.push(Event::Done { at: self.now, id, outcome: Outcome::Ok(place) });
            self.events.push(Event::Sentinel { channel, id });
        }
        for sub in 0..self.subscribers.len() {
            while !self.subscribers[sub].pending.is_empty() {
                self.deliver(sub);
            }
        }
        for (channel, stream) in self.channels.iter().enumerate() {
            if stream.policy.history_size > 0 {
                let kept = stream.trimmed..stream.log.len() as u64;
                let entries = kept.map(|at| (at + 1, Ok(stream.log[at as usize]))).collect();
                let top = Place { epoch: stream.epoch, offset: stream.log.len() as u64 };
                self.events.push(Event::History { at: self.now, channel: channel as u32, request: None, top, entries });
            }
        }
        let live = self.subscribers.iter().filter(|subscriber| subscriber.live).count() as f64;
        for (law, name, value) in
            [(Law::I14, "active subscriptions", live), (Law::I15, "tasks", 3.0), (Law::I18, "presence", live)]
        {
            self.events.push(Event::Compare {
                law,
                name: name.to_owned(),
                expected: value,
                actual: value,
                tolerance: 0.0,
            });
        }
        for law in [Law::I16, Law::I19] {
            self.events.push(Event::Checked { law, count: 1, wrong: Vec::new() });
        }
        self.events.push(Event::Request { request: 1, channel: None });
        self.events.push(Event::Completion { request: 1 });
        self.events.push(Event::Census { at: self.now });
        // Some are stopped as they are, others leave.
        for (sub, subscriber) in (0..).zip(&self.subscribers).filter(|(_, subscriber)| subscriber.live) {
            if self.chance.bernoulli(0.5) {
                self.events.push(Event::Left { at: self.now, sub, generation: subscriber.generation });
            }
        }
    }
}
