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

    /// Reads the first bytes of a connection. If they are a plain upgrade that is granted, it is answered.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn receive(&self, mut stream: L::Stream, peer: Option<SocketAddr>) -> io::Result<Newcomer<L::Stream>> {
        let mut begun = read_first(&mut stream).await?;
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

/// A plain upgrade to one of `paths`, and how many bytes its head has. A head that is not there to its end is left to
/// HTTP: to look at it again after each byte is what somebody who sends byte by byte would like.
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

/// Reads what comes first, through a buffer that all connections of a thread share: one that waits for its first byte
/// holds none.
async fn read_first(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD_BYTES_MAX].into());
    }
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
            Poll::Ready(Ok(read.filled().to_vec()))
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
    use super::*;

    const PLAIN: &str = "GET /connection/websocket?cf_ws_frame_ping_pong=true HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn is_recognised(begun: &str) -> bool {
        recognise(begun.as_bytes(), &[("/connection/websocket".to_owned(), Purpose::Session)]).is_some()
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
