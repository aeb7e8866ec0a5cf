//! One subscription: its conversation, and the span of continuity it claims.

use std::collections::BTreeMap;
use std::time::Duration;

use super::channel::Channel;
use super::publisher::Publisher;
use super::track::{Arrival, Track};
use super::{Class, Law, Notes, Subject};
use crate::ledger::{Cause, Content, Epoch, Place};
use crate::payload::PublicationId;

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing asked yet.
    Idle,
    /// Asked, to recover from here; so much of that epoch had been acknowledged by then.
    Asked { from: Option<Place>, acked_top: u64 },
    /// Publications may come.
    Live,
    /// Continuity is broken, and it knows.
    Broken,
    /// It wants nothing more.
    Left,
}

/// What is claimed to be without a gap.
#[derive(Debug)]
enum Span {
    /// In a stream.
    Stream { epoch: Epoch, track: Track, first_after_recovery: bool },
    /// In a channel without history, by publisher.
    Plain { publishers: BTreeMap<u32, Publisher> },
}

pub(super) struct Reply<'a> {
    pub(super) at: Duration,
    pub(super) generation: u32,
    pub(super) recovered: bool,
    pub(super) was_recovering: bool,
    pub(super) place: Option<Place>,
    pub(super) batch: &'a [(u64, Content)],
    pub(super) batch_follows: bool,
}

pub(super) struct Push {
    pub(super) at: Duration,
    pub(super) generation: u32,
    pub(super) epoch: Option<Epoch>,
    pub(super) offset: u64,
    pub(super) content: Content,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    number: u32,
    pub(super) channel: u32,
    bystander: bool,
    state: State,
    generation: u32,
    span: Option<Span>,
}

