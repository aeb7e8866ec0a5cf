//! What opens a session, what is subscribed in it, and the news that come in, in words that all protocols share.

use std::time::Duration;

use pubsub_protocol::reply::SubscribeResult;
use pubsub_protocol::{ClientInfo, Payload, Publication, StreamPosition};

use crate::error::ServerError;
use crate::ids::{RequestId, Topic};
use crate::options::SubscribeOptions;

/// What the client shows of itself when it authenticates.
///
/// ```
/// use pubsub_client::handler::Credentials;
///
/// let mut credentials = Credentials::default();
/// credentials.token = Some("eyJhbGciOi…");
/// # let _ = credentials;
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Credentials<'a> {
    /// The connection's token.
    pub token: Option<&'a str>,
    /// Application data.
    pub data: Option<&'a Payload>,
    /// Positions of subscriptions that the server made, to recover from.
    pub positions: Vec<(Topic, StreamPosition)>,
}

/// An open session, as the server describes it.
///
/// ```
/// use std::time::Duration;
/// use pubsub_client::handler::Session;
///
/// let greeting = Session { server_ping: Some(Duration::from_secs(25)), ..Session::default() };
/// # let _ = greeting;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// The server's name for this connection. Empty: it has none.
    pub client: String,
    /// What the server says of its own version. Empty: nothing.
    pub version: String,
    /// How often the server will ping. `None`: it will not, and the client pings.
    pub server_ping: Option<Duration>,
    /// How long until the token must be renewed. `None`: never.
    pub expires_in: Option<Duration>,
    /// Application data.
    pub data: Option<Payload>,
    /// Subscriptions that the server made for this connection.
    pub subscriptions: Vec<(Topic, SubscribeResult)>,
}

/// One topic of a subscribe batch.
///
/// ```
/// use pubsub_client::handler::SubscribeRequest;
/// use pubsub_client::{RequestId, SubscribeOptions, Topic};
///
/// let options = SubscribeOptions::default();
/// let request = SubscribeRequest::new(RequestId::from(1), Topic::from("news"), &options);
/// assert!(request.token.is_none() && request.recover.is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeRequest<'a> {
    /// The request's id; the same for the whole batch with
    /// [`shares_batch_id`](crate::ProtocolHandler::shares_batch_id).
    pub id: RequestId,
    /// What to subscribe to.
    pub topic: Topic,
    /// The subscription's token.
    pub token: Option<&'a str>,
    /// From where to recover.
    pub recover: Option<StreamPosition>,
    /// The subscriber's wishes.
    pub options: &'a SubscribeOptions,
}

impl<'a> SubscribeRequest<'a> {
    /// One without a token, that recovers nothing.
    ///
    /// ```
    /// use pubsub_client::handler::SubscribeRequest;
    /// use pubsub_client::{RequestId, SubscribeOptions, Topic};
    ///
    /// let options = SubscribeOptions::default();
    /// let request = SubscribeRequest::new(RequestId::from(1), Topic::from("news"), &options);
    /// assert!(request.token.is_none() && request.recover.is_none());
    /// ```
    #[must_use]
    pub fn new(id: RequestId, topic: Topic, options: &'a SubscribeOptions) -> Self {
        Self { id, topic, token: None, recover: None, options }
    }
}

/// One topic of an unsubscribe batch.
///
/// ```
/// use pubsub_client::handler::UnsubscribeRequest;
/// use pubsub_client::{RequestId, Topic};
///
/// let request = UnsubscribeRequest::new(RequestId::from(1), Topic::from("news"));
/// assert_eq!(request.topic.as_str(), "news");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsubscribeRequest {
    /// As in [`SubscribeRequest::id`].
    pub id: RequestId,
    /// What to unsubscribe from.
    pub topic: Topic,
}

impl UnsubscribeRequest {
    /// One of a batch.
    ///
    /// ```
    /// use pubsub_client::handler::UnsubscribeRequest;
    /// use pubsub_client::{RequestId, Topic};
    ///
    /// let request = UnsubscribeRequest::new(RequestId::from(1), Topic::from("news"));
    /// assert_eq!(request.topic.as_str(), "news");
    /// ```
    #[must_use]
    pub fn new(id: RequestId, topic: Topic) -> Self {
        Self { id, topic }
    }
}

/// What a part of a subscribe answer is about.
///
/// ```
/// use pubsub_client::ServerError;
/// use pubsub_client::handler::{About, SubscriptionReply};
///
/// let all_refused = SubscriptionReply { about: About::Request, outcome: Err(ServerError::new(0, "closed today")) };
/// # let _ = all_refused;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// All topics of the request that are not named in another part.
    Request,
    /// This topic.
    Topic(Topic),
}

/// One part of a subscribe answer.
///
/// ```
/// use pubsub_client::Topic;
/// use pubsub_client::handler::{About, SubscriptionReply};
///
/// let in_force = SubscriptionReply { about: About::Topic(Topic::from("news")), outcome: Ok(Default::default()) };
/// # let _ = in_force;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionReply {
    /// Which topics.
    pub about: About,
    /// In force, or refused.
    pub outcome: Result<SubscribeResult, ServerError>,
}

/// News of a topic, or of the connection.
///
/// ```
/// use pubsub_client::handler::Update;
///
/// let over = Update::Unsubscribed { code: 2000, reason: "the shop has closed".to_owned() };
/// # let _ = over;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// A publication.
    Publication(Publication),
    /// Somebody subscribed.
    Join(ClientInfo),
    /// Somebody unsubscribed or went away.
    Leave(ClientInfo),
    /// The server made a subscription.
    Subscribed(SubscribeResult),
    /// The server ended a subscription.
    Unsubscribed {
        /// Why, as a number of the Centrifuge table: from 2500 on it is worth subscribing again.
        code: u32,
        /// Why, for people.
        reason: String,
    },
    /// A message for this connection.
    Message(Payload),
    /// The server is about to close.
    Disconnect {
        /// The close code.
        code: u32,
        /// Why, for people.
        reason: String,
    },
    /// The connection's expiry changed; `None`: it does not expire.
    Expires(Option<Duration>),
    /// Nothing that the client has to know.
    Nothing,
}

/// A publication of a protocol that has no positions: data and labels.
///
/// ```
/// use std::collections::BTreeMap;
/// use pubsub_client::Payload;
/// use pubsub_client::handler::{Update, publication};
///
/// let update = Update::Publication(publication(Payload::from_bytes(b"3"), BTreeMap::new()));
/// # let _ = update;
/// ```
#[must_use]
pub fn publication(data: Payload, tags: std::collections::BTreeMap<String, String>) -> Publication {
    Publication { data, info: None, offset: 0, tags, epoch: String::new() }
}
