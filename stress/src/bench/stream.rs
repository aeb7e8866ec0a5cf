//! A connection of the load generator: TCP, or TLS over it, never blocking.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};

use super::process::pause;

/// Source addresses: one alone has 28,232 ports.
const SOURCES: usize = 8;

/// How long to wait before asking again a socket that takes nothing.
const FULL_PAUSE: Duration = Duration::from_micros(50);

/// How long a socket may take nothing.
const FULL_PAUSES_MAX: u32 = 200_000;

/// What it takes to speak TLS to a server.
pub type Trust = Arc<rustls::ClientConfig>;

/// Trusts `certificate`, and nobody else.
///
/// # Errors
/// When it is none.
pub fn trust(certificate: CertificateDer<'static>) -> anyhow::Result<Trust> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A connection.
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Connects from one of several addresses of this machine.
    ///
    /// # Errors
    /// When the server is not there.
    pub fn dial(nth: usize, address: SocketAddr, trust: Option<&Trust>) -> anyhow::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        let last = u8::try_from(nth % SOURCES + 1)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // Ends with a reset, which leaves no socket behind that waits: the next run wants the ports.
        socket.set_linger(Some(Duration::ZERO))?;
        let name = || ServerName::try_from("localhost").expect("a name in order");
        let tls = trust.map(|trust| ClientConnection::new(trust.clone(), name())).transpose()?.map(Box::new);
        Ok(Self { socket: socket.into(), tls })
    }

    /// Whether a read that does not fill its buffer has left nothing behind.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Reads what has come; `WouldBlock` when that is nothing.
    ///
    /// # Errors
    /// What the socket, or TLS, says.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            let came = tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            if came == 0 {
                return Ok(0);
            }
        }
    }

    /// Writes all of `bytes`, however long that takes. What TLS can not send before its handshake is done goes out with that.
    ///
    /// # Errors
    /// When the connection breaks, or takes nothing for 10 s.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return write_all(&mut self.socket, bytes) };
        for part in bytes.chunks(16 * 1024) {
            tls.writer().write_all(part)?;
            let mut records = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut records)?;
            }
            write_all(&mut self.socket, &records)?;
        }
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn write_all(socket: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let mut pauses = 0;
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(n) => (bytes, pauses) = (&bytes[n..], 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock && pauses < FULL_PAUSES_MAX => {
                pause(FULL_PAUSE);
                pauses += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
