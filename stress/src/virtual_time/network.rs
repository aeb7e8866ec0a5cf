//! Pipes between clients and a node in this process. What passes at either end is noted in the fingerprint.
//!
//! There is one node at a time. While it is down nobody listens, and connects are refused.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pubsub_server::transport::listener::{self, Listener, MemoryListener};
use pubsub_server::transport::socket::Polled;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fingerprint::{Fingerprint, Site};
use crate::chance::Chance;
use crate::fault::Carrier;
use crate::fault::memory::{MemoryStream, pair};

/// Bytes that a pipe holds in each direction, as a socket with its smallest buffers would.
const PIPE_BYTES: usize = 16 << 10;

/// Marks the server's end in the fingerprint.
const SERVER: u64 = 1 << 63;

/// The way to the node. Cloning shares.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    fingerprint: Fingerprint,
    door: Mutex<Option<Door>>,
}

type Door = listener::MemoryConnector<NodeEnd>;

/// A member's end of a pipe.
pub type MemberEnd = Noted;
/// The node's end.
pub type NodeEnd = Noted;

impl Network {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self(Arc::new(Inner { fingerprint, door: Mutex::default() }))
    }

    /// A node begins to listen. This share of the connections breaks as it is accepted.
    #[must_use]
    pub fn listen(&self, failures: f64, chance: Chance) -> FitfulListener {
        let (inner, door) = listener::memory();
        *self.door() = Some(door);
        FitfulListener { inner, failures, chance }
    }

    /// It is gone.
    pub fn hang_up(&self) {
        *self.door() = None;
    }

    /// Connects member number `connection`.
    ///
    /// # Errors
    /// `ConnectionRefused` while nobody listens.
    pub fn connect(&self, connection: u64) -> io::Result<MemberEnd> {
        let (ours, theirs) = pair(PIPE_BYTES);
        let fingerprint = &self.0.fingerprint;
        fingerprint.note(connection, Site::Connect, &[]);
        let door = self.door().clone().ok_or(io::ErrorKind::ConnectionRefused)?;
        door.connect_with(Noted { inner: theirs, who: connection | SERVER, fingerprint: fingerprint.clone() })?;
        Ok(Noted { inner: ours, who: connection, fingerprint: fingerprint.clone() })
    }

    fn door(&self) -> std::sync::MutexGuard<'_, Option<Door>> {
        self.0.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network(..)")
    }
}

/// A listener that some connections break on.
pub struct FitfulListener {
    inner: MemoryListener<NodeEnd>,
    failures: f64,
    chance: Chance,
}

impl Listener for FitfulListener {
    type Raw = NodeEnd;
    type Stream = NodeEnd;
    type Socket = Polled<NodeEnd>;

    async fn accept(&mut self) -> io::Result<(NodeEnd, Option<SocketAddr>)> {
        let accepted = self.inner.accept().await?;
        if self.failures > 0.0 && self.chance.bernoulli(self.failures) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(accepted)
    }

    async fn attach(raw: NodeEnd) -> io::Result<NodeEnd> {
        Ok(raw)
    }

    fn settle(stream: NodeEnd) -> io::Result<Polled<NodeEnd>> {
        MemoryListener::settle(stream)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Noted({})", self.who & !SERVER)
    }
}

/// A stream that notes what passes.
pub struct Noted {
    inner: MemoryStream,
    who: u64,
    fingerprint: Fingerprint,
}

impl Noted {
    fn note<T>(&self, polled: &Poll<io::Result<T>>, site: Site, bytes: &[u8]) {
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(_)) => self.fingerprint.note(self.who, site, bytes),
            Poll::Ready(Err(_)) => self.fingerprint.note(self.who, Site::Failure, &[]),
        }
    }
}

impl Carrier for Noted {
    fn reset_on_drop(&mut self) {
        self.inner.reset_on_drop();
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        // The runtime may be gone already, and its clock with it: what ends then ends after the run.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.fingerprint.note(self.who, Site::Drop, &[]);
        }
    }
}

impl AsyncRead for Noted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        this.note(&polled, Site::Read, &buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, buf);
        let written = if let Poll::Ready(Ok(count)) = polled { count } else { 0 };
        this.note(&polled, Site::Write, &buf[..written]);
        polled
    }

    /// What goes out in one call is one note, as it is one chunk for whoever reads.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        let Poll::Ready(Ok(mut left)) = polled else {
            this.note(&polled, Site::Write, &[]);
            return polled;
        };
        let mut hash = 0;
        for buf in bufs {
            let count = left.min(buf.len());
            hash = xxh3_64_with_seed(&buf[..count], hash);
            left -= count;
        }
        this.fingerprint.note_hash(this.who, Site::Write, hash);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.note(&polled, Site::Shutdown, &[]);
        polled
    }
}
