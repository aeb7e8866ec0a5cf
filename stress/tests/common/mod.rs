//! A server inside the test's own process, on a port of its own.

use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::TcpListener;

/// Open, with so many publications kept in each channel. Returns where it listens; it ends with the handle.
pub(crate) fn serving(history_size: u32) -> (ServerHandle, String) {
    let mut config = Config::open_default();
    config.channel.without_namespace.history_size = history_size as _;
    if history_size == 0 {
        config.channel.without_namespace.history_ttl = Default::default();
        config.channel.without_namespace.force_recovery = false;
        config.channel.without_namespace.force_positioning = false;
    }
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 4096, None).unwrap();
    let server = Server::new(config).start(listener).unwrap();
    let address = server.local_addr().unwrap().to_string();
    (server, address)
}
