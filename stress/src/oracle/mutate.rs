//! Ways to spoil a good ledger, each with the class it must be condemned for.

use super::{Class, Law};
use crate::chance::Chance;
use crate::ledger::{Cause, Epoch, Event, Outcome};
use crate::payload::{Damage, PublicationId};

/// A way of spoiling. Each changes as little as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`condemned_as` says what each amounts to")]
pub enum Operator {
    DropPush,
    DropLastPush,
    DropAllPushes,
    DuplicatePush,
    SwapPushes,
    PushAcrossBreak,
    ReplayOld,
    OffsetUp,
    OffsetDown,
    OtherEpoch,
    FlipRecoveredOn,
    FlipRecoveredOff,
    CutBatchTail,
    CutBatchHead,
    ReverseBatch,
    OtherChannel,
    OtherChannelsContent,
    FlipBit,
    RevealFailed,
    Phantom,
    PushAfterUnsubscribe,
    PushBeforeReply,
    DropAck,
    DoubleAck,
    StatUp,
    StatDown,
    ExtraTask,
    PresenceOff,
    ShortenHistory,
    HoleInHistory,
    PublishAfterPush,
    HurtBystander,
    ForgetWasRecovering,
    NeverComesBack,
    LoseRequest,
    BadFrame,
    Panic,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::DropPush,
        Self::DropLastPush,
        Self::DropAllPushes,
        Self::DuplicatePush,
        Self::SwapPushes,
        Self::PushAcrossBreak,
        Self::ReplayOld,
        Self::OffsetUp,
        Self::OffsetDown,
        Self::OtherEpoch,
        Self::FlipRecoveredOn,
        Self::FlipRecoveredOff,
        Self::CutBatchTail,
        Self::CutBatchHead,
        Self::ReverseBatch,
        Self::OtherChannel,
        Self::OtherChannelsContent,
        Self::FlipBit,
        Self::RevealFailed,
        Self::Phantom,
        Self::PushAfterUnsubscribe,
        Self::PushBeforeReply,
        Self::DropAck,
        Self::DoubleAck,
        Self::StatUp,
        Self::StatDown,
        Self::ExtraTask,
        Self::PresenceOff,
        Self::ShortenHistory,
        Self::HoleInHistory,
        Self::PublishAfterPush,
        Self::HurtBystander,
        Self::ForgetWasRecovering,
        Self::NeverComesBack,
        Self::LoseRequest,
        Self::BadFrame,
        Self::Panic,
    ];

    /// What the oracle must call it.
    #[must_use]
    pub fn condemned_as(self) -> Class {
        match self {
            Self::DropPush => Class::Loss,
            Self::DropLastPush | Self::DropAllPushes | Self::NeverComesBack => Class::Stuck,
            Self::DuplicatePush => Class::Duplicate,
            Self::SwapPushes => Class::Reorder,
            Self::PushAcrossBreak | Self::PushAfterUnsubscribe => Class::Ghost,
            Self::ReplayOld => Class::Regression,
            Self::OffsetUp | Self::OffsetDown => Class::Disagreement,
            Self::OtherEpoch | Self::PushBeforeReply | Self::ForgetWasRecovering => Class::SilentGap,
            Self::FlipRecoveredOn | Self::CutBatchTail | Self::CutBatchHead | Self::ReverseBatch => {
                Class::FalseRecovery
            }
            Self::FlipRecoveredOff => Class::NeedlessFailure,
            Self::OtherChannel | Self::OtherChannelsContent => Class::Misroute,
            Self::FlipBit => Class::Corruption,
            Self::RevealFailed => Class::Aborted,
            Self::Phantom => Class::Phantom,
            Self::DropAck | Self::DoubleAck | Self::LoseRequest => Class::LostCompletion,
            Self::StatUp | Self::StatDown => Class::Drift,
            Self::ExtraTask => Class::Leak,
            Self::PresenceOff => Class::PresenceDrift,
            Self::ShortenHistory | Self::HoleInHistory => Class::AckedThenLost,
            Self::PublishAfterPush => Class::HarnessFault,
            Self::HurtBystander => Class::Cascade,
            Self::BadFrame => Class::Protocol,
            Self::Panic => Class::Crash,
        }
    }

    /// Spoils `events` at a place that chance picks. False if there is no place for it.
    pub fn apply(self, events: &mut Vec<Event>, chance: &mut Chance) -> bool {
        let sites: Vec<usize> = (0..events.len()).filter(|&at| self.fits(events, at)).collect();
        let Some(&at) = chance.choose(&sites) else { return false };
        self.strike(events, at);
        true
    }

    fn fits(self, events: &[Event], at: usize) -> bool {
        let event = &events[at];
        match self {
            Self::DropPush | Self::SwapPushes => {
                streamed(event).is_some() && next_of_span(events, at).is_some() && !joins_recovery(events, at)
            }
            Self::DuplicatePush => streamed(event).is_some(),
            Self::OffsetUp => streamed(event).is_some() && next_of_span(events, at).is_some(),
            Self::OffsetDown => streamed(event).is_some() && follows_push(events, at),
            Self::DropLastPush => streamed(event).is_some() && is_last_push(events, at) && stays(events, at),
            Self::DropAllPushes => matches!(event, Event::Subscription { sub, .. }
                if events.iter().enumerate().any(|(at, event)| pushed_to(event) == Some(*sub) && stays(events, at))),
            Self::PushAcrossBreak => {
                streamed(event).is_some() && later(events, at, |later| matches!(later, Event::Break { .. })).is_some()
            }
            Self::ReplayOld => streamed(event).is_some() && span_start(events, at).is_some_and(|start| start > 0),
            Self::OtherEpoch => streamed(event).is_some(),
            Self::FlipRecoveredOn => {
                matches!(event, Event::Reply { recovered: false, was_recovering: true, place: Some(_), .. })
            }
            Self::FlipRecoveredOff => matches!(event, Event::Reply { recovered: true, .. }),
            Self::CutBatchTail | Self::CutBatchHead => {
                matches!(event, Event::Reply { batch, .. } if batch.len() >= 2) && is_followed(events, at)
            }
            Self::ReverseBatch => matches!(event, Event::Reply { batch, .. } if batch.len() >= 2),
            Self::OtherChannel | Self::FlipBit | Self::Phantom => pushed_to(event).is_some(),
            Self::OtherChannelsContent => pushed_to(event).is_some() && foreign(events, at).is_some(),
            Self::RevealFailed => pushed_to(event).is_some() && failed_before(events, at).is_some(),
            Self::PushAfterUnsubscribe => {
                pushed_to(event).is_some() && later(events, at, |later| matches!(later, Event::Left { .. })).is_some()
            }
            Self::PushBeforeReply => {
                matches!(event, Event::Reply { sub, .. } if events.get(at + 1..).is_some_and(|rest|
                rest.iter().find(|event| concerns(event, *sub)).is_some_and(|event| pushed_to(event).is_some())))
            }
            Self::DropAck | Self::DoubleAck => matches!(event, Event::Done { .. }),
            Self::StatUp | Self::StatDown => matches!(event, Event::Compare { law: Law::I14, .. }),
            Self::ExtraTask => matches!(event, Event::Compare { law: Law::I15, .. }),
            Self::PresenceOff => matches!(event, Event::Compare { law: Law::I18, .. }),
            Self::ShortenHistory => matches!(event, Event::History { entries, .. } if !entries.is_empty()),
            Self::HoleInHistory => matches!(event, Event::History { entries, .. } if entries.len() >= 3),
            Self::PublishAfterPush => {
                matches!(event, Event::Invoke { id, .. } if is_latest_on_arrival(events, at, *id))
            }
            Self::HurtBystander => matches!(event, Event::Subscription { bystander: true, sub, .. }
                if events.iter().any(|event| matches!(event, Event::Reply { sub: s, .. } if s == sub))),
            Self::ForgetWasRecovering => matches!(event, Event::Reply { recovered: false, was_recovering: true, .. }),
            Self::NeverComesBack => {
                matches!(event, Event::Reply { .. }) && stays(events, at) && {
                    let Event::Reply { sub, .. } = event else { return false };
                    !events[at + 1..].iter().any(|event| matches!(event, Event::Ask { sub: s, .. } if s == sub))
                }
            }
            Self::LoseRequest => matches!(event, Event::Completion { .. }),
            Self::BadFrame => matches!(event, Event::Checked { law: Law::I16, .. }),
            Self::Panic => matches!(event, Event::Checked { law: Law::I19, .. }),
        }
    }

    fn strike(self, events: &mut Vec<Event>, at: usize) {
        match self {
            Self::DropPush | Self::DropLastPush | Self::DropAck | Self::LoseRequest => {
                events.remove(at);
            }
            Self::DropAllPushes => {
                let Event::Subscription { sub, .. } = events[at] else { return };
                events.retain(|event| pushed_to(event) != Some(sub));
            }
            Self::DuplicatePush | Self::DoubleAck => {
                let again = events[at].clone();
                events.insert(at + 1, again);
            }
            Self::SwapPushes => {
                if let Some(next) = next_of_span(events, at) {
                    events.swap(at, next);
                }
            }
            Self::PushAcrossBreak => move_behind(events, at, |event| matches!(event, Event::Break { .. })),
            Self::PushAfterUnsubscribe => {
                let again = events[at].clone();
                events.insert(at, again);
                move_behind(events, at, |event| matches!(event, Event::Left { .. }));
            }
            Self::ReplayOld => {
                let start = span_start(events, at).unwrap_or(1);
                let mut again = events[at].clone();
                if let Event::Push { offset, epoch, content, .. } = &mut again {
                    (*offset, *epoch) = (start, None);
                    *content = Err(Damage::Body);
                }
                events.insert(at + 1, again);
            }
            Self::OffsetUp => with_offset(&mut events[at], |offset| offset + 1),
            Self::OffsetDown => with_offset(&mut events[at], |offset| offset - 1),
            Self::OtherEpoch => {
                if let Event::Push { epoch, .. } = &mut events[at] {
                    *epoch = Some(Epoch(9_999));
                }
            }
            Self::FlipRecoveredOn => {
                if let Event::Reply { recovered, .. } = &mut events[at] {
                    *recovered = true;
                }
            }
            Self::FlipRecoveredOff => {
                if let Event::Reply { recovered, place, batch, was_recovering, .. } = &mut events[at] {
                    (*recovered, *was_recovering) = (false, true);
                    if let (Some(place), Some(&(last, _))) = (place, batch.last()) {
                        place.offset = last;
                    }
                    batch.clear();
                }
            }
            Self::CutBatchTail => with_batch(&mut events[at], |batch| batch.truncate(batch.len() - 1)),
            Self::CutBatchHead => with_batch(&mut events[at], |batch| *batch = batch.split_off(1)),
            Self::ReverseBatch => with_batch(&mut events[at], |batch| batch.reverse()),
            Self::OtherChannel => {
                if let Event::Push { channel, .. } = &mut events[at] {
                    *channel += 100;
                }
            }
            Self::OtherChannelsContent => with_content(events, at, foreign),
            Self::RevealFailed => with_content(events, at, failed_before),
            Self::Phantom => with_content(events, at, |events, at| {
                let Event::Push { content: Ok(id), .. } = &events[at] else { return None };
                Some(PublicationId { n: 1_000_000, ..*id })
            }),
            Self::FlipBit => {
                if let Event::Push { content, .. } = &mut events[at] {
                    *content = Err(Damage::Body);
                }
            }
            Self::PushBeforeReply => {
                let Event::Reply { sub, .. } = events[at] else { return };
                let next = (at + 1..events.len()).find(|&next| concerns(&events[next], sub));
                if let Some(next) = next {
                    let push = events.remove(next);
                    events.insert(at, push);
                }
            }
            Self::StatUp | Self::ExtraTask | Self::PresenceOff => with_actual(&mut events[at], 1.0),
            Self::StatDown => with_actual(&mut events[at], -1.0),
            Self::ShortenHistory => {
                if let Event::History { entries, top, .. } = &mut events[at] {
                    entries.pop();
                    top.offset -= 1;
                }
            }
            Self::HoleInHistory => {
                if let Event::History { entries, .. } = &mut events[at] {
                    let rest = entries.split_off(entries.len() / 2);
                    entries.extend_from_slice(&rest[1..]);
                }
            }
            Self::PublishAfterPush => {
                let Event::Invoke { id, .. } = events[at] else { return };
                let is_publish = |event: &Event| matches!(event, Event::Invoke { id: i, .. } | Event::Done { id: i, .. } if *i == id);
                let publish: Vec<Event> = events.extract_if(.., |event| is_publish(event)).collect();
                if let Some(arrival) = events.iter().position(|event| tells_of(event, id)) {
                    events.splice(arrival + 1..arrival + 1, publish);
                }
            }
            Self::HurtBystander => {
                let Event::Subscription { sub, .. } = events[at] else { return };
                let reply = events.iter().position(|event| matches!(event, Event::Reply { sub: s, .. } if *s == sub));
                let Some(reply) = reply else { return };
                let Event::Reply { at, generation, .. } = events[reply] else { return };
                let cause = Cause::Disconnected(3008);
                events.insert(reply + 1, Event::Break { at, sub, generation, cause });
            }
            Self::ForgetWasRecovering => {
                if let Event::Reply { was_recovering, place: Some(place), .. } = &mut events[at] {
                    *was_recovering = false;
                    // Whatever was asked, it was not this.
                    place.offset += 1;
                }
            }
            Self::NeverComesBack => {
                let Event::Reply { at: when, sub, generation, .. } = events[at] else { return };
                let cause = Cause::Disconnected(1006);
                let mut index = 0;
                events.retain(|event| {
                    index += 1;
                    index <= at + 1 || pushed_to(event) != Some(sub)
                });
                events.insert(at + 1, Event::Break { at: when, sub, generation, cause });
            }
            Self::BadFrame | Self::Panic => {
                if let Event::Checked { wrong, .. } = &mut events[at] {
                    wrong.push("planted".to_owned());
                }
            }
        }
    }
}

