//! A mock server that does what a test tells it, over in-memory streams: every delay, drop and wrong reply is a line of
//! the test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file is a crate of its own and uses a part of this one"
)]

use std::collections::VecDeque;
use std::time::Duration;

use pubsub_client::handler::ProtocolHandler;
use pubsub_client::{
    CentrifugeHandler, Client, ClientConfig, ClientConfigBuilder, Connector, Event, PipeAcceptor, PipeConnector,
    Subscription, Topic,
};
use pubsub_protocol::command::{Request, SubscribeRequest};
use pubsub_protocol::push::{PushBody, Unsubscribe};
use pubsub_protocol::reply::{Answer, ConnectResult, ErrorReply, SubscribeResult};
use pubsub_protocol::websocket::{self, Decoder, Opcode, Role};
use pubsub_protocol::{Command, ErrorCode, Format, Payload, Publication, Push, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tungstenite::handshake::derive_accept_key;

/// Room for anything a test has under way.
pub const PIPE_BYTES: usize = 1 << 20;

/// Settings for a paused clock: a seed, and delays that are easy to reckon with.
pub fn config() -> ClientConfigBuilder {
    ClientConfig::builder("ws://mock:8000/connection/websocket").seed(7u64)
}

/// The server's end of everything that a client dials.
pub struct Mock {
    pub acceptor: PipeAcceptor,
}

pub fn mock() -> (PipeConnector, Mock) {
    let (connector, acceptor) = PipeConnector::new(PIPE_BYTES);
    (connector, Mock { acceptor })
}

/// A client that has begun to connect, and its server.
pub fn started(config: ClientConfigBuilder) -> (Client, Mock) {
    let (connector, mock) = mock();
    (start(config, connector, CentrifugeHandler::default()), mock)
}

pub fn start<C: Connector, H: ProtocolHandler>(config: ClientConfigBuilder, connector: C, handler: H) -> Client {
    Client::builder(config.build().unwrap()).connector(connector).handler(handler).start().unwrap()
}

/// A client whose session is open.
pub async fn connected(config: ClientConfigBuilder) -> (Client, Mock, Peer) {
    let (client, mut mock) = started(config);
    let peer = mock.connected().await;
    client.ready().await.unwrap();
    (client, mock, peer)
}

/// A client that is subscribed to "c" with recovery, standing at `offset` in epoch "e"; its first event is read.
pub async fn subscribed(config: ClientConfigBuilder, offset: u64) -> (Client, Mock, Peer, Subscription) {
    let (client, mock, mut peer) = connected(config).await;
    let (subscription, ()) = tokio::join!(client.subscribe("c"), async {
        let (id, request) = peer.subscribe().await;
        assert!(!request.recover);
        peer.answer(id, Answer::Subscribe(recoverable(offset))).await;
    });
    let mut subscription = subscription.unwrap();
    assert!(matches!(subscription.next().await, Some(Event::Subscribed(_))));
    (client, mock, peer, subscription)
}

pub fn recoverable(offset: u64) -> SubscribeResult {
    SubscribeResult { recoverable: true, positioned: true, epoch: "e".into(), offset, ..Default::default() }
}

pub fn recovered(asked: u64, offsets: impl IntoIterator<Item = u64>) -> SubscribeResult {
    let publications = offsets.into_iter().map(publication).collect();
    SubscribeResult { recovered: true, was_recovering: true, publications, ..recoverable(asked) }
}

/// A publication whose data is its offset.
pub fn publication(offset: u64) -> Publication {
    let data = Payload::to_json(&offset).unwrap();
    Publication { data, info: None, offset, tags: Default::default(), epoch: String::new() }
}

impl Mock {
    /// The next stream, before any byte. Fails rather than waits for ever: a paused clock has all the time in the world.
    pub async fn stream(&mut self) -> DuplexStream {
        let day = Duration::from_secs(24 * 3_600);
        let accepted = tokio::time::timeout(day, self.acceptor.accept()).await.expect("the client does not dial");
        accepted.expect("the client is there")
    }

    /// The next connection, upgraded.
    pub async fn upgraded(&mut self) -> Peer {
        Peer::upgrade(self.stream().await, b"").await
    }

    /// The next connection, with its session open. The server announces no pings.
    pub async fn connected(&mut self) -> Peer {
        self.connected_with(ConnectResult { client: "id".into(), version: "mock".into(), ..Default::default() }).await
    }

    pub async fn connected_with(&mut self, result: ConnectResult) -> Peer {
        let mut peer = self.upgraded().await;
        let command = peer.command().await.expect("a connect command");
        assert!(matches!(command.request, Request::Connect(_)), "{command:?}");
        peer.answer(command.id, Answer::Connect(result)).await;
        peer
    }

    /// Whether the client dials within this time.
    pub async fn is_dialled_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.acceptor.accept()).await.is_ok_and(|stream| stream.is_some())
    }
}

/// What a client sent.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Text(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
}

/// One upgraded connection, seen from the server.
pub struct Peer {
    pub stream: DuplexStream,
    decoder: Decoder,
    heard: VecDeque<Heard>,
    commands: VecDeque<Command>,
    /// The head of the upgrade request.
    pub request: String,
}

impl Peer {
    /// Answers the upgrade, with `more` in the same write.
    pub async fn upgrade(mut stream: DuplexStream, more: &[u8]) -> Self {
        let request = request_head(&mut stream).await;
        let mut answer = accept(&request).into_bytes();
        answer.extend_from_slice(more);
        stream.write_all(&answer).await.unwrap();
        let decoder = Decoder::new(Role::Server, 1 << 20);
        Self { stream, decoder, heard: VecDeque::new(), commands: VecDeque::new(), request }
    }

