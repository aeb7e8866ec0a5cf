//! A peer that hides nothing: one connection, no reconnects, no gap repair, every reply as it came.
//!
//! The real client mends what a bad transport does to it, which is its job; here the wire itself is wanted: the oracle's
//! tests plant transport bugs and must see them, and misbehaving peers need bytes that no client would send. Frames
//! are read by the lab's own scanner, not by the codec that is being tested.

use std::io;

use pubsub_protocol::command::{ChannelRequest, Command, ConnectRequest, Request, SubscribeRequest};
use pubsub_protocol::reply::Reply;
use pubsub_protocol::{Format, StreamPosition};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::chance::Chance;
use crate::fault::frames::{FrameCursor, FrameHeader, Unit, payload};

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Replies, in order.
    Replies(Vec<Reply>),
    /// A close frame.
    Close {
        /// Its code; 1005 if it has none.
        code: u16,
    },
    /// A frame that this protocol has no use for, or text that cannot be read.
    Garbage(String),
    /// The end of the stream, without a close frame before it.
    End,
}

/// See the module.
#[derive(Debug)]
pub struct RawPeer<S> {
    stream: S,
    cursor: FrameCursor,
    /// The frame under way, as far as it has come.
    begun: Vec<u8>,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    chance: Chance,
    command_id: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawPeer<S> {
    /// Upgrades `stream`. Masks and keys come from `chance`.
    ///
    /// # Errors
    /// When the stream breaks or the answer is not 101.
    pub async fn upgrade(mut stream: S, host: &str, chance: Chance) -> io::Result<Self> {
        let request = format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bGFiLWxhYi1sYWItbGFiLQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let cursor = FrameCursor::default();
        let (begun, unsent, unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut peer = Self { stream, cursor, begun, unsent, unread, chance, command_id: 0 };
        let Some((Unit::Head, head)) = peer.unit().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(io::Error::other(String::from_utf8_lossy(&head).lines().next().unwrap_or("").to_owned()));
        }
        Ok(peer)
    }

    /// Sends a command, and returns its id.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn send(&mut self, request: Request) -> io::Result<u32> {
        let id = self.put(request)?;
        self.flush().await?;
        Ok(id)
    }

    fn put(&mut self, request: Request) -> io::Result<u32> {
        self.command_id += 1;
        let id = if request == Request::Pong { 0 } else { self.command_id };
        let mut text = Vec::new();
        Format::Json.encode_command(&Command { id, request }, &mut text).map_err(io::Error::other)?;
        self.put_frame(0x81, &text);
        Ok(id)
    }

    /// Opens the session.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn connect(&mut self) -> io::Result<u32> {
        self.send(Request::Connect(ConnectRequest::default())).await
    }

    /// Subscribes, recovering from `from` if there is one.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn subscribe(&mut self, channel: &str, from: Option<StreamPosition>) -> io::Result<u32> {
        let recover = from.is_some();
        let StreamPosition { offset, epoch } = from.unwrap_or_default();
        let request = SubscribeRequest { channel: channel.to_owned(), recover, offset, epoch, ..Default::default() };
        self.send(Request::Subscribe(request)).await
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn unsubscribe(&mut self, channel: &str) -> io::Result<u32> {
        self.send(Request::Unsubscribe(ChannelRequest { channel: channel.to_owned() })).await
    }

    /// Sends a frame with whatever first byte and payload.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.put_frame(first, payload);
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let written = self.stream.write(&self.unsent).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unsent.drain(..written);
        }
        self.stream.flush().await
    }

    fn put_frame(&mut self, first: u8, payload: &[u8]) {
        let mask = self.chance.bits().to_le_bytes();
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap_or(0)),
            medium @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(medium).unwrap_or(0).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(&mask[..4]);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        self.unsent.extend(frame);
    }

    /// The next message. Answers pings of the protocol, at the latest when it is called again. Dropped before it is ready,
    /// it loses nothing.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn next(&mut self) -> io::Result<Message> {
        self.flush().await?;
        let Some((Unit::Frame(header), frame)) = self.unit().await? else { return Ok(Message::End) };
        let message = payload(&header, &frame);
        match (header.opcode(), header.is_whole_data()) {
            (8, _) => Ok(Message::Close { code: message.get(..2).map_or(1005, |c| u16::from_be_bytes([c[0], c[1]])) }),
            (1, true) => {
                let replies: Result<Vec<Reply>, _> = Format::Json.replies(&message).collect();
                let Ok(replies) = replies else {
                    return Ok(Message::Garbage(String::from_utf8_lossy(&message).chars().take(80).collect()));
                };
                if replies.contains(&Reply::Ping) {
                    self.put(Request::Pong)?;
                }
                Ok(Message::Replies(replies))
            }
            _ => Ok(Message::Garbage(described(&header))),
        }
    }

    /// The stream underneath.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The next head or frame. `None`: the stream ended, in the middle of one or between two.
    async fn unit(&mut self) -> io::Result<Option<(Unit, Vec<u8>)>> {
        loop {
            let step = self.cursor.step(&self.unread);
            self.begun.extend(self.unread.drain(..step.used));
            if let Some(unit) = step.complete {
                return Ok(Some((unit, std::mem::take(&mut self.begun))));
            }
            // Waited for to its end, it would swallow the beginning of the next.
            if self.begun.get(1).is_some_and(|length| length & 0x80 != 0) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of the server is masked"));
            }
            let mut buf = [0; 4096];
            let count = self.stream.read(&mut buf).await?;
            if count == 0 {
                return Ok(None);
            }
            self.unread.extend_from_slice(&buf[..count]);
        }
    }
}

fn described(header: &FrameHeader) -> String {
    format!(
        "a frame of opcode {} with {} bytes (first byte {:#04x})",
        header.opcode(),
        header.payload_bytes,
        header.first
    )
}