/// The offset of a push in a stream.
fn streamed(event: &Event) -> Option<u64> {
    match event {
        Event::Push { offset, .. } if *offset > 0 => Some(*offset),
        _ => None,
    }
}

fn pushed_to(event: &Event) -> Option<u32> {
    match event {
        Event::Push { sub, .. } => Some(*sub),
        _ => None,
    }
}

fn concerns(event: &Event, number: u32) -> bool {
    match event {
        Event::Ask { sub, .. }
        | Event::Reply { sub, .. }
        | Event::Push { sub, .. }
        | Event::Break { sub, .. }
        | Event::Left { sub, .. } => *sub == number,
        _ => false,
    }
}

fn tells_of(event: &Event, id: PublicationId) -> bool {
    match event {
        Event::Push { content, .. } => *content == Ok(id),
        Event::Reply { batch, .. } => batch.iter().any(|(_, content)| *content == Ok(id)),
        _ => false,
    }
}

/// Whether a publication arrives before its publisher begins the next one.
fn is_latest_on_arrival(events: &[Event], at: usize, id: PublicationId) -> bool {
    let Some(arrival) = events.iter().position(|event| tells_of(event, id)) else { return false };
    let between = events.get(at + 1..arrival).unwrap_or_default();
    arrival > at
        && !between.iter().any(|event| matches!(event, Event::Invoke { id: i, .. } if i.publisher == id.publisher))
}

