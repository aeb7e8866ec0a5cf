//! The configuration, made ready for sessions: built once, read by all.

use pubsub_protocol::ErrorCode;
use pubsub_protocol::limits::TTL_SECONDS_MAX;

use crate::channel::Channels;
use crate::clock::{Now, millis};
use crate::config::{ChannelConfig, ClientConfig, Config, NamespaceOptions};
use crate::stream::Retention;
use crate::token::{KeyError, Verifier};

/// What sessions go by.
#[derive(Debug)]
pub struct Rules {
    /// The section `client`.
    pub client: ClientConfig,
    /// Names and permissions.
    pub channels: Channels,
    /// Who is believed on connect.
    pub connect_tokens: Verifier,
    /// The server's version, as clients are told.
    pub version: &'static str,
    subscription_tokens: Option<Verifier>,
    channel: ChannelConfig,
}

impl Rules {
    /// Makes a configuration ready.
    ///
    /// # Errors
    /// When a key for tokens can not be used.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        let verifier = |tokens| {
            let verifier = Verifier::new(tokens)?;
            Ok(if config.client.insecure { verifier.ignoring_expiry() } else { verifier })
        };
        let separate = &config.client.subscription_token;
        Ok(Self {
            channels: Channels::new(&config.channel),
            connect_tokens: verifier(&config.client.token)?,
            subscription_tokens: separate.enabled.then(|| verifier(&separate.token)).transpose()?,
            client: config.client.clone(),
            channel: config.channel.clone(),
            version: env!("CARGO_PKG_VERSION"),
        })
    }

    /// Who is believed on subscribe.
    pub fn subscription_tokens(&self) -> &Verifier {
        self.subscription_tokens.as_ref().unwrap_or(&self.connect_tokens)
    }

    /// The bounds of a channel's stream; `None`: it keeps no history.
    pub fn retention(&self, options: &NamespaceOptions) -> Option<Retention> {
        options.has_history().then(|| Retention {
            size: options.history_size,
            ttl: options.history_ttl,
            meta_ttl: self.channel.history_meta_ttl_of(options),
        })
    }

    /// The channel that a user is subscribed to without asking.
    ///
    /// # Errors
    /// When the user's id makes no good name; see [`Channels::personal`].
    pub fn personal_channel(&self, user: &str) -> Result<Option<String>, ErrorCode> {
        self.channels.personal(&self.client.subscribe_to_user_personal_channel, user)
    }

    /// When a connection whose token runs out at `exp` is closed, in [`Now::ms`].
    pub fn closes_at(&self, exp: i64, now: Now) -> u64 {
        (now.ms_at(exp) + millis(self.client.expired_close_delay)).max(1)
    }

    /// When a subscription whose token runs out at `exp` is ended, in [`Now::ms`].
    pub fn subscription_closes_at(&self, exp: i64, now: Now) -> u64 {
        (now.ms_at(exp) + millis(self.client.expired_sub_close_delay)).max(1)
    }
}

/// Whether what a token allows is over already: by its `expire_at`, which may be before its `exp`.
pub fn is_over(expire_at: Option<i64>, now: Now) -> bool {
    expire_at.is_some_and(|at| at <= now.unix())
}

/// Whole seconds from now to `ms`, as a client is told: at least one, at most a year.
pub fn seconds_until(ms: u64, now: Now) -> u32 {
    let seconds = ms.saturating_sub(now.ms).div_ceil(1000).clamp(1, TTL_SECONDS_MAX);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
