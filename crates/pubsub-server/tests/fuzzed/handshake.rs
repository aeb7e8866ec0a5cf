//! Any bytes as what a new connection says: it is answered in HTTP or not at all, it ends, and the server lives on.

use std::time::Duration;

use pubsub_server::config::Config;
use pubsub_server::server::Server;
use pubsub_server::transport::listener::memory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// `data`: all that the peer ever says.
pub fn check(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut config = Config::strict();
        config.echo.enabled = true;
        let (listener, connector) = memory();
        let _server = Server::new(config).seed(7).on_current_runtime().start(listener).unwrap();
        let mut stream = connector.connect(1 << 20).unwrap();
        stream.write_all(data).await.unwrap();
        let mut said = Vec::new();
        // An echo that is idle may stay; everything else has a deadline. A paused clock makes this a moment.
        let ended = timeout(Duration::from_secs(60), stream.read_to_end(&mut said)).await;
        let upgraded = said.windows(13).any(|head| head == b"HTTP/1.1 101 ");
        assert!(ended.is_ok() || upgraded, "it neither ended nor became a WebSocket");
        assert!(said.is_empty() || said.starts_with(b"HTTP/1."), "{}", said.escape_ascii());
        drop(stream);

        let mut other = connector.connect(1 << 16).unwrap();
        other.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        other.read_to_end(&mut said).await.unwrap();
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{}", said.escape_ascii());
    });
}
