//! The HTTP upgrade to WebSocket (RFC 6455, 4.1), from the client's side.
//!
//! HTTP is parsed by httparse, the accept key derived by tungstenite. Bytes that follow the answer in the same read
//! belong to the first frames; they are kept.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tungstenite::handshake::derive_accept_key;

use crate::connector::Target;
use crate::error::DialError;

/// The longest answer that is read. Servers and proxies limit theirs to 8 or 16 KB.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// The most headers that an answer may have.
const HEADERS_MAX: usize = 64;

/// A server that asks to be left alone for longer is not believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What goes into the request.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) target: Target,
    /// `Sec-WebSocket-Key`, before base64.
    pub(crate) key: [u8; 16],
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Upgrade {
    /// Upgrades a stream. Returns what came after the answer.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<Vec<u8>, DialError> {
        let key = STANDARD.encode(self.key);
        stream.write_all(self.request(&key).as_bytes()).await.map_err(|error| self.transport(error))?;
        stream.flush().await.map_err(|error| self.transport(error))?;
        let mut answer = Vec::new();
        loop {
            // An answer comes to 130 bytes or so; what is read beyond it is kept, so that it may be any amount.
            answer.reserve(512);
            let read = stream.read_buf(&mut answer).await.map_err(|error| self.transport(error))?;
            if read == 0 {
                return Err(self.transport(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(head_bytes) = self.check(&answer, &key)? {
                return Ok(answer.split_off(head_bytes));
            }
            if answer.len() >= ANSWER_BYTES_MAX {
                return Err(self.wrong("its answer has no end"));
            }
        }
    }

    fn request(&self, key: &str) -> String {
        let Target { path, .. } = &self.target;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
            self.target.host_header()
        );
        let subprotocol = self.subprotocol.iter().map(|name| ("Sec-WebSocket-Protocol", name.as_str()));
        for (name, value) in subprotocol.chain(self.headers.iter().map(|(name, value)| (&**name, &**value))) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }

    /// How long the answer's head is, if it is whole and as it must be.
    fn check(&self, answer: &[u8], key: &str) -> Result<Option<usize>, DialError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(answer) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(self.wrong(format!("its answer is not HTTP: {error}"))),
        };
        let header = |name: &str| {
            response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))
                .and_then(|header| std::str::from_utf8(header.value).ok())
                .map(str::trim)
        };
        let status = response.code.unwrap_or_default();
        if status != 101 {
            let seconds = header("retry-after").and_then(|seconds| seconds.parse().ok());
            let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            return Err(DialError::Refused { target: self.target.to_string(), status, retry_after });
        }
        if !header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(self.wrong("its answer does not upgrade to websocket"));
        }
        let tokens = header("connection").unwrap_or_default().split(',');
        if !tokens.map(str::trim).any(|token| token.eq_ignore_ascii_case("upgrade")) {
            return Err(self.wrong("its answer has no header \"Connection: Upgrade\""));
        }
        if header("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(self.wrong("its accept key does not match ours: a cache or a proxy in between answered"));
        }
        if header("sec-websocket-extensions").is_some_and(|extensions| !extensions.is_empty()) {
            return Err(self.wrong("it wants an extension that was not offered"));
        }
        if let Some(chosen) = header("sec-websocket-protocol")
            && Some(chosen) != self.subprotocol.as_deref()
        {
            return Err(self.wrong(format!("it chose the subprotocol {chosen:?}, which was not offered")));
        }
        Ok(Some(head_bytes))
    }

    fn transport(&self, source: std::io::Error) -> DialError {
        DialError::Transport { target: self.target.to_string(), source: source.into() }
    }

    fn wrong(&self, problem: impl Into<String>) -> DialError {
        DialError::Handshake { target: self.target.to_string(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// RFC 6455, 1.3.
    const KEY: &[u8; 16] = b"the sample nonce";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn upgrade() -> Upgrade {
        Upgrade {
            target: Target::parse("ws://h:9/p?q").unwrap(),
            key: *KEY,
            subprotocol: Some("chat".into()),
            headers: vec![("X-Extra".into(), "1".into())],
        }
    }

    /// The outcome when the server answers with this, in pieces of `piece` bytes.
    async fn answered(answer: &str, piece: usize) -> Result<Vec<u8>, DialError> {
        let (mut ours, mut theirs) = duplex(piece);
        let mut request = vec![0; upgrade().request(&STANDARD.encode(KEY)).len()];
        let server = async {
            theirs.read_exact(&mut request).await.unwrap();
            // The client may hang up in the middle of a wrong answer.
            let _ = theirs.write_all(answer.as_bytes()).await;
            drop(theirs);
        };
        let client = async move { upgrade().run(&mut ours).await };
        tokio::join!(client, server).0
    }

    fn good(accept: &str, more: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        )
    }

    #[test]
    fn the_request_is_what_the_standard_asks_for() {
        let key = STANDARD.encode(KEY);
        assert_eq!(
            upgrade().request(&key),
            "GET /p?q HTTP/1.1\r\nHost: h:9\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: chat\r\nX-Extra: 1\r\n\r\n"
        );
        // What another implementation makes of it.
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let request = upgrade().request(&key);
        assert!(httparse::Request::new(&mut headers).parse(request.as_bytes()).unwrap().is_complete());
    }

    #[tokio::test]
    async fn bytes_after_the_answer_are_kept_however_it_is_cut() {
        for piece in [1, 7, 64, 4_096] {
            let frames = "\u{1}frames";
            let kept = answered(&(good(ACCEPT, "sec-websocket-protocol: chat\r\n") + frames), piece).await.unwrap();
            // A small pipe holds the rest back.
            assert!(frames.as_bytes().starts_with(&kept), "{kept:?}");
            if piece == 4_096 {
                assert_eq!(kept, frames.as_bytes());
            }
        }
    }

    #[tokio::test]
    async fn wrong_answers_say_what_is_wrong() {
        let cases = [
            (good("AAAA", ""), "accept key"),
            (good(ACCEPT, "Sec-WebSocket-Protocol: other\r\n"), "\"other\""),
            (good(ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
            (good(ACCEPT, "").replace("WebSocket\r\n", "h2c\r\n"), "does not upgrade"),
            (good(ACCEPT, "").replace("keep-alive, Upgrade", "close"), "Connection: Upgrade"),
            ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "not HTTP"),
            (format!("HTTP/1.1 101 x\r\n{}", "a: b\r\n".repeat(4_000)), "not HTTP"),
            (format!("HTTP/1.1 101 x\r\na: {}", "b".repeat(20_000)), "no end"),
        ];
        for (answer, expected) in cases {
            let error = answered(&answer, 4_096).await.unwrap_err();
            assert!(matches!(error, DialError::Handshake { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}: expected {expected}");
        }
    }

    #[tokio::test]
    async fn a_refusal_carries_its_status_and_how_long_to_stay_away() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n";
        match answered(answer, 4_096).await.unwrap_err() {
            DialError::Refused { target, status, retry_after } => {
                assert_eq!((&*target, status, retry_after), ("h:9", 503, Some(Duration::from_secs(7))));
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_server_cannot_send_a_client_away_for_ever() {
        let answer = format!("HTTP/1.1 503 Service Unavailable\r\nRetry-After: {}\r\n\r\n", u64::MAX);
        match answered(&answer, 4_096).await.unwrap_err() {
            DialError::Refused { retry_after, .. } => assert_eq!(retry_after, Some(RETRY_AFTER_MAX)),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_transport_error() {
        let error = answered("HTTP/1.1 101 Swi", 4_096).await.unwrap_err();
        assert!(matches!(error, DialError::Transport { .. }), "{error}");
    }
}
