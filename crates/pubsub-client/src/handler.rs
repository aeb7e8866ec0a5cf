//! The seam between bytes and meaning: what the messages of a protocol are, in words that all protocols share.
//!
//! A [`ProtocolHandler`] turns what the client wants into messages and messages into what the client understands. It
//! does no I/O, keeps no time and takes no decisions about reconnecting, recovery or retries: those are the
//! connection's. Messages are decoded once; every question is then asked of the decoded message.
//!
//! - [`centrifuge`]: the default, with positions and recovery
//! - [`json`]: JSON objects with field and operation names of your choice
//! - [`json_rpc`]: JSON-RPC 2.0
//! - [`exchange`]: an adapter for handlers of an older, simpler style

pub mod centrifuge;
pub mod exchange;
pub mod json;
pub mod json_rpc;

use std::time::Duration;

use pubsub_protocol::codes;
use pubsub_protocol::reply::{HistoryResult, PresenceResult, PresenceStatsResult, SubscribeResult};
use pubsub_protocol::websocket::Opcode;
use pubsub_protocol::{ClientInfo, Payload, Publication, StreamPosition};

use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};
use crate::options::SubscribeOptions;

/// What the bytes of a protocol mean.
///
/// Required are [`decode`](Self::decode), [`classify_message`](Self::classify_message),
/// [`extract_request_id`](Self::extract_request_id), [`extract_topic`](Self::extract_topic),
/// [`build_subscribe`](Self::build_subscribe), [`build_unsubscribe`](Self::build_unsubscribe),
/// [`build_request`](Self::build_request), [`response`](Self::response) and [`update`](Self::update). Everything else
/// has a default, said at each method: no authentication, no pings of the protocol's own, text only.
///
/// One handler serves one client, connection after connection; [`on_connect`](Self::on_connect) begins each. See
/// `examples/custom_handler.rs` for a whole one.
pub trait ProtocolHandler: Send + 'static {
    /// A decoded message.
    type Message: Send + 'static;

    /// How requests are numbered. Default: ULIDs.
    fn ids(&self) -> IdStyle {
        IdStyle::Ulid
    }

    /// The WebSocket subprotocol to ask for. Default: none.
    fn subprotocol(&self) -> Option<&str> {
        None
    }

    /// A connection has been upgraded: forget the last one; say what has to be said before authentication. Default:
    /// nothing.
    fn on_connect(&mut self, out: &mut Outgoing) {
        let _ = out;
    }

    /// Writes the credentials. `Ok(false)`: the protocol has no authentication, the session is open at once. That is
    /// the default.
    ///
    /// # Errors
    /// When the credentials cannot be written in this protocol.
    fn build_auth_message(
        &mut self,
        id: &RequestId,
        credentials: &Credentials<'_>,
        out: &mut Outgoing,
    ) -> Result<bool, ProtocolError> {
        let _ = (id, credentials, out);
        Ok(false)
    }

    /// Whether a message that comes while authentication is under way is the answer to it, and which. `None`: it is
    /// something else, and is treated as it would be later. Default: `None`.
    fn is_auth_success(&mut self, id: &RequestId, message: &mut Self::Message) -> Option<Result<Session, ServerError>> {
        let _ = (id, message);
        None
    }

    /// Decodes a text message, which may hold several messages of the protocol, and appends what it holds.
    ///
    /// # Errors
    /// When it cannot be read. The connection ends and another is made: after garbage nothing can be trusted.
    fn decode(&mut self, text: &[u8], messages: &mut Vec<Self::Message>) -> Result<(), ProtocolError>;

    /// Decodes a binary message. Default: an error, since most protocols are text.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    fn decode_binary(&mut self, bytes: &[u8], messages: &mut Vec<Self::Message>) -> Result<(), ProtocolError> {
        let _ = messages;
        Err(ProtocolError::UnexpectedBinary(bytes.len()))
    }

    /// What a message is for. Pings and pongs are asked for before this.
    fn classify_message(&self, message: &Self::Message) -> MessageKind;

    /// Which request a [`MessageKind::Response`] answers.
    fn extract_request_id(&self, message: &Self::Message) -> Option<RequestId>;

    /// Which topic a [`MessageKind::Update`] is about. `None`: the connection as a whole.
    fn extract_topic(&self, message: &Self::Message) -> Option<Topic>;

    /// Whether the message is the server's "are you there?". Default: never.
    fn is_server_ping(&self, message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Whether the message answers [`build_ping`](Self::build_ping). Default: never. Any message at all counts as a
    /// sign of life; this only keeps pongs from being taken for something else.
    fn is_pong_response(&self, message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Whether all topics of one [`build_subscribe`](Self::build_subscribe) (or unsubscribe) go by one request id, as
    /// in protocols that name several topics in one message. Default: no, each has its own.
    fn shares_batch_id(&self) -> bool {
        false
    }

    /// Writes the subscriptions of a batch.
    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing);

    /// Reads the answer to a subscribe request: which of its topics are in force, and which are not and why. Topics
    /// without a word here go by [`About::Request`]; protocols without answers to subscriptions return, from
    /// [`expects_subscribe_reply`](Self::expects_subscribe_reply), that none is to be waited for. Default: every topic
    /// of the request is in force if [`response`](Self::response) is not an error.
    fn is_subscription_success(&mut self, message: Self::Message) -> Vec<SubscriptionReply> {
        let outcome = self.response(CallKind::Rpc, message).map(|_| SubscribeResult::default());
        vec![SubscriptionReply { about: About::Request, outcome }]
    }

    /// Whether subscribe requests may leave along with the credentials, before the answer to those. It saves a round
    /// trip each time the client comes back. Default: no.
    fn accepts_early_subscribes(&self) -> bool {
        false
    }

    /// Whether the server answers subscribe and unsubscribe requests. If not, they are in force once sent. Default: yes.
    fn expects_subscribe_reply(&self) -> bool {
        true
    }

    /// Writes the end of many subscriptions at once.
    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing);

    /// Reads the answer to an unsubscribe request. Default: it is taken for success, whatever it says.
    ///
    /// # Errors
    /// The server's refusal. The connection is then replaced: what is in force on it is not known.
    fn unsubscribed(&mut self, message: Self::Message) -> Result<(), ServerError> {
        let _ = message;
        Ok(())
    }

    /// Writes a request.
    ///
    /// # Errors
    /// When the protocol has no such request, or its data cannot be written. Nothing may have been appended then.
    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError>;

    /// Reads the answer to a request of this kind.
    ///
    /// # Errors
    /// The server's refusal.
    fn response(&mut self, call: CallKind, message: Self::Message) -> Result<Response, ServerError>;

    /// Reads the news in a [`MessageKind::Update`].
    fn update(&mut self, message: Self::Message) -> Update;

    /// Writes a message that wants no answer. Default: the data as a text message of its own.
    ///
    /// # Errors
    /// When the data cannot be written in this protocol.
    fn build_send(&mut self, data: &Payload, out: &mut Outgoing) -> Result<(), ProtocolError> {
        out.text().extend_from_slice(data.as_bytes());
        Ok(())
    }

    /// Writes the protocol's own ping. `false`: it has none, and WebSocket pings are used. That is the default.
    fn build_ping(&mut self, id: &RequestId, out: &mut Outgoing) -> bool {
        let _ = (id, out);
        false
    }

    /// Writes the answer to a server's ping. Default: nothing.
    fn build_pong(&mut self, ping: &Self::Message, out: &mut Outgoing) {
        let _ = (ping, out);
    }

    /// Writes a new token for the connection, or for the subscription to `topic`. `false`: the protocol has no such
    /// thing, and tokens are renewed by reconnecting only. That is the default.
    fn build_refresh(&mut self, id: &RequestId, topic: Option<&Topic>, token: &str, out: &mut Outgoing) -> bool {
        let _ = (id, topic, token, out);
        false
    }

    /// Reads the answer to [`build_refresh`](Self::build_refresh): how long the new token lasts, `None` for ever.
    ///
    /// # Errors
    /// The server's refusal.
    fn refreshed(&mut self, message: Self::Message) -> Result<Option<Duration>, ServerError> {
        let _ = message;
        Ok(None)
    }

    /// Whether the server is known to recognise a publish that is repeated with the same idempotency key. Only then is
    /// a publish of unknown outcome sent again. Default: no.
    fn honours_idempotency_keys(&self) -> bool {
        false
    }

    /// What to do about a refused connect, subscribe or refresh. Default: try again if the server calls the error
    /// temporary, otherwise give up.
    fn advice(&self, error: &ServerError) -> Advice {
        if error.temporary { Advice::Retry } else { Advice::GiveUp }
    }

    /// Whether to come back after the server closed with this code. Default: the Centrifuge table, in which 3500–3999,
    /// 4500–4999 and 1009 are final.
    fn should_reconnect(&self, close_code: u32, reason: &str) -> bool {
        let _ = reason;
        codes::should_reconnect(close_code)
    }
}

