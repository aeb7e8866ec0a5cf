//! The embedded engine, behind something that makes it late, makes it fail, or panics.
//!
//! What it does is decided by the channel's name: `late…` answers after a while, before or after the work is done;
//! `failing…` never can; `hanging…` never answers; `stuck…` never lets anybody leave; `bug…` panics. All other channels are as they are without it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, Publication};
use pubsub_server::engine::memory::MemoryEngine;
use pubsub_server::engine::{Answer, Engine, EngineError, Feed, PresenceEvent, PublishOptions, Published};
use pubsub_server::stream::{HistoryPage, HistoryQuery, Retention};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use tokio::time::Instant;

pub struct TestEngine {
    inner: MemoryEngine,
    chance: Mutex<ChaCha12Rng>,
    /// How often an answer was late: a test of that which never saw one has shown nothing.
    pub late: AtomicU64,
}

impl TestEngine {
    pub fn new(feed: Arc<dyn Feed>, seed: u64) -> Self {
        Self {
            inner: MemoryEngine::new(feed, seed),
            chance: Mutex::new(ChaCha12Rng::seed_from_u64(seed)),
            late: AtomicU64::new(0),
        }
    }

    /// Channels in which somebody is present.
    pub fn present(&self) -> usize {
        self.inner.sizes().presence
    }

    async fn disturb(&self, channel: &str) -> Result<(), EngineError> {
        if channel.starts_with("late") {
            let (yields, millis) = {
                let mut chance = self.chance.lock().unwrap();
                (chance.random_range(0..3u32), [0, 0, 1, 2, 5][chance.random_range(0..5usize)])
            };
            if yields + millis > 0 {
                self.late.fetch_add(1, Ordering::Relaxed);
            }
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            if millis > 0 {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
            }
        } else if channel.starts_with("hanging") {
            std::future::pending::<()>().await;
        } else if channel.starts_with("bug") {
            panic!("planted: the engine panics in {channel}");
        } else if channel.starts_with("failing") {
            return Err(EngineError::Unavailable("planted".to_owned()));
        }
        Ok(())
    }
}

macro_rules! disturbed {
    ($self:ident, $channel:ident, $call:expr) => {
        Box::pin(async move {
            $self.disturb($channel).await?;
            let answer = $call.await;
            $self.disturb($channel).await?;
            answer
        })
    };
}

impl Engine for TestEngine {
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        publication: Publication,
        options: PublishOptions,
    ) -> Answer<'a, Published> {
        disturbed!(self, channel, self.inner.publish(channel, publication, options))
    }

    fn announce<'a>(&'a self, channel: &'a str, event: PresenceEvent) -> Answer<'a, ()> {
        disturbed!(self, channel, self.inner.announce(channel, event))
    }

    fn history<'a>(&'a self, channel: &'a str, query: HistoryQuery, retention: Retention) -> Answer<'a, HistoryPage> {
        disturbed!(self, channel, self.inner.history(channel, query, retention))
    }

    fn remove_history<'a>(&'a self, channel: &'a str) -> Answer<'a, ()> {
        disturbed!(self, channel, self.inner.remove_history(channel))
    }

    fn add_presence<'a>(&'a self, channel: &'a str, info: Arc<ClientInfo>) -> Answer<'a, ()> {
        disturbed!(self, channel, self.inner.add_presence(channel, info))
    }

    fn remove_presence<'a>(&'a self, channel: &'a str, client: &'a str) -> Answer<'a, ()> {
        // Whatever else is planted, what is asked to be forgotten is, sooner or later.
        Box::pin(async move {
            if channel.starts_with("late") {
                self.disturb(channel).await?;
            } else if channel.starts_with("stuck") {
                std::future::pending::<()>().await;
            }
            self.inner.remove_presence(channel, client).await
        })
    }

    fn presence<'a>(&'a self, channel: &'a str) -> Answer<'a, BTreeMap<String, ClientInfo>> {
        disturbed!(self, channel, self.inner.presence(channel))
    }

    fn presence_stats<'a>(&'a self, channel: &'a str) -> Answer<'a, PresenceStatsResult> {
        disturbed!(self, channel, self.inner.presence_stats(channel))
    }

    fn vacated(&self, channel: &str) {
        self.inner.vacated(channel);
    }

    fn sweep(&self, now: Instant) {
        self.inner.sweep(now);
    }
}
