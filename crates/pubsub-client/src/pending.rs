//! Requests that wait for their answers.
//!
//! Shared by all handles (which add and withdraw) and the connection's task (which sends, answers and cleans up), in a
//! concurrent map: no lock is held by one that another who asks for a different request would wait for, but for a
//! shard's, for the length of an insert. Two shards and a fixed hasher: one map a client has to be small, and its order
//! the same in every run.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ahash::AHasher;
use dashmap::DashMap;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Capacity, CloseReason, RequestError};
use crate::handler::{Call, CallKind, Response};
use crate::ids::RequestId;
use crate::planted::{self, Bug};

/// Same order in every run, unlike the standard library's default.
pub(crate) type FixedHasher = BuildHasherDefault<AHasher>;

/// Shards of a client's maps. dashmap's default depends on the machine, and takes 32 KB on a large one.
pub(crate) const SHARDS: usize = 2;

pub(crate) type Answer = Result<Response, RequestError>;

/// The store.
#[derive(Debug)]
pub(crate) struct PendingRequests {
    requests: DashMap<RequestId, Pending, FixedHasher>,
    /// Kept beside the map, whose own count visits every shard.
    count: AtomicUsize,
    capacity: usize,
}

#[derive(Debug)]
struct Pending {
    call: Arc<Call>,
    deadline: Instant,
    timeout: Duration,
    /// Whether it has left on the present connection.
    sent: bool,
    /// Whether it has left at all: if not, its outcome is known.
    ever_sent: bool,
    /// Whether it may be sent again when its outcome is unknown.
    repeatable: bool,
    answer: oneshot::Sender<Answer>,
}

impl PendingRequests {
    pub(crate) fn new(capacity: usize) -> Self {
        let requests = DashMap::with_capacity_and_hasher_and_shard_amount(0, FixedHasher::default(), SHARDS);
        Self { requests, count: AtomicUsize::new(0), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a request that is to be answered by `deadline`.
    pub(crate) fn add(
        &self,
        id: RequestId,
        call: Arc<Call>,
        deadline: Instant,
        timeout: Duration,
        repeatable: bool,
    ) -> Result<oneshot::Receiver<Answer>, RequestError> {
        let reserved = self
            .count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < self.capacity).then_some(count + 1));
        if reserved.is_err() {
            return Err(RequestError::CapacityExceeded { what: Capacity::PendingRequests, limit: self.capacity });
        }
        let (answer, receiver) = oneshot::channel();
        let replaced = self
            .requests
            .insert(id, Pending { call, deadline, timeout, sent: false, ever_sent: false, repeatable, answer });
        assert!(replaced.is_none(), "request ids are not given out twice while the first is pending");
        Ok(receiver)
    }

    /// Takes note that a request leaves now. `None`: nobody waits for it any more.
    pub(crate) fn mark_sent(&self, id: &RequestId) -> Option<Arc<Call>> {
        let mut pending = self.requests.get_mut(id)?;
        pending.sent = true;
        pending.ever_sent = true;
        Some(pending.call.clone())
    }

    /// What a pending request asks, so that its answer can be read.
    pub(crate) fn kind(&self, id: &RequestId) -> Option<CallKind> {
        self.requests.get(id).filter(|pending| pending.sent).map(|pending| pending.call.kind())
    }

    /// Hands over an answer. False: nobody waits for it.
    pub(crate) fn resolve(&self, id: &RequestId, answer: Answer) -> bool {
        let Some((_, pending)) = self.requests.remove(id) else { return false };
        self.count.fetch_sub(1, Ordering::AcqRel);
        pending.answer.send(answer).is_ok()
    }

    /// Forgets a request whose caller is gone. True: it was waiting to be sent.
    pub(crate) fn withdraw(&self, id: &RequestId) -> bool {
        let Some((_, pending)) = self.requests.remove(id) else { return false };
        self.count.fetch_sub(1, Ordering::AcqRel);
        !pending.sent
    }

    /// Tells everyone whose time is up, and says when the next one's will be.
    pub(crate) fn clean_up(&self, now: Instant) -> Option<Instant> {
        let mut stale = Vec::new();
        let mut next = None;
        for entry in &self.requests {
            if entry.deadline <= now {
                stale.push((entry.key().clone(), entry.timeout, entry.ever_sent));
            } else {
                next = Some(next.map_or(entry.deadline, |next: Instant| next.min(entry.deadline)));
            }
        }
        for (id, after, sent) in stale {
            self.resolve(&id.clone(), Err(RequestError::Timeout { id, after, sent }));
        }
        next
    }

    /// The connection is lost: what had been sent on it fails with an unknown outcome, unless it may be repeated.
    /// Returns what is to be sent again, oldest first as far as ids tell.
    pub(crate) fn connection_lost(&self, reason: &CloseReason) -> Vec<RequestId> {
        let (mut again, mut lost) = (Vec::new(), Vec::new());
        for mut entry in self.requests.iter_mut().filter(|entry| entry.sent) {
            if entry.repeatable || planted::is(Bug::SentAgain) {
                entry.sent = false;
                again.push(entry.key().clone());
            } else {
                lost.push(entry.key().clone());
            }
        }
        for id in lost {
            self.resolve(&id.clone(), Err(RequestError::ConnectionLost { id, reason: reason.clone() }));
        }
        again.sort_by_key(|id| (id.number(), id.ulid()));
        again
    }

