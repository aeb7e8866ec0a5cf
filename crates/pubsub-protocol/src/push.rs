//! What the server tells without being asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::command::is_default;
use crate::payload::Payload;
use crate::position::StreamPosition;

/// Something the server tells a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The channel it is about. Empty for [`PushBody::Message`], [`PushBody::Disconnect`] and
    /// [`PushBody::Refresh`], which are about the connection.
    pub channel: String,
    /// What happened.
    pub body: PushBody,
}

/// The body of a [`Push`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PushBody {
    /// A publication.
    Publication(Publication),
    /// Somebody subscribed.
    Join(ClientInfo),
    /// Somebody unsubscribed or went away.
    Leave(ClientInfo),
    /// The server ended this connection's subscription.
    Unsubscribe(Unsubscribe),
    /// A message for this connection alone.
    Message(Message),
    /// The server began a subscription for this connection.
    Subscribe(Subscribed),
    /// The connection ends; for transports that have no close frame.
    Disconnect(Disconnect),
    /// The connection's expiry changed.
    Refresh(Refreshed),
    /// A kind of push that we do not know. Clients ignore it.
    Unknown,
}

/// One message in a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// The application's data.
    pub data: Payload,
    /// Who published it; shared, where one publication is kept and sent to many. Absent when it came through the server API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Arc<ClientInfo>>,
    /// Its place in the stream. 0 (and not on the wire) in a channel without history.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Labels given by the publisher.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The stream's epoch: only on a live publication with offset 1, so that a subscriber of a stream
    /// that was just reborn learns it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// Who somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// User id. Empty for an anonymous user.
    #[serde(default)]
    pub user: String,
    /// Connection id.
    #[serde(default)]
    pub client: String,
    /// What the connection token says of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn_info: Option<Payload>,
    /// What the subscription token says of the user in this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chan_info: Option<Payload>,
}

/// The server ended a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// See [`crate::UnsubscribeCode`].
    pub code: u32,
    /// For people. Always on the wire: an SDK fails without it.
    pub reason: String,
}

/// A message for one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The application's data.
    pub data: Payload,
}

/// A server-side subscription began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subscribed {
    /// Whether it can be recovered after a reconnect.
    #[serde(skip_serializing_if = "is_default")]
    pub recoverable: bool,
    /// Epoch of the position it starts from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
    /// Offset it starts from.
    #[serde(skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Whether the server watches the position.
    #[serde(skip_serializing_if = "is_default")]
    pub positioned: bool,
    /// Application data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
}

impl Subscribed {
    /// The position the subscription starts from.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        StreamPosition::new(self.offset, self.epoch.as_str())
    }
}

/// The connection ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disconnect {
    /// See [`crate::DisconnectCode`].
    pub code: u32,
    /// For people.
    pub reason: String,
    /// Whether to come back. Clients go by the code.
    #[serde(skip_serializing_if = "is_default")]
    pub reconnect: bool,
}

/// The connection's expiry changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refreshed {
    /// Whether it expires at all.
    #[serde(skip_serializing_if = "is_default")]
    pub expires: bool,
    /// Seconds until then.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: u32,
}
