//! Where a member's bytes come from: a real socket, under the run's faults.

use std::io;
use std::net::IpAddr;

use pubsub_client::{Connector, Target, TcpConnector};
use tokio::net::TcpStream;

use crate::fault::{Faults, FaultyStream};

/// Connects one member.
#[derive(Clone, Debug)]
pub struct FaultyConnector {
    connection: u64,
    faults: Faults,
    inner: TcpConnector,
}

impl FaultyConnector {
    /// For member number `connection`, from the address `source`.
    #[must_use]
    pub fn new(connection: u64, faults: Faults, source: IpAddr, receive_buffer_bytes: Option<u32>) -> Self {
        let mut inner = TcpConnector::default().source(source);
        inner.receive_buffer_bytes = receive_buffer_bytes;
        Self { connection, faults, inner }
    }
}

impl Connector for FaultyConnector {
    type Stream = FaultyStream<TcpStream>;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        self.faults.connect(self.connection).await?;
        let stream = self.inner.connect(target, attempt).await?;
        Ok(self.faults.stream(self.connection, stream))
    }
}
