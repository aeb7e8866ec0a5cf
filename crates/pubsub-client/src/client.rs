//! The handle that a program holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pubsub_protocol::reply::PresenceStatsResult;
use pubsub_protocol::{ClientInfo, Payload, StreamPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::breaker::CircuitBreaker;
use crate::chance::Seed;
use crate::config::{ClientConfig, DURATION_MAX};
use crate::connection::Connection;
use crate::connector::{AnyConnector, Connector, Target};
use crate::error::{
    Capacity, CloseReason, ConnectError, ProtocolError, PublishError, RequestError, SendError, SubscribeError,
};
use crate::event::Publication;
use crate::handler::centrifuge::CentrifugeHandler;
use crate::handler::{Call, HistoryQuery, ProtocolHandler, Response, Session};
use crate::ids::{RequestId, Topic};
use crate::inbox::Command;
use crate::mailbox::Mailbox;
use crate::options::SubscribeOptions;
use crate::shared::{ClientStats, IdSource, Shared, unix_ms};
use crate::state::ConnectionState;
use crate::subscription::{Messages, Subscription};

/// A client. Cloning is cheap and shares the connection.
///
/// It connects, comes back after a loss, restores subscriptions and recovers what was missed, all by itself, until it
/// is [closed](Self::close), the last of its handles and subscriptions is dropped, or the server says to stay away.
///
/// ```no_run
/// use pubsub_client::{Client, ClientConfig};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
/// let client = Client::connect(config).await?;
/// client.publish("news", &serde_json::json!({"title": "hello"})).await?;
/// client.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What every handle and subscription holds. Dropping the last ends the task.
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

/// Puts a client together; see [`Client::builder`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::{CentrifugeHandler, Client, ClientConfig};
///
/// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
/// let client = Client::builder(config).handler(CentrifugeHandler::default().name("prices")).connect().await?;
/// # let _ = client;
/// # Ok(()) }
/// ```
pub struct ClientBuilder<C = AnyConnector, H = CentrifugeHandler> {
    config: ClientConfig,
    connector: C,
    handler: H,
    breaker: Option<CircuitBreaker>,
}

impl<C: Connector, H: ProtocolHandler> ClientBuilder<C, H> {
    /// Where bytes come from. Default: TCP, and no TLS ([`AnyConnector::plain`]).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{Client, ClientConfig, TcpConnector};
    ///
    /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
    /// let client = Client::builder(config).connector(TcpConnector::default()).connect().await?;
    /// # let _ = client;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn connector<D: Connector>(self, connector: D) -> ClientBuilder<D, H> {
        let Self { config, handler, breaker, .. } = self;
        ClientBuilder { config, connector, handler, breaker }
    }

    /// What they mean. Default: [`CentrifugeHandler`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{Client, ClientConfig, JsonHandler};
    ///
    /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
    /// let client = Client::builder(config).handler(JsonHandler::default()).connect().await?;
    /// # let _ = client;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn handler<I: ProtocolHandler>(self, handler: I) -> ClientBuilder<C, I> {
        let Self { config, connector, breaker, .. } = self;
        ClientBuilder { config, connector, handler, breaker }
    }

    /// A circuit breaker that this client shares with others. Default: one of its own, if the settings ask for one.
    ///
    /// ```no_run
    /// # async fn example(config: pubsub_client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{BreakerConfig, CircuitBreaker, Client};
    ///
    /// let breaker = CircuitBreaker::new(BreakerConfig::default());
    /// let one = Client::builder(config.clone()).breaker(breaker.clone()).start()?;
    /// let other = Client::builder(config).breaker(breaker).start()?;
    /// # let _ = (one, other);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Begins to connect, and returns at once. Needs a tokio runtime.
    ///
    /// ```no_run
    /// # async fn example(config: pubsub_client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{Client, SubscribeOptions};
    ///
    /// let client = Client::builder(config).start()?;
    /// // Kept until there is a connection, however long that takes.
    /// let news = client.try_subscribe("news", &SubscribeOptions::default())?;
    /// # let _ = news;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError::Config`] when the settings cannot work.
    pub fn start(self) -> Result<Client, ConnectError> {
        let Self { config, connector, handler, breaker } = self;
        config.validate()?;
        let target = Target::parse(&config.url).expect("validated");
        let (seed, start_ms) = match config.seed {
            Some(seed) => (Seed::new(seed), 0),
            None => (Seed::from_system(), unix_ms()),
        };
        let breaker = breaker.or_else(|| config.breaker.map(CircuitBreaker::new));
        let ids = IdSource::new(handler.ids(), seed, start_ms);
        let shared = Arc::new(Shared::new(config, ids, handler.honours_idempotency_keys()));
        tokio::spawn(Connection::new(shared.clone(), connector, handler, target, seed, breaker).run());
        Ok(Client { handle: Arc::new(Handle { shared }) })
    }

    /// Connects, and returns when the session is open. Without a limit of attempts that may be never.
    ///
    /// ```no_run
    /// # async fn example(config: pubsub_client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = pubsub_client::Client::builder(config).connect().await?;
    /// assert!(client.is_connected());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError::Config`], or [`ConnectError::Closed`] when the client has given up: the server said to stay away,
    /// or the attempts are exhausted.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let client = self.start()?;
        client.ready().await?;
        Ok(client)
    }
}

