//! One connection as its shard keeps it: the socket, what was not yet decoded, what was not yet sent.
//!
//! Nothing here allocates while a connection is idle: reads go through the shard's scratch buffer, and only an
//! unfinished frame's bytes are kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pubsub_protocol::Format;
use pubsub_protocol::websocket::{Decoder, Role};

use super::wake::{ConnectionWaker, Ready};
use super::work;
use crate::outbox::Outbox;
use crate::session::{Opening, Session};
use crate::transport::Slot;
use crate::transport::socket::Socket;

/// A socket whose upgrade is done, on its way into a shard.
pub struct Adopted<S> {
    /// The stream.
    pub stream: S,
    /// What came behind the upgrade request.
    pub leftover: Vec<u8>,
    /// What the upgrade request said.
    pub opening: Opening,
    /// The wire format.
    pub format: Format,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Counts the connection against the limits for as long as it lives.
    pub slot: Slot,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The client protocol.
    Session,
    /// Sends back every message (`/echo`).
    Echo,
}

/// A connection. What each delivery touches stands in front, together: of ten thousand connections little else is in a cache.
#[repr(C)]
pub struct Connection<S> {
    pub(super) outbox: Outbox,
    /// When the socket stopped taking what is to be written; 0: it has not.
    pub(super) blocked_ms: u64,
    pub(super) stream: S,
    pub(super) stage: Stage,
    pub(super) dirty: bool,
    /// It stands among those that have news.
    pub(super) queued: bool,
    /// It stands among those that have used up their visit, and will be polled from there.
    pub(super) deferred: bool,
    pub(super) echo: bool,
    pub(super) format: Format,
    pub(super) session: Session,
    pub(super) decoder: Decoder,
    /// Made when something first wants to wake it.
    pub(super) wake: Option<Arc<ConnectionWaker>>,
    /// What has to be waited for.
    #[allow(clippy::box_collection, reason = "nearly always absent: 8 bytes instead of 32, in every connection")]
    pub(super) work: Option<Box<work::Queue>>,
    pub(super) unread: Option<Box<Unread>>,
    _slot: Slot,
}

/// Input that was received and not yet acted upon, because something has to be waited for first.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// A message, or the rest of one, and how much of it was acted upon.
    pub(super) message: Vec<u8>,
    pub(super) message_done: usize,
    /// What came behind it, and how much of that was decoded.
    pub(super) input: Vec<u8>,
    pub(super) input_done: usize,
}

/// How far the closing handshake is (RFC 6455, 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Our close frame is in the outbox or sent; the peer's is awaited until then.
    Closing {
        until_ms: u64,
    },
    /// The peer has nothing more to say that counts: as soon as our close frame is written, our side is shut down.
    Closed {
        until_ms: u64,
    },
    /// Both sides said their last, and the peer's end is awaited until then. What still comes is read and dropped: a
    /// socket that is closed with something unread is reset, and the reset may destroy our close frame on its way.
    Lingering {
        until_ms: u64,
    },
}

impl<S: Socket> Connection<S> {
    pub(super) fn new(adopted: Adopted<S>, session: Session, message_bytes_max: usize) -> Self {
        let unread =
            (!adopted.leftover.is_empty()).then(|| Box::new(Unread { input: adopted.leftover, ..Unread::default() }));
        Self {
            stream: adopted.stream,
            session,
            outbox: Outbox::default(),
            decoder: Decoder::new(Role::Server, message_bytes_max),
            wake: None,
            work: None,
            unread,
            stage: Stage::Open,
            blocked_ms: 0,
            dirty: false,
            queued: false,
            deferred: false,
            echo: adopted.purpose == Purpose::Echo,
            format: adopted.format,
            _slot: adopted.slot,
        }
    }

    /// What wakes it, for those who may have to.
    pub(super) fn waker(&mut self, ready: &Arc<Ready>, slot: u32) -> Waker {
        let wake = self.wake.get_or_insert_with(|| ConnectionWaker::new(ready.clone(), slot));
        wake.clone().into()
    }

    /// What wakes it when its socket changes: nothing, if the poller tells of that.
    pub(super) fn socket_waker(&mut self, ready: &Arc<Ready>, slot: u32) -> Waker {
        if self.stream.is_watched() { Waker::noop().clone() } else { self.waker(ready, slot) }
    }

    /// Writes what waits until the socket takes no more.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, now_ms: u64) -> Written {
        let before = self.outbox.bytes();
        let flushed = self.poll_flush(cx, now_ms);
        Written { flushed, bytes: (before - self.outbox.bytes()) as u64 }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, now_ms: u64) -> Poll<std::io::Result<()>> {
        while !self.outbox.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let written = match self.outbox.single() {
                Some(bytes) => stream.poll_write(cx, bytes),
                None => {
                    let mut slices = Outbox::slices();
                    let filled = self.outbox.fill(&mut slices);
                    stream.poll_write_vectored(cx, &slices[..filled])
                }
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.blocked_ms = 0;
                    self.outbox.advance(n);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.blocked_ms == 0 {
                        self.blocked_ms = now_ms.max(1);
                    }
                    return Poll::Pending;
                }
            }
        }
        // A stream that buffers (TLS) may still hold some of it; then it is as blocked as any.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.blocked_ms = match flushed {
            Poll::Pending if self.blocked_ms == 0 => now_ms.max(1),
            Poll::Pending => self.blocked_ms,
            Poll::Ready(_) => 0,
        };
        flushed
    }

    /// Whether there is something to write, here or in the stream itself.
    pub(super) fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty() || self.blocked_ms > 0
    }

    /// Whether a finished write leaves nothing else to be done.
    pub(super) fn is_plain(&self) -> bool {
        self.stage == Stage::Open
    }
}

/// What came of a flush.
pub(super) struct Written {
    /// Ready: nothing waits any more.
    pub(super) flushed: Poll<std::io::Result<()>>,
    /// Bytes of frames that are out whole or in part.
    pub(super) bytes: u64,
}
