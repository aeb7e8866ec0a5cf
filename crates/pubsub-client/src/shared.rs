//! What the handles and the connection's task have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use ulid::Ulid;

use crate::chance::Seed;
use crate::config::ClientConfig;
use crate::error::CloseReason;
use crate::handler::{IdStyle, Session};
use crate::ids::RequestId;
use crate::inbox::Inbox;
use crate::mailbox::Mailbox;
use crate::pending::PendingRequests;
use crate::registry::Registry;
use crate::state::ConnectionState;

/// Held by every handle and by the task.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) inbox: Inbox,
    pub(crate) pending: PendingRequests,
    pub(crate) registry: Registry,
    pub(crate) ids: IdSource,
    pub(crate) counters: Counters,
    pub(crate) honours_idempotency_keys: bool,
    pub(crate) state: watch::Sender<ConnectionState>,
    session: Mutex<Option<Session>>,
    last_loss: Mutex<Option<CloseReason>>,
    messages: Mutex<Option<Arc<Mailbox>>>,
    closing: AtomicBool,
    closed: OnceLock<CloseReason>,
}

/// What a client has done so far. All counts are of its whole life.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let pubsub_client::ClientStats { connections, publications, .. } = client.stats();
/// println!("{publications} publications over {connections} connections");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Attempts to connect.
    pub attempts: u64,
    /// Upgrades that succeeded: the number (generation) of the present connection.
    pub connections: u64,
    /// Sessions that became ready.
    pub sessions: u64,
    /// Publications that came in, those of recoveries included.
    pub publications: u64,
    /// Gaps that were found in a channel and closed by beginning its subscription anew.
    pub gaps: u64,
    /// Messages that no request and no subscription waited for, and that were dropped.
    pub strays: u64,
    /// Requests that wait for an answer now.
    pub pending_requests: usize,
    /// Commands that wait to be sent now.
    pub queued_commands: usize,
    /// Topics that somebody is interested in now.
    pub topics: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) attempts: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) sessions: AtomicU64,
    pub(crate) publications: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) strays: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    pub(crate) fn new(config: ClientConfig, ids: IdSource, honours_idempotency_keys: bool) -> Self {
        Self {
            inbox: Inbox::new(config.command_capacity),
            pending: PendingRequests::new(config.pending_requests_max),
            registry: Registry::new(),
            ids,
            counters: Counters::default(),
            honours_idempotency_keys,
            state: watch::Sender::new(ConnectionState::Disconnected),
            session: Mutex::default(),
            last_loss: Mutex::default(),
            messages: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: OnceLock::new(),
            config,
        }
    }

    /// Why the client has ended, if it has.
    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        self.closed.get()
    }

    /// Why the client has ended, if it has; `Err` is for `?`.
    pub(crate) fn check_ended(&self) -> Result<(), CloseReason> {
        self.closed().map_or(Ok(()), |reason| Err(reason.clone()))
    }

    /// The same, and also whether it was asked to end.
    pub(crate) fn check_open(&self) -> Result<(), CloseReason> {
        self.check_ended()?;
        if self.closing.load(Ordering::Acquire) { Err(CloseReason::Requested) } else { Ok(()) }
    }

    /// Why the client has ended; for those who know that it has.
    pub(crate) fn close_reason(&self) -> CloseReason {
        self.closed().cloned().unwrap_or(CloseReason::Stopped)
    }

    /// Refuses what comes, and asks the task to end.
    pub(crate) fn start_close(&self) {
        self.closing.store(true, Ordering::Release);
        self.inbox.close();
    }

    /// Why the client ends. What waits is told by [`end`](Self::end), after this: whoever adds something later looks at it
    /// again, and whoever is told finds it here.
    pub(crate) fn set_closed(&self, reason: CloseReason) {
        let _first_stays = self.closed.set(reason);
    }

    /// Ends everything that waits.
    pub(crate) fn end(&self) {
        let reason = self.close_reason();
        self.pending.close(&reason);
        self.registry.close(&reason.to_string());
        self.inbox.clear();
        if let Some(messages) = lock(&self.messages).take() {
            messages.end(crate::Event::CONNECTION_CLOSED, &reason.to_string()).now();
        }
    }

    pub(crate) fn session(&self) -> Option<Session> {
        lock(&self.session).clone()
    }

    pub(crate) fn set_session(&self, session: Option<Session>) {
        *lock(&self.session) = session;
    }

    pub(crate) fn last_loss(&self) -> Option<CloseReason> {
        lock(&self.last_loss).clone()
    }

    pub(crate) fn set_last_loss(&self, reason: CloseReason) {
        *lock(&self.last_loss) = Some(reason);
    }

    /// Where messages for this connection alone go. `None`: nobody listens.
    pub(crate) fn messages(&self) -> Option<Arc<Mailbox>> {
        lock(&self.messages).clone()
    }

    pub(crate) fn set_messages(&self, mailbox: Option<Arc<Mailbox>>) {
        let before = std::mem::replace(&mut *lock(&self.messages), mailbox);
        if let Some(before) = before {
            before.end(crate::Event::UNSUBSCRIBED_BY_US, "somebody else reads the messages now").now();
        }
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ClientStats {
            attempts: load(&self.counters.attempts),
            connections: load(&self.counters.connections),
            sessions: load(&self.counters.sessions),
            publications: load(&self.counters.publications),
            gaps: load(&self.counters.gaps),
            strays: load(&self.counters.strays),
            pending_requests: self.pending.len(),
            queued_commands: self.inbox.len(),
            topics: self.registry.len(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes request ids; from any thread, without a lock, and from a seed.
#[derive(Debug)]
pub(crate) struct IdSource {
    style: IdStyle,
    seed: Seed,
    next: AtomicU64,
    start: Instant,
    /// Milliseconds since 1970 at `start`; 0 in a seeded client.
    start_ms: u64,
}

impl IdSource {
    pub(crate) fn new(style: IdStyle, seed: Seed, start_ms: u64) -> Self {
        Self { style, seed, next: AtomicU64::new(0), start: Instant::now(), start_ms }
    }

    pub(crate) fn next(&self) -> RequestId {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        match self.style {
            IdStyle::Number => RequestId::from(index % u64::from(u32::MAX) + 1),
            IdStyle::Ulid => {
                let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
                RequestId::from(Ulid::from_parts(self.start_ms.saturating_add(elapsed), self.seed.ulid_random(index)))
            }
        }
    }
}

/// Milliseconds since 1970: the one place where this crate asks for the wall's time, and only for ids.
#[expect(clippy::disallowed_methods, reason = "the one seam; a seeded client does not come here")]
pub(crate) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_alike_under_one_seed_and_never_repeat() {
        let ulids = |seed| IdSource::new(IdStyle::Ulid, Seed::new(seed), 0);
        let (a, b, c) = (ulids(1), ulids(1), ulids(2));
        let first: Vec<RequestId> = (0..100).map(|_| a.next()).collect();
        assert_eq!(first, (0..100).map(|_| b.next()).collect::<Vec<_>>());
        assert_ne!(first[0], c.next());
        assert_eq!(first.iter().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>().len(), 100);
    }

    #[tokio::test]
    async fn numbers_begin_at_one_and_stay_in_32_bits() {
        let numbers = IdSource::new(IdStyle::Number, Seed::new(1), 0);
        assert_eq!(numbers.next(), RequestId::from(1));
        numbers.next.store(u64::from(u32::MAX) - 1, Ordering::Relaxed);
        assert_eq!(numbers.next(), RequestId::from(u64::from(u32::MAX)));
        assert_eq!(numbers.next(), RequestId::from(1));
    }
}
