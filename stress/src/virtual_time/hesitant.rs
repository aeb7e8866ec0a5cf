//! The embedded engine behind something that hesitates, as a store across a network would: an answer may come late, and
//! the work may be done early or late in that time.
//!
//! With the embedded engine alone a subscription is answered before anything else happens on its thread; what a server
//! does with publications that come in between would never be seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, Publication};
use pubsub_server::engine::memory::MemoryEngine;
use pubsub_server::engine::{Answer, Engine, PresenceEvent, PublishOptions, Published};
use pubsub_server::stream::{HistoryPage, HistoryQuery, Retention};
use tokio::time::Instant;

use crate::chance::Chance;

/// Chance that it hesitates at all, each time it may.
const HESITATES: f64 = 0.25;

/// See the module.
pub(super) struct Hesitant {
    inner: Arc<MemoryEngine>,
    chance: Mutex<Chance>,
    longest: Duration,
}

impl Hesitant {
    /// In front of `inner`, for at most `longest` at a time.
    pub(super) fn new(inner: Arc<MemoryEngine>, chance: Chance, longest: Duration) -> Self {
        Self { inner, chance: Mutex::new(chance), longest }
    }

    async fn hesitate(&self) {
        let pause = {
            let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
            chance.bernoulli(HESITATES).then(|| chance.between(Duration::ZERO, self.longest))
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

macro_rules! hesitantly {
    ($self:ident, $call:expr) => {
        Box::pin(async move {
            $self.hesitate().await;
            let answer = $call.await;
            $self.hesitate().await;
            answer
        })
    };
}

impl Engine for Hesitant {
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        publication: Publication,
        options: PublishOptions,
    ) -> Answer<'a, Published> {
        hesitantly!(self, self.inner.publish(channel, publication, options))
    }

    fn announce<'a>(&'a self, channel: &'a str, event: PresenceEvent) -> Answer<'a, ()> {
        hesitantly!(self, self.inner.announce(channel, event))
    }

    fn history<'a>(&'a self, channel: &'a str, query: HistoryQuery, retention: Retention) -> Answer<'a, HistoryPage> {
        hesitantly!(self, self.inner.history(channel, query, retention))
    }

    fn remove_history<'a>(&'a self, channel: &'a str) -> Answer<'a, ()> {
        hesitantly!(self, self.inner.remove_history(channel))
    }

    fn add_presence<'a>(&'a self, channel: &'a str, info: Arc<ClientInfo>) -> Answer<'a, ()> {
        hesitantly!(self, self.inner.add_presence(channel, info))
    }

    fn remove_presence<'a>(&'a self, channel: &'a str, client: &'a str) -> Answer<'a, ()> {
        hesitantly!(self, self.inner.remove_presence(channel, client))
    }

    fn presence<'a>(&'a self, channel: &'a str) -> Answer<'a, BTreeMap<String, ClientInfo>> {
        hesitantly!(self, self.inner.presence(channel))
    }

    fn presence_stats<'a>(&'a self, channel: &'a str) -> Answer<'a, PresenceStatsResult> {
        hesitantly!(self, self.inner.presence_stats(channel))
    }

    fn vacated(&self, channel: &str) {
        self.inner.vacated(channel);
    }

    fn sweep(&self, now: Instant) {
        self.inner.sweep(now);
    }
}
