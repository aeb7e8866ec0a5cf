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
//!
//! `call`, `session` and `outgoing` have the words: requests and answers, sessions and news, messages to be sent.

mod call;
pub mod centrifuge;
pub mod exchange;
pub mod json;
pub mod json_rpc;
mod outgoing;
mod session;

use std::time::Duration;

use pubsub_protocol::reply::SubscribeResult;
use pubsub_protocol::{Payload, codes};

use crate::error::{ProtocolError, ServerError};
use crate::ids::{MessageKind, RequestId, Topic};

pub use call::{Call, CallKind, HistoryQuery, Response};
pub use outgoing::Outgoing;
pub use session::{
    About, Credentials, Session, SubscribeRequest, SubscriptionReply, UnsubscribeRequest, Update, publication,
};

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
///
/// ```
/// use pubsub_client::{CentrifugeHandler, MessageKind, ProtocolHandler};
///
/// let mut handler = CentrifugeHandler::default();
/// let mut messages = Vec::new();
/// handler.decode(br#"{"push":{"channel":"news","pub":{"data":1}}}"#, &mut messages)?;
/// assert_eq!(handler.classify_message(&messages[0]), MessageKind::Update);
/// assert_eq!(handler.extract_topic(&messages[0]).unwrap().as_str(), "news");
/// # Ok::<(), pubsub_client::ProtocolError>(())
/// ```
pub trait ProtocolHandler: Send + 'static {
    /// A decoded message.
    type Message: Send + 'static;

    /// How requests are numbered. Default: ULIDs.
    ///
    /// ```
    /// use pubsub_client::handler::IdStyle;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert_eq!(CentrifugeHandler::default().ids(), IdStyle::Number);
    /// ```
    fn ids(&self) -> IdStyle {
        IdStyle::Ulid
    }

    /// The WebSocket subprotocol to ask for. Default: none.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert_eq!(CentrifugeHandler::default().subprotocol(), None);
    /// ```
    fn subprotocol(&self) -> Option<&str> {
        None
    }

    /// A connection has been upgraded: forget the last one; say what has to be said before authentication. Default:
    /// nothing.
    ///
    /// ```
    /// use pubsub_client::handler::Outgoing;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let mut out = Outgoing::default();
    /// CentrifugeHandler::default().on_connect(&mut out);
    /// assert!(out.texts().is_empty(), "nothing before the credentials");
    /// ```
    fn on_connect(&mut self, out: &mut Outgoing) {
        let _ = out;
    }

    /// Writes the credentials. `Ok(false)`: the protocol has no authentication, the session is open at once. That is
    /// the default.
    ///
    /// ```
    /// use pubsub_client::handler::{Credentials, Outgoing};
    /// use pubsub_client::{JsonHandler, ProtocolHandler, RequestId};
    ///
    /// let (mut out, mut credentials) = (Outgoing::default(), Credentials::default());
    /// credentials.token = Some("T");
    /// assert!(JsonHandler::default().build_auth_message(&RequestId::from(1), &credentials, &mut out)?);
    /// assert_eq!(out.texts(), [r#"{"id":"1","op":"auth","token":"T"}"#]);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
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
    ///
    /// ```
    /// use pubsub_client::{JsonHandler, ProtocolHandler, RequestId};
    ///
    /// let (mut handler, mut messages) = (JsonHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":"1","error":"no such user"}"#, &mut messages)?;
    /// let answer = handler.is_auth_success(&RequestId::from(1), &mut messages[0]);
    /// assert_eq!(answer.unwrap().unwrap_err().message, "no such user");
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn is_auth_success(&mut self, id: &RequestId, message: &mut Self::Message) -> Option<Result<Session, ServerError>> {
        let _ = (id, message);
        None
    }

    /// Decodes a text message, which may hold several messages of the protocol, and appends what it holds.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let mut messages = Vec::new();
    /// CentrifugeHandler::default().decode(b"{}\n{}\n", &mut messages)?;
    /// assert_eq!(messages.len(), 2);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// When it cannot be read. The connection ends and another is made: after garbage nothing can be trusted.
    fn decode(&mut self, text: &[u8], messages: &mut Vec<Self::Message>) -> Result<(), ProtocolError>;

    /// Decodes a binary message. Default: an error, since most protocols are text.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolError, ProtocolHandler};
    ///
    /// let refused = CentrifugeHandler::default().decode_binary(&[0, 1], &mut Vec::new()).unwrap_err();
    /// assert!(matches!(refused, ProtocolError::UnexpectedBinary(2)));
    /// ```
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    fn decode_binary(&mut self, bytes: &[u8], messages: &mut Vec<Self::Message>) -> Result<(), ProtocolError> {
        let _ = messages;
        Err(ProtocolError::UnexpectedBinary(bytes.len()))
    }

    /// What a message is for. Pings and pongs are asked for before this.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, MessageKind, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":7,"publish":{}}"#, &mut messages)?;
    /// assert_eq!(handler.classify_message(&messages[0]), MessageKind::Response);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn classify_message(&self, message: &Self::Message) -> MessageKind;

    /// Which request a [`MessageKind::Response`] answers.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, RequestId};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":7,"publish":{}}"#, &mut messages)?;
    /// assert_eq!(handler.extract_request_id(&messages[0]), Some(RequestId::from(7)));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn extract_request_id(&self, message: &Self::Message) -> Option<RequestId>;

    /// Which topic a [`MessageKind::Update`] is about. `None`: the connection as a whole.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, Topic};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"push":{"channel":"news","pub":{"data":1}}}"#, &mut messages)?;
    /// assert_eq!(handler.extract_topic(&messages[0]), Some(Topic::from("news")));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn extract_topic(&self, message: &Self::Message) -> Option<Topic>;

    /// Whether the message is the server's "are you there?". Default: never.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{}"#, &mut messages)?;
    /// assert!(handler.is_server_ping(&messages[0]));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn is_server_ping(&self, message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Whether the message answers [`build_ping`](Self::build_ping). Default: never. Any message at all counts as a
    /// sign of life; this only keeps pongs from being taken for something else.
    ///
    /// ```
    /// use pubsub_client::{JsonHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (JsonHandler::default(), Vec::new());
    /// handler.decode(br#"{"op":"pong"}"#, &mut messages)?;
    /// assert!(handler.is_pong_response(&messages[0]));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn is_pong_response(&self, message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Whether all topics of one [`build_subscribe`](Self::build_subscribe) (or unsubscribe) go by one request id, as
    /// in protocols that name several topics in one message. Default: no, each has its own.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, JsonHandler, ProtocolHandler};
    ///
    /// assert!(JsonHandler::default().shares_batch_id());
    /// assert!(!CentrifugeHandler::default().shares_batch_id());
    /// ```
    fn shares_batch_id(&self) -> bool {
        false
    }

    /// Writes the subscriptions of a batch.
    ///
    /// ```
    /// use pubsub_client::handler::{Outgoing, SubscribeRequest};
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, RequestId, SubscribeOptions, Topic};
    ///
    /// let (mut out, options) = (Outgoing::default(), SubscribeOptions::default());
    /// let batch = [SubscribeRequest::new(RequestId::from(2), Topic::from("news"), &options)];
    /// CentrifugeHandler::default().build_subscribe(&batch, &mut out);
    /// assert_eq!(out.texts(), [r#"{"id":2,"subscribe":{"channel":"news"}}"#]);
    /// ```
    fn build_subscribe(&mut self, batch: &[SubscribeRequest<'_>], out: &mut Outgoing);

    /// Reads the answer to a subscribe request: which of its topics are in force, and which are not and why. Topics
    /// without a word here go by [`About::Request`]; protocols without answers to subscriptions return, from
    /// [`expects_subscribe_reply`](Self::expects_subscribe_reply), that none is to be waited for. Default: every topic
    /// of the request is in force if [`response`](Self::response) is not an error.
    ///
    /// ```
    /// use pubsub_client::handler::About;
    /// use pubsub_client::{JsonHandler, ProtocolHandler, Topic};
    ///
    /// let (mut handler, mut messages) = (JsonHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":"2","failed":{"secret":"not yours"}}"#, &mut messages)?;
    /// let replies = handler.is_subscription_success(messages.remove(0));
    /// assert_eq!(replies[0].about, About::Topic(Topic::from("secret")));
    /// assert!(replies[0].outcome.is_err() && replies[1].outcome.is_ok());
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn is_subscription_success(&mut self, message: Self::Message) -> Vec<SubscriptionReply> {
        let outcome = self.response(CallKind::Rpc, message).map(|_| SubscribeResult::default());
        vec![SubscriptionReply { about: About::Request, outcome }]
    }

    /// Whether subscribe requests may leave along with the credentials, before the answer to those. It saves a round
    /// trip each time the client comes back. Default: no.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert!(CentrifugeHandler::default().accepts_early_subscribes());
    /// ```
    fn accepts_early_subscribes(&self) -> bool {
        false
    }

    /// Whether the server answers subscribe and unsubscribe requests. If not, they are in force once sent. Default: yes.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert!(CentrifugeHandler::default().expects_subscribe_reply());
    /// ```
    fn expects_subscribe_reply(&self) -> bool {
        true
    }

    /// Writes the end of many subscriptions at once.
    ///
    /// ```
    /// use pubsub_client::handler::{Outgoing, UnsubscribeRequest};
    /// use pubsub_client::{JsonHandler, ProtocolHandler, RequestId, Topic};
    ///
    /// let mut out = Outgoing::default();
    /// let batch = ["a", "b"].map(|topic| UnsubscribeRequest::new(RequestId::from(3), Topic::from(topic)));
    /// JsonHandler::default().build_unsubscribe(&batch, &mut out);
    /// assert_eq!(out.texts(), [r#"{"id":"3","op":"unsubscribe","topics":["a","b"]}"#]);
    /// ```
    fn build_unsubscribe(&mut self, batch: &[UnsubscribeRequest], out: &mut Outgoing);

    /// Reads the answer to an unsubscribe request. Default: it is taken for success, whatever it says.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":3,"unsubscribe":{}}"#, &mut messages)?;
    /// assert_eq!(handler.unsubscribed(messages.remove(0)), Ok(()));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// The server's refusal. The connection is then replaced: what is in force on it is not known.
    fn unsubscribed(&mut self, message: Self::Message) -> Result<(), ServerError> {
        let _ = message;
        Ok(())
    }

    /// Writes a request.
    ///
    /// ```
    /// use pubsub_client::handler::{Call, Outgoing};
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, RequestId, Topic};
    ///
    /// let mut out = Outgoing::default();
    /// CentrifugeHandler::default().build_request(&RequestId::from(4), &Call::Presence(Topic::from("news")), &mut out)?;
    /// assert_eq!(out.texts(), [r#"{"id":4,"presence":{"channel":"news"}}"#]);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// When the protocol has no such request, or its data cannot be written. Nothing may have been appended then.
    fn build_request(&mut self, id: &RequestId, call: &Call, out: &mut Outgoing) -> Result<(), ProtocolError>;

    /// Reads the answer to a request of this kind.
    ///
    /// ```
    /// use pubsub_client::handler::CallKind;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":4,"error":{"code":103,"message":"permission denied"}}"#, &mut messages)?;
    /// assert_eq!(handler.response(CallKind::Presence, messages.remove(0)).unwrap_err().code, 103);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// The server's refusal.
    fn response(&mut self, call: CallKind, message: Self::Message) -> Result<Response, ServerError>;

    /// Reads the news in a [`MessageKind::Update`].
    ///
    /// ```
    /// use pubsub_client::handler::Update;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"push":{"channel":"news","unsubscribe":{"code":2500,"reason":""}}}"#, &mut messages)?;
    /// let update = handler.update(messages.remove(0));
    /// assert_eq!(update, Update::Unsubscribed { code: 2500, reason: String::new() });
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn update(&mut self, message: Self::Message) -> Update;

    /// Writes a message that wants no answer. Default: the data as a text message of its own.
    ///
    /// ```
    /// use pubsub_client::handler::Outgoing;
    /// use pubsub_client::{CentrifugeHandler, Payload, ProtocolHandler};
    ///
    /// let mut out = Outgoing::default();
    /// CentrifugeHandler::default().build_send(&Payload::from_bytes(b"[1]"), &mut out)?;
    /// assert_eq!(out.texts(), [r#"{"send":{"data":[1]}}"#]);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// When the data cannot be written in this protocol.
    fn build_send(&mut self, data: &Payload, out: &mut Outgoing) -> Result<(), ProtocolError> {
        out.text().extend_from_slice(data.as_bytes());
        Ok(())
    }

    /// Writes the protocol's own ping. `false`: it has none, and WebSocket pings are used. That is the default.
    ///
    /// ```
    /// use pubsub_client::handler::Outgoing;
    /// use pubsub_client::{JsonHandler, ProtocolHandler, RequestId};
    ///
    /// let mut out = Outgoing::default();
    /// assert!(JsonHandler::default().build_ping(&RequestId::from(5), &mut out));
    /// assert_eq!(out.texts(), [r#"{"op":"ping"}"#]);
    /// ```
    fn build_ping(&mut self, id: &RequestId, out: &mut Outgoing) -> bool {
        let _ = (id, out);
        false
    }

    /// Writes the answer to a server's ping. Default: nothing.
    ///
    /// ```
    /// use pubsub_client::handler::Outgoing;
    /// use pubsub_client::{JsonHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages, mut out) = (JsonHandler::default(), Vec::new(), Outgoing::default());
    /// handler.decode(br#"{"op":"ping"}"#, &mut messages)?;
    /// handler.build_pong(&messages[0], &mut out);
    /// assert_eq!(out.texts(), [r#"{"op":"pong"}"#]);
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    fn build_pong(&mut self, ping: &Self::Message, out: &mut Outgoing) {
        let _ = (ping, out);
    }

    /// Writes a new token for the connection, or for the subscription to `topic`. `false`: the protocol has no such
    /// thing, and tokens are renewed by reconnecting only. That is the default.
    ///
    /// ```
    /// use pubsub_client::handler::Outgoing;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, RequestId};
    ///
    /// let mut out = Outgoing::default();
    /// assert!(CentrifugeHandler::default().build_refresh(&RequestId::from(6), None, "T", &mut out));
    /// assert_eq!(out.texts(), [r#"{"id":6,"refresh":{"token":"T"}}"#]);
    /// ```
    fn build_refresh(&mut self, id: &RequestId, topic: Option<&Topic>, token: &str, out: &mut Outgoing) -> bool {
        let _ = (id, topic, token, out);
        false
    }

    /// Reads the answer to [`build_refresh`](Self::build_refresh): how long the new token lasts, `None` for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let (mut handler, mut messages) = (CentrifugeHandler::default(), Vec::new());
    /// handler.decode(br#"{"id":6,"refresh":{"client":"c","version":"1","expires":true,"ttl":60}}"#, &mut messages)?;
    /// assert_eq!(handler.refreshed(messages.remove(0)), Ok(Some(Duration::from_secs(60))));
    /// # Ok::<(), pubsub_client::ProtocolError>(())
    /// ```
    ///
    /// # Errors
    /// The server's refusal.
    fn refreshed(&mut self, message: Self::Message) -> Result<Option<Duration>, ServerError> {
        let _ = message;
        Ok(None)
    }

    /// Whether the server is known to recognise a publish that is repeated with the same idempotency key. Only then is
    /// a publish of unknown outcome sent again. Default: no.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// assert!(!CentrifugeHandler::default().honours_idempotency_keys());
    /// assert!(CentrifugeHandler::default().server_honours_idempotency_keys(true).honours_idempotency_keys());
    /// ```
    fn honours_idempotency_keys(&self) -> bool {
        false
    }

    /// What to do about a refused connect, subscribe or refresh. Default: try again if the server calls the error
    /// temporary, otherwise give up.
    ///
    /// ```
    /// use pubsub_client::handler::Advice;
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler, ServerError};
    ///
    /// let handler = CentrifugeHandler::default();
    /// assert_eq!(handler.advice(&ServerError::new(109, "token expired")), Advice::NewToken);
    /// assert_eq!(handler.advice(&ServerError::new(103, "permission denied")), Advice::GiveUp);
    /// ```
    fn advice(&self, error: &ServerError) -> Advice {
        if error.temporary { Advice::Retry } else { Advice::GiveUp }
    }

    /// Whether to come back after the server closed with this code. Default: the Centrifuge table, in which 3500–3999,
    /// 4500–4999 and 1009 are final.
    ///
    /// ```
    /// use pubsub_client::{CentrifugeHandler, ProtocolHandler};
    ///
    /// let handler = CentrifugeHandler::default();
    /// assert!(handler.should_reconnect(3001, "shutdown"));
    /// assert!(!handler.should_reconnect(3500, "invalid token"));
    /// ```
    fn should_reconnect(&self, close_code: u32, reason: &str) -> bool {
        let _ = reason;
        codes::should_reconnect(close_code)
    }
}

/// How requests are numbered.
///
/// ```
/// use pubsub_client::handler::IdStyle;
/// use pubsub_client::{CentrifugeHandler, JsonHandler, ProtocolHandler};
///
/// assert_eq!(CentrifugeHandler::default().ids(), IdStyle::Number);
/// assert_eq!(JsonHandler::default().ids(), IdStyle::Ulid);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdStyle {
    /// By ULIDs, unique in the world.
    Ulid,
    /// By 1, 2, 3…, unique in the life of the client, up to 4,294,967,295 and then again from 1.
    Number,
}

/// What to do about a refusal.
///
/// ```
/// use pubsub_client::handler::Advice;
/// use pubsub_client::{JsonHandler, ProtocolHandler, ServerError};
///
/// assert_eq!(JsonHandler::default().advice(&ServerError::new(7, "no")), Advice::GiveUp);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Try again, with back-off.
    Retry,
    /// Get a new token and try again.
    NewToken,
    /// Do not try again.
    GiveUp,
}
