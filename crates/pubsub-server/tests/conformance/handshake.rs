//! The upgrade: what is asked for, what is confirmed, and what is refused in words.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frame::{close, frame, head, request, text};
use crate::wire::{ECHO, SESSION, open, server};

/// A request like [`request`] with one line replaced by others, or with lines added to it.
fn with(line: &str, others: &str) -> String {
    let request = request(ECHO);
    let changed = if line.is_empty() {
        request.replacen("\r\n\r\n", &format!("\r\n{others}\r\n\r\n"), 1)
    } else {
        assert!(request.contains(line), "{line}");
        request.replacen(line, others, 1)
    };
    changed.replace("\r\n\r\n\r\n", "\r\n\r\n")
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";

async fn answer(request: &str) -> String {
    let server = server(1 << 16);
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    head(&mut stream).await.to_lowercase()
}

#[tokio::test]
async fn an_upgrade_is_confirmed_as_the_rfc_says() {
    for (name, request) in [
        ("plain", request(ECHO)),
        ("names in other letters", request(ECHO).replace("Upgrade: websocket", "UPGRADE: WebSocket")),
        ("more in Connection", with(CONNECTION, "Connection: keep-alive, Upgrade")),
        ("no blank in Connection", with(CONNECTION, "connection: keep-alive,upgrade")),
        ("a query", request("/echo?x=1&y=%20")),
        ("an empty subprotocol", with("", "Sec-WebSocket-Protocol: ")),
    ] {
        let answer = answer(&request).await;
        assert!(answer.starts_with("http/1.1 101 "), "{name}: {answer}");
        assert!(answer.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{name}: {answer}");
        assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{name}: {answer}");
        assert!(answer.contains("\r\nconnection: upgrade\r\n"), "{name}: {answer}");
        assert!(!answer.contains("sec-websocket-extensions"), "{name}: {answer}");
        assert!(!answer.contains("sec-websocket-protocol"), "{name}: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused_with_a_status_that_tells_why() {
    for (name, request, status) in [
        ("no key", with(KEY, "X-Nothing: here"), "400"),
        ("an empty key", with(KEY, "Sec-WebSocket-Key:"), "400"),
        ("a key of 15 bytes", with(KEY, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), "400"),
        ("a key that is not base64", with(KEY, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), "400"),
        ("two keys", with("", KEY), "400"),
        ("no Upgrade", with(UPGRADE, "X-Nothing: here"), "400"),
        ("another Upgrade", with(UPGRADE, "Upgrade: h2c"), "400"),
        ("no Connection", with(CONNECTION, "X-Nothing: here"), "400"),
        ("another Connection", with(CONNECTION, "Connection: close"), "400"),
        ("no version", with(VERSION, "X-Nothing: here"), "426"),
        ("version 12", with(VERSION, "Sec-WebSocket-Version: 12"), "426"),
        ("version 130", with(VERSION, "Sec-WebSocket-Version: 130"), "426"),
        ("two versions", with("", "Sec-WebSocket-Version: 8"), "400"),
        ("HTTP/1.0", request(ECHO).replace("HTTP/1.1", "HTTP/1.0"), "400"),
        ("POST", request(ECHO).replace("GET", "POST"), "405"),
        ("HEAD", request(ECHO).replace("GET", "HEAD"), "400"),
        ("no Host", with("Host: example.com", "X-Nothing: here"), "400"),
        ("two Hosts", with("", "Host: example.org"), "400"),
        ("a Host that is none", with("Host: example.com", "Host: exa mple.com/path"), "400"),
        ("a body", with("", "Content-Length: 5"), "400"),
        ("a chunked body", with("", "Transfer-Encoding: chunked"), "400"),
        ("both kinds of length", with("", "Content-Length: 5\r\nTransfer-Encoding: chunked"), "400"),
        ("another path", request("/other"), "404"),
    ] {
        let answer = answer(&request).await;
        assert!(
            answer.starts_with(&format!("http/1.1 {status} ")) || answer.starts_with(&format!("http/1.0 {status} ")),
            "{name}: {answer}"
        );
        if status == "426" {
            assert!(answer.contains("\r\nsec-websocket-version: 13\r\n"), "{name}: {answer}");
        }
    }
}

/// A proxy that takes a refused upgrade for a granted one sends on whatever its client says. It must not be read as
/// requests.
#[tokio::test]
async fn nothing_is_read_behind_a_refused_upgrade() {
    let smuggled = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    for refused in [
        with(VERSION, "Sec-WebSocket-Version: 12"),
        with(KEY, "Sec-WebSocket-Key: short"),
        with(UPGRADE, "Upgrade: h2c"),
        with("", "Origin: https://not.here"),
    ] {
        let mut config = pubsub_server::config::Config::open_default();
        config.echo.enabled = true;
        config.client.allowed_origins = vec!["https://here".to_owned()];
        let listener =
            pubsub_server::transport::listener::TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        let server = pubsub_server::server::Server::new(config).start(listener).unwrap();
        let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        stream.write_all(format!("{refused}{smuggled}").as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // That the socket is reset for what was not read is as good as its end.
        let _ = timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut all)).await.expect("it is closed");
        let all = String::from_utf8(all).unwrap().to_lowercase();
        assert_eq!(all.matches("http/1.1").count(), 1, "{all}");
        assert!(all.contains("\r\nconnection: close\r\n"), "{all}");
    }
}

#[tokio::test]
async fn compression_is_never_negotiated_and_a_compressed_frame_breaks_a_rule() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "x-webkit-deflate-frame",
        "permessage-deflate; nonsense=\"1",
    ] {
        let server = server(1 << 16);
        let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let request = with("", &format!("Sec-WebSocket-Extensions: {offer}"));
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-extensions"), "{offer}: {head}");
        stream.write_all(&text("\u{0}").reserved(0b100).bytes()).await.unwrap();
        assert_eq!(frame(&mut stream).await.unwrap().payload[..2], 1002u16.to_be_bytes());
    }
}

#[tokio::test]
async fn a_subprotocol_is_confirmed_only_if_it_was_offered_and_is_spoken() {
    for (offer, confirmed) in [
        ("centrifuge-json", Some("centrifuge-json")),
        ("other, centrifuge-json", Some("centrifuge-json")),
        ("other", None),
        ("", None),
    ] {
        let request = with("", &format!("Sec-WebSocket-Protocol: {offer}")).replace(ECHO, SESSION);
        let answer = answer(&request).await;
        assert!(answer.starts_with("http/1.1 101 "), "{offer}: {answer}");
        let found = answer.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(found, confirmed, "{offer}");
    }
}

#[tokio::test]
async fn frames_in_the_same_segment_as_the_request_are_heard() {
    let server = server(1 << 16);
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    let early = [request(ECHO).into_bytes(), text("early").bytes(), close(1000, "").bytes()].concat();
    stream.write_all(&early).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(frame(&mut stream).await.unwrap(), text("early"));
    assert_eq!(frame(&mut stream).await.unwrap(), close(1000, ""));
}

#[tokio::test]
async fn an_upgrade_that_comes_byte_by_byte_is_an_upgrade() {
    let server = server(1 << 16);
    let mut stream = TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request(ECHO).bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    drop(stream);
    drop(open(server.local_addr().unwrap(), ECHO).await);
}

/// A request that comes in one piece may take the short way in; one that comes in pieces of eight bytes never does. By the
/// answer nobody can tell.
#[tokio::test]
async fn an_upgrade_in_pieces_is_answered_like_one_in_one_piece() {
    let mut config = pubsub_server::config::Config::open_default();
    config.echo.enabled = true;
    config.client.allowed_origins = vec!["https://here".to_owned()];
    let (listener, connector) = pubsub_server::transport::listener::memory();
    let _server = pubsub_server::server::Server::new(config).on_current_runtime().start(listener).unwrap();
    let answer = async |request: &str, piece_bytes: usize| {
        let (mut from, mut to) = tokio::io::split(connector.connect(piece_bytes).unwrap());
        let (_, head) = tokio::join!(to.write_all(request.as_bytes()), head(&mut from));
        let mut lines: Vec<String> = head.to_lowercase().lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("date:"));
        lines.sort();
        lines
    };
    for request in [
        request(ECHO),
        request(SESSION),
        request("/echo?x=1"),
        with("", "Origin: https://here"),
        with("", "Sec-WebSocket-Protocol: centrifuge-json").replace(ECHO, SESSION),
        with("", "Sec-WebSocket-Protocol: centrifuge-protobuf").replace(ECHO, SESSION),
        with("", "Sec-WebSocket-Extensions: permessage-deflate"),
        with("", "Origin: https://not.here"),
        with(KEY, "Sec-WebSocket-Key: short"),
        with("", KEY),
        with(VERSION, "Sec-WebSocket-Version: 12"),
        with("", "Sec-WebSocket-Version: 8"),
        with(UPGRADE, "Upgrade: h2c"),
        with(CONNECTION, "Connection: close"),
        with("", "Host: example.org"),
    ] {
        let (whole, pieces) = (answer(&request, 1 << 16).await, answer(&request, 8).await);
        assert_eq!(whole, pieces, "{request}");
        assert!(!whole.is_empty(), "{request}");
    }
}
