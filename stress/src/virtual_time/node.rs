//! The server in this process, on the paused clock of the run: started, killed, restarted, asked what it holds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pubsub_client::{TokenError, TokenSource};
use pubsub_server::clock::Clock;
use pubsub_server::config::{Config, Secret};
use pubsub_server::engine::memory::{MemoryEngine, Sizes};
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::shard::control::Census;
use pubsub_server::token::signer::Signer;

use super::hesitant::Hesitant;
use super::network::Network;
use crate::chance::Seed;
use crate::fault::plan::Plan;
use crate::fleet::Credentials;

/// When virtual wall time begins, in seconds since 1970.
pub const EPOCH: i64 = 1_700_000_000;
/// What the run's tokens are signed with.
const SECRET: &str = "the lab's secret, which guards nothing";

/// A node.
pub struct Node {
    network: Network,
    config: Config,
    seed: Seed,
    clock: Clock,
    hesitates: Duration,
    accept_failures: f64,
    starts: u64,
    running: Option<Running>,
}

struct Running {
    handle: ServerHandle,
    engine: Arc<MemoryEngine>,
}

/// What a node holds: each is zero once everybody has gone and everything has run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// In shards, hub and users.
    pub census: Census,
    /// Connections let in at the gate.
    pub gate: usize,
    /// In the engine.
    pub engine: Sizes,
}

impl Node {
    /// A node for `plan`, which listens at `network` once it is started.
    #[must_use]
    pub fn new(plan: &Plan, network: Network) -> Self {
        let (config, clock) = (config(plan), Clock::starting_at(EPOCH));
        let sessions = &plan.topology.sessions;
        let (hesitates, accept_failures) = (sessions.hesitates, sessions.accept_failures);
        Self { network, config, seed: plan.seed, clock, hesitates, accept_failures, starts: 0, running: None }
    }

    /// Starts it. Each start has a seed of its own: ids and epochs are not those of the last.
    ///
    /// # Errors
    /// When its configuration is none.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let seed = self.seed.value(self.starts, "node", 0);
        let engine_seed = self.seed.value(self.starts, "engine", 0);
        let (hesitates, hesitation) = (self.hesitates, self.seed.chance(self.starts, "hesitates"));
        let listener = self.network.listen(self.accept_failures, self.seed.chance(self.starts, "accept"));
        self.starts += 1;
        let made = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&made);
        let server = Server::new(self.config.clone()).seed(seed).clock(self.clock.clone()).on_current_runtime();
        let server = server.engine(move |feed| {
            let engine = Arc::new(MemoryEngine::new(feed, engine_seed));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&engine));
            if hesitates.is_zero() { engine } else { Arc::new(Hesitant::new(engine, hesitation, hesitates)) }
        });
        let handle = server.start(listener)?;
        let engine = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        let engine = engine.expect("a server makes its engine before it has started");
        self.running = Some(Running { handle, engine });
        Ok(())
    }

    /// Ends it at once, with all it had in memory.
    pub async fn kill(&mut self) {
        self.network.hang_up();
        self.running = None;
        // Its shard hears of it on its next turn, which comes before any timer: virtual time does not pass meanwhile.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
    }

    /// Ends it as an operator would: everybody is asked to come back. Over when it has ended.
    pub fn shut_down(&mut self) -> impl Future<Output = ()> + Send + use<> {
        self.network.hang_up();
        let running = self.running.take();
        async move {
            if let Some(Running { handle, .. }) = running {
                handle.shutdown().await;
            }
        }
    }

    /// The server, while it runs.
    #[must_use]
    pub fn server(&self) -> Option<&ServerHandle> {
        self.running.as_ref().map(|running| &running.handle)
    }

    /// Whether it has not been down since the beginning.
    #[must_use]
    pub fn has_run_through(&self) -> bool {
        self.starts == 1 && self.running.is_some()
    }

    /// What it holds now.
    pub async fn holdings(&self) -> Holdings {
        let Some(Running { handle, engine }) = &self.running else { return Holdings::default() };
        Holdings { census: handle.census().await, gate: handle.connections(), engine: engine.sizes() }
    }

    /// After how long without a publication nothing is left of a stream, or of a remembered result.
    #[must_use]
    pub fn forgets_after(&self) -> Duration {
        let results = Duration::from_secs(5 * 60);
        // A stream whose time had not come when it was looked at is looked at again half a minute later.
        self.config.channel.history_meta_ttl.max(results) + Duration::from_secs(35)
    }

    /// What members show to be let in: tokens that run out, if the plan says so.
    #[must_use]
    pub fn credentials(&self, plan: &Plan) -> Option<Credentials> {
        let ttl = i64::try_from(plan.topology.sessions.token_ttl?.as_secs()).unwrap_or(i64::MAX);
        let (signer, clock) = (Signer::hs256(SECRET), self.clock.clone());
        Some(Credentials::new(move |connection| {
            let (signer, clock) = (signer.clone(), clock.clone());
            TokenSource::callback(move |_| {
                let token = signer.connection(&format!("user{connection}"), Some(clock.now().unix() + ttl));
                std::future::ready(Ok::<_, TokenError>(token))
            })
        }))
    }
}

fn config(plan: &Plan) -> Config {
    let mut config = Config::open_default();
    let topology = &plan.topology;
    let sessions = &topology.sessions;
    config.client.ping_interval = sessions.ping_interval;
    config.client.pong_timeout = sessions.pong_timeout;
    config.client.queue_max_size = sessions.queue_bytes;
    config.client.channel_limit = 1 << 20;
    config.http_server.shards = sessions.shards.max(1);
    config.client.recovery_max_publication_limit = usize::try_from(sessions.recovery_max).unwrap_or(usize::MAX);
    config.shutdown.timeout = Duration::from_secs(5);
    config.shutdown.spread = Duration::from_secs(2);
    let channels = &mut config.channel.without_namespace;
    let keeps = topology.history_size > 0;
    channels.history_size = usize::try_from(topology.history_size).unwrap_or(usize::MAX);
    channels.history_ttl = if keeps { topology.history_ttl } else { Duration::ZERO };
    (channels.force_recovery, channels.force_positioning) = (keeps, keeps);
    (channels.join_leave, channels.force_push_join_leave) = (false, false);
    if sessions.token_ttl.is_some() {
        config.client.insecure = false;
        channels.allow_subscribe_for_client = true;
        channels.allow_publish_for_client = true;
        channels.allow_history_for_client = true;
        channels.allow_presence_for_client = true;
        config.client.token.hmac_secret_key = Some(Secret::new(SECRET));
    }
    config.channel.history_meta_ttl = topology.history_meta_ttl;
    config
}