impl Subscription {
    pub(super) fn new(number: u32, channel: u32, bystander: bool) -> Self {
        Self { number, channel, bystander, state: State::Idle, generation: 0, span: None }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    fn subject(&self) -> Subject {
        Subject::Subscription(self.number)
    }

    pub(super) fn ask(
        &mut self,
        at: Duration,
        generation: u32,
        from: Option<Place>,
        channel: &Channel,
        notes: &mut Notes,
    ) {
        let acked_top = from.map_or(0, |place| channel.acked_top(place.epoch));
        if let (Some(from), Some(Span::Stream { epoch, track, .. })) = (from, &mut self.span)
            && from.epoch == *epoch
            && from.offset > track.last()
        {
            let last = track.last();
            let line = || format!("asked at {at:?} for what follows {}, having got only {last}", from.offset);
            notes.find(Class::Loss, Subject::Subscription(self.number), line);
            track.skip_to(from.offset);
        }
        self.state = State::Asked { from, acked_top };
        self.generation = generation;
    }

    pub(super) fn reply(&mut self, reply: &Reply<'_>, channel: &mut Channel, notes: &mut Notes) {
        let subject = self.subject();
        let State::Asked { from, acked_top } = self.state else {
            notes.find(Class::Ghost, subject, || format!("a subscribe reply at {:?} that nobody waits for", reply.at));
            return;
        };
        if reply.generation != self.generation {
            notes.find(Class::Ghost, subject, || {
                format!("a subscribe reply on connection {} at {:?}", reply.generation, reply.at)
            });
            return;
        }
        self.state = State::Live;
        if !channel.has_history() {
            self.close_span(channel, notes);
            self.span = Some(Span::Plain {
                publishers: channel.all_begun().map(|(publisher, begun)| (publisher, Publisher::new(begun))).collect(),
            });
            return;
        }
        let Some(place) = reply.place else { return };
        if reply.recovered {
            self.recovered(reply, from, place, acked_top, channel, notes);
        } else {
            self.not_recovered(reply, from, place, channel, notes);
        }
    }

    fn recovered(
        &mut self,
        reply: &Reply<'_>,
        from: Option<Place>,
        place: Place,
        acked_top: u64,
        channel: &mut Channel,
        notes: &mut Notes,
    ) {
        let subject = self.subject();
        notes.check(Law::I5);
        let mut false_recovery = |line: String| notes.find(Class::FalseRecovery, subject, || line);
        let Some(asked) = from else {
            false_recovery(format!("recovered at {:?} without having asked", reply.at));
            self.begin_span(place, channel, notes);
            return;
        };
        if place.epoch != asked.epoch {
            false_recovery(format!("asked in epoch {}, recovered in {}", asked.epoch, place.epoch));
            self.begin_span(place, channel, notes);
            return;
        }
        let continues = matches!(&self.span, Some(Span::Stream { epoch, .. }) if *epoch == asked.epoch);
        if !continues {
            self.begin_span(asked, channel, notes);
        }
        let mut expected = asked.offset + 1;
        for &(offset, content) in reply.batch {
            let follows = offset == expected;
            if !follows {
                let line = || format!("the batch from {} has {offset} where {expected} belongs", asked.offset);
                notes.find(Class::FalseRecovery, subject, line);
            }
            expected = expected.max(offset + 1);
            if let Ok(id) = content {
                channel.place(Place { epoch: asked.epoch, offset }, id, "a recovered batch", notes);
            }
            self.arrive(offset, true, notes, || format!("in the batch of {:?}", reply.at));
        }
        if !reply.batch_follows && expected <= acked_top {
            let line = || {
                format!(
                    "recovered from {} to {} only; {acked_top} had been acknowledged before it asked",
                    asked.offset,
                    expected - 1
                )
            };
            notes.find(Class::FalseRecovery, subject, line);
        }
        if let Some(Span::Stream { first_after_recovery, .. }) = &mut self.span {
            *first_after_recovery = true;
        }
    }

    fn not_recovered(
        &mut self,
        reply: &Reply<'_>,
        from: Option<Place>,
        place: Place,
        channel: &mut Channel,
        notes: &mut Notes,
    ) {
        let subject = self.subject();
        if let Some(asked) = from {
            notes.check(Law::I7);
            if !reply.was_recovering && place != asked {
                let line =
                    || format!("asked to recover from {}, was put at {} without a word", asked.offset, place.offset);
                notes.find(Class::SilentGap, subject, line);
            }
            if reply.was_recovering {
                notes.check(Law::I6);
                let missed = place.offset.checked_sub(asked.offset).filter(|_| place.epoch == asked.epoch);
                let bound = channel.policy.history_size.min(channel.policy.recovery_max);
                match missed {
                    // Who missed nothing needs no history.
                    Some(0) => {
                        let line = || format!("not recovered at {:?} from the top, {}", reply.at, asked.offset);
                        notes.find(Class::NeedlessFailure, subject, line);
                    }
                    Some(missed) if missed <= bound => channel.refuse(reply.at, subject, asked, notes),
                    _ => {}
                }
            }
        }
        if let Some(Span::Stream { epoch, track, .. }) = &self.span
            && *epoch == place.epoch
            && place.offset < track.last()
        {
            let line = || format!("put at {} after {} had arrived, in one epoch", place.offset, track.last());
            notes.find(Class::Regression, subject, line);
        }
        self.begin_span(place, channel, notes);
    }

    pub(super) fn push(&mut self, push: &Push, channel: &mut Channel, notes: &mut Notes) {
        let subject = self.subject();
        notes.check(Law::I12);
        notes.check(Law::I7);
        let ghost =
            push.generation != self.generation || matches!(self.state, State::Left | State::Broken | State::Idle);
        if ghost {
            let line = || {
                format!(
                    "offset {} at {:?} on connection {}, when {:?} on {}",
                    push.offset, push.at, push.generation, self.state, self.generation
                )
            };
            notes.find(Class::Ghost, subject, line);
            return;
        }
        if matches!(self.state, State::Asked { .. }) {
            let line = || format!("offset {} at {:?} before the subscribe was answered", push.offset, push.at);
            notes.find(Class::SilentGap, subject, line);
            return;
        }
        let epoch = match &mut self.span {
            None => return,
            Some(Span::Plain { publishers }) => {
                notes.check(Law::I4);
                if let Ok(id) = push.content {
                    plain(publishers, id, channel, subject, notes);
                }
                return;
            }
            Some(Span::Stream { epoch, .. }) => *epoch,
        };
        if let Some(told) = push.epoch.filter(|&told| told != epoch) {
            let line = || format!("offset {} at {:?} is of epoch {told}, the span of {epoch}", push.offset, push.at);
            notes.find(Class::SilentGap, subject, line);
            self.begin_span(Place { epoch: told, offset: push.offset.saturating_sub(1) }, channel, notes);
        }
        let epoch = push.epoch.unwrap_or(epoch);
        if let Ok(id) = push.content {
            channel.place(Place { epoch, offset: push.offset }, id, "a push", notes);
        }
        self.arrive(push.offset, false, notes, || format!("pushed at {:?}", push.at));
    }

    /// A number of the stream arrives in the span.
    fn arrive(&mut self, offset: u64, in_batch: bool, notes: &mut Notes, how: impl Fn() -> String) {
        let subject = self.subject();
        let Some(Span::Stream { track, first_after_recovery, .. }) = &mut self.span else { return };
        notes.check(Law::I4);
        let joins = !in_batch && std::mem::take(first_after_recovery);
        let last = track.last();
        match track.arrive(offset, in_batch || joins) {
            Arrival::Next => {}
            Arrival::Ahead { from, to } if joins => {
                let line = || {
                    format!("{from}..={to} lie between the recovered batch and the first live one, {offset} {}", how())
                };
                notes.find(Class::FalseRecovery, subject, line);
            }
            // In a batch the reply's own check has said it; in a push it shows at the end of the span.
            Arrival::Ahead { .. } => {}
            Arrival::Late => notes.find(Class::Reorder, subject, || format!("{offset} after {last}, {}", how())),
            Arrival::Again => {
                notes.find(Class::Duplicate, subject, || format!("{offset} once more after {last}, {}", how()));
            }
            Arrival::Before => {
                notes.find(Class::Regression, subject, || format!("{offset} from before the span, {}", how()));
            }
        }
    }

    pub(super) fn broke(&mut self, at: Duration, generation: u32, cause: Cause, notes: &mut Notes) {
        if self.bystander {
            notes.check(Law::I13);
            notes.find(Class::Cascade, self.subject(), || format!("{cause:?} at {at:?}, though no fault means it"));
        }
        if generation == self.generation && self.state != State::Left {
            self.state = State::Broken;
        }
    }

    pub(super) fn left(&mut self, generation: u32, channel: &Channel, notes: &mut Notes) {
        if generation == self.generation {
            self.state = State::Left;
            self.close_span(channel, notes);
        }
    }

    fn begin_span(&mut self, place: Place, channel: &Channel, notes: &mut Notes) {
        self.close_span(channel, notes);
        let track = Track::new(place.offset);
        self.span = Some(Span::Stream { epoch: place.epoch, track, first_after_recovery: false });
    }

    fn close_span(&mut self, channel: &Channel, notes: &mut Notes) {
        self.report_missing(channel, notes);
        self.span = None;
    }

    fn report_missing(&self, channel: &Channel, notes: &mut Notes) {
        let subject = self.subject();
        match &self.span {
            None => {}
            Some(Span::Stream { epoch, track, .. }) => {
                let (holes, more) = track.missing();
                for (from, to) in holes {
                    let line = || format!("{from}..={to} of epoch {epoch} never arrived, though {} did", track.last());
                    notes.find(Class::Loss, subject, line);
                }
                if more > 0 {
                    notes.find(Class::Loss, subject, || format!("and {more} more"));
                }
            }
            Some(Span::Plain { publishers }) => {
                for (&publisher, got) in publishers {
                    let begun = channel.begun(publisher);
                    let holes = got.missing();
                    let lost =
                        holes.flat_map(|(from, to)| from..=to.min(begun)).filter(|&n| channel.is_ok(publisher, n));
                    for n in lost {
                        notes.find(Class::Loss, subject, || {
                            format!("number {n} of publisher {publisher} never arrived")
                        });
                    }
                }
            }
        }
    }

    /// What can only be said at the end.
    pub(super) fn judge(&self, channel: &Channel, notes: &mut Notes) {
        self.report_missing(channel, notes);
        if self.bystander {
            notes.check(Law::I13);
        }
    }

    /// I8: now that nothing more will come, it has to be at the sentinel.
    pub(super) fn census(&self, channel: &Channel, notes: &mut Notes) {
        let Some(sentinel) = channel.sentinel else { return };
        if matches!(self.state, State::Idle | State::Left) {
            return;
        }
        notes.check(Law::I8);
        let stuck = |line: String| (Class::Stuck, self.subject(), line);
        let found = match &self.span {
            _ if self.state != State::Live => Some(stuck(format!("still {:?} at the end", self.state))),
            None => Some(stuck("has no position at the end".to_owned())),
            Some(Span::Stream { epoch, track, .. }) => match channel.place_of(sentinel) {
                Some(place) if place.epoch == *epoch && place.offset <= track.last() => None,
                Some(place) => Some(stuck(format!("at {} of epoch {epoch}; the sentinel is {place:?}", track.last()))),
                None => Some(stuck("the sentinel was never seen by anyone".to_owned())),
            },
            Some(Span::Plain { publishers }) => {
                let last = publishers.get(&sentinel.publisher).and_then(Publisher::last);
                let reached = last.is_some_and(|last| last >= sentinel.n);
                (!reached).then(|| stuck("the sentinel has not arrived".to_owned()))
            }
        };
        if let Some((class, subject, line)) = found {
            notes.find(class, subject, || line);
        }
    }
}

/// A publication in a channel without history.
fn plain(
    publishers: &mut BTreeMap<u32, Publisher>,
    id: PublicationId,
    channel: &Channel,
    subject: Subject,
    notes: &mut Notes,
) {
    let Some(publisher) = publishers.get_mut(&id.publisher) else { return };
    let last = publisher.last().unwrap_or_default();
    let (class, what) = match publisher.arrive(id.n, channel.is_unknown(id)) {
        Arrival::Next | Arrival::Ahead { .. } => return,
        Arrival::Late => (Class::Reorder, "after"),
        Arrival::Again => (Class::Duplicate, "once more after"),
        Arrival::Before => (Class::Regression, "from before the span, after"),
    };
    notes.find(class, subject, || format!("{id} {what} number {last}"));
}
