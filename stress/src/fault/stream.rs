//! A stream with faults in it, around any other.
//!
//! The laws, each with a test below:
//!
//! 1. Bytes are never lost, repeated or swapped inside a live connection, except by corruption and planted mutants.
//! 2. Latency is a delay line. Nothing sleeps inside a poll; throughput stays.
//! 3. On a reset, bytes that have not left vanish, bytes that have arrived are read first, then `ConnectionReset` once,
//!    then the end. The peer sees a reset.
//! 4. A FIN lets everything before it arrive. What is left of a stream whose owner has dropped it arrives too,
//!    unless the owner left input unread: then the kernel would send a reset, and so do we.
//! 5. Half-open: both ways pend and nobody is woken; that the owner has dropped it does not get through either, before it is
//!    healed. The first write after a FIN that came from outside succeeds: written is not received.
//! 6. Queues are bounded, and a full one stops reading, so that the kernel's buffers fill and the peer feels it.
//! 7. Without faults the stream underneath is polled directly: the same bytes in the same calls.
//!
//! There is no task behind it: the owner's polls drive both lines, and whoever has a connection open keeps reading it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake as _};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::carrier::Carrier;
use super::frames::FrameCursor;
use super::injector::{Faults, Link};
use super::lane::{Blow, Front};
use super::plan::{Aim, Direction, Fault, Kind, Plan};
use crate::chance::Seed;

mod felt;
mod pump;
mod way;

use way::Way;

/// What a writer may leave behind a slow peer, as a socket's send buffer would take it. Input has no such allowance:
/// what has arrived and is not read stays in the kernel, or a reader that stalls would never be felt.
const SEND_BYTES: usize = 64 << 10;
/// How long the last bytes of a dropped stream may stay on the way before they count as lost.
const LINGER_MAX: Duration = Duration::from_secs(120);

/// See the module. Made by [`Faults::stream`].
#[derive(Debug)]
pub struct FaultyStream<S: Carrier> {
    /// `None` only while dropping.
    parts: Option<Parts<S>>,
}

#[derive(Debug)]
struct Parts<S> {
    faults: Faults,
    link: Arc<Link>,
    /// Gone after a reset, or when both ways have ended.
    inner: Option<S>,
    version: u64,
    /// Follow the frames while nothing stands in the way: in, out.
    cursors: (FrameCursor, FrameCursor),
    machine: Option<Box<Machine>>,
}

/// What a stream carries once a fault has touched it.
#[derive(Debug)]
struct Machine {
    incoming: Way,
    outgoing: Way,
    timer: Option<Pin<Box<Sleep>>>,
    wake_at: Option<Instant>,
    /// Input is read and thrown away: the reader has been told that the stream ended.
    discards: bool,
    /// The stream underneath has no more input.
    input_over: bool,
    write_end: WriteEnd,
    /// A fault's moment came: look again at what holds.
    stale: bool,
}

/// What writing has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteEnd {
    Open,
    /// Our owner has shut it down.
    Shut,
    /// A FIN from outside; the next write still "succeeds".
    Cut,
    /// A reset; the next write is told.
    Reset,
    /// Told.
    Broken,
}

impl Machine {
    /// The owner knows that it is over.
    fn ended(&mut self) {
        self.incoming.felt.ended();
        self.outgoing.felt.ended();
    }
}

impl<S: Carrier> FaultyStream<S> {
    pub(super) fn new(faults: Faults, link: Arc<Link>, inner: S) -> Self {
        let cursors = (FrameCursor::default(), FrameCursor::default());
        let mut parts = Parts { faults, link, inner: Some(inner), version: 0, cursors, machine: None };
        // At once, so that a fault that waits for the first byte sees it.
        parts.refresh(Instant::now());
        Self { parts: Some(parts) }
    }

