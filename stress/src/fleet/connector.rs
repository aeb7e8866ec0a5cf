//! Where a member's bytes come from: a real socket or a pipe in memory, under the run's faults.

use std::io;
use std::net::IpAddr;

use pubsub_client::{Connector, Target, TcpConnector};
use tokio::net::TcpStream;

use crate::fault::{Faults, FaultyStream};
use crate::virtual_time::network::{MemberEnd, Network};

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

/// Connects one member to a server in this process.
#[derive(Clone, Debug)]
pub struct MemoryConnector {
    connection: u64,
    faults: Faults,
    network: Network,
}

impl MemoryConnector {
    /// For member number `connection`.
    #[must_use]
    pub fn new(connection: u64, faults: Faults, network: Network) -> Self {
        Self { connection, faults, network }
    }
}

impl Connector for MemoryConnector {
    type Stream = FaultyStream<MemberEnd>;

    async fn connect(&self, _target: &Target, _attempt: u64) -> io::Result<Self::Stream> {
        self.faults.connect(self.connection).await?;
        let stream = self.network.connect(self.connection)?;
        Ok(self.faults.stream(self.connection, stream))
    }
}
