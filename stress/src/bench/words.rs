//! What the load generator says to each kind of server, and how it understands the answers.

use std::net::SocketAddr;

use pubsub_protocol::command::{Command, ConnectRequest, PublishRequest, Request, SubscribeRequest};
use pubsub_protocol::websocket::{Opcode, encode_frame};
use pubsub_protocol::{Format, Payload, Reply};

/// What a server wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `sub CHANNEL` is answered by `ok`, `pub CHANNEL BODY` sends BODY, `{}` is a ping and its answer: the floor, and the naive server.
    Raw,
    /// The Centrifuge client protocol in JSON.
    Centrifuge,
    /// The same in protobuf.
    Protobuf,
    /// NATS over WebSocket.
    Nats,
    /// nchan: the path names the channel, and publications are HTTP requests.
    Nchan,
    /// MQTT 3.1.1 over WebSocket, quality of service 0.
    Mqtt,
}

impl Words {
    /// The request that opens a WebSocket. `{c}` in the path stands for the channel.
    #[must_use]
    pub fn upgrade(self, path: &str, address: SocketAddr, channel: &str) -> Vec<u8> {
        let path = path.replace("{c}", channel);
        let subprotocol = if self == Self::Mqtt { "Sec-WebSocket-Protocol: mqtt\r\n" } else { "" };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{subprotocol}\r\n"
        )
        .into_bytes()
    }

    /// What a subscriber says first, masked as a client must. Nothing: the upgrade was all.
    #[must_use]
    pub fn subscribe(self, client: usize, channels: &[String]) -> Option<Vec<u8>> {
        let text = match self {
            Self::Raw => {
                return Some(channels.iter().flat_map(|channel| self.frame(&format!("sub {channel}"))).collect());
            }
            Self::Centrifuge => {
                let mut text = String::from(r#"{"id":1,"connect":{}}"#);
                for (channel, id) in channels.iter().zip(2..) {
                    text.push_str(&format!("\n{{\"id\":{id},\"subscribe\":{{\"channel\":\"{channel}\"}}}}"));
                }
                text
            }
            Self::Protobuf => {
                let subscribe = |channel: &String| {
                    Request::Subscribe(SubscribeRequest { channel: channel.clone(), ..Default::default() })
                };
                let connect = Request::Connect(ConnectRequest::default());
                return Some(protobuf((1..).zip(std::iter::once(connect).chain(channels.iter().map(subscribe)))));
            }
            Self::Nats => {
                let subscriptions = channels.iter().zip(1..).map(|(channel, sid)| format!("SUB {channel} {sid}\r\n"));
                format!("{NATS_CONNECT}{}PING\r\n", subscriptions.collect::<String>())
            }
            Self::Nchan => return None,
            Self::Mqtt => {
                let mut topics = vec![0, 1];
                for channel in channels {
                    mqtt_string(&mut topics, channel);
                    topics.push(0);
                }
                return Some([mqtt_connect(&format!("s{client}")), mqtt_frame(0x82, &topics)].concat());
            }
        };
        Some(self.frame(&text))
    }

    /// Whether a message says that the last of so many subscriptions is there, or that one will not be.
    #[must_use]
    pub fn subscribed(self, message: &[u8], subscriptions: usize) -> Option<bool> {
        let has = |needle: &[u8]| message.windows(needle.len()).any(|window| window == needle);
        match self {
            Self::Raw => has(b"ok").then_some(true),
            Self::Centrifuge if has(b"\"error\"") => Some(false),
            Self::Centrifuge => has(format!("\"id\":{},", subscriptions + 1).as_bytes()).then_some(true),
            Self::Protobuf => answer(message).and_then(|(id, good)| match good {
                false => Some(false),
                true => (usize::try_from(id) == Ok(subscriptions + 1)).then_some(true),
            }),
            Self::Nats if has(b"-ERR") => Some(false),
            Self::Nats => has(b"PONG").then_some(true),
            Self::Nchan => Some(true),
            Self::Mqtt if message.starts_with(&[0x20]) && message.get(3) != Some(&0) => Some(false),
            Self::Mqtt => message.starts_with(&[0x90]).then_some(true),
        }
    }

    /// The answer to a ping of the protocol, if the message is one.
    #[must_use]
    pub fn pong(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Raw | Self::Centrifuge => (message == b"{}").then(|| self.frame("{}")),
            Self::Protobuf => (message == b"\x00").then(|| protobuf([(0, Request::Pong)])),
            Self::Nats => message.starts_with(b"PING").then(|| self.frame("PONG\r\n")),
            Self::Nchan | Self::Mqtt => None,
        }
    }

    /// What a publisher says first.
    #[must_use]
    pub fn greet(self) -> Vec<u8> {
        match self {
            Self::Raw | Self::Nchan => Vec::new(),
            Self::Centrifuge => self.frame(r#"{"id":1,"connect":{}}"#),
            Self::Protobuf => protobuf([(1, Request::Connect(ConnectRequest::default()))]),
            Self::Nats => self.frame(NATS_CONNECT),
            Self::Mqtt => mqtt_connect("p"),
        }
    }

    /// Whether a publisher begins with an upgrade.
    #[must_use]
    pub fn publishes_over_websocket(self) -> bool {
        self != Self::Nchan
    }

    /// Publishes `body`, which needs no escape.
    #[must_use]
    pub fn publish(self, id: u64, channel: &str, body: &str) -> Vec<u8> {
        self.frame(&match self {
            Self::Raw => format!("pub {channel} {body}"),
            Self::Centrifuge => format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"{body}"}}}}"#),
            Self::Protobuf => {
                let data = Some(Payload::opaque(body.as_bytes()));
                let request = PublishRequest { channel: channel.to_owned(), data, ..Default::default() };
                return protobuf([(u32::try_from(id).expect("ids are small"), Request::Publish(request))]);
            }
            Self::Nats => format!("PUB {channel} {}\r\n{body}\r\n", body.len()),
            Self::Nchan => {
                let head = format!("POST /pub/{channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
                return (head + body).into_bytes();
            }
            Self::Mqtt => {
                let mut packet = Vec::with_capacity(body.len() + 16);
                mqtt_string(&mut packet, channel);
                packet.extend_from_slice(body.as_bytes());
                return mqtt_frame(0x30, &packet);
            }
        })
    }

    /// Whether something that a publisher was answered is a refusal.
    #[must_use]
    pub fn refused(self, message: &[u8]) -> bool {
        match self {
            Self::Centrifuge => message.windows(7).any(|window| window == b"\"error\""),
            Self::Protobuf => answer(message).is_some_and(|(_, good)| !good),
            Self::Nats => message.starts_with(b"-ERR"),
            Self::Nchan => message.starts_with(b"HTTP/1.1 4") || message.starts_with(b"HTTP/1.1 5"),
            Self::Raw | Self::Mqtt => false,
        }
    }

    /// Whether a message is a piece of a stream, and may begin or end anywhere.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self == Self::Nats
    }

    fn frame(self, text: &str) -> Vec<u8> {
        masked(if self == Self::Nats { Opcode::Binary } else { Opcode::Text }, text.as_bytes())
    }
}

