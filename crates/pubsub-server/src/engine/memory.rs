//! The embedded engine: everything in this process's memory, gone with it.
//!
//! A channel's order is the lock of its entry in `streams`: offset, history and feed happen under it. The map
//! has a fixed number of lock stripes, so that runs do not differ by the machine's number of cores.

mod expiries;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashMap;
use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, Publication, StreamPosition};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::time::Instant;

use super::{Answer, Engine, Feed, PresenceEvent, PublishOptions, Published};
use crate::planted::{self, Bug};
use crate::sparse::is_sparse;
use crate::stream::{HistoryPage, HistoryQuery, Retention, Stream};
use crate::sync::{DashMap, Entry, Mutex};
use expiries::Expiries;

/// How long the result of a publish with an idempotency key is remembered.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Letters in an epoch: 8 of 52 make a clash of two lives of one stream as likely as 1 in 5·10¹³.
const EPOCH_LETTERS: usize = 8;

/// Results remembered at most, about 20 MB each of clients and of the API: whoever publishes with keys faster than that for
/// five minutes is remembered for less long.
const RESULTS_MAX: usize = 100_000;

/// When to look again at a position that is past its time and stands, since somebody is subscribed.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(30);

/// Streams at most that keep nothing but a position that nobody stands at: a few hundred bytes each, and anybody who may choose
/// a channel's name can make one. Those beyond are forgotten, the oldest first, and who comes back to one is told so.
const STREAMS_MAX: usize = 1_000_000;

/// Lock stripes of each map.
const STRIPES: usize = 64;

/// Streams, presence and idempotency in memory.
pub struct MemoryEngine {
    streams: DashMap<Arc<str>, Kept, RandomState>,
    presence: DashMap<Arc<str>, Presence, RandomState>,
    hasher: RandomState,
    /// Of clients, and of the API.
    client_results: Mutex<Results>,
    results: Mutex<Results>,
    /// When to look whether publications have run out: one entry for each stream that keeps any.
    histories: Mutex<Expiries>,
    /// When to look whether a stream is to be forgotten altogether: one entry for each.
    positions: Mutex<Expiries>,
    epochs: Mutex<ChaCha12Rng>,
    feed: Arc<dyn Feed>,
    streams_max: usize,
}

/// A channel's stream.
struct Kept {
    stream: Stream,
    /// Whether it has an entry in `histories`.
    awaited: bool,
}

/// How much there is: what a leak check looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Streams.
    pub streams: usize,
    /// Publications that are kept, whether or not they have run out.
    pub publications: usize,
    /// Channels with somebody present.
    pub presence: usize,
    /// Entries of streams that are to be looked at: at most two for each.
    pub looks: usize,
    /// Remembered results of publishes with an idempotency key.
    pub results: usize,
}

struct Presence {
    clients: BTreeMap<Box<str>, Arc<ClientInfo>>,
    users: HashMap<Box<str>, u32, RandomState>,
}

/// Results of publishes with an idempotency key.
struct Results {
    by_key: HashMap<ResultKey, (StreamPosition, Instant), RandomState>,
    /// Oldest first: all live equally long.
    until: VecDeque<(Instant, ResultKey)>,
}

/// Channel and idempotency key.
type ResultKey = (Box<str>, Box<str>);

impl MemoryEngine {
    /// An empty engine whose publications come out at `feed`; epochs are drawn from `seed`.
    pub fn new(feed: Arc<dyn Feed>, seed: u64) -> Self {
        let now = Instant::now();
        let mut chance = ChaCha12Rng::seed_from_u64(seed);
        let hasher =
            RandomState::with_seeds(chance.next_u64(), chance.next_u64(), chance.next_u64(), chance.next_u64());
        Self {
            streams: DashMap::with_hasher_and_shard_amount(hasher.clone(), STRIPES),
            presence: DashMap::with_hasher_and_shard_amount(hasher.clone(), STRIPES),
            client_results: Mutex::new(Results::new(hasher.clone())),
            results: Mutex::new(Results::new(hasher.clone())),
            hasher,
            histories: Mutex::new(Expiries::new(now)),
            positions: Mutex::new(Expiries::new(now)),
            epochs: Mutex::new(chance),
            feed,
            streams_max: STREAMS_MAX,
        }
    }

    /// With another bound on the streams that keep nothing but a position.
    #[must_use]
    pub fn with_streams_max(self, streams_max: usize) -> Self {
        Self { streams_max, ..self }
    }

    /// The results of whoever publishes with these.
    fn results(&self, options: &PublishOptions) -> &Mutex<Results> {
        if options.by_client { &self.client_results } else { &self.results }
    }

