//! All deadlines of a connection in one table, with one sleep for the nearest.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::ids::Topic;
use crate::planted::{self, Bug};

/// What a deadline is for. At most one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next attempt is due.
    Reconnect,
    /// The attempt under way has taken too long.
    Connect,
    /// A ping is due.
    Ping,
    /// The pong is overdue.
    Pong,
    /// The server's own ping is overdue.
    Silence,
    /// A request may be out of time.
    CleanUp,
    /// An answer to a subscribe, unsubscribe or refresh is overdue.
    Answer,
    /// The connection's token has to be renewed.
    Refresh,
    /// The peer has not answered our close.
    Close,
}

const TIMERS: [Timer; 9] = [
    Timer::Reconnect,
    Timer::Connect,
    Timer::Ping,
    Timer::Pong,
    Timer::Silence,
    Timer::CleanUp,
    Timer::Answer,
    Timer::Refresh,
    Timer::Close,
];

/// What a topic's deadline is for. At most one of each kind for each topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TopicTimer {
    /// It may be subscribed again.
    Retry,
    /// Its token has to be renewed.
    Refresh,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Timer(Timer),
    Topic(Topic, TopicTimer),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    fixed: [Option<Instant>; TIMERS.len()],
    /// By time, then by order of setting.
    topics: BTreeMap<(Instant, u64), (Topic, TopicTimer)>,
    /// Where each of them stands there.
    places: BTreeMap<(Topic, TopicTimer), (Instant, u64)>,
    set: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.fixed[timer as usize] = Some(at);
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.fixed[timer as usize] = None;
    }

    /// Sets it, unless it is due earlier already.
    pub(crate) fn set_no_later(&mut self, timer: Timer, at: Instant) {
        let slot = &mut self.fixed[timer as usize];
        *slot = Some(slot.map_or(at, |set| set.min(at)));
    }

    pub(crate) fn set_topic(&mut self, topic: Topic, timer: TopicTimer, at: Instant) {
        self.set += 1;
        let (place, of) = ((at, self.set), (topic, timer));
        self.topics.insert(place, of.clone());
        if let Some(before) = self.places.insert(of, place) {
            self.topics.remove(&before);
        }
    }

    pub(crate) fn clear_topic(&mut self, topic: &Topic, timer: TopicTimer) {
        if let Some(place) = self.places.remove(&(topic.clone(), timer)) {
            self.topics.remove(&place);
        }
    }

    /// Forgets all that belongs to a connection; what belongs to the client stays.
    pub(crate) fn clear_connection(&mut self) {
        for timer in TIMERS {
            let outlives = planted::is(Bug::PingTimerOutlivesConnection) && timer == Timer::Silence;
            if timer != Timer::CleanUp && !outlives {
                self.clear(timer);
            }
        }
        (self.topics, self.places) = (BTreeMap::new(), BTreeMap::new());
    }

    fn nearest(&self) -> Option<Instant> {
        let fixed = self.fixed.iter().copied().flatten().min();
        let topic = self.topics.first_key_value().map(|((at, _), _)| *at);
        fixed.into_iter().chain(topic).min()
    }

    /// Takes what is due first: of several at one moment, in the order of [`Timer`], topics last.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let nearest = self.nearest().filter(|&at| at <= now)?;
        for timer in TIMERS {
            if self.fixed[timer as usize] == Some(nearest) {
                self.clear(timer);
                return Some(Due::Timer(timer));
            }
        }
        let (_, of) = self.topics.pop_first().expect("the nearest deadline is a topic's");
        self.places.remove(&of);
        Some(Due::Topic(of.0, of.1))
    }

    /// Waits for the next deadline.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let Some(nearest) = self.nearest() else {
                self.sleep = None;
                return Poll::Pending;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(nearest)));
            if sleep.deadline() != nearest {
                sleep.as_mut().reset(nearest);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The clock has come that far, whatever a coarse one says.
            if let Some(due) = self.take_due(nearest.max(Instant::now())) {
                return Poll::Ready(due);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_lists_each_timer_at_its_place() {
        for (i, timer) in TIMERS.into_iter().enumerate() {
            assert_eq!(timer as usize, i);
        }
    }

    #[test]
    fn a_topic_has_one_deadline_of_each_kind() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (c, d) = (Topic::from("c"), Topic::from("d"));
        let mut timers = Timers::default();
        timers.set_topic(c.clone(), TopicTimer::Refresh, at(5));
        timers.set_topic(c.clone(), TopicTimer::Refresh, at(2));
        timers.set_topic(c.clone(), TopicTimer::Retry, at(3));
        timers.set_topic(d.clone(), TopicTimer::Refresh, at(1));
        timers.clear_topic(&d, TopicTimer::Refresh);
        assert_eq!(timers.take_due(at(9)), Some(Due::Topic(c.clone(), TopicTimer::Refresh)));
        assert_eq!(timers.take_due(at(9)), Some(Due::Topic(c.clone(), TopicTimer::Retry)));
        assert_eq!(timers.take_due(at(9)), None);
        timers.set_topic(c.clone(), TopicTimer::Refresh, at(4));
        assert_eq!(timers.take_due(at(9)), Some(Due::Topic(c, TopicTimer::Refresh)));
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_come_in_order_and_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(Timer::Ping, at(3));
        timers.set(Timer::Close, at(1));
        timers.set_topic(Topic::from("b"), TopicTimer::Retry, at(2));
        timers.set_topic(Topic::from("a"), TopicTimer::Refresh, at(2));
        timers.set(Timer::Answer, at(9));
        timers.set_no_later(Timer::Answer, at(2));
        timers.set_no_later(Timer::Answer, at(5));
        timers.set(Timer::Pong, at(1));
        timers.clear(Timer::Pong);
        let expected = [
            (1, Due::Timer(Timer::Close)),
            (2, Due::Timer(Timer::Answer)),
            (2, Due::Topic(Topic::from("b"), TopicTimer::Retry)),
            (2, Due::Topic(Topic::from("a"), TopicTimer::Refresh)),
            (3, Due::Timer(Timer::Ping)),
        ];
        for (second, due) in expected {
            assert_eq!(poll_fn(|cx| timers.poll_due(cx)).await, due);
            assert_eq!(start.elapsed().as_secs(), second);
        }
        assert!(timers.nearest().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_comes_nearer_is_not_slept_through() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.set(Timer::Ping, start + Duration::from_secs(60));
        let first = poll_fn(|cx| {
            let polled = timers.poll_due(cx);
            Poll::Ready(polled.is_pending())
        });
        assert!(first.await);
        timers.set(Timer::Close, start + Duration::from_secs(1));
        assert_eq!(poll_fn(|cx| timers.poll_due(cx)).await, Due::Timer(Timer::Close));
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}
