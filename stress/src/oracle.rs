//! The judgement over a ledger: laws in, events in, findings out. Pure: no clock, no chance, no I/O.
//!
//! It reads each event once and keeps, per subscription, one span (where it began, how far it is, its holes), and per
//! publication eight bytes: which id stands at which offset, by the first who told of it. Everybody else who
//! tells of that place (an acknowledgement, a push, a recovered batch, a history) must agree. That map is exact where
//! prefix sums would only say that something differs somewhere, at the same price.
//!
//! Loss is by identity, never `expected - received`, and the tail counts: whatever has an offset below one that
//! arrived must have arrived, and after the quiet point every subscription must have reached the channel's sentinel.
//!
//! - [`law`]: the laws and what breaking them is called
//! - `track`: what one span has covered; `publisher`: the same where there are no offsets
//! - `channel`, `subscription`: the state kept for each; `numbered`, `few`: how it is kept
//! - [`naive`]: the same judgement from the whole list of events, written for plainness; the two must agree
//! - [`generate`], [`mutate`]: good ledgers, and ways to spoil them

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::{Content, Epoch, Event, Outcome};
use crate::payload::PublicationId;

mod channel;
mod few;
pub mod generate;
pub mod law;
pub mod mutate;
pub mod naive;
mod numbered;
mod publisher;
mod subscription;
#[cfg(test)]
mod tests;
mod track;

use channel::Channel;
pub use law::{Class, Law, Subject};
use numbered::Numbered;
use subscription::Subscription;

/// Lines of a witness.
const WITNESS_LINES_MAX: usize = 10;

/// Findings by what they are and whom they are about.
pub(crate) type Findings = BTreeMap<(Class, Subject), Finding>;

/// One kind of violation on one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The first of them, told in at most ten lines.
    pub witness: Vec<String>,
}

/// What was found, and what was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The violations.
    pub findings: Findings,
    /// How often each law was evaluated. A law that never was has not held.
    pub evaluated: BTreeMap<Law, u64>,
}

impl Judgement {
    /// Whether nothing was found. Says nothing about what was looked at.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The classes found.
    #[must_use]
    pub fn classes(&self) -> BTreeSet<Class> {
        self.findings.keys().map(|&(class, _)| class).collect()
    }

    /// Findings of one class, all subjects together.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.findings.iter().filter(|((c, _), _)| *c == class).map(|(_, finding)| finding.count).sum()
    }

    /// Those of `laws` that were never evaluated.
    #[must_use]
    pub fn unevaluated(&self, laws: &[Law]) -> Vec<Law> {
        laws.iter().copied().filter(|law| self.evaluated.get(law).copied().unwrap_or(0) == 0).collect()
    }
}

/// Deliveries in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Publishes begun.
    pub invoked: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused.
    pub failed: u64,
    /// Without an answer.
    pub unknown: u64,
    /// Publications that arrived live.
    pub pushed: u64,
    /// Publications that arrived by recovery.
    pub recovered: u64,
    /// Subscribe replies that recovered.
    pub recoveries: u64,
    /// Subscribe replies that honestly did not.
    pub unrecovered: u64,
    /// Breaks of continuity.
    pub breaks: u64,
    /// Subscriptions that their subscribers ended.
    #[serde(default)]
    pub left: u64,
    /// Subscriptions now live.
    pub live: u64,
    /// Channels with a live subscription.
    #[serde(default)]
    pub live_channels: u64,
}

/// Findings and evaluations under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    findings: Findings,
    evaluated: [u64; Law::ALL.len()],
}

impl Notes {
    /// The law was looked at.
    pub(crate) fn check(&mut self, law: Law) {
        self.check_many(law, 1);
    }

    /// So often.
    fn check_many(&mut self, law: Law, count: u64) {
        self.evaluated[law as usize] += count;
    }

    fn judgement(self) -> Judgement {
        let evaluated = Law::ALL.into_iter().zip(self.evaluated).filter(|&(_, count)| count > 0).collect();
        Judgement { findings: self.findings, evaluated }
    }