    /// A stream with faults of its own: this one, for as long as the stream lasts.
    pub(super) fn alone(seed: Seed, fault: Option<Fault>, inner: S) -> Self {
        let faults = Faults::new(&Plan { seed, ..Plan::default() });
        if let Some(fault) = fault {
            faults.begin(fault);
        }
        faults.stream(0, inner)
    }

    /// The stream underneath, while it is there.
    #[must_use]
    pub fn inner(&self) -> Option<&S> {
        self.parts.as_ref()?.inner.as_ref()
    }

    /// Bytes held back now: towards us, away from us.
    #[must_use]
    pub fn held_back(&self) -> (usize, usize) {
        let machine = self.parts.as_ref().and_then(|parts| parts.machine.as_ref());
        machine.map_or((0, 0), |machine| (machine.incoming.lane.queued(), machine.outgoing.lane.queued()))
    }

    fn parts(&mut self) -> &mut Parts<S> {
        self.parts.as_mut().expect("a stream loses its parts only by being dropped")
    }
}

impl<S: Carrier> AsyncRead for FaultyStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let parts = self.get_mut().parts();
        parts.link.read.register(cx.waker());
        parts.catch_up();
        let Some(machine) = &mut parts.machine else {
            let Some(inner) = &mut parts.inner else { return Poll::Ready(Ok(())) };
            let before = buf.filled().len();
            let polled = Pin::new(inner).poll_read(cx, buf);
            follow(&mut parts.cursors.0, &buf.filled()[before..]);
            return polled;
        };
        if machine.incoming.yields() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        parts.pump();
        let polled = parts.read_line(buf);
        if polled.is_ready() {
            // Room has been made: read on now, for nobody else will wake us for it.
            parts.pump();
        }
        polled
    }
}

impl<S: Carrier> AsyncWrite for FaultyStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let parts = self.get_mut().parts();
        parts.link.write.register(cx.waker());
        parts.catch_up();
        let Some(machine) = &mut parts.machine else {
            let Some(inner) = &mut parts.inner else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            let polled = Pin::new(inner).poll_write(cx, buf);
            if let Poll::Ready(Ok(count)) = polled {
                follow(&mut parts.cursors.1, &buf[..count]);
            }
            return polled;
        };
        if machine.outgoing.yields() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        parts.pump();
        parts.write_line(buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let parts = this.parts();
        parts.catch_up();
        if let (None, Some(inner)) = (&parts.machine, &mut parts.inner) {
            parts.link.write.register(cx.waker());
            let polled = Pin::new(inner).poll_write_vectored(cx, bufs);
            if let Poll::Ready(Ok(mut count)) = polled {
                for buf in bufs {
                    let here = count.min(buf.len());
                    follow(&mut parts.cursors.1, &buf[..here]);
                    count -= here;
                }
            }
            return polled;
        }
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
        Pin::new(this).poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| {
            parts.machine.is_none() && parts.inner.as_ref().is_some_and(AsyncWrite::is_write_vectored)
        })
    }

    /// Never waits for the line: a flush that took the link's latency would turn it into a limit on throughput.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parts = self.get_mut().parts();
        parts.link.write.register(cx.waker());
        parts.catch_up();
        match (&parts.machine, &mut parts.inner) {
            (None, Some(inner)) => Pin::new(inner).poll_flush(cx),
            (None, None) => Poll::Ready(Ok(())),
            (Some(_), _) => {
                parts.pump();
                Poll::Ready(Ok(()))
            }
        }
    }

    /// As a socket's: it returns at once, and the FIN follows what is still in the line.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parts = self.get_mut().parts();
        parts.link.write.register(cx.waker());
        parts.catch_up();
        match (&mut parts.machine, &mut parts.inner) {
            (None, Some(inner)) => return Pin::new(inner).poll_shutdown(cx),
            (None, None) => return Poll::Ready(Ok(())),
            (Some(machine), _) => {
                if machine.write_end == WriteEnd::Open {
                    machine.write_end = WriteEnd::Shut;
                    machine.outgoing.end(Instant::now());
                }
            }
        }
        parts.pump();
        Poll::Ready(Ok(()))
    }
}

