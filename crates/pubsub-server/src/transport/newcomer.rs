//! The short way in: the upgrade request that nearly every connection begins with, recognised in its first bytes.
//!
//! To be let through HTTP and its router costs a connection more CPU than all else until it is subscribed. So the head of a
//! connection's first request is read here. If it is an upgrade of the plainest kind, it is answered at once; anything
//! else (another request, a strange one, one that is refused) goes to HTTP with the bytes that were read, as if nobody
//! had looked at them.
//!
//! The law of this file: **it decides nothing**. Whether a connection becomes a WebSocket is decided by
//! [`Entrance::decide`] for both ways, and every refusal is said, and counted, by HTTP.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::header::{CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};

use super::http::{HEAD_BYTES_MAX, is_host_in_order};
use super::listener::Listener;
use super::upgrade::Entrance;
use crate::shard::connection::Purpose;

/// Headers of a request that is recognised. Browsers send about fifteen.
const HEADERS_MAX: usize = 32;

/// Headers that say more of a request than can be understood here.
const NOT_PLAIN: [HeaderName; 5] = [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, TE, TRAILER];

/// Where upgrades are recognised, and where those that are granted go.
pub struct ShortWay<L: Listener> {
    entrance: Arc<Entrance<L>>,
    paths: Vec<(String, Purpose)>,
}

/// What a connection turned out to be.
pub enum Newcomer<S> {
    /// A WebSocket, which is with its shard by now.
    Upgraded,
    /// Something for HTTP, with what was read of it.
    Other(S, Vec<u8>),
}

impl<L: Listener> ShortWay<L> {
    /// Recognises upgrades to these paths.
    pub fn new(entrance: Arc<Entrance<L>>, paths: Vec<(String, Purpose)>) -> Self {
        Self { entrance, paths }
    }

    /// Reads the head of a connection's first request. If it is a plain upgrade that is granted, it is answered.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn receive(&self, mut stream: L::Stream, peer: Option<SocketAddr>) -> io::Result<Newcomer<L::Stream>> {
        let mut begun = read_head(&mut stream).await?;
        let Some((request, head_bytes, purpose)) = recognise(&begun, &self.paths) else {
            return Ok(Newcomer::Other(stream, begun));
        };
        let Ok(granted) = self.entrance.decide(purpose, &request, peer) else {
            return Ok(Newcomer::Other(stream, begun));
        };
        stream.write_all(&answer(&granted.response)).await?;
        stream.flush().await?;
        self.entrance.admit(stream, begun.split_off(head_bytes), granted, peer);
        Ok(Newcomer::Upgraded)
    }
}

/// A plain upgrade to one of `paths`, and how many bytes its head has.
fn recognise(begun: &[u8], paths: &[(String, Purpose)]) -> Option<(Request<()>, usize, Purpose)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head_bytes)) = parsed.parse(begun) else { return None };
    if parsed.method? != "GET" || parsed.version? != 1 {
        return None;
    }
    let target = parsed.path?;
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let purpose = paths.iter().find(|(ours, _)| ours == path)?.1;
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if NOT_PLAIN.contains(&name) {
            return None;
        }
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    *request.headers_mut() = headers;
    is_host_in_order(&request).then_some((request, head_bytes, purpose))
}

/// Reads until there is a whole head, or something that HTTP has to refuse. Whoever sends half of one and waits costs these
/// bytes, where HTTP would hold a buffer of many kilobytes; and who sends it byte by byte does not have it parsed each time.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let (mut begun, mut parsed) = (Vec::new(), 0);
    loop {
        let before = begun.len();
        read_more(stream, &mut begun).await?;
        let ended = begun.len() == before || begun.len() >= HEAD_BYTES_MAX;
        if ended || has_end(&begun[before.saturating_sub(3)..]) {
            return Ok(begun);
        }
        if begun.len() >= 2 * parsed {
            parsed = begun.len();
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            if httparse::Request::new(&mut headers).parse(&begun).is_err() {
                return Ok(begun);
            }
        }
    }
}

