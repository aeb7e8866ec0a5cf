//! What a client asks. One [`Command`] is one numbered request; field names are those of the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::payload::Payload;
use crate::position::StreamPosition;

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Chosen by the client and repeated in the reply. Above 0 for everything but [`Request::Send`] and
    /// [`Request::Pong`], which are not answered.
    pub id: u32,
    /// What is asked.
    pub request: Request,
}

/// The body of a [`Command`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// The answer to the server's ping: an empty command.
    Pong,
    /// Opens the session; the first command on a connection, and only the first.
    Connect(ConnectRequest),
    /// Begins a subscription.
    Subscribe(SubscribeRequest),
    /// Ends a subscription.
    Unsubscribe(ChannelRequest),
    /// Publishes into a channel.
    Publish(PublishRequest),
    /// Asks who is in a channel.
    Presence(ChannelRequest),
    /// Asks how many are in a channel.
    PresenceStats(ChannelRequest),
    /// Asks for kept publications of a channel.
    History(HistoryRequest),
    /// Exists in the schema; no client may send it.
    Ping,
    /// A message to the server's application, without an answer.
    Send(SendRequest),
    /// Calls a method of the server's application.
    Rpc(RpcRequest),
    /// Prolongs the connection with a new token.
    Refresh(RefreshRequest),
    /// Prolongs a subscription with a new token.
    SubRefresh(SubRefreshRequest),
    /// A command with an id and no body that we know.
    Unknown,
}

impl Request {
    /// The name the wire gives it; also the `method` label of the server's metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Connect(_) => "connect",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish(_) => "publish",
            Self::Presence(_) => "presence",
            Self::PresenceStats(_) => "presence_stats",
            Self::History(_) => "history",
            Self::Ping => "ping",
            Self::Send(_) => "send",
            Self::Rpc(_) => "rpc",
            Self::Refresh(_) => "refresh",
            Self::SubRefresh(_) => "sub_refresh",
            Self::Unknown => "unknown",
        }
    }
}

/// `connect`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectRequest {
    /// JWT of the connection. Empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Application data for the server's application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Positions of server-side subscriptions to recover, by channel.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<String, SubscribeRequest>,
    /// What the client calls itself (`js`, `python`, …).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The version it gives of itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Headers that a browser could not set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// `subscribe`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeRequest {
    /// The channel. Empty inside [`ConnectRequest::subs`], where the key names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// JWT of the subscription. Empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Asks for what was missed since `offset` in `epoch`.
    #[serde(skip_serializing_if = "is_default")]
    pub recover: bool,
    /// Epoch of the position. Empty: not known, and then accepted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// Offset of the position.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Application data for the server's application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Wish: watch my position.
    #[serde(skip_serializing_if = "is_default")]
    pub positioned: bool,
    /// Wish: let me recover.
    #[serde(skip_serializing_if = "is_default")]
    pub recoverable: bool,
    /// Wish: tell me who joins and leaves.
    #[serde(skip_serializing_if = "is_default")]
    pub join_leave: bool,
    /// Wish: send differences. `"fossil"` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub delta: String,
    /// Publication filter by tags, kept unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tf: Option<Payload>,
    /// Bit set, see [`SubscribeRequest::FLAG_REJECT_UNRECOVERED`].
    #[serde(skip_serializing_if = "is_default")]
    pub flag: i64,
    /// Kind of subscription. Anything above 0 is experimental and not spoken here.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: i32,
}

impl SubscribeRequest {
    /// In `flag`: answer error 112 where the reply would say that recovery failed.
    pub const FLAG_REJECT_UNRECOVERED: i64 = 1 << 1;

    /// The position the client asks to recover from.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        StreamPosition::new(self.offset, self.epoch.as_str())
    }
}

/// `unsubscribe`, `presence` and `presence_stats`: a channel is all they need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelRequest {
    /// The channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
}

/// `publish`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishRequest {
    /// The channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// What to publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Ours, not in the schema of the SDKs: a repetition with the same key by the same user within five minutes is
    /// answered and not published again. Empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
}

/// `history`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    /// The channel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// At most so many publications; 0: only the position; -1: all, up to the server's cap.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: i32,
    /// Those after this position (before it, if `reverse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<StreamPosition>,
    /// Newest first.
    #[serde(skip_serializing_if = "is_default")]
    pub reverse: bool,
}

/// `send`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SendRequest {
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

/// `rpc`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcRequest {
    /// Arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// Which method.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
}

/// `refresh`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefreshRequest {
    /// The new JWT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
}

/// `sub_refresh`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubRefreshRequest {
    /// The channel. Some SDKs leave it out; the token names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// The new JWT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
