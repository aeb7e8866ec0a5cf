//! Runs cases against a server of their own, over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::TcpListener;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::case::{Case, End};
use crate::frame::{CLOSE, Frame, PATIENCE, close, frame, head, ping, pong, request, short};

pub(crate) const ECHO: &str = "/echo";
pub(crate) const SESSION: &str = "/connection/websocket";

/// A failed connection has to be gone by then: before the deadline for a peer that never closes (3 s), which is all that
/// shows that it was not that deadline.
const GONE: Duration = Duration::from_millis(2900);

/// A server with `/echo` and this limit for messages.
pub(crate) fn server(message_bytes_max: usize) -> ServerHandle {
    let mut config = Config::open_default();
    config.echo.enabled = true;
    config.websocket.message_size_limit = message_bytes_max;
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 1024, None).unwrap();
    Server::new(config).start(listener).unwrap()
}

/// How a case is cut into writes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Frames,
    Bytes(usize),
}

impl Cut {
    fn pieces(self, case: &Case) -> Vec<Vec<u8>> {
        match self {
            Self::Whole => vec![case.sent.concat()],
            Self::Frames => case.sent.clone(),
            Self::Bytes(size) => case.sent.concat().chunks(size).map(<[u8]>::to_vec).collect(),
        }
    }
}

/// Runs all cases, each in several cuts, and says all that is wrong at once.
pub(crate) async fn run(message_bytes_max: usize, cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let server = server(message_bytes_max);
    let address = server.local_addr().unwrap();
    let mut runs = Vec::new();
    for case in &cases {
        let bytes: usize = case.sent.iter().map(Vec::len).sum();
        let cuts = match bytes {
            0..=300 => vec![Cut::Whole, Cut::Frames, Cut::Bytes(1), Cut::Bytes(3)],
            301..=100_000 => vec![Cut::Whole, Cut::Frames, Cut::Bytes(bytes.div_ceil(64))],
            _ => case.chops.iter().map(|&size| Cut::Bytes(size)).chain([Cut::Whole, Cut::Bytes(100_003)]).collect(),
        };
        let paths = if case.echoes_nothing() { &[ECHO, SESSION][..] } else { &[ECHO] };
        runs.extend(paths.iter().flat_map(|path| cuts.iter().map(move |cut| (case, *path, *cut))));
    }
    let count = runs.len();
    let wrong: Vec<String> = stream::iter(runs)
        .map(|(case, path, cut)| async move {
            let result = run_one(address, path, case, cut).await;
            result.err().map(|error| format!("{} ({path}, {cut:?}): {error}", case.name))
        })
        .buffer_unordered(16)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {count} runs failed:\n{}", wrong.len(), wrong.join("\n"));
    empties(&server).await;
}

/// Waits until the server has let go of every connection, which it has to do by itself.
pub(crate) async fn empties(server: &ServerHandle) {
    let empty = async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, empty).await.expect("no connection stays behind");
}

async fn run_one(address: SocketAddr, path: &str, case: &Case, cut: Cut) -> Result<(), String> {
    let (mut reader, mut writer) = open(address, path).await.into_split();
    let pieces = cut.pieces(case);
    let writing = async {
        for piece in &pieces {
            // A server that has heard enough may be gone: what it said is judged, not that.
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        for expected in &case.answers {
            let frame = frame(&mut reader).await?;
            if frame != *expected {
                return Err(format!("expected {}, got {}", short(expected), short(&frame)));
            }
        }
        Ok(())
    };
    let ((), read) = tokio::join!(writing, reading);
    read?;
    match &case.end {
        End::Alive => {
            let alive = b"alive?";
            let goodbye = close(1000, "goodbye");
            let _ = writer.write_all(&[ping(alive).bytes(), goodbye.bytes()].concat()).await;
            expect(&mut reader, &pong(alive)).await?;
            expect(&mut reader, &close(1000, "")).await?;
        }
        End::Fails(code) => {
            let last = frame(&mut reader).await?;
            if last.opcode != CLOSE || last.payload.get(..2) != Some(&code.to_be_bytes()) {
                return Err(format!("expected the connection to fail with {code}, got {}", short(&last)));
            }
            if std::str::from_utf8(&last.payload[2..]).is_err() {
                return Err("the reason is not UTF-8".to_owned());
            }
            // A peer that plays by the rules answers; one that does not just keeps talking.
            let _ = writer.write_all(&Frame::new(CLOSE, &last.payload[..2]).bytes()).await;
        }
        End::Closes(payload) => expect(&mut reader, &Frame::new(CLOSE, payload)).await?,
    }
    ends(&mut reader).await
}

async fn expect(reader: &mut (impl AsyncRead + Unpin), expected: &Frame) -> Result<(), String> {
    let frame = frame(reader).await?;
    if frame == *expected { Ok(()) } else { Err(format!("expected {}, got {}", short(expected), short(&frame))) }
}

/// The server ends the connection, soon, and so that nothing it said is lost.
async fn ends(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), String> {
    match timeout(GONE, reader.read_u8()).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(Err(error)) => Err(format!("the connection did not end in good order: {error}")),
        Ok(Ok(_)) => Err("something was said after the close frame".to_owned()),
        Err(_) => Err(format!("the connection is still there {GONE:?} after the close frames")),
    }
}

/// An upgraded connection; where the client protocol is spoken, a connected one.
pub(crate) async fn open(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request(path).as_bytes()).await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    if path == SESSION {
        stream.write_all(&Frame::new(1, br#"{"id":1,"connect":{}}"#).bytes()).await.unwrap();
        let reply = frame(&mut stream).await.unwrap();
        assert!(reply.payload.starts_with(br#"{"id":1,"connect":"#), "{}", short(&reply));
    }
    stream
}
