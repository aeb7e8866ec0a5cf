//! Plain TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::{Connector, Target};

/// Opens TCP connections.
///
/// Every address that the host has is tried in turn. Names are resolved by the operating system, on another thread.
///
/// ```
/// use pubsub_client::{AnyConnector, Client, ClientConfig, TcpConnector};
///
/// let tcp = TcpConnector::default().source([127, 0, 0, 7].into());
/// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").build()?;
/// let builder = Client::builder(config).connector(AnyConnector::plain(tcp));
/// # let _ = builder;
/// # Ok::<(), pubsub_client::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConnector {
    /// Address to connect from. `None`: the system chooses. Each source address has its own ports, some 28,000, so a
    /// fleet larger than that needs several.
    pub source: Option<IpAddr>,
    /// Sends small writes at once rather than waiting for an acknowledgement. Default: yes.
    pub nodelay: bool,
    /// Size of the kernel's receive buffer in bytes (Linux doubles it). `None`: the system's own choice.
    pub receive_buffer_bytes: Option<u32>,
    /// Size of the kernel's send buffer in bytes (Linux doubles it). `None`: the system's own choice.
    pub send_buffer_bytes: Option<u32>,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self { source: None, nodelay: true, receive_buffer_bytes: None, send_buffer_bytes: None }
    }
}

impl TcpConnector {
    /// Sets [`source`](Self::source).
    ///
    /// ```
    /// # use pubsub_client::TcpConnector;
    /// let connector = TcpConnector::default().source([127, 0, 0, 7].into());
    /// assert!(connector.source.is_some());
    /// ```
    #[must_use]
    pub fn source(self, address: IpAddr) -> Self {
        Self { source: Some(address), ..self }
    }

    /// Sets [`receive_buffer_bytes`](Self::receive_buffer_bytes).
    ///
    /// ```
    /// # use pubsub_client::TcpConnector;
    /// let connector = TcpConnector::default().receive_buffer_bytes(8 * 1024);
    /// assert_eq!(connector.receive_buffer_bytes, Some(8 * 1024));
    /// ```
    #[must_use]
    pub fn receive_buffer_bytes(self, bytes: u32) -> Self {
        Self { receive_buffer_bytes: Some(bytes), ..self }
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Before the connection is made: the window is negotiated with its first packet.
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(self.nodelay)?;
        Ok(stream)
    }
}

impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, target: &Target, _attempt: u64) -> io::Result<TcpStream> {
        // An address needs no resolver, and no thread for one.
        if let Ok(address) = target.host.parse::<IpAddr>() {
            return self.connect_to(SocketAddr::new(address, target.port)).await;
        }
        let mut last = None;
        for address in lookup_host((target.host.as_str(), target.port)).await? {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}