    /// The client has ended: nobody will be answered any more.
    pub(crate) fn close(&self, reason: &CloseReason) {
        let all: Vec<(RequestId, bool)> =
            self.requests.iter().map(|entry| (entry.key().clone(), entry.ever_sent)).collect();
        for (id, sent) in all {
            let error = match sent {
                true => RequestError::ConnectionLost { id: id.clone(), reason: reason.clone() },
                false => RequestError::ConnectionClosed(reason.clone()),
            };
            self.resolve(&id, Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Topic;

    const SECOND: Duration = Duration::from_secs(1);

    fn call() -> Arc<Call> {
        Arc::new(Call::Presence(Topic::from("c")))
    }

    fn id(number: u64) -> RequestId {
        RequestId::from(number)
    }

    fn add(store: &PendingRequests, number: u64, deadline: Instant) -> oneshot::Receiver<Answer> {
        store.add(id(number), call(), deadline, SECOND, false).unwrap()
    }

    #[test]
    fn an_answer_reaches_the_one_who_asked_and_leaves_nothing_behind() {
        let store = PendingRequests::new(8);
        let now = Instant::now();
        let (mut first, mut second) = (add(&store, 1, now), add(&store, 2, now));
        assert!(store.resolve(&id(2), Ok(Response::Published)));
        assert_eq!(second.try_recv().unwrap().unwrap(), Response::Published);
        assert!(first.try_recv().is_err());
        assert!(!store.resolve(&id(2), Ok(Response::Published)), "an answer that comes twice finds nobody");
        assert!(!store.resolve(&id(3), Ok(Response::Published)));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn the_bound_holds_and_a_place_comes_free() {
        let store = PendingRequests::new(2);
        let now = Instant::now();
        let _waiting = [add(&store, 1, now), add(&store, 2, now)];
        let refused = store.add(id(3), call(), now, SECOND, false).unwrap_err();
        assert!(matches!(refused, RequestError::CapacityExceeded { what: Capacity::PendingRequests, limit: 2 }));
        store.withdraw(&id(1));
        store.withdraw(&id(1));
        assert_eq!(store.len(), 1);
        assert!(store.add(id(3), call(), now, SECOND, false).is_ok());
    }

    #[test]
    fn the_stale_are_told_and_only_they() {
        let store = PendingRequests::new(8);
        let now = Instant::now();
        let (mut stale, mut fresh) = (add(&store, 1, now + SECOND), add(&store, 2, now + SECOND * 3));
        assert_eq!(store.clean_up(now), Some(now + SECOND));
        assert_eq!(store.clean_up(now + SECOND), Some(now + SECOND * 3));
        match stale.try_recv().unwrap().unwrap_err() {
            RequestError::Timeout { id: which, after, sent: false } => assert_eq!((which, after), (id(1), SECOND)),
            other => panic!("{other}"),
        }
        assert!(fresh.try_recv().is_err());
        assert_eq!(store.clean_up(now + SECOND * 3), None);
        assert!(store.is_empty());
    }

    #[test]
    fn a_lost_connection_fails_what_was_sent_and_keeps_what_was_not() {
        let store = PendingRequests::new(8);
        let now = Instant::now();
        let (mut sent, mut queued) = (add(&store, 1, now), add(&store, 2, now));
        let repeatable: Vec<_> =
            [11, 10].map(|n| store.add(id(n), call(), now, SECOND, true).unwrap()).into_iter().collect();
        for number in [1, 10, 11] {
            assert!(store.mark_sent(&id(number)).is_some());
        }
        assert!(store.mark_sent(&id(9)).is_none());
        assert_eq!(store.kind(&id(1)), Some(CallKind::Presence));
        assert_eq!(store.kind(&id(2)), None, "an answer to what was not sent is not an answer");
        assert_eq!(store.connection_lost(&CloseReason::Requested), [id(10), id(11)]);
        let error = sent.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, RequestError::ConnectionLost { .. }) && error.outcome_unknown());
        assert!(queued.try_recv().is_err());
        assert_eq!(store.len(), 3);
        drop(repeatable);
    }

    #[test]
    fn at_the_end_everybody_is_told() {
        let store = PendingRequests::new(8);
        let now = Instant::now();
        let (mut sent, mut queued) = (add(&store, 1, now), add(&store, 2, now));
        store.mark_sent(&id(1));
        store.close(&CloseReason::Requested);
        assert!(sent.try_recv().unwrap().unwrap_err().outcome_unknown());
        assert!(!queued.try_recv().unwrap().unwrap_err().outcome_unknown());
        assert!(store.is_empty());
    }

    #[test]
    fn what_has_left_once_may_have_been_acted_on_also_if_it_waits_to_leave_again() {
        let store = PendingRequests::new(8);
        let now = Instant::now();
        let [mut stale, mut ended] = [(1, now), (2, now + SECOND)]
            .map(|(number, deadline)| store.add(id(number), call(), deadline, SECOND, true).unwrap());
        for number in [1, 2] {
            store.mark_sent(&id(number));
        }
        store.connection_lost(&CloseReason::Stopped);
        store.clean_up(now);
        store.close(&CloseReason::Requested);
        for answer in [&mut stale, &mut ended] {
            let error = answer.try_recv().unwrap().unwrap_err();
            assert!(error.outcome_unknown(), "{error}");
        }
    }

    #[test]
    fn many_threads_share_it_without_losing_count() {
        let store = PendingRequests::new(100);
        let deadline = Instant::now() + SECOND;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..2_000 {
                        let id = id(thread * 1_000_000 + i);
                        let receiver = store.add(id.clone(), call(), deadline, SECOND, false).unwrap();
                        match i % 3 {
                            0 => assert!(store.resolve(&id, Ok(Response::Published))),
                            1 => assert!(store.withdraw(&id)),
                            _ => {
                                drop(receiver);
                                assert!(!store.resolve(&id, Ok(Response::Published)));
                            }
                        }
                    }
                });
            }
        });
        assert!(store.is_empty() && store.requests.is_empty());
    }
}
