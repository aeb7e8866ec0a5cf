//! Where connections come from: TCP, TLS over TCP, or this very process.
//!
//! A connection is accepted in one place and served in another (its shard), so what is accepted is *raw* and
//! becomes a stream where it will live: a socket registers with the runtime that polls it, once.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Type};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::socket::{Polled, Socket, TcpSocket};
use super::tls::{MaybeTls, TlsAcceptor};

/// A source of connections.
pub trait Listener: Send + 'static {
    /// A connection that was accepted and not yet taken to its shard.
    type Raw: Send + 'static;
    /// A connection in its shard's runtime, while it speaks HTTP.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A connection in its shard, when HTTP is done with it.
    type Socket: Socket;

    /// The next connection and its peer's address, where there is such a thing. An error is logged, and the
    /// listener asked again: it has to wait by itself if asking again at once would be in vain.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Raw, Option<SocketAddr>)>> + Send;

    /// Makes a raw connection a stream. Runs where the stream will be polled.
    fn attach(raw: Self::Raw) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Makes a stream a socket of the shard.
    ///
    /// # Errors
    /// When the runtime can not let go of it.
    fn settle(stream: Self::Stream) -> io::Result<Self::Socket>;

    /// The address listened on, where there is such a thing.
    fn local_addr(&self) -> Option<SocketAddr>;
}

/// TCP, with or without TLS.
pub struct TcpListener {
    socket: AsyncFd<std::net::TcpListener>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// A descriptor to give up when there are no more: with it the connection that waits can be accepted and
    /// closed, where otherwise it would wait, and wake us, for ever.
    spare: Option<std::fs::File>,
}

/// How long to wait when no descriptor is left: as long as nothing is closed, asking again is in vain.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

impl TcpListener {
    /// Listens on `address` with room for `backlog` connections that wait to be accepted.
    ///
    /// # Errors
    /// When the address can not be had.
    pub fn bind(address: SocketAddr, backlog: u32, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        // What is accepted inherits it: one system call for all instead of one for each.
        socket.set_tcp_nodelay(true)?;
        let socket: std::net::TcpListener = socket.into();
        let address = socket.local_addr()?;
        #[allow(
            deprecated,
            reason = "unsound only for types that may change their descriptor; a std listener does not"
        )]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, address, tls, spare: spare() })
    }

    /// Has the kernel hold so many bytes at most for each connection that is accepted; 0: as many as it likes.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send_buffer(self, bytes: usize) -> io::Result<Self> {
        if bytes > 0 {
            // Inherited, too.
            socket2::SockRef::from(self.socket.get_ref()).set_send_buffer_size(bytes)?;
        }
        Ok(self)
    }

    async fn accept_socket(&mut self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| accept_nonblocking(socket.get_ref())) {
                Ok(accepted) => return accepted,
                Err(_would_block) => {}
            }
        }
    }

    /// No descriptor is left: turns the one who waits away instead of leaving it waiting.
    async fn shed(&mut self) {
        drop(self.spare.take());
        let _ = self.socket.get_ref().accept().map(drop);
        self.spare = spare();
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// `accept4`, which spares the calls that would set the flags afterwards.
fn accept_nonblocking(socket: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::NotConnected)?;
    Ok((accepted.into(), peer))
}

fn spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

/// Whether there are no more descriptors (or buffers) to be had, in this process or on this machine.
pub fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS | ENOMEM))
}

impl Listener for TcpListener {
    type Raw = (std::net::TcpStream, Option<TlsAcceptor>);
    type Stream = MaybeTls;
    type Socket = TcpSocket;

    async fn accept(&mut self) -> io::Result<(Self::Raw, Option<SocketAddr>)> {
        match self.accept_socket().await {
            Ok((socket, peer)) => Ok(((socket, self.tls.clone()), Some(peer))),
            Err(error) => {
                if is_exhausted(&error) {
                    self.shed().await;
                }
                Err(error)
            }
        }
    }

    async fn attach((socket, tls): Self::Raw) -> io::Result<MaybeTls> {
        let stream = TcpStream::from_std(socket)?;
        match tls {
            Some(tls) => tls.accept(stream).await,
            None => Ok(MaybeTls::Plain(stream)),
        }
    }

    fn settle(stream: MaybeTls) -> io::Result<TcpSocket> {
        TcpSocket::settle(stream)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        Some(self.address)
    }
}

/// Connections from within this process, for tests and for a whole system under one paused clock.
pub struct MemoryListener<S = DuplexStream>(mpsc::UnboundedReceiver<S>);

/// The other end of a [`MemoryListener`].
pub struct MemoryConnector<S = DuplexStream>(mpsc::UnboundedSender<S>);

/// A listener, and where to put the streams that it accepts.
pub fn memory<S>() -> (MemoryListener<S>, MemoryConnector<S>) {
    let (tx, rx) = mpsc::unbounded_channel();
    (MemoryListener(rx), MemoryConnector(tx))
}

impl<S> Clone for MemoryConnector<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> MemoryConnector<S> {
    /// Connects a stream of one's own making: the server gets this end.
    ///
    /// # Errors
    /// `ConnectionRefused` when the listener is gone.
    pub fn connect_with(&self, stream: S) -> io::Result<()> {
        self.0.send(stream).map_err(|_| io::ErrorKind::ConnectionRefused.into())
    }
}

impl MemoryConnector {
    /// Connects by a pipe that holds `buffer_bytes` in each direction, and returns our end of it.
    ///
    /// # Errors
    /// `ConnectionRefused` when the listener is gone.
    pub fn connect(&self, buffer_bytes: usize) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(buffer_bytes);
        self.connect_with(theirs)?;
        Ok(ours)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Listener for MemoryListener<S> {
    type Raw = S;
    type Stream = S;
    type Socket = Polled<S>;

    async fn accept(&mut self) -> io::Result<(S, Option<SocketAddr>)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, None)),
            // All connectors are gone: nobody will ever come.
            None => std::future::pending().await,
        }
    }

    async fn attach(raw: S) -> io::Result<S> {
        Ok(raw)
    }

    fn settle(stream: S) -> io::Result<Polled<S>> {
        Ok(Polled(stream))
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_kernel_holds_for_an_accepted_connection_is_what_the_listener_was_told() {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        let mut listener = listener.send_buffer(65_536).unwrap();
        let _peer = TcpStream::connect(listener.address).await.unwrap();
        let (accepted, _) = listener.accept_socket().await.unwrap();
        // The kernel doubles it for its books.
        assert_eq!(socket2::SockRef::from(&accepted).send_buffer_size().unwrap(), 2 * 65_536);
    }
}
