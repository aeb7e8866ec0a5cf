//! Configurations that are ready to use: the one for newcomers, and two for tests.

use std::time::Duration;

use super::{Config, NamespaceOptions};

impl Config {
    /// What runs when nothing is configured: on loopback only, open to everyone there, with history, recovery, presence
    /// and join/leave in every channel, so that a newcomer's first client and first `curl` work.
    #[must_use]
    pub fn open_default() -> Self {
        let mut config = Self::default();
        config.client.insecure = true;
        config.client.allowed_origins = vec!["*".to_owned()];
        config.http_api.insecure = true;
        // No namespaces: every name is a channel, also `chat:1`.
        config.channel.namespace_boundary = String::new();
        config.channel.without_namespace = NamespaceOptions {
            // As many as one recovery may return.
            history_size: config.client.recovery_max_publication_limit,
            history_ttl: Duration::from_secs(5 * 60),
            force_recovery: true,
            presence: true,
            join_leave: true,
            force_push_join_leave: true,
            ..NamespaceOptions::default()
        };
        config
    }

    /// For tests and the lab: open, on any free port, and with no limit in the way of what is tested.
    #[must_use]
    pub fn generous() -> Self {
        let mut config = Self::open_default();
        config.http_server.port = 0;
        config.client.channel_limit = 100_000;
        config.client.queue_max_size = 256 << 20;
        config.client.recovery_max_publication_limit = 100_000;
        config.client.history_max_publication_limit = 100_000;
        config.channel.without_namespace.history_size = 100_000;
        config.channel.without_namespace.history_ttl = Duration::from_secs(24 * 3600);
        config.websocket.message_size_limit = 16 << 20;
        config
    }

    /// For tests and the lab: open, on any free port, and with limits so tight that every one of them trips soon.
    #[must_use]
    pub fn strict() -> Self {
        let mut config = Self::open_default();
        config.http_server.port = 0;
        config.http_server.handshake_timeout = Duration::from_millis(500);
        config.client.stale_close_delay = Duration::from_millis(500);
        config.client.ping_interval = Duration::from_secs(1);
        config.client.pong_timeout = Duration::from_millis(400);
        config.client.expired_close_delay = Duration::from_millis(500);
        config.client.expired_sub_close_delay = Duration::from_millis(500);
        config.client.presence_update_interval = Duration::from_secs(1);
        config.client.channel_limit = 4;
        config.client.queue_max_size = 16 << 10;
        config.client.connection_limit = 16;
        config.client.user_connection_limit = 2;
        config.client.command_rate_limit = 50;
        config.client.command_rate_burst = 20;
        config.client.recovery_max_publication_limit = 4;
        config.client.history_max_publication_limit = 4;
        config.channel.max_length = 32;
        config.channel.without_namespace.history_size = 8;
        config.channel.without_namespace.history_ttl = Duration::from_secs(5);
        config.websocket.message_size_limit = 4 << 10;
        config.shutdown.timeout = Duration::from_secs(2);
        config.shutdown.spread = Duration::from_millis(500);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Report;
    use super::super::{check, exposure};
    use super::*;

    #[test]
    fn what_is_ready_to_use_has_no_mistake_and_needs_no_warning() {
        for config in [Config::open_default(), Config::generous(), Config::strict()] {
            let mut report = Report::default();
            check::check(&config, &mut report);
            exposure::check(&config, None, &mut report);
            assert_eq!(report.finish().unwrap(), []);
            assert!(config.http_server.address.is_loopback());
        }
    }
}
