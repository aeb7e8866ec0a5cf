//! The second judge: the same laws from the whole list of events, written for plainness, with lists and sets where the
//! [`Oracle`](super::Oracle) keeps counters. Slow, and shares no judging code with it; on thousands of generated ledgers the two
//! must name the same classes on the same subjects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Class, Law, Subject};
use crate::ledger::{Content, Epoch, Event, Outcome, Place, Policy};
use crate::payload::PublicationId;

/// What is wrong, and with whom.
pub type Verdicts = BTreeSet<(Class, Subject)>;

/// By event, the channel and place that an accepted push or batch speaks of, and what it puts there.
type Told = BTreeMap<usize, Vec<(u32, Place, PublicationId)>>;

/// Numbers of one publisher, in order of arrival, each with its event.
type Numbers = Vec<(usize, u64)>;

/// A recovery that was refused although the history was young and enough of it may be kept.
struct Refused {
    channel: u32,
    subject: Subject,
    from: Place,
    /// What may have run out before this one came; none: nothing has.
    since: Option<PublicationId>,
}

struct Span {
    epoch: Epoch,
    start: u64,
    /// Offsets in order of arrival; `None` stands between a recovered batch and what follows it.
    arrivals: Vec<Option<u64>>,
    /// Offsets that somebody else has been blamed for.
    charged: BTreeSet<u64>,
}

/// Judges a whole list.
#[must_use]
pub fn judge(events: &[Event]) -> Verdicts {
    let mut verdicts = of_all(events);
    // Who is stuck is said at the census: after it, everybody may leave.
    if let Some(census) = events.iter().position(|event| matches!(event, Event::Census { .. })) {
        let is_stuck = |&(class, _): &(Class, Subject)| class == Class::Stuck;
        verdicts.retain(|verdict| !is_stuck(verdict));
        verdicts.extend(of_all(&events[..=census]).into_iter().filter(is_stuck));
    }
    verdicts
}

fn of_all(events: &[Event]) -> Verdicts {
    let judge = Judge::new(events);
    let mut verdicts = Verdicts::new();
    judge.measures(&mut verdicts);
    judge.contents(&mut verdicts);
    judge.completions(&mut verdicts);
    let mut refused = Vec::new();
    let accepted = judge.subscriptions(&mut verdicts, &mut refused);
    judge.places(&accepted, &refused, &mut verdicts);
    verdicts
}

struct Judge<'a> {
    events: &'a [Event],
    policies: BTreeMap<u32, Policy>,
    homes: BTreeMap<u32, u32>,
    subscriptions: BTreeMap<u32, (u32, bool)>,
}

impl<'a> Judge<'a> {
    fn new(events: &'a [Event]) -> Self {
        let mut judge =
            Self { events, policies: BTreeMap::new(), homes: BTreeMap::new(), subscriptions: BTreeMap::new() };
        for event in events {
            match event {
                Event::Channel { channel, policy } => drop(judge.policies.insert(*channel, *policy)),
                Event::Publisher { publisher, channel } => drop(judge.homes.insert(*publisher, *channel)),
                Event::Subscription { sub, channel, bystander } => {
                    judge.subscriptions.insert(*sub, (*channel, *bystander));
                }
                _ => {}
            }
        }
        judge
    }

    fn has_history(&self, channel: u32) -> bool {
        self.policies.get(&channel).is_some_and(|policy| policy.history_size > 0)
    }

    fn measures(&self, verdicts: &mut Verdicts) {
        let mut open = BTreeSet::new();
        for event in self.events {
            match event {
                Event::Compare { law, expected, actual, tolerance, .. } => {
                    let at_most = matches!(law, Law::I13 | Law::I15);
                    let holds = actual - expected <= *tolerance && (at_most || expected - actual <= *tolerance);
                    if !holds {
                        verdicts.insert((Class::of_measure(*law), Subject::Run));
                    }
                }
                Event::Checked { law, wrong, .. } if !wrong.is_empty() => {
                    verdicts.insert((Class::of_measure(*law), Subject::Run));
                }
                Event::Request { request, .. } => drop(open.insert(*request)),
                Event::Completion { request } if !open.remove(request) => {
                    verdicts.insert((Class::LostCompletion, Subject::Run));
                }
                _ => {}
            }
        }
        if !open.is_empty() && self.events.iter().any(|event| matches!(event, Event::Census { .. })) {
            verdicts.insert((Class::LostCompletion, Subject::Run));
        }
    }

