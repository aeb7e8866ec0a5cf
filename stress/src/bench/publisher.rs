//! The publishing side: one connection, at a fixed rate or held back by a window. Its answers are read by the fleet's thread.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use pubsub_protocol::websocket::{Decoder, Event, Role};
use rustix::event::epoll::{self, EventData, EventFlags};
use tokio::time::Instant;

use super::fleet::channel_name;
use super::peer::Peer;
use super::process::pause;
use super::stamp::Stamp;
use super::stream::Stream;
use super::words::Words;
use super::workload::{Load, Workload};

/// How long a server may take to answer the upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// A publication this late was not made in time.
const LATE: Duration = Duration::from_millis(20);

/// The publisher's connection, written by one thread and read by another.
#[derive(Clone)]
pub struct Line(Arc<Mutex<Ends>>);

struct Ends {
    stream: Stream,
    decoder: Decoder,
    words: Words,
}

impl Line {
    fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).stream.write(bytes)?)
    }

    /// Has an epoll instance tell of answers.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(&self, epoll: &OwnedFd, name: EventData) -> anyhow::Result<()> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(epoll::add(epoll, &ends.stream, name, EventFlags::IN)?)
    }

    /// Reads answers and drops them, so that the server never waits for us. If it is being written to, another time.
    ///
    /// # Errors
    /// When a publication was refused, or the connection ends.
    pub fn hear(&self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let Ok(mut ends) = self.0.try_lock() else { return Ok(()) };
        let Ends { stream, decoder, words } = &mut *ends;
        let n = match stream.read(buffer) {
            Ok(0) => anyhow::bail!("the server closed the publisher's connection"),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !words.publishes_over_websocket() {
            ensure!(!words.refused(&buffer[..n]), "refused: {}", String::from_utf8_lossy(&buffer[..n]));
            return Ok(());
        }
        let mut input = &mut buffer[..n];
        loop {
            let decoded = decoder.decode(input)?;
            let Some(event) = decoded.event else { return Ok(()) };
            if let Event::Message { data, .. } = event {
                ensure!(!words.refused(data), "refused: {}", String::from_utf8_lossy(data));
                if let Some(pong) = words.pong(data) {
                    stream.write(&pong)?;
                }
            }
            let consumed = decoded.consumed;
            input = &mut input[consumed..];
        }
    }
}

/// The publisher.
pub struct Publisher {
    line: Line,
    words: Words,
    epoch: Instant,
    payload: usize,
    fan_out: u64,
    names: Vec<String>,
    /// Publications made so far, by channel.
    pub by_channel: Vec<u32>,
    total: u64,
}

impl Publisher {
    /// Connects. Times in stamps count from `epoch`.
    ///
    /// # Errors
    /// When the server does not let it in.
    pub fn connect(workload: &Workload, peer: &Peer, address: SocketAddr, epoch: Instant) -> anyhow::Result<Self> {
        let words = peer.words;
        let mut stream = Stream::dial(0, address, peer.trust.as_ref())?;
        if words.publishes_over_websocket() {
            stream.write(&words.upgrade(&peer.path, address, "publisher"))?;
            let begun = Instant::now();
            let mut answer = [0; 4096];
            let n = loop {
                match stream.read(&mut answer) {
                    Ok(n) => break n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < UPGRADE_TIMEOUT => {
                        pause(Duration::from_millis(1));
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            ensure!(answer[..n].starts_with(b"HTTP/1.1 101"), "the publisher was refused");
            stream.write(&words.greet())?;
        }
        Ok(Self {
            line: Line(Arc::new(Mutex::new(Ends { stream, decoder: Decoder::new(Role::Client, 1 << 20), words }))),
            words,
            epoch,
            payload: workload.payload,
            fan_out: workload.subscribers_of(0) as u64,
            names: (0..workload.published()).map(channel_name).collect(),
            by_channel: vec![0; workload.published()],
            total: 0,
        })
    }

    /// Its connection.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// Publishes. `delivered` counts the deliveries of this load. Returns which share of the plan was made in time.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn publish(&mut self, load: Load, delivered: &AtomicU64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        match load {
            Load::Idle => Ok(1.0),
            Load::Rate { per_s, lasting } => {
                let planned = (per_s * lasting.as_secs_f64()).round().max(1.0);
                let (mut n, mut late) = (0.0, 0.0);
                while n < planned {
                    let due = begun + Duration::from_secs_f64(n / per_s);
                    let ahead = due.saturating_duration_since(Instant::now());
                    if !ahead.is_zero() {
                        pause(ahead);
                    }
                    late += f64::from(u8::from(due.elapsed() > LATE));
                    self.send(due.saturating_duration_since(self.epoch))?;
                    n += 1.0;
                }
                Ok(1.0 - late / planned)
            }
            Load::Saturate { window, lasting } => {
                let mut made = 0;
                while begun.elapsed() < lasting {
                    if made * self.fan_out < delivered.load(Ordering::Acquire) + window * self.fan_out {
                        self.send(self.epoch.elapsed())?;
                        made += 1;
                    } else {
                        pause(Duration::from_micros(20));
                    }
                }
                Ok(1.0)
            }
        }
    }

    fn send(&mut self, due: Duration) -> anyhow::Result<()> {
        let channel = usize::try_from(self.total % self.by_channel.len() as u64)?;
        // Ids are 32 bits wide, and 1 was the greeting.
        let id = 2 + self.total % 4_000_000_000;
        self.total += 1;
        self.by_channel[channel] += 1;
        let stamp = Stamp { channel: u32::try_from(channel)?, number: self.by_channel[channel], due };
        let body = stamp.body(self.payload);
        self.line.write(&self.words.publish(id, &self.names[channel], &body))
    }
}