impl<S: Carrier> Drop for FaultyStream<S> {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        parts.faults.forget(&parts.link);
        let cursor = parts.machine.as_ref().map_or(&parts.cursors.0, |machine| machine.incoming.cursor());
        if let Some(conduct) = cursor.conduct() {
            parts.faults.observe(&parts.link, conduct);
        }
        if let Some(machine) = &mut parts.machine {
            machine.incoming.felt.given_up();
            machine.outgoing.felt.given_up();
        }
        let (Some(machine), Some(inner)) = (&mut parts.machine, &mut parts.inner) else { return };
        let now = Instant::now();
        // Law 5: over a link that carries nothing the peer does not hear of it.
        let carries = machine.outgoing.carries();
        // Law 4: unread input.
        if carries && matches!(machine.incoming.lane.front(now), Front::Bytes(_)) {
            inner.reset_on_drop();
            return;
        }
        if carries && machine.outgoing.lane.is_empty() && !machine.discards {
            return;
        }
        // A FIN follows what is still in the line, also if the owner has not asked for it: a kernel closes what is dropped.
        if machine.write_end == WriteEnd::Open {
            machine.write_end = WriteEnd::Shut;
            machine.outgoing.end(now);
        }
        let faults = parts.faults.clone();
        faults.linger(async move {
            let _late = tokio::time::timeout(LINGER_MAX, std::future::poll_fn(|cx| parts.poll_linger(cx))).await;
        });
    }
}

impl<S: Carrier> Parts<S> {
    fn catch_up(&mut self) {
        let stale = self.machine.as_ref().is_some_and(|machine| machine.stale);
        if stale || self.version != self.faults.version() || !lock_strays(&self.link).is_empty() {
            self.refresh(Instant::now());
        }
    }

    /// Looks at what holds for this connection now.
    fn refresh(&mut self, now: Instant) {
        self.version = self.faults.version();
        let holding = self.faults.active_for(self.link.connection);
        let strays = std::mem::take(&mut *lock_strays(&self.link));
        if self.machine.is_none() {
            if strays.is_empty() && !holding.iter().any(|active| way::concerns_stream(&active.fault)) {
                return;
            }
            let capacity = self.faults.lane_bytes();
            self.machine = Some(Box::new(Machine {
                incoming: Way::new(Direction::In, self.cursors.0, capacity),
                outgoing: Way::new(Direction::Out, self.cursors.1, capacity),
                timer: None,
                wake_at: None,
                discards: false,
                input_over: false,
                write_end: WriteEnd::Open,
                stale: false,
            }));
        }
        let Some(machine) = &mut self.machine else { return };
        machine.stale = false;
        machine.incoming.hold(&holding, &self.link, now);
        machine.outgoing.hold(&holding, &self.link, now);
        machine.incoming.take_strays(strays, now);
        for active in &holding {
            let Some(machine) = &mut self.machine else { return };
            let fault = &active.fault;
            if fault.aim != Aim::At || fault.kind.lasts() || active.has_struck(self.link.connection) {
                continue;
            }
            match fault.kind {
                Kind::Reset => {
                    active.strike(&self.link);
                    active.counters.attempt();
                    machine.incoming.felt.applied(active);
                    // What the kernel has is at the reader already: let it in before the axe falls.
                    self.pump_in(now);
                    self.reset(now);
                    return;
                }
                Kind::Fin => {
                    active.strike(&self.link);
                    active.counters.attempt();
                    machine.incoming.felt.applied(active);
                    self.fin(fault.direction, now);
                }
                _ => {}
            }
        }
    }

    /// Gives the reader what has arrived.
    fn read_line(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.next_in_line(buf);
        if let (Poll::Ready(told), Some(machine)) = (&polled, &mut self.machine) {
            if told.is_ok() && (buf.filled().len() > before || buf.remaining() == 0) {
                machine.incoming.felt.moved();
            } else {
                machine.ended();
            }
        }
        polled
    }

