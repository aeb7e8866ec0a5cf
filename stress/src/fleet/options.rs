//! How members behave.

use std::sync::Arc;
use std::time::Duration;

use pubsub_client::{CircuitBreaker, TokenSource};

use super::PUBLISHER_CONNECTIONS;

/// How members behave.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Ceiling of the first reconnect delay.
    pub reconnect_initial_delay: Duration,
    /// Ceiling of every reconnect delay.
    pub reconnect_max_delay: Duration,
    /// A circuit breaker that all members share. Publishers have none: they are in another network.
    pub breaker: Option<CircuitBreaker>,
    /// The kernel's receive buffer of members, where a scenario is about readers that stall.
    pub receive_buffer_bytes: Option<u32>,
    /// Only members below this number have it.
    pub receive_buffer_below: u64,
    /// The longest message a member takes.
    pub message_bytes_max: usize,
    /// How much later than expected the server's ping may be before a member gives its connection up.
    pub pong_timeout: Duration,
    /// Members come back from another address than the one they had.
    pub roams: bool,
    /// What members show when they connect.
    pub credentials: Option<Credentials>,
}

/// Where the token of each connection comes from.
#[derive(Clone)]
pub struct Credentials(pub(super) Arc<dyn Fn(u64) -> TokenSource + Send + Sync>);

impl Credentials {
    /// Asks `source`, once for each connection.
    pub fn new(source: impl Fn(u64) -> TokenSource + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            reconnect_initial_delay: Duration::from_millis(200),
            reconnect_max_delay: Duration::from_secs(2),
            breaker: None,
            receive_buffer_bytes: None,
            receive_buffer_below: PUBLISHER_CONNECTIONS,
            message_bytes_max: 4 << 20,
            credentials: None,
            pong_timeout: Duration::from_secs(10),
            roams: false,
        }
    }
}
