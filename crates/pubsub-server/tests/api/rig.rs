//! A server, callers of its API, and clients.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use pubsub_server::config::{Config, Namespace, NamespaceOptions};
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::{MemoryConnector, memory};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// How long anything may take, on the paused clock: what waits longer waits in vain.
const PATIENCE: Duration = Duration::from_secs(120);

const PIPE_BYTES: usize = 1 << 16;

/// Seconds since 1970 when a rig's server starts.
pub(crate) const START: i64 = 1_700_000_000;

/// Open to everyone, histories of 10 publications and 60 s, presence, no joins; users are named by a header. The
/// namespace `plain` has no option set.
pub(crate) fn config() -> Config {
    let mut config = Config::open_default();
    config.channel.namespace_boundary = ":".to_owned();
    config.channel.without_namespace.history_size = 10;
    config.channel.without_namespace.history_ttl = Duration::from_secs(60);
    config.channel.without_namespace.join_leave = false;
    config.channel.without_namespace.force_push_join_leave = false;
    config.client.user_id_http_header = Some("x-user".to_owned());
    config.channel.namespaces = vec![namespace("plain", NamespaceOptions::default())];
    config
}

pub(crate) fn namespace(name: &str, options: NamespaceOptions) -> Namespace {
    Namespace { name: name.to_owned(), options }
}

/// A server on the runtime of the test.
pub(crate) struct Rig {
    pub(crate) server: ServerHandle,
    connector: MemoryConnector,
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }
}

impl Rig {
    /// A server that was just started.
    pub(crate) fn new(config: Config) -> Self {
        let (listener, connector) = memory();
        let clock = pubsub_server::clock::Clock::starting_at(START);
        let server = Server::new(config).seed(1).clock(clock).on_current_runtime().start(listener).unwrap();
        Self { server, connector }
    }

    /// A server with threads of its own, by the real clock.
    pub(crate) fn with_shards(mut config: Config, shards: usize) -> Self {
        config.http_server.shards = shards;
        let (listener, connector) = memory();
        let server = Server::new(config).seed(1).start(listener).unwrap();
        Self { server, connector }
    }

    /// Opens the internal listener.
    pub(crate) fn internal(&self) -> MemoryConnector {
        let (listener, connector) = memory();
        self.server.serve_internal(listener);
        connector
    }

    /// As by [`config`].
    pub(crate) fn open() -> Self {
        Self::new(config())
    }

    /// Sends a request over a connection of its own.
    pub(crate) async fn request(&self, request: Request<Full<Bytes>>) -> Answer {
        request_over(&self.connector, request).await
    }

    /// Posts a body.
    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.request(post(path, body)).await
    }

    /// Calls a method that succeeds.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.post(&format!("/api/{method}"), params.to_string()).await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/json");
        let mut answer = answer.json();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Calls a method that fails. Returns code and detail, once the message is seen to be the code's.
    pub(crate) async fn refused(&self, method: &str, params: Value) -> (u64, String) {
        let answer = self.post(&format!("/api/{method}"), params.to_string()).await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text);
        refusal(&answer.json())
    }

    /// A raw connection to the server.
    pub(crate) fn pipe(&self) -> DuplexStream {
        self.connector.connect(PIPE_BYTES).unwrap()
    }

    /// A client that is connected, as this user.
    pub(crate) async fn connected(&self, user: &str) -> Client {
        let mut request = "ws://server/connection/websocket".into_client_request().unwrap();
        if !user.is_empty() {
            request.headers_mut().insert("x-user", user.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, self.pipe()).await.unwrap();
        let mut client = Client { socket, next: 1, waiting: VecDeque::new(), id: String::new() };
        let connected = client.ask(json!({ "connect": {} })).await;
        client.id = connected["connect"]["client"].as_str().unwrap().to_owned();
        client
    }

    /// A client that is connected, as this user, and subscribed.
    pub(crate) async fn subscribed(&self, user: &str, channel: &str) -> Client {
        let mut client = self.connected(user).await;
        let subscribed = client.ask(json!({ "subscribe": { "channel": channel } })).await;
        assert!(subscribed.get("subscribe").is_some(), "{subscribed}");
        client
    }

    /// Ends the server and makes sure that nothing stayed behind.
    pub(crate) async fn end(self) {
        let node = self.server.node().clone();
        let metrics = self.server.service().metrics().clone();
        let drained = self.server.shutdown().await;
        assert_eq!(drained.left, 0);
        assert_eq!(node.hub.channels(), 0);
        assert!(node.users.is_empty());
        let stats = metrics.snapshot();
        assert_eq!((stats.connections(), stats.subscriptions()), (0, 0));
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "server").body(Full::default()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "server").body(Full::new(body.into())).unwrap()
}

/// Sends a request over a connection of its own.
pub(crate) async fn request_over(connector: &MemoryConnector, request: Request<Full<Bytes>>) -> Answer {
    let stream = connector.connect(PIPE_BYTES).unwrap();
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("the server answers")
}

/// Code and detail of an answer that is an error.
pub(crate) fn refusal(answer: &Value) -> (u64, String) {
    let error = &answer["error"];
    let code = error["code"].as_u64().unwrap_or_else(|| panic!("an error was expected: {answer}"));
    let known = pubsub_protocol::ErrorCode::from_code(u32::try_from(code).unwrap()).unwrap();
    assert_eq!(error["message"], known.message(), "{answer}");
    (code, error["detail"].as_str().unwrap_or("").to_owned())
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) id: String,
    socket: WebSocketStream<DuplexStream>,
    next: u64,
    /// Pushes that came while a reply was waited for.
    waiting: VecDeque<Value>,
}

impl Client {
    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Value {
        let id = self.next;
        self.next += 1;
        command["id"] = id.into();
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            let reply = self.receive().await.unwrap_or_else(|close| panic!("closed with {close:?} on {command}"));
            if reply["id"] == id {
                return reply;
            }
            self.waiting.push_back(reply);
        }
    }

    /// The next push.
    pub(crate) async fn push(&mut self) -> Value {
        let mut push = match self.waiting.pop_front() {
            Some(push) => push,
            None => self.receive().await.unwrap_or_else(|close| panic!("a push was expected, not {close:?}")),
        };
        push["push"].take()
    }

    /// The data of the next push, which is a publication.
    pub(crate) async fn data(&mut self) -> Value {
        let mut push = self.push().await;
        assert!(push.get("pub").is_some(), "{push}");
        push["pub"]["data"].take()
    }

    /// Code and reason of the close frame, which is the next that comes.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        assert_eq!(self.waiting, [] as [Value; 0]);
        match self.receive().await {
            Ok(reply) => panic!("a close frame was expected, not {reply}"),
            Err(close) => close,
        }
    }

    /// Nothing has come since, and the connection lives.
    pub(crate) async fn is_at_rest(&mut self) {
        let reply = self.ask(json!({ "rpc": {} })).await;
        assert_eq!(reply["error"]["code"], 108);
        assert_eq!(self.waiting, [] as [Value; 0]);
    }

    /// The next reply; pings are answered and passed over.
    async fn receive(&mut self) -> Result<Value, (u16, String)> {
        let receiving = async {
            loop {
                match self.socket.next().await.expect("a close frame comes first").unwrap() {
                    Message::Text(text) if text.as_str() == "{}" => {
                        self.socket.send(Message::text("{}")).await.unwrap();
                    }
                    Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                    Message::Close(Some(frame)) => return Err((frame.code.into(), frame.reason.to_string())),
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, receiving).await.expect("the server says something")
    }
}