const NATS_CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n";

/// A frame of a client. The mask hides nothing here; its cost at the server is the same whatever it is.
#[must_use]
pub fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    encode_frame(opcode, payload, Some([0x5a, 0xc3, 0x3c, 0xa5]), true, &mut out);
    out
}

/// One message with these commands.
fn protobuf(commands: impl IntoIterator<Item = (u32, Request)>) -> Vec<u8> {
    let mut message = Vec::new();
    for (id, request) in commands {
        let command = Command { id, request };
        Format::Protobuf.encode_command(&command, &mut message).expect("protobuf carries whatever there is");
    }
    masked(Opcode::Binary, &message)
}

/// Which command a message answers, and whether it was done. A message of the server holds one reply.
fn answer(message: &[u8]) -> Option<(u32, bool)> {
    match Format::Protobuf.replies(message).next()? {
        Ok(Reply::Answer { id, outcome }) => Some((id, outcome.is_ok())),
        _ => None,
    }
}

fn mqtt_connect(id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    mqtt_string(&mut body, "MQTT");
    // Level 4, a clean session, no keep-alive.
    body.extend_from_slice(&[4, 2, 0, 0]);
    mqtt_string(&mut body, id);
    mqtt_frame(0x10, &body)
}

fn mqtt_frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let more = length >= 128;
        packet.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            break;
        }
    }
    packet.extend_from_slice(body);
    masked(Opcode::Binary, &packet)
}

fn mqtt_string(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("names of channels are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