/// The next event of the same subscription, if it is a push: the span goes on.
fn next_of_span(events: &[Event], at: usize) -> Option<usize> {
    let sub = pushed_to(&events[at])?;
    let next = (at + 1..events.len()).find(|&next| concerns(&events[next], sub))?;
    pushed_to(&events[next]).map(|_| next)
}

/// The next event of the same subscription other than a push, if `wanted`.
fn later(events: &[Event], at: usize, wanted: impl Fn(&Event) -> bool) -> Option<usize> {
    let sub = pushed_to(&events[at])?;
    let next =
        (at + 1..events.len()).find(|&next| concerns(&events[next], sub) && pushed_to(&events[next]).is_none())?;
    wanted(&events[next]).then_some(next)
}

fn move_behind(events: &mut Vec<Event>, at: usize, wanted: impl Fn(&Event) -> bool) {
    if let Some(to) = later(events, at, wanted) {
        let event = events.remove(at);
        events.insert(to, event);
    }
}

fn is_last_push(events: &[Event], at: usize) -> bool {
    let sub = pushed_to(&events[at]);
    !events[at + 1..].iter().any(|event| pushed_to(event) == sub)
}

/// Whether the subscription is there until the end.
fn stays(events: &[Event], at: usize) -> bool {
    let (Event::Push { sub, .. } | Event::Reply { sub, .. }) = &events[at] else { return false };
    let last = events.iter().rev().find(|event| concerns(event, *sub));
    !matches!(last, Some(Event::Left { .. } | Event::Break { .. }) | None)
}