    /// How much there is. Takes as long as there are streams.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            streams: self.streams.len(),
            publications: self.streams.iter().map(|kept| kept.stream.len()).sum(),
            presence: self.presence.len(),
            looks: self.histories.lock().len() + self.positions.lock().len(),
            results: [&self.client_results, &self.results].map(|results| results.lock().by_key.len()).iter().sum(),
        }
    }

    /// Gives memory back that maps needed when there was much more in them.
    fn shrink(&self) {
        if is_sparse(self.streams.len(), self.streams.capacity()) {
            self.streams.shrink_to_fit();
        }
        if is_sparse(self.presence.len(), self.presence.capacity()) {
            self.presence.shrink_to_fit();
        }
        for results in [&self.client_results, &self.results] {
            let results = &mut *results.lock();
            if is_sparse(results.by_key.len(), results.by_key.capacity()) {
                results.by_key.shrink_to_fit();
                results.until.shrink_to_fit();
            }
        }
    }

    /// When to look at a stream that stays.
    fn look_again(&self, channel: Arc<str>, kept: &Kept, now: Instant) {
        self.positions.lock().add(kept.stream.position_until().max(now + LOOKED_AT_AGAIN), channel);
    }

    /// Forgets streams that are too many.
    fn thin_out(&self, now: Instant) {
        let surplus = self.streams.len().saturating_sub(self.streams_max);
        if surplus == 0 {
            return;
        }
        let oldest = self.positions.lock().take_first(surplus);
        for channel in oldest {
            if let Entry::Occupied(mut entry) = self.streams.entry(channel.clone()) {
                let kept = entry.get_mut();
                if kept.stream.is_empty() && !kept.awaited && !self.feed.has_members(&channel) {
                    entry.remove();
                } else {
                    self.look_again(channel, kept, now);
                }
            }
        }
    }

    fn new_stream(&self, retention: &Retention, now: Instant) -> Stream {
        let mut epoch = String::with_capacity(EPOCH_LETTERS);
        let mut chance = self.epochs.lock();
        for _ in 0..EPOCH_LETTERS {
            let letter = chance.random_range(0..52u8);
            epoch.push(char::from(if letter < 26 { b'a' + letter } else { b'A' + letter - 26 }));
        }
        if planted::is(Bug::EpochKeptOverRestart) {
            epoch.replace_range(.., "kept");
        }
        Stream::new(&epoch, retention, now)
    }

    /// Whether a stream is not past its time, or somebody stands at its position.
    fn lives(&self, channel: &str, kept: &mut Kept, now: Instant) -> bool {
        kept.stream.expire(now) || self.feed.has_members(channel)
    }

    /// Runs `work` on the channel's stream, made if there was none, under the channel's order.
    fn with_stream<T>(
        &self,
        channel: &str,
        retention: &Retention,
        now: Instant,
        work: impl FnOnce(&Arc<str>, &mut Kept) -> T,
    ) -> T {
        if let Some(mut entry) = self.streams.get_mut(channel) {
            let (channel, kept) = entry.pair_mut();
            if self.lives(channel, kept, now) {
                return work(channel, kept);
            }
        }
        let channel: Arc<str> = channel.into();
        let mut entry = match self.streams.entry(channel.clone()) {
            Entry::Occupied(mut entry) => {
                let kept = entry.get_mut();
                if !self.lives(&channel, kept, now) {
                    // Its position is past its time but was not swept yet: a new life under a new epoch. Whoever
                    // was to look at the old one will look at this one.
                    kept.stream = self.new_stream(retention, now);
                }
                entry.into_ref()
            }
            Entry::Vacant(entry) => {
                let stream = self.new_stream(retention, now);
                self.positions.lock().add(stream.position_until(), channel);
                entry.insert(Kept { stream, awaited: false })
            }
        };
        let (channel, kept) = entry.pair_mut();
        work(channel, kept)
    }

    fn publish_now(&self, channel: &str, publication: Publication, options: PublishOptions) -> Published {
        let now = Instant::now();
        let results = self.results(&options);
        let Some(retention) = options.retention else {
            return match options.idempotency_key {
                None => {
                    self.feed.publication(channel, publication, "");
                    Published::default()
                }
                Some(key) => {
                    // Without a stream the order of the results' lock has to do.
                    let mut results = results.lock();
                    if let Some(position) = results.find(channel, &key, now) {
                        return Published { position, suppressed: true };
                    }
                    self.feed.publication(channel, publication, "");
                    results.insert(channel, key, StreamPosition::default(), now);
                    Published::default()
                }
            };
        };
        self.with_stream(channel, &retention, now, |name, Kept { stream, awaited }| {
            if let Some(key) = &options.idempotency_key
                && let Some(position) = results.lock().find(channel, key, now)
            {
                return Published { position, suppressed: true };
            }
            if options.version > 0 && !stream.advance_version(options.version, &options.version_epoch) {
                return Published { position: stream.position(), suppressed: true };
            }
            let publication = stream.append(publication, &retention, now);
            if !std::mem::replace(awaited, true) {
                self.histories.lock().add(now + retention.ttl, name.clone());
            }
            let position = stream.position();
            self.feed.publication(channel, publication, &position.epoch);
            if let Some(key) = options.idempotency_key {
                results.lock().insert(channel, key, position.clone(), now);
            }
            Published { position, suppressed: false }
        })
    }
}

impl Results {
    fn new(hasher: RandomState) -> Self {
        Self { by_key: HashMap::with_hasher(hasher), until: VecDeque::new() }
    }

