//! What one local subscriber has yet to read: bounded, and honest about what does not fit.
//!
//! A mailbox keeps, beside the events, the offset of the last publication put into it. That is this subscriber's
//! position: it moves only when a publication is really handed over, so that recovery from it can neither lose nor
//! repeat one, however many subscribers share the subscription.
//!
//! The bound is `capacity` events, and beyond it what one recovery brought. That came in one message, which is bounded
//! itself. Cut off at the capacity it would have to be asked for again and again, and each time come whole: of a backlog
//! of n, n²/2. One that has no room at all takes nothing of it, and is not asked for until it has read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::event::{Event, Publication, Recovery, Subscribed};
use crate::planted::{self, Bug};

/// What a put does to the reader: wake this, once no lock is held.
#[must_use = "the reader has to be woken"]
#[derive(Debug, Default)]
pub(crate) struct Wake(Option<Waker>);

impl Wake {
    pub(crate) fn now(self) {
        if let Some(waker) = self.0 {
            waker.wake();
        }
    }
}

/// How the subscription has begun, as far as this subscriber knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Start {
    #[default]
    Waiting,
    InForce,
    Refused {
        code: u32,
        reason: String,
    },
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    /// Offset of the last publication put in; 0 before the first, and in channels without positions.
    offset: u64,
    /// How many publications did not fit, while it lags.
    missed: Option<u64>,
    /// Whether what it lags by is fetched again, rather than told as missed.
    recovers: bool,
    /// Whether the connection was asked to fetch it.
    asked: bool,
    /// Whether there was room when the subscription began: what was recovered is taken, however much it is.
    takes_recovered: bool,
    /// A beginning that came while there was no room. Read after everything else.
    late: Option<Subscribed>,
    /// Whether it has been told that it is not in force, and not yet that it is again.
    interrupted: bool,
    /// Whether the place it stood at could not be recovered from, and it was moved to another's.
    moved_on: bool,
    start: Start,
    ended: bool,
    reader: Option<Waker>,
}

/// What a read came to.
pub(crate) enum Read {
    Event(Event),
    /// An event, and the connection is to be asked for what did not fit.
    EventAndCatchUp(Event),
    End,
}

impl Mailbox {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets where it stands: the next publication taken is one with a higher offset.
    pub(crate) fn stand_at(&self, offset: u64) {
        self.lock().offset = offset;
    }

    pub(crate) fn offset(&self) -> u64 {
        self.lock().offset
    }

    /// Where it is to be recovered from. `None`: it would have no room for what came.
    pub(crate) fn recovers_from(&self) -> Option<u64> {
        let inner = self.lock();
        (inner.events.len() < self.capacity).then_some(inner.offset)
    }

    #[cfg(test)]
    pub(crate) fn start(&self) -> Start {
        self.lock().start.clone()
    }

    /// Whether it lags and has read enough for what it lacks to be fetched.
    pub(crate) fn wants_catch_up(&self) -> bool {
        let inner = self.lock();
        inner.missed.is_some() && inner.recovers && inner.asked
    }

    /// What it lacks is not to be had any more: it goes on from a place where another stands.
    pub(crate) fn move_on(&self, offset: u64) {
        let mut inner = self.lock();
        inner.offset = offset;
        inner.moved_on = true;
    }

    /// The subscription is in force, from `base` on: what did not fit before, if it was fetched, follows. One that neither
    /// was interrupted nor lags hears nothing of it: another's backlog was fetched, and it has all of that already. Nor
    /// does one that lags and had no room when `base` was chosen.
    pub(crate) fn subscribed(&self, mut event: Subscribed, base: u64, recovers: bool) -> Wake {
        let mut inner = self.lock();
        let goes_on = event.recovery == Recovery::Recovered;
        let left_out = goes_on && inner.offset < base && inner.start == Start::InForce;
        // The place of one that is ahead of another is right as well.
        if !goes_on || (inner.offset < base && !left_out) {
            inner.offset = base;
        }
        // It is told its own place: what was fetched for another may begin before it, or behind.
        if let Some(position) = &mut event.position {
            position.offset = inner.offset;
        }
        // What did not fit into one that is not recovered for is gone, whatever is recovered for others.
        let gone = !std::mem::replace(&mut inner.recovers, recovers) || event.recovery == Recovery::Fresh;
        inner.asked &= left_out;
        inner.takes_recovered = inner.events.len() < self.capacity;
        if std::mem::take(&mut inner.moved_on) {
            event.recovery = Recovery::NotRecovered;
        }
        let undisturbed = inner.start == Start::InForce && !inner.interrupted;
        if undisturbed && (inner.missed.is_none() || left_out) && event.recovery == Recovery::Recovered {
            return Wake::default();
        }
        inner.start = Start::InForce;
        inner.interrupted = false;
        if left_out || inner.events.len() >= self.capacity {
            // Of several that were not read the worst counts.
            let recovery = match inner.late.as_ref().map(|late| late.recovery) {
                Some(Recovery::NotRecovered) => Recovery::NotRecovered,
                _ => event.recovery,
            };
            inner.late = Some(Subscribed { recovery, ..event });
            inner.missed.get_or_insert(0);
            return inner.wake();
        }
        if let Some(missed) = inner.missed.take().filter(|&missed| missed > 0 && gone) {
            inner.events.push_back(Event::Lagged { missed });
        }
        if let Some(late) = inner.late.take() {
            inner.events.push_back(Event::Subscribed(late));
        }
        inner.events.push_back(Event::Subscribed(event));
        inner.wake()
    }

