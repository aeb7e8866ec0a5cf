//! A hand on a fleet's ledger and measurements that does not need the fleet: while it is busy, and when it has gone.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::{Common, lock};
use crate::histogram::Latencies;
use crate::ledger::{Event, Ledger, Outcome};
use crate::payload::PublicationId;
use crate::timeline::Timeline;

/// See the module.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Common>);

impl Recorder {
    pub(super) fn of(common: &Arc<Common>) -> Self {
        Self(Arc::clone(common))
    }

    /// Takes an event down.
    pub fn record(&self, event: Event) {
        self.0.ledger().record(event);
    }

    /// What came of a publish.
    pub fn done(&self, id: PublicationId, outcome: Outcome) {
        self.record(Event::Done { at: self.0.now(), id, outcome });
    }

    /// The ledger.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger()
    }

    /// See [`Fleet::latencies`](super::Fleet::latencies).
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let [meant, bystanders] = self.0.latencies.each_ref().map(lock);
        let mut all = meant.clone();
        all.merge(&bystanders);
        all
    }

    /// See [`Fleet::recoveries`](super::Fleet::recoveries).
    #[must_use]
    pub fn recoveries(&self) -> Latencies {
        lock(&self.0.recoveries).clone()
    }

    /// See [`Fleet::timeline`](super::Fleet::timeline).
    #[must_use]
    pub fn timeline(&self, phases: &[(Instant, String)]) -> Timeline {
        let since = |at: &Instant| at.saturating_duration_since(self.0.began).as_secs_f64();
        let phases = phases.iter().map(|(at, name)| (since(at), name.clone())).collect();
        Timeline { samples: lock(&self.0.sampler).samples(), phases }
    }

    /// The faults end now, or the server is there again: recoveries count their service time from here.
    pub fn healed(&self) {
        *lock(&self.0.healed) = self.0.now();
    }

    /// Waits until no more than so many subscriptions are in force, at most `limit`. Whether it came to be.
    pub async fn wait_live_at_most(&self, subscriptions: u64, limit: Duration) -> bool {
        self.0.wait_for(limit, |common| common.live.load(Relaxed) <= subscriptions).await
    }

    /// Waits until so many subscriptions are in force, at most `limit`. Whether they are.
    pub async fn wait_live(&self, subscriptions: u64, limit: Duration) -> bool {
        self.0.wait_for(limit, |common| common.live.load(Relaxed) >= subscriptions).await
    }
}