impl Client {
    /// Begins with TCP and the Centrifuge protocol.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{Client, ClientConfig};
    ///
    /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
    /// let client = Client::builder(config).start()?;
    /// # let _ = client;
    /// # Ok(()) }
    /// ```
    pub fn builder(config: ClientConfig) -> ClientBuilder {
        ClientBuilder {
            config,
            connector: AnyConnector::default(),
            handler: CentrifugeHandler::default(),
            breaker: None,
        }
    }

    /// Connects over TCP with the Centrifuge protocol, and returns when the session is open.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{Client, ClientConfig};
    ///
    /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
    /// let client = Client::connect(config).await?;
    /// # let _ = client;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        Self::builder(config).connect().await
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    // -- State

    /// Whether requests are sent at once: the session is open.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// if !client.is_connected() {
    ///     println!("requests wait, at most the request timeout");
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state().is_ready()
    }

    /// Where the connection stands.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", client.state());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        *self.shared().state.borrow()
    }

    /// Follows the state. States that last no time at all may be skipped.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut state = client.watch_state();
    /// while state.changed().await.is_ok() {
    ///     println!("{}", *state.borrow_and_update());
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<ConnectionState> {
        self.shared().state.subscribe()
    }

    /// Waits until the session is open.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.ready().await?;
    /// println!("{:?}", client.session());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError::Closed`] when the client has ended for good.
    pub async fn ready(&self) -> Result<(), ConnectError> {
        let mut state = self.watch_state();
        let reached = state.wait_for(|state| state.is_ready() || state.is_final()).await.map(|state| *state);
        match reached {
            Ok(state) if state.is_ready() => Ok(()),
            _ => Err(ConnectError::Closed(self.shared().close_reason())),
        }
    }

    /// Waits until the client has ended, and says why.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("ended: {}", client.closed().await);
    /// # Ok(()) }
    /// ```
    pub async fn closed(&self) -> CloseReason {
        let mut state = self.watch_state();
        // The sender lives as long as this handle.
        let _ = state.wait_for(|state| state.is_final()).await;
        self.shared().close_reason()
    }

    /// Why the client has ended, if it has.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(reason) = client.close_reason() {
    ///     println!("ended: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared().closed().cloned()
    }

    /// Why the connection was lost, or could not be made, the last time.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(reason) = client.last_loss() {
    ///     println!("the last time: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn last_loss(&self) -> Option<CloseReason> {
        self.shared().last_loss()
    }

    /// The open session: the server's name for this connection, its version, its ping interval. `None`: not connected.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(session) = client.session() {
    ///     println!("connected as {} to version {}", session.client, session.version);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        self.shared().session()
    }

    /// What the client has done so far.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let stats = client.stats();
    /// println!("{} connections, {} requests wait", stats.connections, stats.pending_requests);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.shared().stats()
    }

    // -- Requests

    /// Calls a method of the server's application: `params` and the answer as JSON.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), pubsub_client::RequestError> {
    /// #[derive(serde::Serialize)]
    /// struct Sum { of: Vec<u32> }
    ///
    /// let sum: u32 = client.request("sum", &Sum { of: vec![1, 2] }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`]; [`RequestError::outcome_unknown`] tells whether the server may have acted on it. While there is
    /// no connection the request waits in a queue of `command_capacity`, for at most the request timeout.
    pub async fn request<R, T>(&self, method: &str, params: &R) -> Result<T, RequestError>
    where
        R: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.request_with_timeout(method, params, self.shared().config.request_timeout).await
    }

    /// The same with a time limit of its own.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let report: String = client.request_with_timeout("report", &2026, Duration::from_secs(60)).await?;
    /// # let _ = report;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_with_timeout<R, T>(
        &self,
        method: &str,
        params: &R,
        timeout: Duration,
    ) -> Result<T, RequestError>
    where
        R: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let params = Payload::to_json(params).map_err(|error| RequestError::Encode(Arc::new(error)))?;
        let call = Call::Rpc { method: method.to_owned(), params: Some(params) };
        let answer = match self.call(call, timeout, false).await? {
            Response::Data(Some(data)) => data,
            Response::Data(None) => Payload::from_bytes(b"null"),
            other => return Err(unexpected("a request", &other)),
        };
        answer.parse().map_err(|error| RequestError::Decode(Arc::new(error)))
    }

    /// Calls a method with data that is JSON already, and returns the answer unread.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::Payload;
    ///
    /// let answer = client.request_raw("sum", Some(Payload::from_json("[1, 2]")?)).await?;
    /// println!("{answer:?}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_raw(&self, method: &str, params: Option<Payload>) -> Result<Option<Payload>, RequestError> {
        let call = Call::Rpc { method: method.to_owned(), params };
        match self.call(call, self.shared().config.request_timeout, false).await? {
            Response::Data(data) => Ok(data),
            other => Err(unexpected("a request", &other)),
        }
    }

    /// Publishes `data`, as JSON.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.publish("news", &serde_json::json!({"title": "hello"})).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::OutcomeUnknown`] when the connection was lost before the answer: it may have been published or
    /// not, and is never sent again by itself. See [`publish_idempotent`](Self::publish_idempotent).
    pub async fn publish<T: Serialize + ?Sized>(&self, topic: impl Into<Topic>, data: &T) -> Result<(), PublishError> {
        let data = Payload::to_json(data).map_err(|error| RequestError::Encode(Arc::new(error)))?;
        self.publish_raw(topic, data).await
    }

    /// Publishes data that is JSON already.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::Payload;
    ///
    /// client.publish_raw("news", Payload::from_json(r#"{"title": "hello"}"#)?).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_raw(&self, topic: impl Into<Topic>, data: Payload) -> Result<(), PublishError> {
        self.publish_call(topic.into(), data, None).await
    }

    /// Publishes with a key that makes a repetition harmless: if the connection is lost before the answer it is sent
    /// again on the next, until the request timeout.
    ///
    /// ```no_run
    /// # async fn example(config: pubsub_client::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::{CentrifugeHandler, Client, Payload};
    ///
    /// let handler = CentrifugeHandler::default().server_honours_idempotency_keys(true);
    /// let client = Client::builder(config).handler(handler).connect().await?;
    /// client.publish_idempotent("orders", Payload::to_json(&17)?, "order-17").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::IdempotencyNotSupported`] unless the protocol handler says that the server honours keys;
    /// otherwise as [`publish`](Self::publish).
    pub async fn publish_idempotent(
        &self,
        topic: impl Into<Topic>,
        data: Payload,
        key: impl Into<String>,
    ) -> Result<(), PublishError> {
        if !self.shared().honours_idempotency_keys {
            return Err(PublishError::IdempotencyNotSupported);
        }
        self.publish_call(topic.into(), data, Some(key.into())).await
    }

    async fn publish_call(&self, topic: Topic, data: Payload, key: Option<String>) -> Result<(), PublishError> {
        let repeatable = key.is_some();
        let call = Call::Publish { topic, data, idempotency_key: key };
        match self.call(call, self.shared().config.request_timeout, repeatable).await? {
            Response::Published | Response::Data(_) => Ok(()),
            other => Err(unexpected("publish", &other).into()),
        }
    }

    /// Asks for kept publications. Asked again if the connection is lost before the answer.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), pubsub_client::RequestError> {
    /// use pubsub_client::HistoryQuery;
    ///
    /// let latest = client.history("news", HistoryQuery { limit: 10, reverse: true, ..Default::default() }).await?;
    /// println!("{} of {}", latest.publications.len(), latest.position);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn history(&self, topic: impl Into<Topic>, query: HistoryQuery) -> Result<History, RequestError> {
        let call = Call::History { topic: topic.into(), query };
        match self.call(call, self.shared().config.request_timeout, true).await? {
            Response::History(result) => {
                let epoch: Arc<str> = Arc::from(result.epoch.as_str());
                let publications =
                    result.publications.into_iter().map(|one| Publication::new(one, epoch.clone())).collect();
                Ok(History { publications, position: StreamPosition::new(result.offset, result.epoch) })
            }
            other => Err(unexpected("history", &other)),
        }
    }

    /// Asks who is in a topic, by connection. Asked again if the connection is lost before the answer.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// for (connection, info) in client.presence("news").await? {
    ///     println!("{connection} of {}", info.user);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn presence(&self, topic: impl Into<Topic>) -> Result<BTreeMap<String, ClientInfo>, RequestError> {
        match self.call(Call::Presence(topic.into()), self.shared().config.request_timeout, true).await? {
            Response::Presence(result) => Ok(result.presence),
            other => Err(unexpected("presence", &other)),
        }
    }

    /// Asks how many are in a topic. Asked again if the connection is lost before the answer.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let stats = client.presence_stats("news").await?;
    /// println!("{} connections of {} users", stats.num_clients, stats.num_users);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn presence_stats(&self, topic: impl Into<Topic>) -> Result<PresenceStatsResult, RequestError> {
        match self.call(Call::PresenceStats(topic.into()), self.shared().config.request_timeout, true).await? {
            Response::PresenceStats(result) => Ok(result),
            other => Err(unexpected("presence_stats", &other)),
        }
    }

    async fn call(&self, call: Call, timeout: Duration, repeatable: bool) -> Result<Response, RequestError> {
        let shared = self.shared();
        shared.check_open().map_err(RequestError::ConnectionClosed)?;
        let id = shared.ids.next();
        let deadline = Instant::now() + timeout.min(DURATION_MAX);
        let answer = shared.pending.add(id.clone(), Arc::new(call), deadline, timeout, repeatable)?;
        let _guard = WithdrawOnDrop { shared, id: &id };
        if let Err(limit) = shared.inbox.push(Command::Request(id.clone())) {
            return Err(RequestError::CapacityExceeded { what: Capacity::Commands, limit });
        }
        // It may have ended between the look above and the entry in the store.
        shared.check_ended().map_err(RequestError::ConnectionClosed)?;
        let outcome = answer.await.unwrap_or_else(|_| Err(RequestError::ConnectionClosed(shared.close_reason())));
        if matches!(outcome, Err(RequestError::Timeout { .. })) {
            shared.inbox.forget(&id);
        }
        outcome
    }

    /// Gives the connection a message that wants no answer: JSON already, written as the protocol writes such messages.
    /// It is sent when there is a connection, once; nothing tells whether it arrived.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.send(pubsub_client::Payload::from_json("[1, 2]")?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SendError::CapacityExceeded`] when `command_capacity` commands wait; [`SendError::ConnectionClosed`].
    pub fn send(&self, data: Payload) -> Result<(), SendError> {
        let shared = self.shared();
        shared.check_open().map_err(SendError::ConnectionClosed)?;
        shared
            .inbox
            .push(Command::Send(data))
            .map_err(|limit| SendError::CapacityExceeded { what: Capacity::Commands, limit })
    }

    /// The same with anything that can be written as JSON.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.send_json(&serde_json::json!({"typing": true}))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Encode`].
    pub fn send_json<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), SendError> {
        self.send(Payload::to_json(data).map_err(|error| SendError::Encode(Arc::new(error)))?)
    }

    // -- Subscriptions

    /// Subscribes, and returns when the subscription is in force.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut news = client.subscribe("news").await?;
    /// println!("{:?}", news.next().await);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError`]: refused, not confirmed within the request timeout, or the client has ended.
    pub async fn subscribe(&self, topic: impl Into<Topic>) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(topic, SubscribeOptions::default()).await
    }

    /// The same with options.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::SubscribeOptions;
    ///
    /// let room = client.subscribe_with("room", SubscribeOptions::default().join_leave(true)).await?;
    /// # let _ = room;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), and [`SubscribeError::OptionsDiffer`].
    pub async fn subscribe_with(
        &self,
        topic: impl Into<Topic>,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let subscription = self.try_subscribe(topic, &options)?;
        subscription.in_force(self.shared().config.request_timeout).await?;
        Ok(subscription)
    }

    /// Subscribes to many topics, in batches, and returns when each is in force or has failed; in the order given.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) {
    /// for (topic, subscription) in client.subscribe_many(["a", "b", "c"]).await {
    ///     match subscription {
    ///         Ok(subscription) => println!("{topic}: {subscription:?}"),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn subscribe_many<T: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Vec<(Topic, Result<Subscription, SubscribeError>)> {
        let limit = self.shared().config.request_timeout;
        let started: Vec<_> = topics
            .into_iter()
            .map(Into::into)
            .map(|topic: Topic| (topic.clone(), self.try_subscribe(topic, &SubscribeOptions::default())))
            .collect();
        let deadline = Instant::now() + limit;
        let mut outcomes = Vec::with_capacity(started.len());
        for (topic, started) in started {
            let outcome = match started {
                Ok(subscription) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match subscription.in_force(left).await {
                        Ok(()) => Ok(subscription),
                        Err(SubscribeError::Timeout { topic, .. }) => {
                            Err(SubscribeError::Timeout { topic, after: limit })
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            };
            outcomes.push((topic, outcome));
        }
        outcomes
    }

    /// Subscribes, and returns at once. What comes of it is told by the events: the first is
    /// [`Event::Subscribed`](crate::Event::Subscribed) or [`Event::Unsubscribed`](crate::Event::Unsubscribed). The
    /// interest lasts through losses of the connection, however long they last.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use pubsub_client::SubscribeOptions;
    ///
    /// let mut news = client.try_subscribe("news", &SubscribeOptions::default())?;
    /// println!("{:?}", news.next().await);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError::OptionsDiffer`], [`SubscribeError::ConnectionClosed`].
    pub fn try_subscribe(
        &self,
        topic: impl Into<Topic>,
        options: &SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let (topic, shared) = (topic.into(), self.shared());
        shared.check_open().map_err(SubscribeError::ConnectionClosed)?;
        let mailbox = Arc::new(Mailbox::new(shared.config.subscription_capacity));
        match shared.registry.attach(&topic, options, mailbox.clone()) {
            Ok(true) => shared.inbox.touch(topic.clone()),
            Ok(false) => {}
            Err(()) => return Err(SubscribeError::OptionsDiffer { topic }),
        }
        let subscription = Subscription::new(topic, mailbox, self.handle.clone());
        // Dropped, it withdraws the interest again.
        shared.check_ended().map_err(SubscribeError::ConnectionClosed)?;
        Ok(subscription)
    }

    /// Ends a topic for all local subscribers: each reads what it has, then
    /// [`Event::Unsubscribed`](crate::Event::Unsubscribed). False: nobody was subscribed.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let news = client.subscribe("news").await?;
    /// assert!(client.unsubscribe("news"));
    /// # let _ = news;
    /// # Ok(()) }
    /// ```
    pub fn unsubscribe(&self, topic: impl Into<Topic>) -> bool {
        let (topic, shared) = (topic.into(), self.shared());
        let known = shared.registry.unsubscribe(&topic);
        if known {
            shared.inbox.touch(topic);
        }
        known
    }

    /// Messages that the server sends to this connection alone. The latest call gets them.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut messages = client.messages();
    /// println!("{:?}", messages.next().await);
    /// # Ok(()) }
    /// ```
    pub fn messages(&self) -> Messages {
        let mailbox = Arc::new(Mailbox::new(self.shared().config.subscription_capacity));
        self.shared().set_messages(Some(mailbox.clone()));
        if let Some(reason) = self.shared().closed() {
            mailbox.end(crate::Event::CONNECTION_CLOSED, &reason.to_string()).now();
        }
        Messages::new(mailbox, self.handle.clone())
    }

    // -- The end

    /// Closes: what is queued is sent, then a close frame; returns when the server has answered it, or the close timeout
    /// is over. Without a session nothing can be sent: what is queued is dropped, and it returns at once. Requests without
    /// an answer fail, subscriptions end. Everything that is asked later is refused.
    ///
    /// ```no_run
    /// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.close().await;
    /// assert!(client.close_reason().is_some());
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) {
        self.shared().start_close();
        self.closed().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.shared().config.url;
        f.debug_struct("Client").field("url", url).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Kept publications of a topic.
///
/// ```no_run
/// # async fn example(client: pubsub_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use pubsub_client::HistoryQuery;
///
/// let history = client.history("news", HistoryQuery { limit: -1, ..Default::default() }).await?;
/// println!("the stream stands at {}, {} are kept", history.position, history.publications.len());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// Those asked for.
    pub publications: Vec<Publication>,
    /// Where the stream stands: its last publication's offset, and its epoch.
    pub position: StreamPosition,
}

/// Takes a request out of the store when its caller goes away, however that happens.
struct WithdrawOnDrop<'a> {
    shared: &'a Shared,
    id: &'a RequestId,
}

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        if self.shared.pending.withdraw(self.id) {
            self.shared.inbox.forget(self.id);
        }
    }
}

fn unexpected(to: &'static str, response: &Response) -> RequestError {
    ProtocolError::UnexpectedAnswer { to, what: format!("{response:?}") }.into()
}
