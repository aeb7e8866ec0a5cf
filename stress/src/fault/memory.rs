//! A connected pair of streams in memory that ends the way TCP does.
//!
//! tokio's duplex pipe closes politely whatever happens. Here, as on a socket: what was written before a
//! shutdown is read before the end; dropping with unread input, or after
//! [`reset_on_drop`](Carrier::reset_on_drop), resets the peer; a reset lets the peer read what it already has, then fails
//! it once, then ends. No clock, no chance: deterministic on one thread.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// The writer has shut down or gone: after the bytes comes the end.
    finished: bool,
    /// The reader has gone: writing fails.
    unread: bool,
    /// The connection was reset: after the bytes comes one error, then the end.
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

type Shared = Arc<Mutex<Pipe>>;

fn lock(pipe: &Shared) -> MutexGuard<'_, Pipe> {
    // A panic cannot leave a pipe half changed: every change is a single assignment or a queue operation.
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a [`pair`].
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Shared,
    outgoing: Shared,
    rude: bool,
}

/// Two connected streams, each direction holding at most `capacity` bytes.
#[must_use]
pub fn pair(capacity: usize) -> (MemoryStream, MemoryStream) {
    let pipe = || Arc::new(Mutex::new(Pipe { capacity, ..Pipe::default() }));
    let (there, back) = (pipe(), pipe());
    (
        MemoryStream { incoming: back.clone(), outgoing: there.clone(), rude: false },
        MemoryStream { incoming: there, outgoing: back, rude: false },
    )
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.incoming);
        if pipe.bytes.is_empty() {
            if pipe.reset {
                pipe.reset = false;
                pipe.finished = true;
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if pipe.finished {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (front, _) = pipe.bytes.as_slices();
        let count = front.len().min(buf.remaining());
        buf.put_slice(&front[..count]);
        pipe.bytes.drain(..count);
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = lock(&self.outgoing);
        if pipe.unread || pipe.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.capacity - pipe.bytes.len();
        if room == 0 && bufs.iter().any(|buf| !buf.is_empty()) {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut left = room;
        for buf in bufs {
            let count = left.min(buf.len());
            pipe.bytes.extend(&buf[..count]);
            left -= count;
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(room - left))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(cx))?;
        let mut pipe = lock(&this.outgoing);
        pipe.finished = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Carrier for MemoryStream {
    fn reset_on_drop(&mut self) {
        self.rude = true;
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut incoming = lock(&self.incoming);
        let rude = self.rude || !incoming.bytes.is_empty();
        incoming.unread = true;
        incoming.bytes.clear();
        incoming.wake();
        drop(incoming);
        let mut outgoing = lock(&self.outgoing);
        if rude && !outgoing.finished {
            outgoing.reset = true;
        }
        outgoing.finished = true;
        outgoing.wake();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_shutdown_is_read_after_everything_before_it_and_leaves_the_way_back_open() {
        let (mut ours, mut theirs) = pair(16);
        ours.write_all(b"last words").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "last words");
        theirs.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        ours.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(ours.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_reset_is_read_after_what_was_there_and_only_once() {
        let (mut ours, mut theirs) = pair(16);
        ours.write_all(b"half").await.unwrap();
        ours.reset_on_drop();
        drop(ours);
        let mut heard = [0; 16];
        assert_eq!(theirs.read(&mut heard).await.unwrap(), 4);
        assert_eq!(theirs.read(&mut heard).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(theirs.read(&mut heard).await.unwrap(), 0);
        assert_eq!(theirs.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn dropping_with_unread_input_resets_and_without_it_does_not() {
        let (ours, mut theirs) = pair(16);
        theirs.write_all(b"never read").await.unwrap();
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

        let (ours, mut theirs) = pair(16);
        drop(ours);
        assert_eq!(theirs.read(&mut [0; 4]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn slices_are_taken_in_their_order_as_far_as_there_is_room() {
        let (mut ours, mut theirs) = pair(5);
        let slices = ["ab", "", "cd", "ef", "gh"].map(|text| IoSlice::new(text.as_bytes()));
        assert_eq!(ours.write_vectored(&slices).await.unwrap(), 5);
        let mut heard = [0; 8];
        assert_eq!(theirs.read(&mut heard).await.unwrap(), 5);
        assert_eq!(&heard[..5], b"abcde");
    }

    #[tokio::test]
    async fn a_full_pipe_makes_the_writer_wait_for_the_reader() {
        let (mut ours, mut theirs) = pair(4);
        let writer = tokio::spawn(async move {
            ours.write_all(b"0123456789").await.unwrap();
        });
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"0123456789");
        writer.await.unwrap();
    }
}
