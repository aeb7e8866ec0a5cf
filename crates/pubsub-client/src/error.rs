//! What can go wrong, one enum per operation, and why a connection ended.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pubsub_protocol::Payload;
use pubsub_protocol::reply::ErrorReply;

use crate::config::ConfigError;
use crate::ids::{RequestId, Topic};
use crate::token::TokenError;

/// The server's refusal, in any protocol.
///
/// ```
/// use pubsub_client::ServerError;
///
/// assert_eq!(ServerError::new(103, "permission denied").to_string(), "103: permission denied");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct ServerError {
    /// The protocol's number for it. 0 where the protocol has none.
    pub code: i64,
    /// For people.
    pub message: String,
    /// Whether the server says that trying again may help.
    pub temporary: bool,
    /// More about it, where the protocol has room for that (JSON-RPC).
    pub data: Option<Payload>,
}

impl ServerError {
    /// A final refusal.
    ///
    /// ```
    /// # use pubsub_client::ServerError;
    /// let error = ServerError::new(103, "permission denied");
    /// assert!(!error.temporary && error.data.is_none());
    /// ```
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), temporary: false, data: None }
    }

    /// The code as events carry it.
    pub(crate) fn event_code(&self) -> u32 {
        u32::try_from(self.code).unwrap_or(0)
    }
}

impl From<ErrorReply> for ServerError {
    fn from(error: ErrorReply) -> Self {
        Self { code: i64::from(error.code), message: error.message, temporary: error.temporary, data: None }
    }
}

/// The peer said what the protocol does not allow, or we cannot say what the protocol has no words for.
///
/// ```
/// # use pubsub_client::ProtocolError;
/// assert_eq!(ProtocolError::NotSupported("history").to_string(), "the protocol has no history");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message that cannot be read.
    #[error("unreadable message: {0}")]
    Unreadable(Arc<dyn std::error::Error + Send + Sync>),
    /// Binary data, and the protocol is all text.
    #[error("a binary message of {0} bytes, where the protocol is text")]
    UnexpectedBinary(usize),
    /// Text, and the protocol is all binary.
    #[error("a text message of {0} bytes, where the protocol is binary")]
    UnexpectedText(usize),
    /// Frames that break RFC 6455.
    #[error("the WebSocket rules were broken: {0}")]
    Frame(Arc<dyn std::error::Error + Send + Sync>),
    /// The server refused something that must not be refused, or answered with something else.
    #[error("unexpected answer to {to}: {what}")]
    UnexpectedAnswer {
        /// What was asked.
        to: &'static str,
        /// What came.
        what: String,
    },
    /// Nothing came in time for something the connection cannot do without.
    #[error("no answer to {to} within {after:?}")]
    NoAnswer {
        /// What was asked.
        to: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The protocol has no such operation.
    #[error("the protocol has no {0}")]
    NotSupported(&'static str),
    /// Our own data cannot be written in the protocol.
    #[error("cannot be written: {0}")]
    Unwritable(Arc<dyn std::error::Error + Send + Sync>),
}

impl ProtocolError {
    /// Something that cannot be read.
    ///
    /// ```
    /// # use pubsub_client::ProtocolError;
    /// let error = "x".parse::<u32>().map_err(ProtocolError::unreadable).unwrap_err();
    /// assert_eq!(error.to_string(), "unreadable message: invalid digit found in string");
    /// ```
    pub fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable(Arc::from(source.into()))
    }

    /// Something that cannot be written.
    ///
    /// ```
    /// # use pubsub_client::ProtocolError;
    /// assert_eq!(ProtocolError::unwritable("not JSON").to_string(), "cannot be written: not JSON");
    /// ```
    pub fn unwritable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unwritable(Arc::from(source.into()))
    }
}

