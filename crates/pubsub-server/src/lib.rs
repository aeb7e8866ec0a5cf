//! A WebSocket pub/sub server that Centrifugo SDKs use unchanged.

pub mod channel;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod token;

/// Runs the server until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: config::Config) -> anyhow::Result<()> {
    let config::Config { http_server, .. } = config;
    anyhow::bail!("this build has no server yet to listen on {}", http_server.public_addr())
}