    /// Everything that arrived: where in the list, for whom, in which channel, what.
    fn arrivals(&self) -> Vec<(usize, Subject, u32, Content)> {
        let mut arrivals = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Push { sub, content, .. } => {
                    if let Some(&(channel, _)) = self.subscriptions.get(sub) {
                        arrivals.push((at, Subject::Subscription(*sub), channel, *content));
                    }
                }
                Event::Reply { sub, batch, .. } => {
                    if let Some(&(channel, _)) = self.subscriptions.get(sub) {
                        arrivals.extend(batch.iter().map(|&(_, c)| (at, Subject::Subscription(*sub), channel, c)));
                    }
                }
                Event::History { channel, entries, .. } => {
                    arrivals.extend(entries.iter().map(|&(_, c)| (at, Subject::Channel(*channel), *channel, c)));
                }
                _ => {}
            }
        }
        arrivals
    }

    fn contents(&self, verdicts: &mut Verdicts) {
        let begun = |id: PublicationId, before: usize| {
            self.events[..before]
                .iter()
                .any(|event| matches!(event, Event::Invoke { id: i, .. } if i.publisher == id.publisher && i.n >= id.n))
        };
        for (at, subject, channel, content) in self.arrivals() {
            let Ok(id) = content else {
                verdicts.insert((Class::Corruption, subject));
                continue;
            };
            let failed =
                |event: &Event| matches!(event, Event::Done { id: f, outcome: Outcome::Failed, .. } if *f == id);
            if !self.homes.contains_key(&id.publisher) {
                verdicts.insert((Class::Phantom, subject));
            } else if self.homes[&id.publisher] != channel {
                verdicts.insert((Class::Misroute, subject));
            } else if !begun(id, at) {
                let class = if begun(id, self.events.len()) { Class::HarnessFault } else { Class::Phantom };
                verdicts.insert((class, subject));
            } else if self.events[..at].iter().any(failed) {
                verdicts.insert((Class::Aborted, Subject::Channel(channel)));
            }
        }
        for event in self.events {
            if let Event::Push { sub, channel, .. } = event
                && self.subscriptions.get(sub).is_some_and(|(home, _)| home != channel)
            {
                verdicts.insert((Class::Misroute, Subject::Subscription(*sub)));
            }
        }
    }

    fn completions(&self, verdicts: &mut Verdicts) {
        let mut open: BTreeSet<PublicationId> = BTreeSet::new();
        for event in self.events {
            match event {
                Event::Invoke { id, .. } => drop(open.insert(*id)),
                Event::Done { id, .. } if !open.remove(id) => {
                    verdicts.insert((Class::LostCompletion, Subject::Channel(self.homes[&id.publisher])));
                }
                _ => {}
            }
        }
        for id in open {
            verdicts.insert((Class::LostCompletion, Subject::Channel(self.homes[&id.publisher])));
        }
    }

    /// Acknowledged offsets of `epoch` in `channel` before event `at`.
    fn acked_top(&self, channel: u32, epoch: Epoch, at: usize) -> u64 {
        let (mut open, mut excused) = (BTreeSet::<PublicationId>::new(), BTreeSet::new());
        let mut top = 0;
        for event in &self.events[..at] {
            match event {
                Event::Invoke { id, .. } => drop(open.insert(*id)),
                Event::Amnesia => excused.extend(open.iter().copied()),
                Event::Done { id, outcome, .. } if open.remove(id) && !excused.contains(id) => {
                    if let Outcome::Ok(Some(place)) = outcome
                        && place.epoch == epoch
                        && self.homes.get(&id.publisher) == Some(&channel)
                    {
                        top = top.max(place.offset);
                    }
                }
                _ => {}
            }
        }
        top
    }

    /// Walks each subscription; returns, by event, the place that an accepted push or batch speaks of.
    fn subscriptions(&self, verdicts: &mut Verdicts, refused: &mut Vec<Refused>) -> Told {
        let mut accepted = BTreeMap::new();
        for (&sub, &(channel, bystander)) in &self.subscriptions {
            if self.has_history(channel) {
                self.streamed(sub, channel, verdicts, refused, &mut accepted);
            } else {
                self.plain(sub, channel, verdicts);
            }
            let hurt = |event: &Event| matches!(event, Event::Break { sub: s, .. } if *s == sub);
            if bystander && self.events.iter().any(hurt) {
                verdicts.insert((Class::Cascade, Subject::Subscription(sub)));
            }
        }
        accepted
    }

    /// Events of a subscription with what the conversation says of them: whether a push may come there.
    fn conversation(&self, sub: u32, verdicts: &mut Verdicts) -> Vec<(usize, &'a Event)> {
        #[derive(PartialEq)]
        enum Phase {
            Closed,
            Asked,
            Open,
            Left,
        }
        let subject = Subject::Subscription(sub);
        let (mut phase, mut current) = (Phase::Closed, 0);
        let mut kept = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Ask { sub: s, generation, .. } if *s == sub => (phase, current) = (Phase::Asked, *generation),
                Event::Reply { sub: s, generation, .. } if *s == sub => {
                    if phase != Phase::Asked || *generation != current {
                        verdicts.insert((Class::Ghost, subject));
                        continue;
                    }
                    phase = Phase::Open;
                }
                Event::Push { sub: s, generation, channel, .. } if *s == sub => {
                    if self.subscriptions[&sub].0 != *channel {
                        continue;
                    }
                    let class = match phase {
                        Phase::Open if *generation == current => None,
                        Phase::Asked if *generation == current => Some(Class::SilentGap),
                        _ => Some(Class::Ghost),
                    };
                    if let Some(class) = class {
                        verdicts.insert((class, subject));
                        continue;
                    }
                }
                Event::Break { sub: s, generation, .. } if *s == sub => {
                    if *generation == current && phase != Phase::Left {
                        phase = Phase::Closed;
                    }
                }
                Event::Left { sub: s, generation, .. } if *s == sub => {
                    if *generation != current {
                        continue;
                    }
                    phase = Phase::Left;
                }
                _ => continue,
            }
            kept.push((at, event));
        }
        let wants = current > 0 && phase != Phase::Left;
        let sentinel = self
            .events
            .iter()
            .any(|event| matches!(event, Event::Sentinel { channel, .. } if *channel == self.subscriptions[&sub].0));
        let over = self.events.iter().any(|event| matches!(event, Event::Census { .. }));
        if wants && phase != Phase::Open && sentinel && over {
            verdicts.insert((Class::Stuck, subject));
        }
        kept
    }

    /// When the last publish of a channel that had succeeded by event `end` was begun.
    fn last_success_before(&self, end: usize, channel: u32) -> Option<Duration> {
        let before = &self.events[..end];
        let begun = before.iter().filter_map(|event| match event {
            Event::Invoke { at, id } if self.homes.get(&id.publisher) == Some(&channel) => Some((*at, *id)),
            _ => None,
        });
        let has_succeeded = |id: PublicationId| {
            let done = before.iter().find_map(|event| match event {
                Event::Done { id: of, outcome, .. } if *of == id => Some(*outcome),
                _ => None,
            });
            matches!(done, Some(Outcome::Ok(_)))
        };
        begun.filter(|&(_, id)| has_succeeded(id)).map(|(at, _)| at).max()
    }

    fn is_unknown(&self, publisher: u32, n: u64) -> bool {
        self.is_unknown_by(self.events.len(), publisher, n)
    }

    /// Whether it was known by event `end` that nobody knows what came of a publish.
    fn is_unknown_by(&self, end: usize, publisher: u32, n: u64) -> bool {
        self.events[..end].iter().any(|event| {
            let Event::Done { id, outcome: Outcome::Unknown, .. } = event else { return false };
            (id.publisher, id.n) == (publisher, n)
        })
    }

    /// Behind which publication of a channel, by event `end`, history has been refreshed in time.
    fn kept_since(&self, end: usize, channel: u32) -> Option<PublicationId> {
        let ttl = self.policies[&channel].history_ttl;
        let (mut open, mut first_at, mut refreshed_at, mut since) = (BTreeMap::new(), None, None::<Duration>, None);
        for event in &self.events[..end] {
            match event {
                Event::Invoke { at, id } if self.homes.get(&id.publisher) == Some(&channel) => {
                    open.insert(*id, *at);
                    first_at = first_at.or(Some(*at));
                }
                Event::Done { at, id, outcome } => {
                    let Some(begun_at) = open.remove(id).filter(|_| matches!(outcome, Outcome::Ok(_))) else {
                        continue;
                    };
                    if refreshed_at.or(first_at).is_some_and(|before| at.saturating_sub(before) >= ttl) {
                        since = Some(*id);
                    }
                    refreshed_at = refreshed_at.max(Some(begun_at));
                }
                Event::Amnesia => since = None,
                _ => {}
            }
        }
        since
    }

    fn streamed(
        &self,
        sub: u32,
        channel: u32,
        verdicts: &mut Verdicts,
        refused: &mut Vec<Refused>,
        accepted: &mut Told,
    ) {
        let subject = Subject::Subscription(sub);
        let policy = self.policies[&channel];
        let mut spans: Vec<Span> = Vec::new();
        let mut ended = true;
        let (mut asked, mut asked_at) = (None, 0);
        let speak = |accepted: &mut Told, at, place: Place, content: Content| {
            if let Ok(id) = content {
                accepted.entry(at).or_default().push((channel, place, id));
            }
        };
        for (at, event) in self.conversation(sub, verdicts) {
            match event {
                Event::Ask { from, .. } => {
                    (asked, asked_at) = (*from, at);
                    if let (Some(from), Some(span)) = (from, spans.last_mut().filter(|_| !ended)) {
                        let got = highest(span);
                        if span.epoch == from.epoch && from.offset > got {
                            verdicts.insert((Class::Loss, subject));
                            span.charged.extend(got + 1..=from.offset);
                        }
                    }
                }
                Event::Reply { at: when, recovered, was_recovering, place: Some(place), batch, .. } => {
                    let open = spans.last().filter(|_| !ended);
                    match (recovered, asked) {
                        (true, Some(asked)) if asked.epoch == place.epoch => {
                            if open.is_none_or(|span| span.epoch != asked.epoch) {
                                spans.push(span_at(asked));
                                ended = false;
                            }
                            let Some(span) = spans.last_mut() else { continue };
                            let offsets: Vec<u64> = batch.iter().map(|&(offset, _)| offset).collect();
                            let whole: Vec<u64> = (asked.offset + 1..).take(offsets.len()).collect();
                            let end = offsets.iter().copied().max().unwrap_or(0).max(asked.offset);
                            if offsets != whole || end < self.acked_top(channel, asked.epoch, asked_at) {
                                verdicts.insert((Class::FalseRecovery, subject));
                            }
                            for &(offset, content) in batch {
                                let got = highest(span);
                                span.charged.extend(got + 1..offset);
                                span.arrivals.push(Some(offset));
                                speak(accepted, at, Place { epoch: asked.epoch, offset }, content);
                            }
                            span.arrivals.push(None);
                        }
                        (true, _) => {
                            verdicts.insert((Class::FalseRecovery, subject));
                            spans.push(span_at(*place));
                            ended = false;
                        }
                        (false, _) => {
                            if let Some(asked) = asked {
                                if !was_recovering && *place != asked {
                                    verdicts.insert((Class::SilentGap, subject));
                                }
                                let kept = policy.history_size.min(policy.recovery_max);
                                let near = (asked.offset..=asked.offset.saturating_add(kept)).contains(&place.offset);
                                let young = self
                                    .last_success_before(at, channel)
                                    .is_some_and(|begun_at| when.saturating_sub(begun_at) < policy.history_ttl);
                                if *was_recovering && asked.epoch == place.epoch {
                                    if asked.offset == place.offset {
                                        verdicts.insert((Class::NeedlessFailure, subject));
                                    } else if near && young {
                                        let since = self.kept_since(at, channel);
                                        refused.push(Refused { channel, subject, from: asked, since });
                                    }
                                }
                            }
                            if open.is_some_and(|span| span.epoch == place.epoch && place.offset < highest(span)) {
                                verdicts.insert((Class::Regression, subject));
                            }
                            spans.push(span_at(*place));
                            ended = false;
                        }
                    }
                }
                Event::Push { epoch, offset, content, .. } => {
                    let Some(current) = spans.last().filter(|_| !ended).map(|span| span.epoch) else { continue };
                    if let Some(told) = epoch.filter(|&told| told != current) {
                        verdicts.insert((Class::SilentGap, subject));
                        spans.push(span_at(Place { epoch: told, offset: offset.saturating_sub(1) }));
                    }
                    let Some(span) = spans.last_mut() else { continue };
                    speak(accepted, at, Place { epoch: span.epoch, offset: *offset }, *content);
                    if span.arrivals.last() == Some(&None) {
                        let got = highest(span);
                        if *offset > got + 1 {
                            verdicts.insert((Class::FalseRecovery, subject));
                            span.charged.extend(got + 1..*offset);
                        }
                        span.arrivals.pop();
                    }
                    span.arrivals.push(Some(*offset));
                }
                Event::Left { .. } => ended = true,
                _ => {}
            }
        }
        for span in &spans {
            sequence(span, subject, verdicts);
        }
    }

    fn plain(&self, sub: u32, channel: u32, verdicts: &mut Verdicts) {
        let subject = Subject::Subscription(sub);
        let mut spans: Vec<(usize, BTreeMap<u32, Numbers>)> = Vec::new();
        let mut left = false;
        for (at, event) in self.conversation(sub, verdicts) {
            match event {
                Event::Reply { .. } => {
                    spans.push((at, BTreeMap::new()));
                    left = false;
                }
                Event::Push { content: Ok(id), .. } if self.homes.get(&id.publisher) == Some(&channel) => {
                    if let Some((_, numbers)) = spans.last_mut() {
                        numbers.entry(id.publisher).or_default().push((at, id.n));
                    }
                }
                Event::Left { .. } => left = true,
                _ => {}
            }
        }
        let ok = |publisher: u32, n: u64| {
            self.events.iter().any(|event| {
                matches!(event, Event::Done { id, outcome: Outcome::Ok(_), .. } if id.publisher == publisher && id.n == n)
            })
        };
        for (at, numbers) in &spans {
            for (&publisher, numbers) in numbers {
                let begun = self.events[..*at].iter().filter_map(|event| match event {
                    Event::Invoke { id, .. } if id.publisher == publisher => Some(id.n),
                    _ => None,
                });
                let begun = begun.max().unwrap_or(0);
                let unknown = |&(at, n): &(usize, u64)| self.is_unknown_by(at, publisher, n);
                // One that nobody knows of may be from before the reply, and whatever was begun after it as well.
                let first = numbers.iter().find(|arrival| arrival.1 > begun || !unknown(arrival));
                let start = first.map_or(begun, |&(_, n)| begun.min(n - 1));
                let late: BTreeSet<u64> = numbers.iter().filter(|arrival| unknown(arrival)).map(|&(_, n)| n).collect();
                let arrivals = numbers.iter().map(|&(_, n)| Some(n)).collect();
                let span = Span { epoch: Epoch(0), start, arrivals, charged: BTreeSet::new() };
                let unfounded = |n: u64| !ok(publisher, n);
                sequence_where(&span, subject, verdicts, unfounded, |n| late.contains(&n));
            }
        }
        let over = self.events.iter().any(|event| matches!(event, Event::Census { .. }));
        let Some(sentinel) = self.sentinel(channel).filter(|_| over && !left) else { return };
        if let Some((_, numbers)) = spans.last() {
            let reached = numbers.get(&sentinel.publisher).is_some_and(|n| n.iter().any(|&(_, n)| n >= sentinel.n));
            if !reached {
                verdicts.insert((Class::Stuck, subject));
            }
        }
    }

    fn sentinel(&self, channel: u32) -> Option<PublicationId> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Sentinel { channel: c, id } if *c == channel => Some(*id),
            _ => None,
        })
    }

    /// Who stands where, by the first who told of it, and everything that follows from it.
    fn places(&self, accepted: &Told, refused: &[Refused], verdicts: &mut Verdicts) {
        for &channel in self.policies.keys().filter(|&&channel| self.has_history(channel)) {
            let subject = Subject::Channel(channel);
            let mine = |id: PublicationId| self.homes.get(&id.publisher) == Some(&channel);
            let mut standing: BTreeMap<Place, (usize, PublicationId)> = BTreeMap::new();
            let mut told: Vec<(usize, Place, PublicationId)> = Vec::new();
            let (mut open, mut history_tops) = (BTreeSet::new(), BTreeMap::<Epoch, u64>::new());
            let (mut forgotten, mut acked) = (BTreeSet::new(), BTreeMap::<Epoch, u64>::new());
            let (mut placeless, mut excused) = (BTreeSet::<PublicationId>::new(), BTreeSet::new());
            let mut known: BTreeSet<Epoch> = BTreeSet::new();
            for (at, event) in self.events.iter().enumerate() {
                let mut here: Vec<(Place, PublicationId)> = Vec::new();
                match event {
                    Event::Invoke { id, .. } if mine(*id) => drop(open.insert(*id)),
                    Event::Done { id, outcome, .. } if mine(*id) && open.remove(id) => match outcome {
                        Outcome::Ok(Some(place)) => {
                            if !excused.contains(id) {
                                let top = acked.entry(place.epoch).or_default();
                                *top = place.offset.max(*top);
                            }
                            known.insert(place.epoch);
                            here.push((*place, *id));
                        }
                        Outcome::Ok(None) if excused.contains(id) => {}
                        Outcome::Ok(None) => drop(placeless.insert(*id)),
                        Outcome::Failed => {
                            if standing.values().any(|(_, standing)| standing == id) {
                                verdicts.insert((Class::Aborted, subject));
                            }
                        }
                        Outcome::Unknown => {}
                    },
                    Event::History { channel: c, request, top, entries, .. } if *c == channel => {
                        here.extend(entries.iter().filter_map(|&(offset, content)| {
                            Some((Place { epoch: top.epoch, offset }, content.ok()?))
                        }));
                        let best = history_tops.entry(top.epoch).or_default();
                        *best = top.offset.max(*best);
                        let offsets: Vec<u64> = entries.iter().map(|&(offset, _)| offset).collect();
                        let whole = offsets.windows(2).all(|w| w[0] + 1 == w[1])
                            && offsets.last().is_none_or(|&last| last == top.offset);
                        let asked_at = self.events.iter().position(
                            |event| matches!(event, Event::Request { request: of, .. } if Some(*of) == *request),
                        );
                        let by = asked_at.unwrap_or(at);
                        let short = self.acked_top(channel, top.epoch, by) > top.offset;
                        let gone = acked.keys().any(|&epoch| {
                            let had = self.acked_top(channel, epoch, by) > 0;
                            epoch != top.epoch && had && !forgotten.contains(&epoch)
                        });
                        if !whole || short || gone {
                            verdicts.insert((Class::AckedThenLost, subject));
                        }
                        known.insert(top.epoch);
                    }
                    Event::Amnesia => {
                        forgotten.extend(known.iter().copied());
                        placeless.clear();
                        excused.extend(open.iter().copied());
                    }
                    _ => {}
                }
                let speaks = accepted.get(&at).into_iter().flatten().filter(|(home, ..)| *home == channel);
                here.extend(speaks.map(|&(_, place, id)| (place, id)));
                for (place, id) in here {
                    if place.offset == 0 || !mine(id) {
                        continue;
                    }
                    known.insert(place.epoch);
                    match standing.get(&place) {
                        None => {
                            standing.insert(place, (at, id));
                            told.push((at, place, id));
                        }
                        Some((_, other)) if *other != id => drop(verdicts.insert((Class::Disagreement, subject))),
                        Some(_) => {}
                    }
                }
            }
            self.order(subject, &standing, &told, verdicts);
            for refused in refused.iter().filter(|refused| refused.channel == channel) {
                let told = standing.iter().filter(|(_, (_, id))| Some(*id) == refused.since);
                let since = told.map(|(place, _)| *place).min_by_key(|p| (p.epoch, std::cmp::Reverse(p.offset)));
                let from = refused.from;
                let kept = since.is_some_and(|since| since.epoch == from.epoch && since.offset <= from.offset + 1);
                if refused.since.is_none() || kept {
                    verdicts.insert((Class::NeedlessFailure, refused.subject));
                }
            }
            let placed: BTreeSet<PublicationId> = standing.values().map(|&(_, id)| id).collect();
            let sentinel = self.sentinel(channel);
            let stands =
                |id: PublicationId| standing.iter().filter(move |(_, (_, s))| *s == id).map(|(place, _)| *place);
            let sentinel_at =
                sentinel.and_then(|id| stands(id).min_by_key(|place| (place.epoch, std::cmp::Reverse(place.offset))));
            if sentinel_at.is_some() || history_tops.values().any(|&top| top > 0) {
                let mut tops = history_tops.clone();
                for place in standing.keys() {
                    let top = tops.entry(place.epoch).or_default();
                    *top = place.offset.max(*top);
                }
                let places: u64 = tops.values().sum();
                let lost = placeless.iter().filter(|id| !placed.contains(id)).count() as u64;
                if lost > places - standing.len() as u64 {
                    verdicts.insert((Class::AckedThenLost, subject));
                }
            }
            self.stuck(channel, sentinel, sentinel_at, verdicts);
        }
    }

    fn order(
        &self,
        subject: Subject,
        standing: &BTreeMap<Place, (usize, PublicationId)>,
        told: &[(usize, Place, PublicationId)],
        verdicts: &mut Verdicts,
    ) {
        let ids: Vec<PublicationId> = standing.values().map(|&(_, id)| id).collect();
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            verdicts.insert((Class::DuplicateAppend, subject));
        }
        for (place, (_, id)) in standing {
            let before = standing.range(..place).filter(|(p, _)| p.epoch == place.epoch);
            let behind = before.into_iter().any(|(_, (_, other))| other.publisher == id.publisher && other.n > id.n);
            if behind && !self.is_unknown(id.publisher, id.n) {
                verdicts.insert((Class::Inversion, subject));
            }
        }
        let mut seen: BTreeSet<PublicationId> = BTreeSet::new();
        for &(_, place, id) in told {
            // Only its first place counts, and only if its publish had not failed by then.
            if !seen.insert(id) {
                continue;
            }
            let Some(begun) =
                self.events.iter().position(|event| matches!(event, Event::Invoke { id: i, .. } if *i == id))
            else {
                continue;
            };
            let told_at = told.iter().find(|(_, p, i)| *p == place && *i == id).map_or(0, |(at, _, _)| *at);
            let failed = self.events[..told_at]
                .iter()
                .any(|event| matches!(event, Event::Done { id: f, outcome: Outcome::Failed, .. } if *f == id));
            let floor =
                told.iter().filter(|(at, p, _)| *at < begun && p.epoch == place.epoch).map(|(_, p, _)| p.offset).max();
            if !failed && told_at > begun && floor.is_some_and(|floor| place.offset <= floor) {
                verdicts.insert((Class::Inversion, subject));
            }
        }
    }

    fn stuck(&self, channel: u32, sentinel: Option<PublicationId>, place: Option<Place>, verdicts: &mut Verdicts) {
        let over = self.events.iter().any(|event| matches!(event, Event::Census { .. }));
        if sentinel.is_none() || !over {
            return;
        }
        for (&sub, _) in self.subscriptions.iter().filter(|(_, (home, _))| *home == channel) {
            let mut ignored = Verdicts::new();
            let conversation = self.conversation(sub, &mut ignored);
            let mut position: Option<Place> = None;
            let mut left = true;
            let mut asked = None;
            for (_, event) in conversation {
                match event {
                    Event::Ask { from, .. } => (asked, left) = (*from, false),
                    Event::Reply { recovered, place: Some(place), batch, .. } => {
                        let begin = match (recovered, asked, position) {
                            (true, Some(asked), Some(held))
                                if held.epoch == asked.epoch && asked.epoch == place.epoch =>
                            {
                                held
                            }
                            (true, Some(asked), _) if asked.epoch == place.epoch => asked,
                            _ => *place,
                        };
                        let mut at = begin;
                        if *recovered && asked.is_some_and(|asked| asked.epoch == place.epoch) {
                            at.offset = batch.iter().map(|&(o, _)| o).fold(begin.offset, u64::max);
                            at.offset = at.offset.max(asked.map_or(0, |asked| asked.offset));
                        }
                        position = Some(at);
                    }
                    Event::Push { epoch, offset, .. } => {
                        if let Some(held) = &mut position {
                            match epoch {
                                Some(told) if *told != held.epoch => *held = Place { epoch: *told, offset: *offset },
                                _ => held.offset = held.offset.max(*offset),
                            }
                        }
                    }
                    Event::Left { .. } => (position, left) = (None, true),
                    _ => {}
                }
            }
            let reached = matches!((position, place), (Some(held), Some(place)) if held.epoch == place.epoch && held.offset >= place.offset);
            if !left && !reached {
                verdicts.insert((Class::Stuck, Subject::Subscription(sub)));
            }
        }
    }
}