/// Why one attempt to connect failed.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::{CloseReason, DialError};
///
/// match client.last_loss() {
///     Some(CloseReason::Dial(DialError::Refused { status, retry_after, .. })) => println!("{status}, {retry_after:?}"),
///     Some(CloseReason::Dial(DialError::Auth(error))) => println!("the credentials are refused: {error}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The transport could not be opened, or broke before the session was.
    #[error("cannot reach {target}: {source}")]
    Transport {
        /// Host and port.
        target: String,
        /// What the transport says.
        source: Arc<io::Error>,
    },
    /// An HTTP answer other than 101.
    #[error("{target} refused the WebSocket upgrade with status {status}")]
    Refused {
        /// Host and port.
        target: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks to stay away (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// Not an answer that a WebSocket server gives.
    #[error("{target} does not speak WebSocket: {problem}")]
    Handshake {
        /// Host and port.
        target: String,
        /// What is wrong with its answer.
        problem: String,
    },
    /// Not done within the connect timeout.
    #[error("no session with {target} within {after:?}")]
    Timeout {
        /// Host and port.
        target: String,
        /// The connect timeout.
        after: Duration,
    },
    /// No token could be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The server refused the credentials.
    #[error("authentication refused: {0}")]
    Auth(#[source] ServerError),
    /// The server closed before the session was open.
    #[error("{target} closed the connection before the session was open: {code} {reason}")]
    Closed {
        /// Host and port.
        target: String,
        /// Its close code; 1006 if it gave none.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Why a connection ended, for good or until the next attempt.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::CloseReason;
///
/// match client.closed().await {
///     CloseReason::Requested => println!("we closed it"),
///     CloseReason::Server { code, reason } => println!("the server says to stay away: {code} {reason}"),
///     other => println!("{other}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Client::close`](crate::Client::close) was called, or the last handle dropped.
    #[error("closed by this client")]
    Requested,
    /// The server closed it.
    #[error("closed by the server: {code} {reason}")]
    Server {
        /// Its close code.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// The transport broke, or ended without a close frame (`source` is then `UnexpectedEof`).
    #[error("connection lost: {source}")]
    Transport {
        /// What the transport says.
        source: Arc<io::Error>,
    },
    /// The peer was silent for too long.
    #[error("no sign of life from the server for {silent_for:?}")]
    NoPong {
        /// How long.
        silent_for: Duration,
    },
    /// The server broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// An attempt to connect failed.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No token could be had for a connection that expires.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// As many attempts in a row as the settings allow have failed.
    #[error("gave up after {attempts} attempts, the last of which: {last}")]
    AttemptsExhausted {
        /// How many.
        attempts: u32,
        /// Why the last one failed.
        #[source]
        last: Box<Self>,
    },
    /// The task that owns the connection is gone: its runtime was shut down.
    #[error("the client's task was stopped")]
    Stopped,
}

impl CloseReason {
    /// The code that events carry: the server's own, or 1006 where there was none.
    ///
    /// ```
    /// # use pubsub_client::CloseReason;
    /// let closed = CloseReason::Server { code: 3503, reason: "force disconnect".to_owned() };
    /// assert_eq!(closed.code(), 3503);
    /// assert_eq!(CloseReason::Stopped.code(), 1006);
    /// ```
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::Requested => 1000,
            Self::Server { code, .. } | Self::Dial(DialError::Closed { code, .. }) => *code,
            Self::AttemptsExhausted { last, .. } => last.code(),
            _ => 1006,
        }
    }
}

/// Why [`Client::connect`](crate::Client::connect) or [`Client::ready`](crate::Client::ready) failed.
///
/// ```no_run
/// # async fn example(config: pubsub_client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::{Client, ConnectError};
///
/// match Client::connect(config).await {
///     Ok(client) => println!("{client:?}"),
///     Err(ConnectError::Config(error)) => println!("{error}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client has ended for good.
    #[error("no connection: {0}")]
    Closed(#[source] CloseReason),
}

/// What was full.
///
/// ```
/// # use pubsub_client::Capacity;
/// assert_eq!(Capacity::Commands.to_string(), "commands that wait to be sent (command_capacity)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// `pending_requests_max`
    PendingRequests,
    /// `command_capacity`
    Commands,
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PendingRequests => "requests without an answer (pending_requests_max)",
            Self::Commands => "commands that wait to be sent (command_capacity)",
        })
    }
}