    /// Puts a publication in, unless it has it already. `tracked`: offsets mean something here.
    pub(crate) fn publication(&self, publication: &Publication, tracked: bool) -> Wake {
        self.put(publication, tracked, false)
    }

    /// The same with one of those that were recovered: all of them are taken, or none.
    pub(crate) fn recovered(&self, publication: &Publication, tracked: bool) -> Wake {
        self.put(publication, tracked, true)
    }

    fn put(&self, publication: &Publication, tracked: bool, recovered: bool) -> Wake {
        let mut inner = self.lock();
        if inner.ended || (tracked && publication.offset > 0 && publication.offset <= inner.offset) {
            return Wake::default();
        }
        let full = inner.events.len() >= self.capacity && !(recovered && inner.takes_recovered);
        if planted::is(Bug::LagSwallowed) && full {
            inner.stand_at(publication.offset);
            return Wake::default();
        }
        if inner.missed.is_some() || full {
            *inner.missed.get_or_insert(0) += 1;
            if !inner.recovers {
                inner.stand_at(publication.offset);
            }
            return Wake::default();
        }
        inner.stand_at(publication.offset);
        inner.events.push_back(Event::Publication(publication.clone()));
        inner.wake()
    }

    /// Puts any other news in. While it lags, and when it is full, they are left out: what follows tells more.
    pub(crate) fn notice(&self, event: Event) -> Wake {
        let mut inner = self.lock();
        inner.interrupted |= matches!(event, Event::Interrupted { .. });
        if inner.ended || inner.missed.is_some() {
            return Wake::default();
        }
        if planted::is(Bug::TailLostOnClose) && matches!(event, Event::Interrupted { .. }) {
            inner.events.retain(|event| !matches!(event, Event::Publication(_)));
        }
        if inner.events.len() >= self.capacity {
            inner.missed = Some(0);
            return Wake::default();
        }
        inner.events.push_back(event);
        inner.wake()
    }

    /// Puts the last event in, full or not. Nothing comes after it.
    pub(crate) fn end(&self, code: u32, reason: &str) -> Wake {
        let mut inner = self.lock();
        if inner.ended {
            return Wake::default();
        }
        inner.ended = true;
        // A beginning that waits to be read would be read behind the end.
        inner.late = None;
        if inner.start == Start::Waiting {
            inner.start = Start::Refused { code, reason: reason.to_owned() };
        }
        if let Some(missed) = inner.missed.take().filter(|&missed| missed > 0) {
            inner.events.push_back(Event::Lagged { missed });
        }
        inner.events.push_back(Event::Unsubscribed { code, reason: reason.to_owned() });
        inner.wake()
    }