/// How requests are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdStyle {
    /// By ULIDs, unique in the world.
    Ulid,
    /// By 1, 2, 3…, unique in the life of the client, up to 4,294,967,295 and then again from 1.
    Number,
}

/// What the client shows of itself when it authenticates.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeRequest<'a> {
    /// The request's id; the same for the whole batch with
    /// [`shares_batch_id`](ProtocolHandler::shares_batch_id).
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

/// One topic of an unsubscribe batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnsubscribeRequest {
    /// As in [`SubscribeRequest::id`].
    pub id: RequestId,
    /// What to unsubscribe from.
    pub topic: Topic,
}

impl<'a> SubscribeRequest<'a> {
    pub(crate) fn new(id: RequestId, topic: Topic, options: &'a SubscribeOptions) -> Self {
        Self { id, topic, token: None, recover: None, options }
    }
}

impl UnsubscribeRequest {
    pub(crate) fn new(id: RequestId, topic: Topic) -> Self {
        Self { id, topic }
    }
}

/// What a part of a subscribe answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// All topics of the request that are not named in another part.
    Request,
    /// This topic.
    Topic(Topic),
}

/// One part of a subscribe answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionReply {
    /// Which topics.
    pub about: About,
    /// In force, or refused.
    pub outcome: Result<SubscribeResult, ServerError>,
}

