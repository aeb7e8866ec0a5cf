//! The load generator: one thread, one epoll instance, no buffer for an idle connection, so that it costs little beside what it
//! measures. A second thread publishes.
//!
//! Every publication carries its number within its channel and the moment it was due. A subscriber checks that the numbers
//! come without holes and that they are its channel's. Receivers poll every 200 µs instead of sleeping in the kernel: then a
//! server's write never pays for waking the generator, which on another machine it would not either; latencies have that grain.

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use pubsub_protocol::websocket::{Decoder, Event, Opcode, Role, encode_frame};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::time::Instant;

use super::peer::{Peer, Words};
use super::process::{Child, pause};
use super::workload::{Figures, Load, Workload};
use crate::histogram::Latencies;

/// Connections being set up at any moment.
const IN_FLIGHT: usize = 512;

/// Source addresses: one alone has 28,232 ports.
const SOURCES: usize = 8;

/// How long everything up to the last subscription may take.
const STORM_TIMEOUT: Duration = Duration::from_secs(60);

/// Quiet time before memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the last deliveries may take after the last publication.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often receivers look.
const POLL: Duration = Duration::from_micros(200);

struct Subscriber {
    stream: TcpStream,
    decoder: Decoder,
    stage: Stage,
    channel: usize,
    /// Number of the last publication that came.
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Subscribing,
    Subscribed,
}

/// Counts of the receiving side.
#[derive(Default)]
struct Received {
    deliveries: u64,
    wrong: u64,
    latencies: Latencies,
}

/// Does a workload to a server that was just started.
///
/// # Errors
/// When the server refuses a connection, or does not do its work.
pub fn run(workload: &Workload, peer: &Peer, child: &Child) -> anyhow::Result<Figures> {
    let mut figures = Figures { offered: 1.0, ..Figures::default() };
    let before_kib = child.pss_kib()?;
    let before_cpu = child.cpu_s()?;
    let mut fleet = Fleet::connect(workload, peer, child.address, &mut figures)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of connections")]
    let connections = workload.connections as f64;
    figures.storm_cpu_us = (child.cpu_s()? - before_cpu) * 1e6 / connections;
    pause(SETTLE);
    figures.idle_kib = (child.pss_kib()? - before_kib) / connections;
    if workload.load != Load::Idle {
        fleet.load(workload, peer, child, &mut figures)?;
    }
    Ok(figures)
}

struct Fleet {
    epoll: OwnedFd,
    subscribers: Vec<Subscriber>,
    words: Words,
    epoch: Instant,
    buffer: Vec<u8>,
    received: Received,
}