    /// Waits until the subscription has begun or was refused, without reading anything.
    pub(crate) fn poll_start(&self, cx: &Context<'_>) -> Poll<Start> {
        let mut inner = self.lock();
        if inner.start == Start::Waiting {
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(inner.start.clone())
    }

    pub(crate) fn poll_read(&self, cx: &Context<'_>) -> Poll<Read> {
        let mut inner = self.lock();
        if inner.events.is_empty()
            && inner.late.is_none()
            && !inner.recovers
            && let Some(missed) = inner.missed.take().filter(|&missed| missed > 0)
        {
            return Poll::Ready(Read::Event(Event::Lagged { missed }));
        }
        let Some(event) = inner.events.pop_front().or_else(|| inner.late.take().map(Event::Subscribed)) else {
            if inner.ended {
                return Poll::Ready(Read::End);
            }
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if inner.events.is_empty() {
            // A burst's memory is given back.
            inner.events = VecDeque::new();
        }
        if inner.missed.is_some() && inner.recovers && !inner.asked && inner.events.len() <= self.capacity / 2 {
            inner.asked = true;
            return Poll::Ready(Read::EventAndCatchUp(event));
        }
        Poll::Ready(Read::Event(event))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().events.len()
    }
}

impl Inner {
    /// A publication that is in no history has no offset, and moves nothing.
    fn stand_at(&mut self, offset: u64) {
        if offset > 0 {
            self.offset = offset;
        }
    }

    fn wake(&mut self) -> Wake {
        Wake(self.reader.take())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use pubsub_protocol::Payload;

    use super::*;

    fn publication(offset: u64) -> Publication {
        let data = Payload::to_json(&offset).unwrap();
        Publication { data, tags: BTreeMap::new(), info: None, offset, epoch: Arc::from("e") }
    }

    fn subscribed() -> Subscribed {
        Subscribed::new(Recovery::Fresh, None, None, 1)
    }

    /// Reads all there is: offsets, negative for what was told as missed, and whether a catch-up was asked for.
    fn read(mailbox: &Mailbox) -> (Vec<i64>, bool) {
        let cx = Context::from_waker(Waker::noop());
        let (mut seen, mut asked) = (Vec::new(), false);
        loop {
            let event = match mailbox.poll_read(&cx) {
                Poll::Ready(Read::Event(event)) => event,
                Poll::Ready(Read::EventAndCatchUp(event)) => {
                    asked = true;
                    event
                }
                Poll::Ready(Read::End) | Poll::Pending => return (seen, asked),
            };
            match event {
                Event::Publication(publication) => seen.push(publication.offset as i64),
                Event::Lagged { missed } => seen.push(-(missed as i64)),
                _ => {}
            }
        }
    }

    fn in_force(capacity: usize, recovers: bool) -> Mailbox {
        let mailbox = Mailbox::new(capacity);
        mailbox.subscribed(subscribed(), 0, recovers).now();
        read(&mailbox);
        mailbox
    }

    fn put(mailbox: &Mailbox, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            mailbox.publication(&publication(offset), true).now();
        }
    }

    #[test]
    fn a_publication_is_taken_once_whatever_comes_again() {
        let mailbox = in_force(8, true);
        put(&mailbox, [1, 2, 2, 1, 3]);
        assert_eq!(read(&mailbox).0, [1, 2, 3]);
        put(&mailbox, [3, 4]);
        assert_eq!(read(&mailbox).0, [4]);
    }

    #[test]
    fn without_positions_nothing_is_taken_for_a_duplicate() {
        let mailbox = in_force(8, false);
        for offset in [5, 1, 0, 0] {
            mailbox.publication(&publication(offset), false).now();
        }
        assert_eq!(read(&mailbox).0, [5, 1, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_told_where_it_cannot_be_fetched() {
        let mailbox = in_force(2, false);
        put(&mailbox, 1..=5);
        assert_eq!(read(&mailbox), (vec![1, 2, -3], false));
        put(&mailbox, 6..=6);
        assert_eq!(read(&mailbox).0, [6], "it goes on from there");
    }

    #[test]
    fn what_does_not_fit_is_fetched_from_where_the_subscriber_stands() {
        let mailbox = in_force(4, true);
        put(&mailbox, 1..=9);
        assert_eq!((mailbox.len(), mailbox.offset()), (4, 4), "the position did not move past what was handed over");
        assert!(!mailbox.wants_catch_up(), "it has read nothing yet");
        assert_eq!(read(&mailbox), (vec![1, 2, 3, 4], true));
        assert!(mailbox.wants_catch_up());
        put(&mailbox, 10..=10);
        assert_eq!(read(&mailbox), (vec![], false), "still behind, and asked already");
        mailbox.subscribed(Subscribed::new(Recovery::Recovered, None, None, 1), 4, true).now();
        put(&mailbox, 5..=6);
        assert_eq!(read(&mailbox).0, [5, 6]);
    }

    #[test]
    fn the_last_event_always_fits_and_is_the_last() {
        let mailbox = in_force(2, false);
        put(&mailbox, 1..=3);
        mailbox.end(2000, "enough").now();
        mailbox.end(2000, "again").now();
        put(&mailbox, 4..=4);
        let cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        while let Poll::Ready(Read::Event(event)) = mailbox.poll_read(&cx) {
            events.push(event);
        }
        assert!(matches!(events[2], Event::Lagged { missed: 1 }));
        assert_eq!(events[3], Event::Unsubscribed { code: 2000, reason: "enough".into() });
        assert_eq!(events.len(), 4);
        assert!(matches!(mailbox.poll_read(&cx), Poll::Ready(Read::End)));
    }

    /// A slow reader was told that the subscription is in force, after it had been told that it has ended.
    #[test]
    fn a_beginning_without_room_does_not_come_behind_the_end() {
        let mailbox = in_force(2, true);
        put(&mailbox, 1..=2);
        mailbox.notice(Event::Interrupted { code: 1006, reason: String::new() }).now();
        mailbox.subscribed(Subscribed::new(Recovery::Recovered, None, None, 2), 2, true).now();
        mailbox.end(Event::UNSUBSCRIBED_BY_US, "enough").now();
        let cx = Context::from_waker(Waker::noop());
        let mut events = Vec::new();
        while let Poll::Ready(Read::Event(event) | Read::EventAndCatchUp(event)) = mailbox.poll_read(&cx) {
            events.push(event);
        }
        assert_eq!(events.len(), 3, "{events:?}");
        assert!(matches!(events.last(), Some(Event::Unsubscribed { .. })), "{events:?}");
    }

    #[test]
    fn notices_do_not_grow_without_bound() {
        let mailbox = in_force(3, true);
        for _ in 0..100 {
            mailbox.notice(Event::Interrupted { code: 1006, reason: String::new() }).now();
        }
        assert_eq!(mailbox.len(), 3);
    }

    #[test]
    fn a_beginning_without_room_is_kept_and_the_worst_of_several_counts() {
        let mailbox = in_force(2, true);
        put(&mailbox, 1..=2);
        for recovery in [Recovery::NotRecovered, Recovery::Recovered] {
            mailbox.notice(Event::Interrupted { code: 1006, reason: String::new() }).now();
            mailbox.subscribed(Subscribed::new(recovery, None, None, 2), 2, true).now();
        }
        assert_eq!(mailbox.len(), 2);
        let cx = Context::from_waker(Waker::noop());
        let mut caught = None;
        while let Poll::Ready(Read::Event(event) | Read::EventAndCatchUp(event)) = mailbox.poll_read(&cx) {
            if let Event::Subscribed(subscribed) = event {
                caught = Some(subscribed.recovery);
            }
        }
        assert_eq!(caught, Some(Recovery::NotRecovered));
        assert!(mailbox.wants_catch_up());
    }

    #[test]
    fn each_is_told_its_own_place() {
        let told = |mailbox: &Mailbox, base: u64| {
            let position = Some(pubsub_protocol::StreamPosition::new(base, "e"));
            mailbox.notice(Event::Interrupted { code: 1, reason: String::new() }).now();
            mailbox.subscribed(Subscribed::new(Recovery::Recovered, position, None, 2), base, true).now();
            let cx = Context::from_waker(Waker::noop());
            let mut places = Vec::new();
            while let Poll::Ready(Read::Event(event) | Read::EventAndCatchUp(event)) = mailbox.poll_read(&cx) {
                if let Event::Subscribed(subscribed) = event {
                    places.push(subscribed.position.expect("it has one").offset);
                }
            }
            places
        };
        // One that was full when the connection broke, so that nothing was asked for on its behalf.
        let behind = in_force(2, true);
        put(&behind, 1..=5);
        assert_eq!(told(&behind, 5), [2]);
        // One that is ahead of another, for whom it was asked.
        let ahead = in_force(8, true);
        put(&ahead, 1..=5);
        assert_eq!(told(&ahead, 2), [5]);
    }

    #[test]
    fn the_start_can_be_awaited_without_reading() {
        let cx = Context::from_waker(Waker::noop());
        let mailbox = Mailbox::new(4);
        assert!(mailbox.poll_start(&cx).is_pending());
        mailbox.subscribed(subscribed(), 0, false).now();
        assert_eq!(mailbox.poll_start(&cx), Poll::Ready(Start::InForce));
        assert_eq!(mailbox.len(), 1);
        let refused = Mailbox::new(4);
        refused.end(103, "permission denied").now();
        assert_eq!(refused.start(), Start::Refused { code: 103, reason: "permission denied".into() });
    }
}