    fn next_in_line(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let now = Instant::now();
        let Some(machine) = &mut self.machine else { return Poll::Ready(Ok(())) };
        match machine.incoming.lane.front(now) {
            Front::Bytes(bytes) => {
                let count = bytes.len().min(buf.remaining());
                buf.put_slice(&bytes[..count]);
                machine.incoming.lane.advance(count);
                Poll::Ready(Ok(()))
            }
            Front::Blow(Blow::End) => Poll::Ready(Ok(())),
            Front::Blow(Blow::Stall(_)) | Front::NotBefore(_) => Poll::Pending,
            Front::Empty => {
                if self.inner.is_none() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
            Front::Blow(_) => match machine.incoming.lane.pop_blow() {
                Some(Blow::Failed(error)) => Poll::Ready(Err(error)),
                Some(Blow::Reset) => {
                    self.reset(now);
                    self.next_in_line(buf)
                }
                Some(Blow::Fin { .. }) => {
                    self.fin(Direction::Both, now);
                    Poll::Ready(Ok(()))
                }
                _ => Poll::Pending,
            },
        }
    }

    fn write_line(&mut self, buf: &[u8]) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let Some(machine) = &mut self.machine else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match machine.write_end {
            WriteEnd::Open => {}
            WriteEnd::Cut => {
                machine.write_end = WriteEnd::Broken;
                return Poll::Ready(Ok(buf.len()));
            }
            WriteEnd::Reset => {
                machine.write_end = WriteEnd::Broken;
                machine.ended();
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            WriteEnd::Shut => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            WriteEnd::Broken => {
                machine.ended();
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        let room = machine.outgoing.lane.room(now, SEND_BYTES);
        if room == 0 && !buf.is_empty() {
            return Poll::Pending;
        }
        let count = machine.outgoing.accept(room.min(buf.len()));
        let astray = machine.outgoing.intake(now, &buf[..count], &self.link, &mut machine.stale);
        for frame in astray {
            self.faults.stray(&self.link, frame);
        }
        self.pump();
        Poll::Ready(Ok(count))
    }

    /// Law 3.
    fn reset(&mut self, now: Instant) {
        if let Some(mut inner) = self.inner.take() {
            inner.reset_on_drop();
        }
        let Some(machine) = &mut self.machine else { return };
        machine.outgoing.lane.clear();
        machine.incoming.lane.forget_in_flight(now);
        machine.incoming.lane.drop_blows(|_| true);
        machine.incoming.blow(now, Blow::Failed(io::ErrorKind::ConnectionReset.into()));
        machine.incoming.end(now);
        if machine.write_end != WriteEnd::Broken {
            machine.write_end = WriteEnd::Reset;
        }
        self.link.wake_by_ref();
    }

    /// Law 4, for a FIN that strikes now.
    fn fin(&mut self, direction: Direction, now: Instant) {
        let Some(machine) = &mut self.machine else { return };
        if direction.covers(Direction::Out) {
            machine.outgoing.blow(now, Blow::Fin { both: false });
        }
        if direction.covers(Direction::In) {
            machine.incoming.end(now);
            machine.discards = true;
        }
        self.link.wake_by_ref();
    }

    /// Goes on alone until everything has left; then the stream underneath is dropped.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.read.register(cx.waker());
        self.catch_up();
        self.pump();
        let Some(machine) = &self.machine else { return Poll::Ready(()) };
        let sent = machine.outgoing.lane.is_empty() || self.inner.is_none();
        // After a FIN the peer's input is drained, or dropping would turn it into a reset.
        let drained = !machine.discards || machine.input_over;
        if sent && drained { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn follow(cursor: &mut FrameCursor, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let step = cursor.step(bytes);
        bytes = &bytes[step.used..];
    }
}

fn lock_strays(link: &Link) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    link.strays.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