impl Fleet {
    fn connect(workload: &Workload, peer: &Peer, address: SocketAddr, figures: &mut Figures) -> anyhow::Result<Self> {
        let mut fleet = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            subscribers: Vec::with_capacity(workload.connections),
            words: peer.words,
            epoch: Instant::now(),
            buffer: vec![0; 256 * 1024],
            received: Received::default(),
        };
        let begun = Instant::now();
        let mut ready = 0;
        while ready < workload.connections {
            while fleet.subscribers.len() < workload.connections && fleet.subscribers.len() - ready < IN_FLIGHT {
                fleet.dial(workload, peer, address)?;
            }
            ready += fleet.turn(Some(workload))?;
            ensure!(
                begun.elapsed() < STORM_TIMEOUT,
                "only {ready} of {} were subscribed in time",
                workload.connections
            );
        }
        figures.storm_s = begun.elapsed().as_secs_f64();
        Ok(fleet)
    }

    fn dial(&mut self, workload: &Workload, peer: &Peer, address: SocketAddr) -> anyhow::Result<()> {
        let at = self.subscribers.len();
        let stream = dial(at % SOURCES, address)?;
        (&stream).write_all(&upgrade(peer, address))?;
        stream.set_nonblocking(true)?;
        let name = EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &stream, name, EventFlags::IN | EventFlags::ET)?;
        self.subscribers.push(Subscriber {
            stream,
            decoder: Decoder::new(Role::Client, 1 << 26),
            stage: Stage::Upgrading,
            channel: workload.channel_of(at),
            last: 0,
        });
        Ok(())
    }

    /// Reads whatever has come. Returns how many became subscribed.
    fn turn(&mut self, setup: Option<&Workload>) -> anyhow::Result<usize> {
        let mut ready = 0;
        let mut events = [MaybeUninit::uninit(); 1024];
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        if events.len() < 64 {
            pause(POLL);
        }
        for event in events {
            let at = usize::try_from(event.data.u64())?;
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = self.read(at, &mut buffer, setup);
            self.buffer = buffer;
            ready += usize::from(read.with_context(|| format!("subscriber {at}"))?);
        }
        Ok(ready)
    }

    /// Reads a socket until it is empty. Returns whether it became subscribed.
    fn read(&mut self, at: usize, buffer: &mut [u8], setup: Option<&Workload>) -> anyhow::Result<bool> {
        let mut became = false;
        loop {
            let subscriber = &mut self.subscribers[at];
            let n = match subscriber.stream.read(buffer) {
                Ok(0) => anyhow::bail!("the server closed the connection"),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(became),
                Err(error) => return Err(error.into()),
            };
            let mut input = &mut buffer[..n];
            if subscriber.stage == Stage::Upgrading {
                // A head is small and comes in one piece over loopback.
                let end = input.windows(4).position(|window| window == b"\r\n\r\n").context("half a head")?;
                ensure!(input.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&input[..end]));
                subscriber.stage = Stage::Subscribing;
                let channel = channel_name(subscriber.channel);
                subscriber.stream.write_all(&self.words.subscribe(&channel))?;
                input = &mut input[end + 4..];
            }
            loop {
                let decoded = subscriber.decoder.decode(input)?;
                let Some(event) = decoded.event else { break };
                match event {
                    Event::Message { data, .. } if subscriber.stage == Stage::Subscribed => {
                        if let Some(stamp) = Stamp::find(data) {
                            self.received.count(&stamp, subscriber.channel, &mut subscriber.last, self.epoch);
                        } else if let Some(pong) = self.words.pong(data) {
                            subscriber.stream.write_all(&pong)?;
                        }
                    }
                    Event::Message { data, .. } => match self.words.subscribed(data) {
                        Some(true) => {
                            subscriber.stage = Stage::Subscribed;
                            became = setup.is_some();
                        }
                        Some(false) => anyhow::bail!("refused: {}", String::from_utf8_lossy(data)),
                        None => {}
                    },
                    Event::Ping(payload) => {
                        let mut pong = Vec::new();
                        encode_frame(Opcode::Pong, payload, Some([0; 4]), true, &mut pong);
                        subscriber.stream.write_all(&pong)?;
                    }
                    Event::Pong(_) => {}
                    Event::Close(frame) => anyhow::bail!("closed by the server: {frame:?}"),
                }
                let consumed = decoded.consumed;
                input = &mut input[consumed..];
            }
            if n < buffer.len() {
                return Ok(became);
            }
        }
    }

    fn load(&mut self, workload: &Workload, peer: &Peer, child: &Child, figures: &mut Figures) -> anyhow::Result<()> {
        let lasting = match workload.load {
            Load::Idle => return Ok(()),
            Load::Rate { lasting, .. } | Load::Saturate { lasting, .. } => lasting,
        };
        let delivered = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let publisher = Publisher {
            stream: dial(0, child.address)?,
            words: peer.words,
            epoch: self.epoch,
            workload: workload.clone(),
            delivered: delivered.clone(),
            done: done.clone(),
        };
        let head = upgrade(peer, child.address);
        let before_cpu = child.cpu_s()?;
        let begun = Instant::now();
        let publishing = std::thread::spawn(move || publisher.run(&head));
        let mut last_count = (0, Instant::now());
        while !done.load(Ordering::Acquire) {
            self.turn(None)?;
            delivered.store(self.received.deliveries, Ordering::Release);
        }
        let published = publishing.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
        let expected: u64 =
            published.by_channel.iter().enumerate().map(|(c, &n)| n * workload.subscribers_of(c) as u64).sum();
        while self.received.deliveries < expected && last_count.1.elapsed() < DRAIN_TIMEOUT {
            self.turn(None)?;
            if self.received.deliveries > last_count.0 {
                last_count = (self.received.deliveries, Instant::now());
            }
        }
        let took = begun.elapsed().min(lasting + DRAIN_TIMEOUT);
        let cpu = child.cpu_s()? - before_cpu;
        let received = &self.received;
        figures.deliveries = received.deliveries;
        figures.expected = expected;
        figures.wrong = received.wrong;
        figures.offered = published.offered;
        #[expect(clippy::cast_precision_loss, reason = "a count of deliveries")]
        let deliveries = received.deliveries.max(1) as f64;
        figures.per_s = deliveries / took.as_secs_f64();
        figures.cpu_us = cpu * 1e6 / deliveries;
        let quantiles = received.latencies.response();
        figures.p50_ms = quantiles.p50;
        figures.p99_ms = quantiles.p99;
        Ok(())
    }
}

