//! The server that anybody would write in an afternoon: axum, a task for each connection, a `broadcast` channel for each topic,
//! and no setting touched. What the shape of a server is worth shows beside it.
//!
//! Its words are those of the floor.

#![expect(clippy::disallowed_types, reason = "what anybody would write")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{broadcast, mpsc};

/// Publications that a subscriber may be behind.
const BEHIND_MAX: usize = 1024;

type Topics = Arc<Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>>;

/// Serves until it is killed.
///
/// # Errors
/// When it can not listen.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new().route("/", get(enter)).with_state(Topics::default());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        Ok(axum::serve(listener, app).await?)
    })
}

async fn enter(State(topics): State<Topics>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| talk(socket, topics))
}

async fn talk(socket: WebSocket, topics: Topics) {
    let (mut to_peer, mut from_peer) = socket.split();
    let (outbox, mut waiting) = mpsc::unbounded_channel::<Message>();
    tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            if to_peer.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = from_peer.next().await {
        let Message::Text(text) = message else { continue };
        if let Some(topic) = text.strip_prefix("sub ") {
            let mut publications = topic_of(&topics, topic).subscribe();
            let outbox = outbox.clone();
            let _ = outbox.send(Message::text("ok"));
            tokio::spawn(async move {
                while let Ok(publication) = publications.recv().await {
                    if outbox.send(Message::Text(publication)).is_err() {
                        break;
                    }
                }
            });
        } else if let Some((topic, body)) = text.strip_prefix("pub ").and_then(|rest| rest.split_once(' ')) {
            let _ = topic_of(&topics, topic).send(body.into());
        }
    }
}

fn topic_of(topics: &Topics, topic: &str) -> broadcast::Sender<Utf8Bytes> {
    let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
    topics.entry(topic.to_owned()).or_insert_with(|| broadcast::channel(BEHIND_MAX).0).clone()
}