    /// It was broken.
    pub(crate) fn find(&mut self, class: Class, subject: Subject, line: impl FnOnce() -> String) {
        let finding = self.findings.entry((class, subject)).or_default();
        finding.count += 1;
        if finding.witness.len() < WITNESS_LINES_MAX {
            finding.witness.push(line());
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    channels: Numbered<Channel>,
    /// Which channel a publisher publishes to, and how many it has begun.
    publishers: Numbered<(u32, u64)>,
    subscriptions: Numbered<Subscription>,
    /// Publications that arrived although nobody had begun them: ours to blame, or nobody's.
    early: BTreeMap<(u32, PublicationId), String>,
    /// Open requests; of those about a channel, how far each of its streams was acknowledged when they began.
    requests: BTreeMap<u64, Option<BTreeMap<Epoch, u64>>>,
    notes: Notes,
    tally: Tally,
    over: bool,
}

impl Oracle {
    /// Takes an event in.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Channel { channel, policy } => {
                self.channels.insert(*channel, Channel::new(*channel, *policy));
            }
            Event::Publisher { publisher, channel } => {
                self.publishers.insert(*publisher, (*channel, 0));
                if let Some(channel) = self.channels.get_mut(*channel) {
                    channel.add_publisher(*publisher);
                }
            }
            Event::Subscription { sub, channel, bystander } => {
                self.subscriptions.insert(*sub, Subscription::new(*sub, *channel, *bystander));
            }
            Event::Invoke { at, id } => self.invoke(*at, *id),
            Event::Done { at, id, outcome } => self.done(*at, *id, *outcome),
            Event::Ask { at, sub, generation, from } => {
                let Some((subscription, channel)) = parties(&mut self.subscriptions, &mut self.channels, *sub) else {
                    return;
                };
                subscription.ask(*at, *generation, *from, channel, &mut self.notes);
            }
            Event::Reply { at, sub, generation, recovered, was_recovering, place, batch, batch_follows } => {
                for (offset, content) in batch {
                    self.content(*sub, *content, *offset);
                }
                let Some((subscription, channel)) = parties(&mut self.subscriptions, &mut self.channels, *sub) else {
                    return;
                };
                let reply = subscription::Reply {
                    at: *at,
                    generation: *generation,
                    recovered: *recovered,
                    was_recovering: *was_recovering,
                    place: *place,
                    batch,
                    batch_follows: *batch_follows,
                };
                subscription.reply(&reply, channel, &mut self.notes);
                self.tally.recovered += batch.len() as u64;
                match (recovered, was_recovering) {
                    (true, _) => self.tally.recoveries += 1,
                    (false, true) => self.tally.unrecovered += 1,
                    (false, false) => {}
                }
            }
            Event::Push { at, sub, generation, channel: told, epoch, offset, content } => {
                self.tally.pushed += 1;
                self.content(*sub, *content, *offset);
                let Some((subscription, channel)) = parties(&mut self.subscriptions, &mut self.channels, *sub) else {
                    return;
                };
                if *told != subscription.channel {
                    let line =
                        || format!("a publication of channel {told} at {at:?} on a subscription to {}", channel.number);
                    self.notes.find(Class::Misroute, Subject::Subscription(*sub), line);
                    return;
                }
                let push = subscription::Push {
                    at: *at,
                    generation: *generation,
                    epoch: *epoch,
                    offset: *offset,
                    content: *content,
                };
                subscription.push(&push, channel, &mut self.notes);
            }
            Event::Break { at, sub, generation, cause } => {
                self.tally.breaks += 1;
                let Some(subscription) = self.subscriptions.get_mut(*sub) else { return };
                subscription.broke(*at, *generation, *cause, &mut self.notes);
            }
            Event::Left { generation, sub, .. } => {
                self.tally.left += 1;
                let Some((subscription, channel)) = parties(&mut self.subscriptions, &mut self.channels, *sub) else {
                    return;
                };
                subscription.left(*generation, channel, &mut self.notes);
            }
            Event::History { at, channel, request, top, entries } => {
                for (offset, content) in entries {
                    self.content_of(Subject::Channel(*channel), *channel, *content, *offset, u32::MAX);
                }
                if let Some(channel) = self.channels.get_mut(*channel) {
                    let asked = request.and_then(|request| self.requests.get(&request)?.clone());
                    let acked_tops = asked.unwrap_or_else(|| channel.acked_tops());
                    channel.history(*at, *top, entries, &acked_tops, &mut self.notes);
                }
            }
            Event::Sentinel { channel, id } => {
                if let Some(channel) = self.channels.get_mut(*channel) {
                    channel.sentinel = Some(*id);
                }
            }
            Event::Amnesia => self.channels.values_mut().for_each(Channel::forgets),
            Event::Census { .. } => self.census(),
            Event::Request { request, channel } => {
                let asked = channel.and_then(|channel| self.channels.get(channel));
                self.requests.insert(*request, asked.map(Channel::acked_tops));
            }
            Event::Completion { request } => {
                self.notes.check(Law::I17);
                if self.requests.remove(request).is_none() {
                    let line = || format!("request {request} completed, but it was not open");
                    self.notes.find(Class::LostCompletion, Subject::Run, line);
                }
            }
            Event::Compare { law, name, expected, actual, tolerance } => {
                self.notes.check(*law);
                let excess = actual - expected;
                let one_sided = matches!(law, Law::I13 | Law::I15);
                let off = if one_sided { excess } else { excess.abs() };
                if off > *tolerance || off.is_nan() {
                    let line = || format!("{name}: {actual}, where {expected} (tolerance {tolerance}) should be");
                    self.notes.find(Class::of_measure(*law), Subject::Run, line);
                }
            }
            Event::Checked { law, count, wrong } => {
                self.notes.check_many(*law, *count);
                for line in wrong {
                    self.notes.find(Class::of_measure(*law), Subject::Run, || line.clone());
                }
            }
        }
    }

    /// All is over. Who is stuck is said here and not at the end: until then everybody leaves, and who has left wants nothing.
    fn census(&mut self) {
        self.over = true;
        for subscription in self.subscriptions.values() {
            if let Some(channel) = self.channels.get(subscription.channel) {
                subscription.census(channel, &mut self.notes);
            }
        }
    }

    fn invoke(&mut self, at: Duration, id: PublicationId) {
        self.tally.invoked += 1;
        let Some((channel, invoked)) = self.publishers.get_mut(id.publisher) else { return };
        *invoked = (*invoked).max(id.n);
        if let Some(channel) = self.channels.get_mut(*channel) {
            channel.invoke(at, id);
        }
    }

    fn done(&mut self, at: Duration, id: PublicationId, outcome: Outcome) {
        match outcome {
            Outcome::Ok(_) => self.tally.acknowledged += 1,
            Outcome::Failed => self.tally.failed += 1,
            Outcome::Unknown => self.tally.unknown += 1,
        }
        let Some((channel, _)) = self.publishers.get(id.publisher) else { return };
        if let Some(channel) = self.channels.get_mut(*channel) {
            channel.done(at, id, outcome, &mut self.notes);
        }
    }

    /// I1 and I11 for something that arrived on a subscription.
    fn content(&mut self, sub: u32, content: Content, offset: u64) {
        let Some(subscription) = self.subscriptions.get(sub) else { return };
        self.content_of(Subject::Subscription(sub), subscription.channel, content, offset, sub);
    }

    fn content_of(&mut self, subject: Subject, channel: u32, content: Content, offset: u64, sub: u32) {
        self.notes.check(Law::I1);
        self.notes.check(Law::I11);
        let id = match content {
            Ok(id) => id,
            Err(damage) => {
                self.notes.find(Class::Corruption, subject, || format!("at offset {offset}: {damage}"));
                return;
            }
        };
        match self.publishers.get(id.publisher) {
            None => self
                .notes
                .find(Class::Phantom, subject, || format!("{id} at offset {offset}: nobody is that publisher")),
            Some(&(home, _)) if home != channel => {
                let line = || format!("{id} at offset {offset} belongs to channel {home}");
                self.notes.find(Class::Misroute, subject, line);
            }
            Some(&(_, invoked)) if id.n > invoked => {
                self.early
                    .insert((sub, id), format!("{id} at offset {offset}, when its publisher had begun {invoked}"));
            }
            Some(_) => {
                if self.channels.get(channel).is_some_and(|channel| channel.failed.contains(&id)) {
                    let line = || format!("{id} arrived at offset {offset} although its publish had failed");
                    self.notes.find(Class::Aborted, Subject::Channel(channel), line);
                }
            }
        }
    }

    /// Deliveries in numbers, so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        let mut channels = BTreeSet::new();
        for subscription in self.subscriptions.values().filter(|subscription| subscription.is_live()) {
            tally.live += 1;
            channels.insert(subscription.channel);
        }
        tally.live_channels = channels.len() as u64;
        tally
    }

    /// What was found on the way. Nothing of it can be mended by what is still to come.
    #[must_use]
    pub fn found(&self) -> Judgement {
        self.notes.clone().judgement()
    }

    /// What was found. Complete only after a census.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let mut notes = self.notes.clone();
        for ((sub, id), line) in &self.early {
            let begun_after_all = self.publishers.get(id.publisher).is_some_and(|&(_, invoked)| id.n <= invoked);
            let class = if begun_after_all { Class::HarnessFault } else { Class::Phantom };
            let history = self.publishers.get(id.publisher).map_or(Subject::Run, |&(home, _)| Subject::Channel(home));
            let subject = if *sub == u32::MAX { history } else { Subject::Subscription(*sub) };
            notes.find(class, subject, || line.clone());
        }
        for channel in self.channels.values() {
            channel.judge(&mut notes);
        }
        for subscription in self.subscriptions.values() {
            if let Some(channel) = self.channels.get(subscription.channel) {
                subscription.judge(channel, &mut notes);
            }
        }
        if self.over {
            for request in self.requests.keys() {
                let line = || format!("request {request} was never completed");
                notes.find(Class::LostCompletion, Subject::Run, line);
            }
        }
        notes.judgement()
    }
}

fn parties<'a>(
    subscriptions: &'a mut Numbered<Subscription>,
    channels: &'a mut Numbered<Channel>,
    sub: u32,
) -> Option<(&'a mut Subscription, &'a mut Channel)> {
    let subscription = subscriptions.get_mut(sub)?;
    let channel = channels.get_mut(subscription.channel)?;
    Some((subscription, channel))
}
