//! The receiving side: one thread, one epoll instance, no buffer for an idle connection, so that it costs little beside what it
//! measures.
//!
//! A subscriber checks that its channel's numbers come without holes. While there is load, receivers poll every 200 µs instead of
//! sleeping in the kernel: then a server's write never pays for waking the generator, which on another machine it would not
//! either; latencies have that grain.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use pubsub_protocol::websocket::{Decoder, Event, Opcode, Role};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::time::Instant;

use super::peer::Peer;
use super::process::pause;
use super::publisher::Line;
use super::stamp::Stamp;
use super::stream::Stream;
use super::words::{Words, masked};
use super::workload::Workload;

/// Connections being set up at any moment.
const IN_FLIGHT: usize = 512;

/// How long everything up to the last subscription may take.
const STORM_TIMEOUT: Duration = Duration::from_secs(60);

/// How often receivers look while there is load.
const POLL: Duration = Duration::from_micros(200);

/// The name under which the publisher's answers are watched.
const PUBLISHER: u64 = u64::MAX;

/// Largest latency told apart, in microseconds.
const MICROS_MAX: u64 = 60_000_000;

/// How to wait for the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In the kernel, at most so many milliseconds.
    Asleep(u32),
    /// Not in the kernel: servers are not to pay for waking us.
    Polling,
}

/// All subscribers.
pub struct Fleet {
    epoll: OwnedFd,
    subscribers: Vec<Subscriber>,
    words: Words,
    epoch: Instant,
    buffer: Vec<u8>,
    /// Beginnings of stamps whose ends have not come yet, where messages are pieces of a stream.
    cut: BTreeMap<usize, Vec<u8>>,
    publisher: Option<Line>,
    /// What came since this was last taken.
    pub received: Received,
}

struct Subscriber {
    stream: Stream,
    decoder: Decoder,
    stage: Stage,
    channel: u32,
    /// Number of the last publication that came.
    last: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Subscribing,
    Subscribed,
}

/// Counts of what came.
#[derive(Debug)]
pub struct Received {
    /// All deliveries.
    pub deliveries: u64,
    /// Those out of order, doubled, after a hole or of another channel.
    pub wrong: u64,
    /// From the planned moment of publishing, in microseconds.
    pub latencies: Histogram<u64>,
}

impl Default for Received {
    fn default() -> Self {
        let latencies = Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("the bounds are constants and in order");
        Self { deliveries: 0, wrong: 0, latencies }
    }
}

