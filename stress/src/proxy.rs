//! A hop between anybody's client and a server: the same faults as inside the lab's own clients, for whoever connects.
//!
//! Every connection that comes in is numbered from 0, gets a connection of its own to the server, and the faults sit around
//! that one: towards the client is what the server sends, away from the client what the client sends. A reset or an end on one
//! side is passed on to the other. A hop may also be [`Closed`], and the kernel refuses whoever connects, or [`Waiting`], and the
//! kernel lets a connect hang once its queue is full.
//!
//! It costs three descriptors for each connection, so it is no place for fleets of 10,000.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::fault::{Carrier as _, Faults};

/// Connections that wait to be accepted, where nobody asks for fewer.
const BACKLOG: u32 = 4_096;

/// A hop that takes connections. Dropping it ends all that go through it.
#[derive(Debug)]
pub struct Hop {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

/// A hop that takes none.
#[derive(Debug)]
pub struct Closed {
    socket: TcpSocket,
    address: SocketAddr,
}

/// A hop on which connections wait and nobody takes them.
#[derive(Debug)]
pub struct Waiting {
    listener: TcpListener,
    address: SocketAddr,
}

impl Closed {
    /// Bound to `at` (port 0: any), not listening.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it will listen.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Listens, and takes nothing: the kernel holds `backlog` and one more connections and drops the packets of all others.
    ///
    /// # Errors
    /// When the system refuses to listen.
    pub fn listen(self, backlog: u32) -> io::Result<Waiting> {
        Ok(Waiting { listener: self.socket.listen(backlog)?, address: self.address })
    }
}

impl Waiting {
    /// Takes connections from now on, and passes them to `server` (host and port) under `faults`.
    #[must_use]
    pub fn accept(self, server: &str, faults: Faults) -> Hop {
        let Self { listener, address } = self;
        let (server, taken) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&taken);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut flows = JoinSet::new();
            loop {
                // Out of descriptors, or a connection that has gone before it was taken: the next one is another matter.
                let Ok((client, _)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                while flows.try_join_next().is_some() {}
                flows.spawn(pass(counted.fetch_add(1, Relaxed), client, server.clone(), faults.clone()));
            }
        });
        Hop { address, taken, _accepting: accepting }
    }
}

impl Hop {
    /// In front of `server`, on a port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub fn before(server: &str, faults: Faults) -> io::Result<Self> {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), server, faults)
    }

    /// The same, at `address`.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn at(address: SocketAddr, server: &str, faults: Faults) -> io::Result<Self> {
        Ok(Closed::bind(address)?.listen(BACKLOG)?.accept(server, faults))
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Connections taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

/// One connection, until it is over on both sides.
async fn pass(number: u64, mut client: TcpStream, server: String, faults: Faults) {
    let connected = async {
        faults.connect(number).await?;
        let server = TcpStream::connect(server).await?;
        // Small frames are sent one by one, as the two ends would.
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        io::Result::Ok(server)
    };
    let Ok(server) = connected.await else {
        client.reset_on_drop();
        return;
    };
    let mut server = faults.stream(number, server);
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        // One side is gone rudely: so is the other.
        client.reset_on_drop();
        if let Some(server) = server.inner() {
            // Fails only on a socket that is already gone.
            let _gone = server.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fault::plan::{Aim, Direction, Fault, Kind, Plan, Target};

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_and_ends_pass_and_a_reset_strikes_the_connection_it_is_meant_for() {
        let faults = Faults::new(&Plan::default());
        let hop = Hop::before(&echo().await, faults.clone()).unwrap();
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(hop.address()).await.unwrap();
            stream.write_all(b"there and back").await.unwrap();
            let mut back = [0; 14];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"there and back");
            streams.push(stream);
        }
        let reset = Fault::new("reset", Kind::Reset)
            .aimed(Aim::Byte(16))
            .direction(Direction::In)
            .target(Target::Connections(vec![1]));
        let guard = faults.inject(reset);
        for stream in &mut streams {
            stream.write_all(b"more").await.unwrap();
        }
        let error = streams[1].read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!((error.kind(), faults.counts()["reset"].1.applied), (io::ErrorKind::ConnectionReset, 1));
        drop(guard);
        streams[0].shutdown().await.unwrap();
        let mut rest = Vec::new();
        streams[0].read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.as_slice(), hop.taken()), (&b"more"[..], 2));
    }

    #[tokio::test]
    async fn a_hop_that_does_not_listen_is_refused_by_the_kernel_and_passes_once_it_does() {
        let closed = Closed::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = closed.address();
        let refused = TcpStream::connect(&address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let hop = closed.listen(16).unwrap().accept(&echo().await, Faults::new(&Plan::default()));
        let mut stream = TcpStream::connect(hop.address()).await.unwrap();
        stream.write_all(b"now").await.unwrap();
        stream.read_exact(&mut [0; 3]).await.unwrap();
    }
}
