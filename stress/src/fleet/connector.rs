//! Where a member's bytes come from: a real socket or a pipe in memory, under the run's faults.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

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
    /// By turns, one for each attempt.
    sources: Arc<[IpAddr]>,
}

impl FaultyConnector {
    /// For member number `connection`, from each of `sources` by turns.
    #[must_use]
    pub fn new(
        connection: u64,
        faults: Faults,
        sources: impl Into<Arc<[IpAddr]>>,
        receive_buffer_bytes: Option<u32>,
    ) -> Self {
        let mut inner = TcpConnector::default();
        inner.receive_buffer_bytes = receive_buffer_bytes;
        Self { connection, faults, inner, sources: sources.into() }
    }
}

impl Connector for FaultyConnector {
    type Stream = FaultyStream<TcpStream>;

    async fn connect(&self, target: &Target, attempt: u64) -> io::Result<Self::Stream> {
        self.faults.connect(self.connection).await?;
        let turn = usize::try_from(attempt).unwrap_or(0) % self.sources.len().max(1);
        let inner = self.sources.get(turn).map_or(self.inner.clone(), |&source| self.inner.clone().source(source));
        let stream = inner.connect(target, attempt).await?;
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