/// Why a request, a history or a presence query failed.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::RequestError;
///
/// match client.request::<_, u32>("sum", &[1, 2]).await {
///     Ok(sum) => println!("{sum}"),
///     Err(RequestError::Server(error)) => println!("refused: {error}"),
///     Err(error) if error.outcome_unknown() => println!("done or not: {error}"),
///     Err(error) => println!("not done: {error}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No answer in time. If it was sent, it is not known whether the server acted on it.
    #[error("request {id} {} within {after:?}", if *sent { "had no answer" } else { "was not sent, for want of a connection," })]
    Timeout {
        /// Which request.
        id: RequestId,
        /// The time it was given.
        after: Duration,
        /// Whether it had been sent.
        sent: bool,
    },
    /// Refused here, not sent: a bound is reached.
    #[error("refused: there are already {limit} {what}")]
    CapacityExceeded {
        /// Which bound.
        what: Capacity,
        /// Its value.
        limit: usize,
    },
    /// The server refused it.
    #[error("the server refused: {0}")]
    Server(#[from] ServerError),
    /// The connection was lost after it was sent. It is not known whether the server acted on it.
    #[error("connection lost before the answer to request {id}: {reason}")]
    ConnectionLost {
        /// Which request.
        id: RequestId,
        /// How it was lost.
        #[source]
        reason: CloseReason,
    },
    /// The client has ended for good; the request was not sent.
    #[error("connection closed: {0}")]
    ConnectionClosed(#[source] CloseReason),
    /// The protocol has no words for it, or the answer makes no sense.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The parameters cannot be written as JSON.
    #[error("the parameters cannot be written as JSON: {0}")]
    Encode(#[source] Arc<serde_json::Error>),
    /// The answer is not what was expected.
    #[error("the answer cannot be read: {0}")]
    Decode(#[source] Arc<serde_json::Error>),
}

impl RequestError {
    /// Whether the server may have acted on the request although it failed.
    ///
    /// ```
    /// # use pubsub_client::{CloseReason, RequestError, RequestId, ServerError};
    /// let lost = RequestError::ConnectionLost { id: RequestId::from("7"), reason: CloseReason::Stopped };
    /// assert!(lost.outcome_unknown());
    /// assert!(!RequestError::from(ServerError::new(107, "bad request")).outcome_unknown());
    /// ```
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Timeout { sent, .. } => *sent,
            Self::ConnectionLost { .. } | Self::Decode(_) => true,
            Self::Protocol(error) => matches!(error, ProtocolError::UnexpectedAnswer { .. }),
            Self::CapacityExceeded { .. } | Self::Server(_) | Self::ConnectionClosed(_) | Self::Encode(_) => false,
        }
    }
}

/// Why a publish failed.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::PublishError;
///
/// match client.publish("news", &1).await {
///     Ok(()) => println!("published"),
///     Err(PublishError::OutcomeUnknown(error)) => println!("published or not: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It is not known whether it was published: trying again may publish it twice, unless with an idempotency key.
    #[error("not known whether it was published: {0}")]
    OutcomeUnknown(#[source] RequestError),
    /// It was not published.
    #[error("not published: {0}")]
    NotPublished(#[source] RequestError),
    /// A key was given, and the server does not honour any: a retry could publish twice.
    #[error("the server is not known to honour idempotency keys (see the protocol handler's settings)")]
    IdempotencyNotSupported,
}

impl From<RequestError> for PublishError {
    fn from(error: RequestError) -> Self {
        if error.outcome_unknown() { Self::OutcomeUnknown(error) } else { Self::NotPublished(error) }
    }
}

/// Why a message without an answer could not be given to the connection.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::SendError;
///
/// match client.send_json(&"hello") {
///     Ok(()) => println!("given to the connection"),
///     Err(SendError::CapacityExceeded { limit, .. }) => println!("{limit} wait already"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Refused: a bound is reached.
    #[error("refused: there are already {limit} {what}")]
    CapacityExceeded {
        /// Which bound.
        what: Capacity,
        /// Its value.
        limit: usize,
    },
    /// The client has ended for good.
    #[error("connection closed: {0}")]
    ConnectionClosed(#[source] CloseReason),
    /// The message cannot be written as JSON.
    #[error("the message cannot be written as JSON: {0}")]
    Encode(#[source] Arc<serde_json::Error>),
}

/// Why a subscription did not come about.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::SubscribeError;
///
/// match client.subscribe("$private").await {
///     Ok(subscription) => println!("{subscription:?}"),
///     Err(SubscribeError::Failed { code, message, .. }) => println!("refused: {code} {message}"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The server refused it, or no token could be had for it.
    #[error("subscription to {topic} failed: {code} {message}")]
    Failed {
        /// Which topic.
        topic: Topic,
        /// The server's error code; 0 if it has none.
        code: u32,
        /// Its message.
        message: String,
    },
    /// Not in force in time. Nothing is left behind: the interest in the topic is withdrawn.
    #[error("subscription to {topic} was not confirmed within {after:?}")]
    Timeout {
        /// Which topic.
        topic: Topic,
        /// The request timeout.
        after: Duration,
    },
    /// The client has ended for good.
    #[error("connection closed: {0}")]
    ConnectionClosed(#[source] CloseReason),
    /// The topic is subscribed here already, with other options than these.
    #[error("{topic} is subscribed with other options already; local subscribers share one subscription")]
    OptionsDiffer {
        /// Which topic.
        topic: Topic,
    },
}
