//! Connections that come, subscribe and go, at a steady rate, beside a workload.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;
use pubsub_protocol::websocket::Opcode;
use tokio::time::Instant;

use super::fleet::channel_name;
use super::peer::Peer;
use super::process::pause;
use super::stream::{Stream, Trust};
use super::words::{Words, masked};

/// Channels they subscribe to, beyond those of any workload.
const CHANNELS: std::ops::Range<usize> = 200_000..201_000;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Those who come and go, if there are any.
pub struct Churn(Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>);

struct Caller {
    words: Words,
    path: String,
    trust: Option<Trust>,
    address: SocketAddr,
}

impl Churn {
    /// Starts what the peer is to be troubled with.
    #[must_use]
    pub fn start(peer: &Peer, address: SocketAddr) -> Self {
        if peer.reconnects_per_s <= 0.0 {
            return Self(None);
        }
        let caller = Caller { words: peer.words, path: peer.path.clone(), trust: peer.trust.clone(), address };
        let interval = Duration::from_secs_f64(1.0 / peer.reconnects_per_s);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            for (n, channel) in (0u32..).zip(CHANNELS.cycle()) {
                pause((begun + interval * n).saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                caller.call(channel)?;
            }
            Ok(())
        });
        Self(Some((stop, thread)))
    }

    /// Stops it.
    ///
    /// # Errors
    /// When one of them was refused.
    pub fn stop(self) -> anyhow::Result<()> {
        let Some((stop, thread)) = self.0 else { return Ok(()) };
        stop.store(true, Ordering::Release);
        thread.join().map_err(|_| anyhow::anyhow!("the thread that reconnects panicked"))?
    }
}

impl Caller {
    /// Comes, subscribes, and says goodbye.
    fn call(&self, channel: usize) -> anyhow::Result<()> {
        let channel = channel_name(channel);
        let mut stream = Stream::dial(channel.len(), self.address, self.trust.as_ref())?;
        stream.write(&self.words.upgrade(&self.path, self.address, &channel))?;
        let head = self.hear(&mut stream)?;
        ensure!(head.starts_with(b"HTTP/1.1 101"), "a caller was refused");
        if let Some(first) = self.words.subscribe(0, std::slice::from_ref(&channel)) {
            stream.write(&first)?;
            while self.words.subscribed(&self.hear(&mut stream)?, 1) != Some(true) {}
        }
        stream.write(&masked(Opcode::Close, &1000u16.to_be_bytes()))?;
        self.hear(&mut stream).map(drop)
    }

    fn hear(&self, stream: &mut Stream) -> anyhow::Result<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let begun = Instant::now();
        loop {
            match stream.read(&mut buffer) {
                Ok(n) => return Ok(buffer[..n].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < PATIENCE => {
                    pause(Duration::from_micros(100));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
