//! What a connection waits for: operations of its session, and its departures from channels, one after the other.
//!
//! The embedded engine is done at once, and nothing ever waits here. A store that is further away answers late, and may do what it
//! was asked later than what it is asked next: who leaves a channel and comes back at once would be taken out of presence
//! after having been put into it. What was begun for a connection that ends is dropped, but for its departures and what it
//! publishes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::share::Share;
use super::{Shard, TURN};
use crate::engine::Published;
use crate::metrics::ShardMetrics;
use crate::node::Work;
use crate::session::operation::{Completion, Operation};
use crate::session::subscriptions::Subscription;
use crate::transport::socket::Socket;

/// How long a shard that is told to end waits for an engine that answers late.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Something that is waited for.
pub(super) enum Waiting {
    /// Its completion goes to the session, and is of no interest once that has ended.
    Operation(Work),
    /// The same, but what is published is published whatever becomes of the connection: a store may have it already.
    Publish(Work),
    /// Done whatever becomes of the connection.
    Departure(Departure),
}

/// Takes a subscriber out of a channel's presence, and tells the others.
pub(super) type Departure = Pin<Box<dyn Future<Output = ()> + Send>>;

/// In the order in which it is done.
pub(super) type Queue = VecDeque<Waiting>;

impl<S: Socket> Shard<S> {
    /// Has the node do something for a session.
    pub(super) fn start(&mut self, slot: u32, connection: &mut Connection<S>, operation: Operation) {
        let publishes = matches!(operation, Operation::Publish { .. });
        let mut work = self.desk.node.run(operation, self.place(slot), connection.format);
        // Nothing of the connection's is woken for what is done at once.
        let first = match connection.work {
            None => work.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            Some(_) => Poll::Pending,
        };
        match first {
            Poll::Ready(completion) => self.complete(connection, completion),
            Poll::Pending if publishes => self.wait_for(slot, connection, Waiting::Publish(work)),
            Poll::Pending => self.wait_for(slot, connection, Waiting::Operation(work)),
        }
    }

    fn complete(&mut self, connection: &mut Connection<S>, completion: Completion) {
        count_published(self.cells(), &completion);
        connection.session.complete(completion, &mut self.desk.context());
    }

    /// A subscription is over: others are told of it.
    pub(super) fn depart(&mut self, slot: u32, connection: &mut Connection<S>, subscription: &Subscription) {
        let info = connection.session.info_in(subscription);
        let node = self.desk.node.clone();
        let (present, announced) = (subscription.traits.present, subscription.traits.announced);
        let channel = subscription.channel.clone();
        let mut departure: Departure = Box::pin(async move { node.depart(channel, info, present, announced).await });
        if connection.session.is_closed() && connection.work.is_none() {
            // It will not come back to the channel, and it may have had a hundred of them.
            return self.departures.push_back(departure);
        }
        let at_once =
            connection.work.is_none() && departure.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        if !at_once {
            self.wait_for(slot, connection, Waiting::Departure(departure));
        }
    }

    /// Sees off those who are gone, as far as a turn goes.
    pub(super) fn see_off_some(&mut self) {
        while !self.leaving.is_empty() && self.leaving.try_join_next().is_some() {}
        let mut share = Share::default();
        for _ in 0..TURN.min(self.departures.len()) {
            if !share.has_more() {
                break;
            }
            let Some(departure) = self.departures.pop_front() else { break };
            self.see_off(departure);
        }
    }

    /// Sees off all of them. Ready when the engine has taken note of each, or has had its time.
    pub(super) fn poll_see_off_all(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(departure) = self.departures.pop_front() {
            self.see_off(departure);
        }
        while let Poll::Ready(Some(_)) = self.leaving.poll_join_next(cx) {}
        if self.leaving.is_empty() {
            return Poll::Ready(());
        }
        let until = *self.ends_at.get_or_insert_with(|| Instant::now() + LAST_WORK);
        self.timer.as_mut().reset(until);
        self.timer.as_mut().poll(cx).map(|()| {
            tracing::warn!(
                left = self.leaving.len(),
                "the engine was not done in time with all who left and what they published"
            );
        })
    }

    /// Nobody waits for it, so that what an engine does not do at once does not wait in the shard's way.
    fn see_off(&mut self, mut departure: Departure) {
        let mut cx = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| departure.as_mut().poll(&mut cx))) {
            Ok(Poll::Ready(())) => {}
            Ok(Poll::Pending) => drop(self.leaving.spawn(departure)),
            Err(_) => tracing::error!("a bug in the server kept somebody who is gone in presence"),
        }
    }

    fn wait_for(&mut self, slot: u32, connection: &mut Connection<S>, waiting: Waiting) {
        connection.work.get_or_insert_default().push_back(waiting);
        self.poll_work(slot, connection);
    }

    /// Gets on with what a connection waits for.
    pub(super) fn poll_work(&mut self, slot: u32, connection: &mut Connection<S>) {
        let waker = connection.waker(&self.ready, slot);
        let mut cx = Context::from_waker(&waker);
        let Some(mut work) = connection.work.take() else { return };
        while let Some(first) = work.front_mut() {
            match first {
                Waiting::Operation(work) | Waiting::Publish(work) => match work.as_mut().poll(&mut cx) {
                    Poll::Pending => break,
                    Poll::Ready(completion) => self.complete(connection, completion),
                },
                Waiting::Departure(departure) => match departure.as_mut().poll(&mut cx) {
                    Poll::Pending => break,
                    Poll::Ready(()) => {}
                },
            }
            work.pop_front();
        }
        if !work.is_empty() {
            connection.work = Some(work);
        }
    }

    /// The session has ended: nobody waits for its operations any more.
    pub(super) fn abandon(connection: &mut Connection<S>) {
        if let Some(work) = &mut connection.work {
            work.retain(|waiting| !matches!(waiting, Waiting::Operation(_)));
        }
        connection.work.take_if(|work| work.is_empty());
    }

    /// The connection is gone: what does not end with it goes on without it.
    pub(super) fn bequeath(&mut self, connection: &mut Connection<S>) {
        Self::abandon(connection);
        if let Some(work) = connection.work.take() {
            let (metrics, shard) = (self.metrics.clone(), usize::from(self.index));
            self.leaving.spawn(async move {
                for waiting in *work {
                    match waiting {
                        Waiting::Operation(_) => {}
                        Waiting::Publish(work) => count_published(metrics.shard(shard), &work.await),
                        Waiting::Departure(departure) => departure.await,
                    }
                }
            });
        }
    }
}

fn count_published(cells: &ShardMetrics, completion: &Completion) {
    if let Completion::Publish { result: Ok(Published { suppressed: false, .. }), .. } = completion {
        cells.publications.increment();
    }
}
