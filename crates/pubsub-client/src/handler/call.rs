//! Requests, and what answers them, in words that all protocols share.

use pubsub_protocol::reply::{HistoryResult, PresenceResult, PresenceStatsResult};
use pubsub_protocol::{Payload, StreamPosition};

use crate::ids::Topic;

/// A request.
///
/// ```
/// use pubsub_client::handler::{Call, CallKind};
///
/// let call = Call::Rpc { method: "sum".to_owned(), params: None };
/// assert_eq!(call.kind(), CallKind::Rpc);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// Calls a method of the server's application.
    Rpc {
        /// Which.
        method: String,
        /// Its parameters.
        params: Option<Payload>,
    },
    /// Publishes.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        data: Payload,
        /// Makes a repetition harmless.
        idempotency_key: Option<String>,
    },
    /// Asks for kept publications.
    History {
        /// Where.
        topic: Topic,
        /// Which.
        query: HistoryQuery,
    },
    /// Asks who is there.
    Presence(Topic),
    /// Asks how many are there.
    PresenceStats(Topic),
}

impl Call {
    /// Its kind.
    ///
    /// ```
    /// use pubsub_client::Topic;
    /// use pubsub_client::handler::{Call, CallKind};
    ///
    /// assert_eq!(Call::Presence(Topic::from("news")).kind(), CallKind::Presence);
    /// ```
    #[must_use]
    pub fn kind(&self) -> CallKind {
        match self {
            Self::Rpc { .. } => CallKind::Rpc,
            Self::Publish { .. } => CallKind::Publish,
            Self::History { .. } => CallKind::History,
            Self::Presence(_) => CallKind::Presence,
            Self::PresenceStats(_) => CallKind::PresenceStats,
        }
    }
}

/// A [`Call`] without its data.
///
/// ```
/// use pubsub_client::Topic;
/// use pubsub_client::handler::{Call, CallKind};
///
/// assert_eq!(Call::PresenceStats(Topic::from("news")).kind(), CallKind::PresenceStats);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// [`Call::Rpc`]
    Rpc,
    /// [`Call::Publish`]
    Publish,
    /// [`Call::History`]
    History,
    /// [`Call::Presence`]
    Presence,
    /// [`Call::PresenceStats`]
    PresenceStats,
}

/// Which publications of a topic's history.
///
/// ```
/// use pubsub_client::{HistoryQuery, StreamPosition};
///
/// let what_came_after = HistoryQuery { limit: -1, since: Some(StreamPosition::new(7, "kXwQmZab")), reverse: false };
/// # let _ = what_came_after;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// At most so many; 0: none, only the position; -1: all, up to the server's bound.
    pub limit: i32,
    /// Those after this position (before it, if `reverse`).
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}

/// The answer to a [`Call`].
///
/// ```
/// use pubsub_client::Payload;
/// use pubsub_client::handler::Response;
///
/// let three = Response::Data(Some(Payload::from_bytes(b"3")));
/// # let _ = three;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Response {
    /// What a method returned, unread.
    Data(Option<Payload>),
    /// It was published.
    Published,
    /// The publications asked for.
    History(HistoryResult),
    /// Who is there.
    Presence(PresenceResult),
    /// How many are there.
    PresenceStats(PresenceStatsResult),
}