/// Whether something comes on the subscription after this reply, so that a cut in it is felt.
fn is_followed(events: &[Event], at: usize) -> bool {
    let Event::Reply { sub, .. } = &events[at] else { return false };
    events[at + 1..].iter().find(|event| concerns(event, *sub)).is_some_and(|event| pushed_to(event).is_some())
}

/// Whether the event before, of the same subscription, is a push.
fn follows_push(events: &[Event], at: usize) -> bool {
    let Some(sub) = pushed_to(&events[at]) else { return false };
    events[..at].iter().rev().find(|event| concerns(event, sub)).is_some_and(|event| pushed_to(event).is_some())
}

/// Whether a push is the first after a recovery: what goes wrong there is the recovery's fault.
fn joins_recovery(events: &[Event], at: usize) -> bool {
    let Some(sub) = pushed_to(&events[at]) else { return false };
    let before = events[..at].iter().rev().find(|event| concerns(event, sub));
    matches!(before, Some(Event::Reply { recovered: true, .. }))
}

/// Where the span that a push belongs to began.
fn span_start(events: &[Event], at: usize) -> Option<u64> {
    let sub = pushed_to(&events[at])?;
    events[..at].iter().rev().find_map(|event| match event {
        Event::Reply { sub: s, recovered: false, place, .. } if *s == sub => {
            Some(place.map_or(0, |place| place.offset))
        }
        _ => None,
    })
}

