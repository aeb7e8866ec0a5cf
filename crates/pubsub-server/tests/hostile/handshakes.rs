//! Crowds that never become WebSockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::frame::PATIENCE;
use crate::peer::{PATH, Peer};
use crate::siege::{Siege, Size, crowd, sieges, withstand};

sieges! { say_nothing half_a_request a_byte_now_and_then headers_without_end one_header_without_end pages_unread }

const TIMED_OUT: &[&str] = &["pubsub_connections_refused_total{reason=\"handshake_timeout\"}"];
const NO_HTTP: &[&str] = &["pubsub_connections_refused_total{reason=\"bad_request\"}"];

/// Waits for the end, however it comes, and returns what was said until then.
async fn ended(peer: &mut Peer) -> String {
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, peer.reader.read_to_end(&mut said)).await.expect("the server ends it by itself");
    String::from_utf8(said).unwrap()
}

async fn say_nothing(size: Size) {
    let siege = Siege {
        name: "says nothing at all",
        answer: "closed at the deadline",
        settings: &["http_server.handshake_timeout=2s"],
        bytes_each: 4 << 10,
        counted: TIMED_OUT,
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            assert_eq!(ended(&mut Peer::raw(address).await).await, "");
        })
        .await;
    })
    .await;
}

/// Ten times the crowd: 10,000 at the default size.
async fn half_a_request(size: Size) {
    let size = Size { peers: 10 * size.peers, ..size };
    let siege = Siege {
        name: "half a request, half-open",
        answer: "closed at the deadline",
        settings: &["http_server.handshake_timeout=3s"],
        bytes_each: 16 << 10,
        counted: TIMED_OUT,
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::raw(address).await;
            peer.writer.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgr").as_bytes()).await.unwrap();
            ended(&mut peer).await;
        })
        .await;
    })
    .await;
}

async fn a_byte_now_and_then(size: Size) {
    let siege = Siege {
        name: "a request, a byte at a time",
        answer: "closed at the deadline",
        settings: &["http_server.handshake_timeout=2s"],
        bytes_each: 16 << 10,
        counted: TIMED_OUT,
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let Peer { mut reader, mut writer } = Peer::raw(address).await;
            let drip = async {
                for byte in format!("GET {PATH} HTTP/1.1\r\nX: {}", "y".repeat(1000)).bytes() {
                    if writer.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(200)).await;
                }
            };
            let mut said = Vec::new();
            tokio::select! {
                () = drip => panic!("it was let to go on"),
                ended = timeout(PATIENCE, reader.read_to_end(&mut said)) => drop(ended.expect("it is ended")),
            }
        })
        .await;
    })
    .await;
}

/// Goes on saying `more` behind `begin` until nobody listens, and returns what was answered.
async fn without_end(mut peer: Peer, begin: &str, more: &str) -> String {
    peer.writer.write_all(begin.as_bytes()).await.unwrap();
    let mut sent = 0;
    while peer.writer.write_all(more.as_bytes()).await.is_ok() {
        sent += more.len();
        assert!(sent < 64 << 20, "64 MiB of a head, and it still listens");
    }
    ended(&mut peer).await
}

async fn headers_without_end(size: Size) {
    let siege =
        Siege { name: "headers without end", answer: "431", settings: &[], bytes_each: 64 << 10, counted: NO_HTTP };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let begin = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n");
            let answer = without_end(Peer::raw(address).await, &begin, &"X-Header: value\r\n".repeat(64)).await;
            // The answer may be lost with the rest that nobody read; another answer may not come.
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        })
        .await;
    })
    .await;
}

async fn one_header_without_end(size: Size) {
    let siege =
        Siege { name: "one header without end", answer: "431", settings: &[], bytes_each: 64 << 10, counted: NO_HTTP };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let begin = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nX-Header: ");
            let answer = without_end(Peer::raw(address).await, &begin, &"y".repeat(4096)).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        })
        .await;
    })
    .await;
}

/// Asks for page after page and reads none of them. The kernel takes tens of thousands of pages before that shows, so that
/// a larger crowd would measure nothing but how fast pages are made.
async fn pages_unread(size: Size) {
    let size = Size { peers: size.peers.min(100), ..size };
    let siege = Siege {
        name: "asks for pages, reads none",
        answer: "closed at the deadline",
        settings: &["http_server.handshake_timeout=2s"],
        bytes_each: 64 << 10,
        counted: &["pubsub_connections_refused_total{reason=\"unread\"}"],
    };
    withstand(size, siege, async |victim| {
        let address = victim.address;
        crowd(size.peers, |_| async move {
            let mut peer = Peer::narrow(address).await;
            let pages = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
            let asking = async { while peer.writer.write_all(pages.as_bytes()).await.is_ok() {} };
            // A thousand of them keep the machine busy with asking for a while.
            timeout(4 * PATIENCE, asking).await.expect("a peer that does not read is let go");
        })
        .await;
    })
    .await;
}
