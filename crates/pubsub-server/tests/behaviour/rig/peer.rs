//! A peer that speaks raw WebSocket, well or badly.

use std::collections::VecDeque;
use std::time::Duration;

use pubsub_protocol::Format;
use pubsub_protocol::websocket::{Decoder, Event, MessageKind, Opcode, Role, encode_frame};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

/// How long a peer waits for what must come. Under a paused clock that costs nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// What comes from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// One reply or push.
    Reply(Value),
    /// A ping frame of WebSocket.
    NativePing,
    /// A pong frame of WebSocket.
    NativePong(Vec<u8>),
    /// A close frame.
    Close(u16, String),
    /// The end of the stream.
    End,
}

/// One end of a connection.
pub struct Peer<S = DuplexStream> {
    pub stream: S,
    decoder: Decoder,
    heard: VecDeque<Heard>,
    /// The format it speaks. Tests are written in JSON all the same.
    pub format: Format,
    /// Answers the pings of the protocol by itself.
    pub pongs: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(stream: S) -> Self {
        let decoder = Decoder::new(Role::Client, 64 << 20);
        Self { stream, decoder, heard: VecDeque::new(), format: Format::Json, pongs: true }
    }

    /// Asks for the upgrade and returns the status.
    pub async fn upgrade(&mut self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let head = self.response_head().await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Reads the head of an HTTP response, and nothing behind it.
    pub async fn response_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tokio::time::timeout(PATIENCE, self.stream.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Sends a text frame.
    pub async fn text(&mut self, text: &str) {
        self.frame(Opcode::Text, text.as_bytes()).await;
    }

    /// Sends commands in one frame.
    pub async fn say(&mut self, commands: &[Value]) {
        let lines: Vec<String> = commands.iter().map(Value::to_string).collect();
        let lines = lines.join("\n");
        match self.format {
            Format::Json => self.text(&lines).await,
            Format::Protobuf => {
                let mut message = Vec::new();
                for command in Format::Json.commands(lines.as_bytes()) {
                    self.format.encode_command(&command.unwrap(), &mut message).unwrap();
                }
                self.frame(Opcode::Binary, &message).await;
            }
        }
    }

    pub async fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let bytes = Self::encode(opcode, payload);
        self.bytes(&bytes).await;
    }

    pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(opcode, payload, Some([1, 2, 3, 4]), true, &mut bytes);
        bytes
    }

    /// Sends bytes. That the server has gone away meanwhile shows when reading.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next thing the server says. Pings of the protocol are answered, and not told, if so wished.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(heard) = self.heard.pop_front() else {
                tokio::time::timeout(PATIENCE, self.read()).await.expect("the server has nothing more to say");
                continue;
            };
            if self.pongs && heard == Heard::Reply(json!({})) {
                self.say(&[json!({})]).await;
                continue;
            }
            return heard;
        }
    }

    async fn read(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        let n = self.stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            return self.heard.push_back(Heard::End);
        }
        let mut input = &mut buffer[..n];
        loop {
            let decoded = self.decoder.decode(input).expect("the server keeps to the rules of WebSocket");
            let consumed = decoded.consumed;
            let Some(event) = decoded.event else { return };
            match event {
                Event::Message { kind, data } => {
                    let lines = match self.format {
                        Format::Json => data.to_vec(),
                        Format::Protobuf => in_json(data),
                    };
                    assert_eq!(kind == MessageKind::Text, self.format == Format::Json);
                    for line in lines.split(|&byte| byte == b'\n') {
                        self.heard.push_back(Heard::Reply(serde_json::from_slice(line).expect("replies are JSON")));
                    }
                }
                Event::Ping(_) => self.heard.push_back(Heard::NativePing),
                Event::Pong(payload) => self.heard.push_back(Heard::NativePong(payload.to_vec())),
                Event::Close(frame) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code, frame.reason.to_owned()));
                    self.heard.push_back(Heard::Close(code, reason));
                }
            }
            input = &mut input[consumed..];
        }
    }

    /// Lets time pass and answers pings. Returns what else was heard.
    pub async fn idle(&mut self, duration: Duration) -> Vec<Heard> {
        let mut heard = Vec::new();
        let until = tokio::time::Instant::now() + duration;
        while let Ok(next) = tokio::time::timeout_at(until, self.next()).await {
            heard.push(next);
        }
        heard
    }

    /// The next reply or push.
    pub async fn reply(&mut self) -> Value {
        match self.next().await {
            Heard::Reply(reply) => reply,
            other => panic!("expected a reply, got {other:?}"),
        }
    }

    /// Sends one command and returns the next reply.
    pub async fn ask(&mut self, command: Value) -> Value {
        self.say(&[command]).await;
        self.reply().await
    }

    /// Sends one command and returns the code of the error that comes of it.
    pub async fn refused(&mut self, command: Value) -> u64 {
        let reply = self.ask(command).await;
        reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("not refused: {reply}"))
    }

    /// Waits for the server's close frame, whatever comes before it, answers it, and waits for the end.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Heard::Close(code, _) => {
                    self.frame(Opcode::Close, &code.to_be_bytes()).await;
                    while self.next().await != Heard::End {}
                    return code;
                }
                Heard::End => panic!("the stream ended without a close frame"),
                _ => {}
            }
        }
    }
}

/// A message of protobuf as it would be in JSON.
fn in_json(message: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (i, reply) in Format::Protobuf.replies(message).enumerate() {
        if i > 0 {
            lines.push(b'\n');
        }
        Format::Json.encode_reply(&reply.expect("replies are protobuf"), &mut lines);
    }
    lines
}
