//! The engine keeps what outlives a subscriber: streams, presence, results of idempotent publishes.
//!
//! The contract between an engine and the node above it:
//!
//! 1. `publish` gives the publication its offset and hands it to the [`Feed`], and does both under one order
//!    per channel: of two publications the one with the lower offset reaches the feed first.
//! 2. Whatever `history` returns was published before it returned, and whatever reaches the feed later has a
//!    higher offset than the returned top, or is in the returned publications. So a subscriber that enters
//!    the feed first and reads history second can join the two without a gap (`recovery.rs`).
//! 3. Every answer comes, if only as an error: what waits for one does nothing else meanwhile.
//! 4. An engine knows nothing of connections, sessions or sockets.
//! 5. An answer that nobody waits for any more may be dropped half-way. What was asked takes effect or not, but not after
//!    what is asked later of the same channel: who leaves while it is put into presence must not come out in it.
//! 6. A place in a stream, epoch and offset, holds one publication: what is made of it for one subscriber serves the next
//!    (`batches.rs`).
//!
//! Answers are futures because a store may be a network away; the embedded [`memory`] engine answers at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, Publication, StreamPosition};
use tokio::time::Instant;

use crate::stream::{HistoryPage, HistoryQuery, Retention};

pub mod memory;

/// An answer of an engine.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// Why an engine could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The store can not be reached, or said something that makes no sense.
    #[error("the engine's store is unavailable: {0}")]
    Unavailable(String),
}

/// What a publish asks for beside the publication itself.
#[derive(Clone, Debug, Default)]
pub struct PublishOptions {
    /// The stream's bounds; `None`: the channel keeps no history and the publication gets no offset.
    pub retention: Option<Retention>,
    /// A second publish with the same key within [`IDEMPOTENCY_WINDOW`](memory::IDEMPOTENCY_WINDOW) returns
    /// the first one's position and publishes nothing.
    pub idempotency_key: Option<Box<str>>,
    /// Drop this publication unless its version is above the channel's last. Needs history. 0: no version.
    pub version: u64,
    /// Versions are compared only under the same name; without one, with the last whatever its name.
    pub version_epoch: Box<str>,
    /// A client asks for it: whose keys, however many, make the engine forget none of the backend's.
    pub by_client: bool,
}

/// What came of a publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The publication's place; the default one where the channel keeps no history.
    pub position: StreamPosition,
    /// Nothing was published. With a key that was used before, `position` is that of the first publication with it; with
    /// a version that is not new, that of the newest one.
    pub suppressed: bool,
}

/// Streams, presence and idempotency of all channels.
pub trait Engine: Send + Sync + 'static {
    /// Appends to the channel's stream and hands the publication to the feed, unless key or version say that this
    /// was done before.
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        publication: Publication,
        options: PublishOptions,
    ) -> Answer<'a, Published>;

    /// Tells the feed that somebody joined or left. Not kept.
    fn announce<'a>(&'a self, channel: &'a str, event: PresenceEvent) -> Answer<'a, ()>;

    /// Reads a channel's stream, which begins with this call if it did not exist.
    fn history<'a>(&'a self, channel: &'a str, query: HistoryQuery, retention: Retention) -> Answer<'a, HistoryPage>;

    /// Forgets a channel's publications. Its position stays.
    fn remove_history<'a>(&'a self, channel: &'a str) -> Answer<'a, ()>;

    /// Notes that a client is in a channel.
    fn add_presence<'a>(&'a self, channel: &'a str, info: Arc<ClientInfo>) -> Answer<'a, ()>;

    /// Notes that a client is no longer in a channel.
    fn remove_presence<'a>(&'a self, channel: &'a str, client: &'a str) -> Answer<'a, ()>;

    /// Who is in a channel, by connection id.
    fn presence<'a>(&'a self, channel: &'a str) -> Answer<'a, BTreeMap<String, ClientInfo>>;

    /// How many are in a channel.
    fn presence_stats<'a>(&'a self, channel: &'a str) -> Answer<'a, PresenceStatsResult>;

    /// The last subscriber of a channel has left: who comes back within `meta_ttl` finds the position that it left.
    fn vacated(&self, channel: &str) {
        let _ = channel;
    }

    /// Drops what is past its time, in an engine that has to do so itself. Called about once a second.
    fn sweep(&self, now: Instant) {
        let _ = now;
    }
}

/// Somebody came or went.
#[derive(Clone, Debug, PartialEq)]
pub enum PresenceEvent {
    /// Came.
    Join(Arc<ClientInfo>),
    /// Went.
    Leave(Arc<ClientInfo>),
}

/// Where an engine's publications come out on this node, per channel in the order of their offsets.
pub trait Feed: Send + Sync + 'static {
    /// A publication, and the epoch of its stream (empty without history).
    fn publication(&self, channel: &str, publication: Publication, epoch: &str);

    /// A join or leave.
    fn presence_event(&self, channel: &str, event: PresenceEvent);

    /// Whether anybody on this node is subscribed to the channel. As long as somebody is, the position that it was told is
    /// worth keeping.
    fn has_members(&self, channel: &str) -> bool {
        let _ = channel;
        false
    }
}