/// A publication of another channel that had been begun before.
fn foreign(events: &[Event], at: usize) -> Option<PublicationId> {
    let Event::Push { content: Ok(id), channel, .. } = &events[at] else { return None };
    let home = |publisher: u32| {
        events.iter().find_map(|event| match event {
            Event::Publisher { publisher: p, channel } if *p == publisher => Some(*channel),
            _ => None,
        })
    };
    events[..at].iter().find_map(|event| match event {
        Event::Invoke { id: other, .. } if other != id && home(other.publisher) != Some(*channel) => Some(*other),
        _ => None,
    })
}

/// A publication of the same channel whose publish had failed before.
fn failed_before(events: &[Event], at: usize) -> Option<PublicationId> {
    let Event::Push { content: Ok(id), .. } = &events[at] else { return None };
    events[..at].iter().find_map(|event| match event {
        Event::Done { id: failed, outcome: Outcome::Failed, .. } if failed.publisher == id.publisher => Some(*failed),
        _ => None,
    })
}

fn with_offset(event: &mut Event, change: impl Fn(u64) -> u64) {
    if let Event::Push { offset, epoch, .. } = event {
        *offset = change(*offset);
        *epoch = None;
    }
}

fn with_batch(event: &mut Event, change: impl Fn(&mut Vec<(u64, crate::ledger::Content)>)) {
    if let Event::Reply { batch, .. } = event {
        change(batch);
    }
}

fn with_content(events: &mut [Event], at: usize, make: impl Fn(&[Event], usize) -> Option<PublicationId>) {
    let made = make(events, at);
    if let (Event::Push { content, .. }, Some(id)) = (&mut events[at], made) {
        *content = Ok(id);
    }
}

fn with_actual(event: &mut Event, change: f64) {
    if let Event::Compare { actual, .. } = event {
        *actual += change;
    }
}