impl Received {
    fn count(&mut self, stamp: &Stamp, channel: usize, last: &mut u64, epoch: Instant) {
        self.deliveries += 1;
        if stamp.channel != channel || stamp.number != *last + 1 {
            self.wrong += 1;
        }
        *last = stamp.number;
        self.latencies.record_one(epoch.elapsed().saturating_sub(stamp.due));
    }
}

/// What a publication carries.
struct Stamp {
    channel: usize,
    number: u64,
    due: Duration,
}

impl Stamp {
    const MARK: &'static [u8] = b"stamp-";

    fn write(&self, payload: usize) -> String {
        let mut text = format!("stamp-{}-{}-{}-", self.channel, self.number, self.due.as_nanos());
        while text.len() < payload {
            text.push('x');
        }
        text
    }

    fn find(message: &[u8]) -> Option<Self> {
        let begin = message.windows(Self::MARK.len()).position(|window| window == Self::MARK)? + Self::MARK.len();
        let mut numbers = message[begin..].split(|&byte| byte == b'-');
        let mut number = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u64>().ok();
        let (channel, count, due) = (number()?, number()?, number()?);
        Some(Self { channel: usize::try_from(channel).ok()?, number: count, due: Duration::from_nanos(due) })
    }
}

struct Publisher {
    stream: TcpStream,
    words: Words,
    epoch: Instant,
    workload: Workload,
    delivered: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

struct Published {
    by_channel: Vec<u64>,
    offered: f64,
}

impl Publisher {
    fn run(mut self, head: &[u8]) -> anyhow::Result<Published> {
        let published = self.publish(head);
        self.done.store(true, Ordering::Release);
        published
    }

    fn publish(&mut self, head: &[u8]) -> anyhow::Result<Published> {
        self.stream.write_all(head)?;
        let mut answer = [0; 4096];
        let n = self.stream.read(&mut answer)?;
        ensure!(answer[..n].starts_with(b"HTTP/1.1 101"), "the publisher was refused");
        self.stream.write_all(&self.words.greet())?;
        // Answers are read and dropped, so that the server never waits for us.
        let mut answers = self.stream.try_clone()?;
        let _reader = std::thread::spawn(move || {
            let mut sink = vec![0; 64 * 1024];
            while matches!(answers.read(&mut sink), Ok(n) if n > 0) {}
        });
        let mut by_channel = vec![0; self.workload.channels];
        let begun = Instant::now();
        let mut total = 0u64;
        let offered = match self.workload.load {
            Load::Idle => 1.0,
            Load::Rate { per_s, lasting } => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of publications")]
                let planned = (per_s * lasting.as_secs_f64()).round() as u64;
                while total < planned {
                    #[expect(clippy::cast_precision_loss, reason = "a count of publications")]
                    let due = begun + Duration::from_secs_f64(total as f64 / per_s);
                    let ahead = due.saturating_duration_since(Instant::now());
                    if !ahead.is_zero() {
                        pause(ahead);
                    }
                    self.send(&mut by_channel, total, due.saturating_duration_since(self.epoch))?;
                    total += 1;
                }
                // Late by more than a hundredth of the whole: the load was not what it says.
                (lasting.as_secs_f64() / begun.elapsed().as_secs_f64()).min(1.0)
            }
            Load::Saturate { window, lasting } => {
                let fan_out = self.workload.subscribers_of(0) as u64;
                while begun.elapsed() < lasting {
                    if total * fan_out < self.delivered.load(Ordering::Acquire) + window * fan_out {
                        self.send(&mut by_channel, total, self.epoch.elapsed())?;
                        total += 1;
                    } else {
                        pause(Duration::from_micros(20));
                    }
                }
                1.0
            }
        };
        // The connection stays until the last delivery: a server may drop what a closed one has sent.
        std::mem::forget(self.stream.try_clone()?);
        Ok(Published { by_channel, offered })
    }

    fn send(&mut self, by_channel: &mut [u64], n: u64, due: Duration) -> anyhow::Result<()> {
        let channel = usize::try_from(n % by_channel.len() as u64)?;
        by_channel[channel] += 1;
        let body = Stamp { channel, number: by_channel[channel], due }.write(self.workload.payload);
        // Ids are 32 bits wide, and 1 was the greeting.
        let id = 2 + n % 4_000_000_000;
        self.stream.write_all(&self.words.publish(id, &channel_name(channel), &body))?;
        Ok(())
    }
}

fn channel_name(channel: usize) -> String {
    format!("c{channel}")
}

fn dial(source: usize, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let last = u8::try_from(source + 1)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn upgrade(peer: &Peer, address: SocketAddr) -> Vec<u8> {
    format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        peer.path
    )
    .into_bytes()
}
