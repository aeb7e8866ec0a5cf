//! Streams in memory: no sockets, no time of their own, so that a paused clock and a seed decide everything.

use std::io;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::{Connector, Target};

/// Opens in-memory streams, whose other ends come out of a [`PipeAcceptor`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use pubsub_client::{Connector, PipeConnector, Target};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let (connector, mut acceptor) = PipeConnector::new(4096);
/// let mut ours = connector.connect(&Target::parse("ws://pipe/").unwrap(), 1).await?;
/// let mut theirs = acceptor.accept().await.expect("a connector is left");
/// ours.write_all(b"hi").await?;
/// assert_eq!(theirs.read_u8().await?, b'h');
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct PipeConnector {
    buffer_bytes: usize,
    accepts: mpsc::Sender<DuplexStream>,
}

/// The far ends of a [`PipeConnector`]'s streams. Dropped, it is as if nobody listened.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use pubsub_client::{Connector, PipeConnector, Target};
///
/// let (connector, acceptor) = PipeConnector::new(4096);
/// drop(acceptor);
/// let refused = connector.connect(&Target::parse("ws://pipe/").unwrap(), 1).await.unwrap_err();
/// assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
/// # }
/// ```
#[derive(Debug)]
pub struct PipeAcceptor {
    accepts: mpsc::Receiver<DuplexStream>,
}

/// Connections that may wait to be accepted; more wait in `connect`.
const BACKLOG: usize = 16;

impl PipeConnector {
    /// A connector and its acceptor. `buffer_bytes` may be under way in each direction of a stream.
    ///
    /// ```
    /// use pubsub_client::{Client, ClientConfig, PipeConnector};
    ///
    /// let (connector, acceptor) = PipeConnector::new(64 * 1024);
    /// let builder = Client::builder(ClientConfig::new("ws://pipe/")).connector(connector);
    /// # let _ = (builder, acceptor);
    /// ```
    #[must_use]
    pub fn new(buffer_bytes: usize) -> (Self, PipeAcceptor) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self { buffer_bytes, accepts: sender }, PipeAcceptor { accepts: receiver })
    }
}

impl PipeAcceptor {
    /// The next stream. `None`: no connector is left.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use pubsub_client::PipeConnector;
    ///
    /// let (connector, mut acceptor) = PipeConnector::new(4096);
    /// drop(connector);
    /// assert!(acceptor.accept().await.is_none());
    /// # }
    /// ```
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.accepts.recv().await
    }
}

impl Connector for PipeConnector {
    type Stream = DuplexStream;

    async fn connect(&self, _target: &Target, _attempt: u64) -> io::Result<DuplexStream> {
        let (ours, theirs) = duplex(self.buffer_bytes);
        self.accepts.send(theirs).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(ours)
    }
}
