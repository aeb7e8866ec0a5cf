//! A connection as its shard reads and writes it, after HTTP is done with it.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::tls::MaybeTls;
use crate::shard::poller::{Change, Watch};

/// A stream that a shard can own.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the shard's poller tell of changes, if this is a socket that it can watch. Any other stream is polled
    /// through its waker.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    fn register(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        let _ = watch;
        Ok(())
    }

    /// Notes what the poller told.
    fn change(&mut self, change: Change) {
        let _ = change;
    }

    /// Has the kernel forget what it still holds for the peer when the stream is dropped, instead of trying to send that for
    /// a minute to come.
    fn abort(&mut self) {}

    /// Whether the poller watches it, and wakers have no part in it.
    fn is_watched(&self) -> bool {
        false
    }
}

/// A TCP connection, with TLS or without.
pub enum TcpSocket {
    /// Without: watched by the shard's poller.
    Plain(WatchedTcp),
    /// With: polled through its waker. Boxed: a connection without TLS does not pay for it.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A TCP socket that the shard's poller watches.
pub struct WatchedTcp {
    stream: std::net::TcpStream,
    readable: bool,
    hangup: bool,
}

impl TcpSocket {
    /// Takes a stream from tokio's hands, unless it is one of TLS.
    ///
    /// # Errors
    /// When tokio can not let go of it.
    pub fn settle(stream: MaybeTls) -> io::Result<Self> {
        Ok(match stream {
            MaybeTls::Plain(stream) => {
                // The poller's first word on a socket tells of what has come before.
                Self::Plain(WatchedTcp { stream: stream.into_std()?, readable: false, hangup: false })
            }
            MaybeTls::Tls(stream) => Self::Tls(stream),
        })
    }
}

impl Socket for TcpSocket {
    fn register(&mut self, watch: &mut Watch<'_>) -> io::Result<()> {
        match self {
            Self::Plain(socket) => watch.add(&socket.stream),
            Self::Tls(_) => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        if let Self::Plain(socket) = self {
            socket.readable |= change.readable;
            socket.hangup |= change.hangup;
        }
    }

    fn abort(&mut self) {
        let socket = match self {
            Self::Plain(socket) => socket2::SockRef::from(&socket.stream),
            Self::Tls(stream) => socket2::SockRef::from(stream.get_ref().0),
        };
        // A socket that can not be told so any more has nothing to forget.
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    fn is_watched(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// What a nonblocking call came to. When it would block, the poller tells of the next change.
fn attempt<T>(mut call: impl FnMut() -> io::Result<T>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

impl WatchedTcp {
    fn poll_read(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.readable {
            return Poll::Pending;
        }
        let room = buffer.initialize_unfilled();
        let space = room.len();
        let read = attempt(|| self.stream.read(room));
        match read {
            Poll::Ready(Ok(n)) => {
                // A buffer that was not filled shows that there is nothing more, unless the end comes after it.
                self.readable = n == space || self.hangup;
                buffer.advance(n);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.readable = false;
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for TcpSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => socket.poll_read(buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for TcpSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => attempt(|| socket.stream.write(bytes)),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => attempt(|| socket.stream.write_vectored(slices)),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Poll::Ready(socket.stream.shutdown(Shutdown::Write)),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// Any stream, as a socket that is polled through its waker.
pub struct Polled<S>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for Polled<S> {}

impl<S: AsyncRead + Unpin> AsyncRead for Polled<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Polled<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
