//! A bug of ours that shows in one connection costs that connection and no other.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pubsub_server::config::Secret;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::shard::poller::Watch;
use pubsub_server::transport::listener::Listener;
use pubsub_server::transport::socket::Socket;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use crate::rig::peer::{Heard, Peer};
use crate::rig::{Rig, quiet};

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_connection_and_leaves_the_others_alone() {
    let rig = Rig::start(quiet());
    let (mut witness, _) = rig.subscribed("news").await;
    for panics in [
        json!({"id": 3, "publish": {"channel": "bug", "data": 1}}),
        json!({"id": 3, "subscribe": {"channel": "bug"}}),
        json!({"id": 3, "history": {"channel": "bug"}}),
    ] {
        let (mut unlucky, _) = rig.subscribed("other").await;
        unlucky.say(&[panics]).await;
        while unlucky.next().await != Heard::End {}
        // The shard still reads, for those who were there and for those who come.
        assert_eq!(witness.ask(json!({"id": 9, "publish": {"channel": "other", "data": 1}})).await["id"], 9);
        let (mut later, _) = rig.subscribed("news").await;
        let offset = rig.publish("news", json!(2)).await;
        assert_eq!(witness.reply().await["push"]["pub"]["offset"], offset);
        assert_eq!(later.reply().await["push"]["pub"]["offset"], offset);
    }
    drop(witness);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_fails_is_an_internal_error_and_leaves_nothing() {
    let rig = Rig::start(quiet());
    let mut peer = rig.connected().await;
    for command in [
        json!({"id": 2, "subscribe": {"channel": "failing"}}),
        json!({"id": 2, "publish": {"channel": "failing", "data": 1}}),
        json!({"id": 2, "history": {"channel": "failing"}}),
        json!({"id": 2, "presence": {"channel": "failing"}}),
        json!({"id": 2, "presence_stats": {"channel": "failing"}}),
    ] {
        let reply = peer.ask(command).await;
        assert_eq!((&reply["error"]["code"], &reply["error"]["temporary"]), (&json!(100), &json!(true)), "{reply}");
    }
    drop(peer);
    rig.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_while_the_engine_is_asked_leaves_nothing() {
    let mut config = quiet();
    config.client.token.hmac_secret_key = Some(Secret::new("a secret"));
    let rig = Rig::start(config);
    let (mut witness, _) = rig.subscribed("first").await;
    let token = pubsub_server::token::Signer::hs256("a secret")
        .sign(&json!({"sub": "anna", "channels": ["a", "first", "hanging", "z"]}));
    for command in [json!({"id": 1, "connect": {"token": token}}), json!({"id": 1, "connect": {}})] {
        let mut peer = rig.opened().await;
        peer.say(&[command, json!({"id": 2, "subscribe": {"channel": "hanging"}})]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(peer);
    }
    // The channel of both still has its one member left, and is not forgotten with the other.
    assert_eq!(witness.idle(Duration::from_secs(30)).await, []);
    rig.publish("first", json!(1)).await;
    assert_eq!(witness.reply().await["push"]["pub"]["offset"], 1);
    drop(witness);
    rig.at_rest().await;
}

/// Where a [`Brittle`] panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Never,
    /// When it is watched: nobody's visit is under way then.
    Watched,
    /// In a push, which is written to it without a visit.
    Pushed,
}

/// A pipe, and a bug in it.
struct Brittle(DuplexStream, Breaks);

impl AsyncRead for Brittle {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Brittle {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let pushed = bytes.windows(6).any(|part| part == br#""pub":"#);
        assert!(self.1 != Breaks::Pushed || !pushed, "a bug below a connection");
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Socket for Brittle {
    fn register(&mut self, _: &mut Watch<'_>) -> io::Result<()> {
        assert!(self.1 != Breaks::Watched, "a bug outside of every connection");
        Ok(())
    }
}

/// What comes from here goes to the shards in turn.
struct Pipes(mpsc::UnboundedReceiver<Brittle>);

impl Listener for Pipes {
    type Raw = Brittle;
    type Stream = Brittle;
    type Socket = Brittle;

    async fn accept(&mut self) -> io::Result<(Brittle, Option<SocketAddr>)> {
        match self.0.recv().await {
            Some(pipe) => Ok((pipe, None)),
            None => std::future::pending().await,
        }
    }

    async fn attach(raw: Brittle) -> io::Result<Brittle> {
        Ok(raw)
    }

    fn settle(stream: Brittle) -> io::Result<Brittle> {
        Ok(stream)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

struct Pipeline {
    server: ServerHandle,
    pipes: mpsc::UnboundedSender<Brittle>,
}

impl Pipeline {
    fn start(shards: usize) -> Self {
        let mut config = quiet();
        config.http_server.shards = shards;
        let (pipes, accepted) = mpsc::unbounded_channel();
        Self { server: Server::new(config).seed(7).start(Pipes(accepted)).unwrap(), pipes }
    }

    async fn opened(&self, breaks: Breaks) -> Peer {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        self.pipes.send(Brittle(theirs, breaks)).unwrap();
        let mut peer = Peer::new(ours);
        assert_eq!(peer.upgrade("/connection/websocket", &[]).await, 101);
        peer
    }

    async fn subscribed(&self, breaks: Breaks) -> Peer {
        let mut peer = self.opened(breaks).await;
        peer.say(&[json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "news"}})]).await;
        assert!(peer.reply().await["connect"].is_object() && peer.reply().await["subscribe"].is_object());
        peer
    }
}

#[tokio::test]
async fn a_panic_in_a_push_ends_that_connection_and_leaves_the_others_alone() {
    let line = Pipeline::start(1);
    let mut before = line.subscribed(Breaks::Never).await;
    let mut brittle = line.subscribed(Breaks::Pushed).await;
    let mut behind = line.subscribed(Breaks::Never).await;
    let publish = json!({"id": 3, "publish": {"channel": "news", "data": 1}});
    for _ in 0..2 {
        assert!(before.ask(publish.clone()).await["publish"].is_object());
        assert!(before.reply().await["push"]["pub"].is_object());
        assert!(behind.reply().await["push"]["pub"].is_object());
    }
    while brittle.next().await != Heard::End {}
    let census = line.server.census().await;
    assert_eq!((census.connections, census.members), (2, 2));
}

#[tokio::test]
async fn a_panic_outside_of_every_connection_is_told_and_what_is_left_can_be_drained() {
    let line = Pipeline::start(2);
    let mut lost = line.subscribed(Breaks::Never).await;
    let mut left = line.subscribed(Breaks::Never).await;
    let told = tokio::time::timeout(Duration::from_millis(50), line.server.failed()).await;
    assert!(told.is_err(), "nothing has failed yet: {told:?}");
    let _fatal = line.opened(Breaks::Watched).await;
    let told = tokio::time::timeout(Duration::from_secs(60), line.server.failed()).await;
    assert_eq!(told.expect("it is told"), "shard-0");
    assert_eq!(lost.next().await, Heard::End);
    assert_eq!(line.server.connections(), 1, "what the shard served is gone with it");
    let (drained, ()) = tokio::join!(line.server.shutdown(), async {
        assert_eq!(left.closed().await, 3001);
        drop(left);
    });
    assert_eq!((drained.connections, drained.left), (1, 0));
}

/// A connection that waits for the engine is subscribed by the server API, and ends before its turn has come.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_never_got_its_turn_takes_nobody_elses() {
    let rig = Rig::start(quiet());
    let (mut witness, _) = rig.subscribed("news").await;
    let (mut peer, connected) = rig.connected_with(json!({})).await;
    let client = connected["client"].as_str().unwrap().to_owned();
    peer.say(&[json!({"id": 2, "presence": {"channel": "hanging"}})]).await;
    let service = rig.server.service();
    let params = json!({"user": "", "client": client, "channel": "news"});
    service.subscribe(serde_json::from_value(params).unwrap()).await.unwrap();
    service.disconnect(serde_json::from_value(json!({"user": "", "client": client})).unwrap()).await.unwrap();
    peer.closed().await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.publish("news", json!(1)).await;
    let push = tokio::time::timeout(Duration::from_secs(1), witness.reply()).await.expect("it comes at once");
    assert_eq!(push["push"]["pub"]["data"], 1);
    drop(witness);
    rig.at_rest().await;
}
