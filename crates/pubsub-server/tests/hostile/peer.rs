//! A client that says what it is told to say.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

use crate::frame::{CLOSE, Frame, TEXT, frame, head, request, text};

/// Where the client protocol is spoken.
pub(crate) const PATH: &str = "/connection/websocket";

/// One connection.
pub(crate) struct Peer {
    pub(crate) reader: BufReader<OwnedReadHalf>,
    pub(crate) writer: OwnedWriteHalf,
}

impl Peer {
    /// TCP and no more.
    pub(crate) async fn raw(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// The same with the least room for what it does not read.
    pub(crate) async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1024).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer }
    }

    /// Has it upgraded.
    pub(crate) async fn upgraded(mut self) -> Self {
        self.writer.write_all(request(PATH).as_bytes()).await.unwrap();
        let head = head(&mut self.reader).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Has it connected.
    pub(crate) async fn connected(self) -> Self {
        let mut peer = self.upgraded().await;
        peer.say(r#"{"id":1,"connect":{}}"#).await;
        let reply = peer.hear().await;
        assert!(reply["connect"].is_object(), "{reply}");
        peer
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: &Frame) -> std::io::Result<()> {
        self.writer.write_all(&frame.bytes()).await
    }

    /// Sends commands.
    pub(crate) async fn say(&mut self, commands: &str) {
        self.send(&text(commands)).await.unwrap();
    }

    /// The next reply that is no ping. Pings are answered.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            let frame = frame(&mut self.reader).await.unwrap();
            assert_eq!(frame.opcode, TEXT, "{}", crate::frame::short(&frame));
            if frame.payload == b"{}" {
                self.say("{}").await;
                continue;
            }
            return serde_json::from_slice(&frame.payload).unwrap();
        }
    }

    /// The code that the server closes with, whatever it says before that. None: it ended without one.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            let frame = frame(&mut self.reader).await.ok()?;
            if frame.opcode == CLOSE {
                return frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }
}