/// A request.
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

/// Which publications of a topic's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// At most so many; 0: none, only the position; -1: all, up to the server's bound.
    pub limit: i32,
    /// Those after this position (before it, if `reverse`).
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}

/// A [`Call`] without its data.
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

impl Call {
    /// Its kind.
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

/// The answer to a [`Call`].
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

/// News of a topic, or of the connection.
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
#[must_use]
pub fn publication(data: Payload, tags: std::collections::BTreeMap<String, String>) -> Publication {
    Publication { data, info: None, offset: 0, tags, epoch: String::new() }
}

/// What to do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Try again, with back-off.
    Retry,
    /// Get a new token and try again.
    NewToken,
    /// Do not try again.
    GiveUp,
}

/// The messages that leave at the end of a turn, in order.
#[derive(Debug, Default)]
pub struct Outgoing {
    messages: Vec<(Opcode, Vec<u8>)>,
    batch_open: bool,
}

/// A batch is sent as it is once it is this long: servers limit a message to 65,536 bytes.
const BATCH_BYTES: usize = 16 * 1_024;

impl Outgoing {
    /// A text message of its own, still empty: write it.
    pub fn text(&mut self) -> &mut Vec<u8> {
        self.begin(Opcode::Text, false)
    }

    /// A binary message of its own, still empty: write it.
    pub fn binary(&mut self) -> &mut Vec<u8> {
        self.begin(Opcode::Binary, false)
    }

    /// The text message that collects what a protocol can join into one (Centrifuge commands, one a line). What is in
    /// it already must stay.
    pub fn batched_text(&mut self) -> &mut Vec<u8> {
        let fits = self.batch_open && self.messages.last().is_some_and(|(_, batch)| batch.len() < BATCH_BYTES);
        if fits {
            &mut self.messages.last_mut().expect("an open batch is the last message").1
        } else {
            self.begin(Opcode::Text, true)
        }
    }

    /// Whether what is written next with [`batched_text`](Self::batched_text) goes into the only message so far.
    pub(crate) fn is_one_open_batch(&self) -> bool {
        matches!(&*self.messages, [(_, batch)] if self.batch_open && batch.len() < BATCH_BYTES)
    }

    fn begin(&mut self, opcode: Opcode, batch: bool) -> &mut Vec<u8> {
        self.batch_open = batch;
        self.messages.push((opcode, Vec::new()));
        &mut self.messages.last_mut().expect("just pushed").1
    }

    /// Takes all that was written. Messages left empty are not sent.
    pub(crate) fn take(&mut self) -> Vec<(Opcode, Vec<u8>)> {
        self.batch_open = false;
        let mut messages = std::mem::take(&mut self.messages);
        messages.retain(|(_, message)| !message.is_empty());
        messages
    }

    /// The texts written so far; for tests of handlers.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.messages.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_before_a_server_would_refuse_it() {
        let mut out = Outgoing::default();
        for _ in 0..3 {
            out.batched_text().extend_from_slice(&[b'x'; BATCH_BYTES]);
        }
        out.batched_text().extend_from_slice(b"a");
        out.batched_text().extend_from_slice(b"b");
        let lengths: Vec<usize> = out.take().iter().map(|(_, message)| message.len()).collect();
        assert_eq!(lengths, [BATCH_BYTES, BATCH_BYTES, BATCH_BYTES, 2]);
    }

    #[test]
    fn order_is_kept_between_batches_and_messages() {
        let mut out = Outgoing::default();
        out.batched_text().push(b'1');
        out.text().push(b'2');
        out.batched_text().push(b'3');
        out.batched_text().push(b'4');
        let _ = out.binary();
        assert_eq!(out.texts(), ["1", "2", "34", ""]);
        assert_eq!(out.take().len(), 3, "a message that was left empty is not sent");
        assert!(out.take().is_empty());
    }
}