/// Whether a head ends in it: by an empty line, as strict or lax as HTTP reads it.
fn has_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// Reads what there is, through a buffer that all connections of a thread share: one that waits for its first byte
/// holds none.
async fn read_more(stream: &mut (impl AsyncRead + Unpin), begun: &mut Vec<u8>) -> io::Result<()> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD_BYTES_MAX].into());
    }
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(&mut buffer[..HEAD_BYTES_MAX - begun.len()]);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            begun.reserve_exact(read.filled().len());
            begun.extend_from_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    })
    .await
}

/// A response's head as bytes.
fn answer(response: &Response<()>) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PLAIN: &str = "GET /connection/websocket?cf_ws_frame_ping_pong=true HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn is_recognised(begun: &str) -> bool {
        recognise(begun.as_bytes(), &[("/connection/websocket".to_owned(), Purpose::Session)]).is_some()
    }

    /// What is read of these pieces before somebody looks at it.
    async fn read(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut ours, mut theirs) = tokio::io::duplex(HEAD_BYTES_MAX);
        let say = async move {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(say, async { read_head(&mut ours).await.unwrap() }).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_read_to_its_end_however_it_comes() {
        for at in 1..PLAIN.len() {
            let (first, second) = PLAIN.as_bytes().split_at(at);
            assert_eq!(read(&[first, second, b"more"]).await, PLAIN.as_bytes(), "parted at {at}");
        }
        let bytes: Vec<&[u8]> = PLAIN.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).await, PLAIN.as_bytes());
        assert_eq!(read(&[b"GET / HTTP/1.1\n", b"\n", b"more"]).await, b"GET / HTTP/1.1\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_head_is_not_waited_for() {
        assert_eq!(read(&[b"\x16\x03\x01", b"more"]).await, b"\x16\x03\x01");
        assert_eq!(read(&[b"GET / HT", b"TP/9.9\r\nX", b"more"]).await, b"GET / HTTP/9.9\r\nX");
        assert_eq!(read(&[b"GET / HTTP/1.1\r\n"]).await, b"GET / HTTP/1.1\r\n");
        let line = b"X: 0123456789\r\n".repeat(HEAD_BYTES_MAX / 15 + 1);
        let long: Vec<&[u8]> = [b"GET / HTTP/1.1\r\n".as_slice()].into_iter().chain(line.chunks(15)).collect();
        assert!(read(&long).await.len() <= HEAD_BYTES_MAX);
    }

    #[test]
    fn a_plain_upgrade_is_recognised_and_what_is_behind_it_left() {
        let begun = format!("{PLAIN}\u{1}frames");
        let paths = [("/connection/websocket".to_owned(), Purpose::Session)];
        let (request, head_bytes, purpose) = recognise(begun.as_bytes(), &paths).unwrap();
        assert_eq!((head_bytes, purpose, request.headers().len()), (PLAIN.len(), Purpose::Session, 5));
        assert_eq!(request.uri().query(), Some("cf_ws_frame_ping_pong=true"));
    }

    #[test]
    fn whatever_is_not_plain_is_left_to_http() {
        let with = |line: &str| PLAIN.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
        assert!(is_recognised(&with("X: y")));
        for other in [
            PLAIN[..PLAIN.len() - 1].to_owned(),
            String::new(),
            PLAIN.replacen("GET", "POST", 1),
            PLAIN.replacen("HTTP/1.1", "HTTP/1.0", 1),
            PLAIN.replacen("/connection/websocket", "/connection/websocket/", 1),
            PLAIN.replacen("/connection/websocket", "http://example.com/connection/websocket", 1),
            PLAIN.replacen("Host: example.com\r\n", "", 1),
            with("Host: example.org"),
            with("Content-Length: 0"),
            with("Transfer-Encoding: chunked"),
            with("Expect: 100-continue"),
            with("X : y"),
            with(&["X: y"; HEADERS_MAX].join("\r\n")),
        ] {
            assert!(!is_recognised(&other), "{other}");
        }
    }
}