    /// The next frame. `None`: the client is gone.
    pub async fn hear(&mut self) -> Option<Heard> {
        while self.heard.is_empty() {
            let mut bytes = vec![0; 4_096];
            let read = self.stream.read(&mut bytes).await.ok().filter(|&read| read > 0)?;
            let mut at = 0;
            loop {
                let decoded = self.decoder.decode(&mut bytes[at..read]).expect("the client keeps to RFC 6455");
                at += decoded.consumed;
                self.heard.push_back(match decoded.event {
                    None => break,
                    Some(websocket::Event::Message { data, .. }) => Heard::Text(data.to_vec()),
                    Some(websocket::Event::Ping(payload)) => Heard::Ping(payload.to_vec()),
                    Some(websocket::Event::Pong(payload)) => Heard::Pong(payload.to_vec()),
                    Some(websocket::Event::Close(frame)) => Heard::Close(frame.map_or(1005, |frame| frame.code)),
                });
            }
        }
        self.heard.pop_front()
    }

    /// The next text.
    pub async fn text(&mut self) -> String {
        loop {
            match self.hear().await.expect("a text, and not the end") {
                Heard::Text(text) => return String::from_utf8(text).unwrap(),
                other => assert!(matches!(other, Heard::Ping(_)), "{other:?}"),
            }
        }
    }

    /// The next command. WebSocket pings are passed over. `None`: the client closed or is gone.
    pub async fn command(&mut self) -> Option<Command> {
        while self.commands.is_empty() {
            match self.hear().await? {
                Heard::Text(text) => {
                    for command in Format::Json.commands(&text) {
                        self.commands.push_back(command.expect("a readable command"));
                    }
                }
                Heard::Close(_) => return None,
                Heard::Ping(_) | Heard::Pong(_) => {}
            }
        }
        self.commands.pop_front()
    }

    /// The next command, which must be a subscribe.
    pub async fn subscribe(&mut self) -> (u32, SubscribeRequest) {
        match self.command().await.expect("a subscribe command") {
            Command { id, request: Request::Subscribe(request) } => (id, request),
            other => panic!("a subscribe command was due: {other:?}"),
        }
    }

    /// The next command, which must be an unsubscribe; answered.
    pub async fn unsubscribe(&mut self) -> String {
        match self.command().await.expect("an unsubscribe command") {
            Command { id, request: Request::Unsubscribe(request) } => {
                self.answer(id, Answer::Unsubscribe).await;
                request.channel
            }
            other => panic!("an unsubscribe command was due: {other:?}"),
        }
    }

    pub async fn answer(&mut self, id: u32, answer: Answer) {
        self.reply(&Reply::Answer { id, outcome: Ok(answer) }).await;
    }

    pub async fn refuse(&mut self, id: u32, code: ErrorCode) {
        self.reply(&Reply::Answer { id, outcome: Err(ErrorReply::from(code)) }).await;
    }

    pub async fn publish(&mut self, channel: &str, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            self.push(channel, PushBody::Publication(publication(offset))).await;
        }
    }

    pub async fn push_unsubscribe(&mut self, channel: &str, code: u32) {
        self.push(channel, PushBody::Unsubscribe(Unsubscribe { code, reason: "told by the test".into() })).await;
    }

    pub async fn push(&mut self, channel: &str, body: PushBody) {
        self.reply(&Reply::Push(Push { channel: channel.into(), body })).await;
    }

    pub async fn reply(&mut self, reply: &Reply) {
        self.send(&encoded(reply)).await;
    }

    /// Sends a text message.
    pub async fn send(&mut self, text: &[u8]) {
        self.bytes(&frame(Opcode::Text, text)).await;
    }

    /// Sends a close frame, and hears no more.
    pub async fn close(mut self, code: u16, reason: &str) {
        self.bytes(&frame(Opcode::Close, &websocket::close_payload(code, reason))).await;
    }

    /// Sends bytes as they are. A client that is gone does not hear them.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }
}

pub fn encoded(reply: &Reply) -> Vec<u8> {
    let mut text = Vec::new();
    Format::Json.encode_reply(reply, &mut text);
    text
}

/// A server's frame.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    websocket::encode_frame(opcode, payload, None, true, &mut bytes);
    bytes
}

pub async fn request_head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an upgrade request"));
    }
    String::from_utf8(head).unwrap()
}

/// The answer that accepts an upgrade.
pub fn accept(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// Why the client has ended. Fails rather than waits for ever.
pub async fn ended(client: &Client) -> pubsub_client::CloseReason {
    let day = Duration::from_secs(24 * 3_600);
    tokio::time::timeout(day, client.closed()).await.expect("the client does not end")
}

/// What happened, in a word each, until the subscription has nothing more for now.
pub fn read_now(subscription: &mut Subscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.try_next()).map(|event| word(&event)).collect()
}

/// The next `count` events, in a word each.
pub async fn read(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    while words.len() < count {
        words.push(word(&subscription.next().await.expect("an event, and not the end")));
    }
    words
}

pub fn word(event: &Event) -> String {
    match event {
        Event::Publication(publication) => String::from_utf8_lossy(publication.data.as_bytes()).into_owned(),
        Event::Subscribed(subscribed) => subscribed.recovery.to_string(),
        Event::Interrupted { code, .. } => format!("interrupted {code}"),
        Event::Unsubscribed { code, .. } => format!("unsubscribed {code}"),
        Event::Lagged { missed } => format!("missed {missed}"),
        Event::Join(info) => format!("{} joined", info.client),
        Event::Leave(info) => format!("{} left", info.client),
        other => format!("{other:?}"),
    }
}

/// Lets everything run that can run without time passing.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

pub fn topic(name: &str) -> Topic {
    Topic::from(name)
}
