//! The floor: the least that any server can cost. One thread, one epoll instance, an upgrade that checks nothing, and one
//! encoded frame given to `send` for each subscriber. No features, no limits, no safety; never to be used for anything else.
//!
//! Its words: `sub CHANNEL` is answered by `ok`; `pub CHANNEL BODY` sends BODY to all subscribers; asked to, it sends each
//! connection a `{}` now and then, and reads what is answered.

#![expect(
    clippy::disallowed_types,
    reason = "it is no part of a run in virtual time, and looks up a channel for each publication"
)]

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use pubsub_protocol::websocket::{Decoder, Event, FrameBuilder, Opcode, Role};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::time::Instant;

/// A fixed answer: the load generator does not look at the key.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";

const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    upgraded: bool,
}

/// Heartbeats leave together so often: as rarely as their server's would, so that as many share what goes around them.
const TICK: Duration = Duration::from_millis(100);

/// Heartbeats of all connections, each in its turn.
struct Heart {
    interval: Duration,
    next_tick: Instant,
    /// So many have been due.
    due: f64,
    beaten: u64,
}

impl Heart {
    /// Sends what is due. Returns how long until the next.
    fn beat(&mut self, connections: &[Option<Connection>]) -> Duration {
        let now = Instant::now();
        while self.next_tick <= now {
            self.next_tick += TICK;
            self.due += connections.len() as f64 * TICK.as_secs_f64() / self.interval.as_secs_f64();
            let beat = frame("{}");
            while (self.beaten as f64) < self.due {
                send(&connections[self.beaten as usize % connections.len()], &beat);
                self.beaten += 1;
            }
        }
        self.next_tick - now
    }
}

/// Serves until it is killed, with a heartbeat for each connection every `pings`.
///
/// # Errors
/// When it can not listen.
pub fn serve(port: u16, pings: Option<Duration>) -> anyhow::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let listener: TcpListener = socket.into();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut channels: HashMap<String, Vec<usize>> = HashMap::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut heart = pings.map(|interval| Heart { interval, next_tick: Instant::now() + TICK, due: 0.0, beaten: 0 });
    loop {
        let wait = heart.as_mut().map(|heart| heart.beat(&connections));
        let wait = wait.map(|wait| Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() });
        let mut events = [MaybeUninit::uninit(); 256];
        let (events, _) = epoll::wait(&epoll, &mut events, wait.as_ref())?;
        for event in events {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    let at = connections.len();
                    epoll::add(&epoll, &stream, EventData::new_u64(at as u64), EventFlags::IN)?;
                    connections.push(Some(Connection {
                        stream,
                        decoder: Decoder::new(Role::Server, 1 << 24),
                        upgraded: false,
                    }));
                }
                continue;
            }
            let Ok(at) = usize::try_from(event.data.u64()) else { continue };
            let Some(connection) = connections.get_mut(at).and_then(Option::as_mut) else { continue };
            let n = match connection.stream.read(&mut buffer) {
                Ok(0) => {
                    connections[at] = None;
                    continue;
                }
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => {
                    connections[at] = None;
                    continue;
                }
            };
            let mut input = &mut buffer[..n];
            if !connection.upgraded {
                connection.upgraded = true;
                connection.stream.write_all(SWITCHING)?;
                continue;
            }
            let mut said = Vec::new();
            while let Ok(decoded) = connection.decoder.decode(input) {
                let Some(event) = decoded.event else { break };
                if let Event::Message { data, .. } = event {
                    said.push(String::from_utf8_lossy(data).into_owned());
                }
                let consumed = decoded.consumed;
                input = &mut input[consumed..];
            }
            for text in said {
                hear(&text, at, &connections, &mut channels);
            }
        }
    }
}

fn hear(text: &str, at: usize, connections: &[Option<Connection>], channels: &mut HashMap<String, Vec<usize>>) {
    if let Some(channel) = text.strip_prefix("sub ") {
        channels.entry(channel.to_owned()).or_default().push(at);
        send(&connections[at], &frame("ok"));
    } else if let Some((channel, body)) = text.strip_prefix("pub ").and_then(|rest| rest.split_once(' ')) {
        let frame = frame(body);
        for &member in channels.get(channel).map_or(&[][..], |members| members) {
            send(&connections[member], &frame);
        }
    }
}

fn frame(text: &str) -> Vec<u8> {
    let mut builder = FrameBuilder::with_capacity(text.len());
    builder.payload_mut().extend_from_slice(text.as_bytes());
    let (bytes, start) = builder.finish(Opcode::Text);
    bytes[start..].to_vec()
}

/// Sends, and lets what does not fit be lost: a floor has no queue.
fn send(connection: &Option<Connection>, frame: &[u8]) {
    if let Some(connection) = connection {
        let _ = (&connection.stream).write(frame);
    }
}
