//! What a session wants of the node, and what comes back. Plain data: the session never waits itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, DisconnectCode, ErrorCode, Publication, StreamPosition};

use crate::engine::{PublishOptions, Published};
use crate::recovery::{Mode, Recovery};
use crate::stream::{HistoryPage, HistoryQuery, Retention};

/// Work for the node. Each variant has its twin in [`Completion`].
#[derive(Debug)]
pub enum Operation {
    /// Counts the connection for its user and begins its server-side subscriptions.
    Connect {
        /// The connect command's id.
        id: u32,
        /// The user; empty: anonymous.
        user: Arc<str>,
        /// Connections the user may have; 0: any number.
        user_connections_max: usize,
        /// Server-side subscriptions.
        subscriptions: Vec<Subscribe>,
    },
    /// Begins a subscription.
    Subscribe(SubscribedBy, Subscribe),
    /// Enters somebody who is present in a channel there anew, with what is known of them now.
    Introduce {
        /// The channel.
        channel: Arc<str>,
        /// Who.
        info: Arc<ClientInfo>,
    },
    /// Publishes.
    Publish {
        /// The command's id.
        id: u32,
        /// Where.
        channel: String,
        /// What.
        publication: Publication,
        /// How.
        options: PublishOptions,
    },
    /// Reads history.
    History {
        /// The command's id.
        id: u32,
        /// Of which channel.
        channel: Arc<str>,
        /// Which part.
        query: HistoryQuery,
        /// The stream's bounds.
        retention: Retention,
    },
    /// Reads presence.
    Presence {
        /// The command's id.
        id: u32,
        /// Of which channel.
        channel: String,
    },
    /// Counts presence.
    PresenceStats {
        /// The command's id.
        id: u32,
        /// Of which channel.
        channel: String,
    },
}

/// Who began a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribedBy {
    /// A command with this id.
    Client {
        /// The command's id.
        id: u32,
    },
    /// The server API, while the connection was open.
    Server,
}

/// A subscription to begin.
#[derive(Debug)]
pub struct Subscribe {
    /// The channel.
    pub channel: Arc<str>,
    /// Number of the subscription in its shard.
    pub join: u64,
    /// The stream's bounds, if the subscription has a position.
    pub position: Option<Retention>,
    /// Where to recover from, and how.
    pub recover: Option<(Mode, StreamPosition)>,
    /// Fail with 112 rather than begin unrecovered.
    pub reject_unrecovered: bool,
    /// Enter this into the channel's presence.
    pub presence: Option<Arc<ClientInfo>>,
    /// Announce this to the channel.
    pub announce: Option<Arc<ClientInfo>>,
}

/// A subscription that began.
#[derive(Debug, PartialEq)]
pub struct Subscribed {
    /// The stream's top when it began; `None`: it has no position. Live publications go on from here.
    pub top: Option<StreamPosition>,
    /// What came of the wish to recover; `None`: there was none.
    pub recovery: Option<Recovery>,
}

/// Server-side subscriptions in the order asked for, and what came of each.
pub type Begun = Vec<(Arc<str>, Result<Subscribed, ErrorCode>)>;

/// An [`Operation`] that is done.
#[derive(Debug)]
pub enum Completion {
    /// Of [`Operation::Connect`].
    Connect {
        /// The connect command's id.
        id: u32,
        /// The server-side subscriptions in the order asked for, or why the connection may not be.
        result: Result<Begun, DisconnectCode>,
    },
    /// Of [`Operation::Subscribe`].
    Subscribe {
        /// Who began it.
        by: SubscribedBy,
        /// The channel.
        channel: Arc<str>,
        /// Number of the subscription in its shard.
        join: u64,
        /// What came of it.
        result: Result<Subscribed, ErrorCode>,
    },
    /// Of [`Operation::Introduce`]. Nobody waits for it.
    Introduce,
    /// Of [`Operation::Publish`].
    Publish {
        /// The command's id.
        id: u32,
        /// What came of it.
        result: Result<Published, ErrorCode>,
    },
    /// Of [`Operation::History`].
    History {
        /// The command's id.
        id: u32,
        /// The channel.
        channel: Arc<str>,
        /// What came of it.
        result: Result<HistoryPage, ErrorCode>,
    },
    /// Of [`Operation::Presence`].
    Presence {
        /// The command's id.
        id: u32,
        /// What came of it.
        result: Result<BTreeMap<String, ClientInfo>, ErrorCode>,
    },
    /// Of [`Operation::PresenceStats`].
    PresenceStats {
        /// The command's id.
        id: u32,
        /// What came of it.
        result: Result<PresenceStatsResult, ErrorCode>,
    },
}