fn span_at(place: Place) -> Span {
    Span { epoch: place.epoch, start: place.offset, arrivals: Vec::new(), charged: BTreeSet::new() }
}

fn highest(span: &Span) -> u64 {
    let arrived = span.arrivals.iter().flatten().copied().max().unwrap_or(0);
    arrived.max(span.start).max(span.charged.last().copied().unwrap_or(0))
}

fn sequence(span: &Span, subject: Subject, verdicts: &mut Verdicts) {
    sequence_where(span, subject, verdicts, |_| false, |_| false);
}

/// I4 over what arrived in a span: as sets and pairs. `excused` numbers may be missing, `late` ones may come late.
fn sequence_where(
    span: &Span,
    subject: Subject,
    verdicts: &mut Verdicts,
    excused: impl Fn(u64) -> bool,
    late: impl Fn(u64) -> bool,
) {
    let arrived: Vec<u64> = span.arrivals.iter().flatten().copied().collect();
    for (at, &number) in arrived.iter().enumerate() {
        let again = arrived[..at].contains(&number);
        let class = if number <= span.start && !(again && late(number)) {
            Class::Regression
        } else if again || span.charged.contains(&number) {
            Class::Duplicate
        } else if arrived[..at].iter().any(|&earlier| earlier > number) {
            Class::Reorder
        } else {
            continue;
        };
        if class == Class::Duplicate || !late(number) {
            verdicts.insert((class, subject));
        }
    }
    let top = arrived.iter().copied().max().unwrap_or(span.start);
    let lost = (span.start + 1..=top).any(|n| !arrived.contains(&n) && !span.charged.contains(&n) && !excused(n));
    if lost {
        verdicts.insert((Class::Loss, subject));
    }
}