impl Fleet {
    /// Connects and subscribes everybody, as fast as the server can.
    ///
    /// # Errors
    /// When one is refused, or it takes too long.
    pub fn connect(workload: &Workload, peer: &Peer, address: SocketAddr) -> anyhow::Result<Self> {
        let mut fleet = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            subscribers: Vec::with_capacity(workload.connections),
            words: peer.words,
            epoch: Instant::now(),
            buffer: vec![0; 256 * 1024],
            cut: BTreeMap::new(),
            publisher: None,
            received: Received::default(),
        };
        let mut ready = 0;
        while ready < workload.connections {
            while fleet.subscribers.len() < workload.connections && fleet.subscribers.len() - ready < IN_FLIGHT {
                fleet.dial(workload, peer, address)?;
            }
            ready += fleet.turn(Wait::Asleep(5), Some(workload))?;
            ensure!(
                fleet.epoch.elapsed() < STORM_TIMEOUT,
                "only {ready} of {} were subscribed in time",
                workload.connections
            );
        }
        Ok(fleet)
    }

    fn dial(&mut self, workload: &Workload, peer: &Peer, address: SocketAddr) -> anyhow::Result<()> {
        let at = self.subscribers.len();
        let channel = workload.channels_of(at).start;
        let mut stream = Stream::dial(at, address, peer.trust.as_ref())?;
        stream.write(&self.words.upgrade(&peer.path, address, &channel_name(channel)))?;
        let name = EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &stream, name, EventFlags::IN | EventFlags::ET)?;
        self.subscribers.push(Subscriber {
            stream,
            decoder: Decoder::new(Role::Client, 1 << 26),
            stage: Stage::Upgrading,
            channel: u32::try_from(channel)?,
            last: 0,
        });
        Ok(())
    }

    /// When it was made: what all times of a run count from.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Reads the answers to what this publisher says, too.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen_to(&mut self, publisher: Line) -> anyhow::Result<()> {
        publisher.watch(&self.epoll, EventData::new_u64(PUBLISHER))?;
        self.publisher = Some(publisher);
        Ok(())
    }

    /// Does nothing but to answer pings.
    ///
    /// # Errors
    /// When a connection ends.
    pub fn rest(&mut self, lasting: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < lasting {
            self.turn(Wait::Asleep(20), None)?;
        }
        Ok(())
    }

    /// Reads whatever has come. Returns how many became subscribed.
    ///
    /// # Errors
    /// When a connection ends, or something comes that should not.
    pub fn turn(&mut self, wait: Wait, setup: Option<&Workload>) -> anyhow::Result<usize> {
        let mut ready = 0;
        let mut events = [MaybeUninit::uninit(); 1024];
        let ms = if let Wait::Asleep(ms) = wait { i64::from(ms) } else { 0 };
        let (events, _) =
            epoll::wait(&self.epoll, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 }))?;
        if wait == Wait::Polling && events.len() < 256 {
            pause(POLL);
        }
        for event in events {
            if event.data.u64() == PUBLISHER {
                let publisher = self.publisher.as_ref().expect("it is watched");
                publisher.hear(&mut self.buffer)?;
                continue;
            }
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
            let now = self.epoch.elapsed();
            let mut input = &mut buffer[..n];
            if subscriber.stage == Stage::Upgrading {
                // A head is small and comes in one piece over loopback.
                let end = input.windows(4).position(|window| window == b"\r\n\r\n").context("half a head")?;
                ensure!(input.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&input[..end]));
                let channels: Vec<_> =
                    setup.into_iter().flat_map(|workload| workload.channels_of(at)).map(channel_name).collect();
                match self.words.subscribe(at, &channels) {
                    Some(first) => {
                        subscriber.stream.write(&first)?;
                        subscriber.stage = Stage::Subscribing;
                    }
                    None => {
                        subscriber.stage = Stage::Subscribed;
                        became = true;
                    }
                }
                input = &mut input[end + 4..];
            }
            loop {
                let subscriber = &mut self.subscribers[at];
                let decoded = subscriber.decoder.decode(input)?;
                let Some(event) = decoded.event else { break };
                match event {
                    Event::Message { data, .. } if subscriber.stage == Stage::Subscribed => {
                        if let Some(pong) = self.words.pong(data) {
                            subscriber.stream.write(&pong)?;
                        }
                        if self.words.is_stream() {
                            let mut whole = self.cut.remove(&at).unwrap_or_default();
                            whole.extend_from_slice(data);
                            let end = self.received.count(&whole, subscriber.channel, &mut subscriber.last, now);
                            if let Some(begun) = Stamp::begun(&whole[end..]) {
                                self.cut.insert(at, whole[end + begun..].to_vec());
                            }
                        } else {
                            self.received.count(data, subscriber.channel, &mut subscriber.last, now);
                        }
                    }
                    Event::Message { data, .. } => {
                        let subscriptions = setup.map_or(0, |workload| workload.channels_of(at).len());
                        match self.words.subscribed(data, subscriptions) {
                            Some(true) => {
                                subscriber.stage = Stage::Subscribed;
                                became = true;
                            }
                            Some(false) => anyhow::bail!("refused: {}", String::from_utf8_lossy(data)),
                            None => {}
                        }
                    }
                    Event::Ping(payload) => subscriber.stream.write(&masked(Opcode::Pong, payload))?,
                    Event::Pong(_) => {}
                    Event::Close(frame) => anyhow::bail!("closed by the server: {frame:?}"),
                }
                let consumed = decoded.consumed;
                input = &mut input[consumed..];
            }
            if n < buffer.len() && self.subscribers[at].stream.is_plain() {
                return Ok(became);
            }
        }
    }
}

impl Received {
    /// Counts the publications in a message. Returns where the last one's stamp ends.
    fn count(&mut self, message: &[u8], channel: u32, last: &mut u32, now: Duration) -> usize {
        let mut at = 0;
        while let Some((stamp, end)) = Stamp::find(&message[at..]) {
            at += end;
            self.deliveries += 1;
            if stamp.channel != channel || stamp.number != *last + 1 {
                self.wrong += 1;
            }
            *last = stamp.number;
            let micros = u64::try_from(now.saturating_sub(stamp.due).as_micros()).unwrap_or(MICROS_MAX);
            self.latencies.saturating_record(micros.max(1));
        }
        at
    }
}

/// The name of a channel.
#[must_use]
pub fn channel_name(channel: usize) -> String {
    format!("c{channel}")
}
