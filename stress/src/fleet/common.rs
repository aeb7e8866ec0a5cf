//! What all members of a fleet share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Breaks, lock};
use crate::fault::Plan;
use crate::histogram::Latencies;
use crate::ledger::{Content, Event, Ledger, Place};
use crate::payload::{Header, PublicationId, Verified};
use crate::timeline::{Moment, Sampler};

/// What all members share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) plan: Plan,
    pub(crate) ledger: Mutex<Ledger>,
    /// Of deliveries to members that some fault means, and to bystanders.
    pub(crate) latencies: [Mutex<Latencies>; 2],
    /// Until a subscription was in force again: since it broke, and since the fault was healed.
    pub(crate) recoveries: Mutex<Latencies>,
    /// When the fault was healed, once it is.
    pub(crate) healed: Mutex<Duration>,
    /// Breaks of continuity, by the code that members saw.
    pub(crate) breaks: Mutex<BTreeMap<u32, Breaks>>,
    pub(crate) verified: Mutex<Verified>,
    pub(crate) began: Instant,
    /// The last publication of each channel, once it is known.
    pub(crate) sentinels: OnceLock<BTreeMap<u32, PublicationId>>,
    pub(crate) delivered: AtomicU64,
    pub(crate) reached: AtomicU64,
    pub(crate) live: AtomicU64,
    pub(crate) changed: Notify,
    pub(crate) sampler: Mutex<Sampler>,
    /// Next number of a subscription, behind those that the members begin with.
    pub(crate) subscriptions: AtomicU32,
}

impl Common {
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A number for a subscription that begins later than its member, or beside the members.
    pub(crate) fn new_subscription(&self) -> u32 {
        self.subscriptions.fetch_add(1, Relaxed)
    }

    /// Takes a sample, and says when to take the next.
    fn look(&self) -> Duration {
        let (at, delivered, live) = (self.now(), self.delivered.load(Relaxed), self.live.load(Relaxed));
        let mut sampler = lock(&self.sampler);
        sampler.push(Moment { at: at.as_secs_f64(), delivered, live });
        sampler.every()
    }

    /// Looks at itself for as long as it is there.
    pub(super) async fn sample(common: std::sync::Weak<Self>) {
        while let Some(common) = common.upgrade() {
            let every = common.look();
            drop(common);
            tokio::time::sleep(every).await;
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last publication of a channel, once it is known.
    pub(crate) fn sentinel(&self, channel: u32) -> Option<PublicationId> {
        self.sentinels.get()?.get(&channel).copied()
    }

    /// Whose payload this is.
    pub(crate) fn content(&self, payload: &[u8]) -> Content {
        Header::verify(self.plan.seed, payload).map(|header| header.id)
    }

    /// The history of a channel, as `request` was told it, or somebody without a network in between.
    pub(crate) fn record_history(
        &self,
        request: Option<u64>,
        channel: u32,
        top: (&str, u64),
        entries: Vec<(u64, Content)>,
    ) {
        let at = self.now();
        let top = Place { epoch: top.0.into(), offset: top.1 };
        // A history as long as the server's bound on an answer begins at its oldest and may end before its top.
        let cut = entries.last().is_some_and(|&(offset, _)| offset < top.offset);
        if !cut {
            self.ledger().record(Event::History { at, channel, request, top, entries });
        }
    }

    /// Waits until `done`, at most `limit`. Whether it came to be.
    pub(crate) async fn wait_for(&self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if done(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }
}
