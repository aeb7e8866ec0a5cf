//! The way of a publication from the engine to a thousand sockets, as a program whose instructions can be counted.
//!
//! `make instructions` runs it under callgrind, which counts what happens inside [`publish_path`] only. The clock is paused, the
//! seed fixed, and the sockets take everything: nothing but the code decides how many instructions there are.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use pubsub_protocol::websocket::{Opcode, encode_frame};
use pubsub_protocol::{Payload, Publication};
use pubsub_server::config::Config;
use pubsub_server::engine::PublishOptions;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::stream::Retention;
use pubsub_server::transport::listener::memory;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

const MEMBERS: u32 = 1_000;
const PUBLICATIONS: u64 = 100;
const CHANNEL: &str = "c";

/// A peer that has said all it ever says, and takes everything.
struct Scripted {
    says: Vec<u8>,
    taken: Arc<AtomicU64>,
}

impl AsyncRead for Scripted {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.says.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut self.says));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let writes = Arc::new(AtomicU64::new(0));
    let server = runtime.block_on(subscribed(&writes))?;
    let before = writes.load(Ordering::Relaxed);
    publish_path(&runtime, &server, &writes);
    let deliveries = writes.load(Ordering::Relaxed) - before;
    assert_eq!(deliveries, PUBLICATIONS * u64::from(MEMBERS), "each member gets each publication by one write");
    Ok(())
}

/// A server with everybody subscribed.
async fn subscribed(writes: &Arc<AtomicU64>) -> anyhow::Result<ServerHandle> {
    let (listener, connector) = memory();
    let mut config = Config::open_default();
    config.client.ping_interval = Duration::ZERO;
    let server = Server::new(config).seed(7).on_current_runtime().start(listener)?;
    for _ in 0..MEMBERS {
        connector.connect_with(Scripted { says: first_words(), taken: writes.clone() })?;
    }
    while server.node().hub.members(CHANNEL) < MEMBERS || server.census().await.waiting > 0 {
        tokio::task::yield_now().await;
    }
    // Their answers are out before anything is counted.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    Ok(server)
}

fn first_words() -> Vec<u8> {
    let mut says = b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    let commands = format!("{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{CHANNEL}\"}}}}");
    encode_frame(Opcode::Text, commands.as_bytes(), Some([1, 2, 3, 4]), true, &mut says);
    says
}

/// What is counted.
#[inline(never)]
fn publish_path(runtime: &Runtime, server: &ServerHandle, writes: &AtomicU64) {
    let retention = Retention { size: 100, ttl: Duration::from_secs(60), meta_ttl: Duration::from_secs(600) };
    let data = Payload::from_bytes(format!("\"{}\"", "x".repeat(126)).as_bytes());
    runtime.block_on(async {
        for _ in 0..PUBLICATIONS {
            let due = writes.load(Ordering::Relaxed) + u64::from(MEMBERS);
            let (tags, epoch) = (BTreeMap::new(), String::new());
            let publication = Publication { data: data.clone(), info: None, offset: 0, tags, epoch };
            let options = PublishOptions { retention: Some(retention), ..PublishOptions::default() };
            server.node().publish(CHANNEL, publication, options).await.expect("the embedded engine does not fail");
            while writes.load(Ordering::Relaxed) < due {
                tokio::task::yield_now().await;
            }
        }
    });
}
