//! What the server sends: answers to commands, pushes and pings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codes::ErrorCode;
use crate::command::is_default;
use crate::payload::Payload;
use crate::position::StreamPosition;
use crate::push::{ClientInfo, Publication, Push};

/// One message of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// "Are you there?" Answered by [`crate::command::Request::Pong`] where the connect result said so.
    Ping,
    /// Something that nobody asked for.
    Push(Push),
    /// The answer to the command with this id.
    Answer {
        /// The command's id.
        id: u32,
        /// What came of it.
        outcome: Result<Answer, ErrorReply>,
    },
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// To `connect`.
    Connect(ConnectResult),
    /// To `subscribe`.
    Subscribe(SubscribeResult),
    /// To `unsubscribe`.
    Unsubscribe,
    /// To `publish`.
    Publish,
    /// To `presence`.
    Presence(PresenceResult),
    /// To `presence_stats`.
    PresenceStats(PresenceStatsResult),
    /// To `history`.
    History(HistoryResult),
    /// To `rpc`.
    Rpc(RpcResult),
    /// To `refresh`.
    Refresh(RefreshResult),
    /// To `sub_refresh`.
    SubRefresh(SubRefreshResult),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct ErrorReply {
    /// See [`ErrorCode`]; 400–1999 belong to applications.
    pub code: u32,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Whether trying again may help.
    #[serde(default, skip_serializing_if = "is_default")]
    pub temporary: bool,
}

impl From<ErrorCode> for ErrorReply {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code(), message: code.message().to_owned(), temporary: code.is_temporary() }
    }
}

/// Result of `connect`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectResult {
    /// Id of the connection, a UUID.
    pub client: String,
    /// The server's version. Never empty: an SDK fails without it.
    pub version: String,
    /// Whether the client must refresh its token.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
    /// Application data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Server-side subscriptions, by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<String, SubscribeResult>,
    /// Seconds between the server's pings. 0: it sends none.
    #[serde(skip_serializing_if = "is_default")]
    pub ping: u32,
    /// Whether each ping wants a pong.
    #[serde(skip_serializing_if = "is_default")]
    pub pong: bool,
    /// Secret name of the session, where requests reach it by another connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// The server's node, likewise.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Milliseconds since 1970 at the server. 0: not told.
    #[serde(skip_serializing_if = "is_default")]
    pub time: i64,
}

/// Result of `subscribe`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeResult {
    /// Whether the client must refresh its subscription token.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
    /// Whether the subscription can be recovered after a reconnect.
    #[serde(skip_serializing_if = "is_default")]
    pub recoverable: bool,
    /// Epoch of the stream.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// What was missed, oldest first. Empty unless `recovered`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publications: Vec<Publication>,
    /// Whether `publications` is all that was missed.
    #[serde(skip_serializing_if = "is_default")]
    pub recovered: bool,
    /// Where the subscription stands *before* `publications`: after a recovery the offset that the client
    /// asked from, otherwise the stream's top.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Whether the server watches the position.
    #[serde(skip_serializing_if = "is_default")]
    pub positioned: bool,
    /// Application data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Whether recovery was asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub was_recovering: bool,
}

impl SubscribeResult {
    /// Where the subscription stands before `publications`.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        StreamPosition::new(self.offset, self.epoch.as_str())
    }
}

/// Result of `presence`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceResult {
    /// Who is there, by connection id.
    pub presence: BTreeMap<String, ClientInfo>,
}

/// Result of `presence_stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PresenceStatsResult {
    /// Connections in the channel.
    pub num_clients: u32,
    /// Different users among them.
    pub num_users: u32,
}

/// Result of `history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryResult {
    /// The publications asked for.
    pub publications: Vec<Publication>,
    /// Epoch of the stream.
    pub epoch: String,
    /// Top of the stream.
    pub offset: u64,
}

/// Result of `rpc`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcResult {
    /// What the method returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

/// Result of `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshResult {
    /// Id of the connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The server's version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether the connection still expires.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
}

/// Result of `sub_refresh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubRefreshResult {
    /// Whether the subscription still expires.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
}