    fn find(&self, channel: &str, key: &str, now: Instant) -> Option<StreamPosition> {
        let (position, until) = self.by_key.get(&(channel.into(), key.into()))?;
        (*until > now && !planted::is(Bug::IdempotencyIgnored)).then(|| position.clone())
    }

    fn insert(&mut self, channel: &str, key: Box<str>, position: StreamPosition, now: Instant) {
        let key: ResultKey = (channel.into(), key);
        let until = now + IDEMPOTENCY_WINDOW;
        self.by_key.insert(key.clone(), (position, until));
        self.until.push_back((until, key));
        if self.until.len() > RESULTS_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((due, key)) = self.until.pop_front() else { return };
        // The key may have been used again since; then a later entry speaks for it.
        if self.by_key.get(&key).is_some_and(|(_, until)| *until == due) {
            self.by_key.remove(&key);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.until.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }
}

/// The answer of an engine that does not have to wait.
fn at_once<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Engine for MemoryEngine {
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        publication: Publication,
        options: PublishOptions,
    ) -> Answer<'a, Published> {
        at_once(self.publish_now(channel, publication, options))
    }

    fn announce<'a>(&'a self, channel: &'a str, event: PresenceEvent) -> Answer<'a, ()> {
        self.feed.presence_event(channel, event);
        at_once(())
    }

    fn history<'a>(&'a self, channel: &'a str, query: HistoryQuery, retention: Retention) -> Answer<'a, HistoryPage> {
        let now = Instant::now();
        at_once(self.with_stream(channel, &retention, now, |_, kept| {
            kept.stream.renew_position(&retention, now);
            kept.stream.page(&query, now)
        }))
    }

    fn remove_history<'a>(&'a self, channel: &'a str) -> Answer<'a, ()> {
        if let Some(mut kept) = self.streams.get_mut(channel) {
            kept.stream.clear();
        }
        at_once(())
    }

    fn add_presence<'a>(&'a self, channel: &'a str, info: Arc<ClientInfo>) -> Answer<'a, ()> {
        let nobody = || Presence { clients: BTreeMap::new(), users: HashMap::with_hasher(self.hasher.clone()) };
        let mut presence = self.presence.entry(channel.into()).or_insert_with(nobody);
        let user = info.user.as_str().into();
        if presence.clients.insert(info.client.as_str().into(), info).is_none() {
            *presence.users.entry(user).or_default() += 1;
        }
        at_once(())
    }

    fn remove_presence<'a>(&'a self, channel: &'a str, client: &'a str) -> Answer<'a, ()> {
        if let Entry::Occupied(mut entry) = self.presence.entry(channel.into()) {
            let presence = entry.get_mut();
            if let Some(info) = presence.clients.remove(client)
                && let Some(connections) = presence.users.get_mut(info.user.as_str())
            {
                *connections -= 1;
                if *connections == 0 {
                    presence.users.remove(info.user.as_str());
                }
            }
            if presence.clients.is_empty() {
                entry.remove();
            }
        }
        at_once(())
    }

    fn presence<'a>(&'a self, channel: &'a str) -> Answer<'a, BTreeMap<String, ClientInfo>> {
        let clients = self.presence.get(channel).map(|presence| {
            presence.clients.iter().map(|(client, info)| (client.to_string(), ClientInfo::clone(info))).collect()
        });
        at_once(clients.unwrap_or_default())
    }

    fn presence_stats<'a>(&'a self, channel: &'a str) -> Answer<'a, PresenceStatsResult> {
        let stats = self.presence.get(channel).map(|presence| PresenceStatsResult {
            num_clients: u32::try_from(presence.clients.len()).unwrap_or(u32::MAX),
            num_users: u32::try_from(presence.users.len()).unwrap_or(u32::MAX),
        });
        at_once(stats.unwrap_or_default())
    }

    fn vacated(&self, channel: &str) {
        if let Some(mut kept) = self.streams.get_mut(channel) {
            kept.stream.vacated(Instant::now());
        }
    }

    fn sweep(&self, now: Instant) {
        self.client_results.lock().expire(now);
        self.results.lock().expire(now);
        self.thin_out(now);
        self.shrink();
        let due = self.histories.lock().take(now);
        for channel in due {
            let Some(mut kept) = self.streams.get_mut(&channel) else { continue };
            kept.stream.expire(now);
            match kept.stream.publications_until() {
                Some(due) => self.histories.lock().add(due, channel),
                None => kept.awaited = planted::is(Bug::RanOutUnseen),
            }
        }
        let due = self.positions.lock().take(now);
        for channel in due {
            // The entry's lock is held from the look to the removal: a publish in between would be lost.
            if let Entry::Occupied(mut entry) = self.streams.entry(channel.clone()) {
                let kept = entry.get_mut();
                let awaited = kept.awaited && !planted::is(Bug::RanOutUnseen);
                if self.lives(&channel, kept, now) || awaited {
                    self.look_again(channel, kept, now);
                } else {
                    entry.remove();
                }
            }
        }
    }
}
