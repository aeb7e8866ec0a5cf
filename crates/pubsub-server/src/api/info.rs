//! `info`: the nodes there are, and what they carry.

use serde::Serialize;
use uuid::Uuid;

use super::Service;
use crate::metrics::process::Process;

/// Result of [`Service::info`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InfoResult {
    /// Every node. With the memory engine there is one.
    pub nodes: Vec<NodeInfo>,
}

/// What is told of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeInfo {
    /// Another one after each start.
    pub uid: String,
    /// `node.name`, or host name and port.
    pub name: String,
    /// Version of the server.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime: u64,
    /// Open connections.
    pub num_clients: u64,
    /// Different users among them; all anonymous ones count as one.
    pub num_users: u64,
    /// Channels with at least one subscriber.
    pub num_channels: u64,
    /// Subscriptions.
    pub num_subs: u64,
    /// What the operating system knows of the process.
    pub process: ProcessInfo,
}

/// What is told of a process; what the operating system does not say is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProcessInfo {
    /// Memory that is really in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss: Option<u64>,
    /// Open descriptors; each connection is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_fds: Option<u64>,
    /// How many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fds: Option<u64>,
}

impl From<Process> for ProcessInfo {
    fn from(process: Process) -> Self {
        Self { rss: process.resident_bytes, open_fds: process.open_fds, max_fds: process.max_fds }
    }
}

impl Service {
    /// The nodes there are. Asks the operating system and goes through all users: some milliseconds on a full server.
    pub fn info(&self) -> InfoResult {
        let stats = self.metrics.snapshot();
        let (users, of_users) = self.node.users.count();
        let num_clients = stats.connections();
        let anonymous = u64::from(num_clients > of_users);
        InfoResult {
            nodes: vec![NodeInfo {
                uid: self.uid().to_string(),
                name: self.name.clone(),
                version: self.node.rules.version,
                uptime: stats.uptime.as_secs(),
                num_clients,
                num_users: users + anonymous,
                num_channels: self.node.hub.channels() as u64,
                num_subs: stats.subscriptions(),
                process: Process::read().into(),
            }],
        }
    }

    /// Made of the server's own secret, so that the same seed gives the same one.
    fn uid(&self) -> Uuid {
        let half = |which: u8| self.node.id_secret.hash_one(("node", which)).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(0));
        bytes[8..].copy_from_slice(&half(1));
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// What a node is called that was given no name.
pub(super) fn default_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => format!("localhost_{port}"),
        host => format!("{host}_{port}"),
    }
}
