//! Settings of a client: every knob with its unit, its default and the reason for it.

use std::fmt;
use std::time::Duration;

use pubsub_protocol::Payload;

use crate::backoff::Backoff;
use crate::breaker::BreakerConfig;
use crate::connector::Target;
use crate::token::TokenSource;

/// How the client finds out that its peer is gone, where the peer sends no pings of its own.
///
/// ```
/// use pubsub_client::{ClientConfig, PingKind};
///
/// let config = ClientConfig::builder("ws://127.0.0.1:9000/").ping_kind(PingKind::Protocol).build()?;
/// # let _ = config;
/// # Ok::<(), pubsub_client::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PingKind {
    /// WebSocket ping frames, which any peer must answer.
    #[default]
    WebSocket,
    /// Messages of the protocol ([`ProtocolHandler::build_ping`](crate::ProtocolHandler::build_ping)): they pass
    /// through the peer's application, so that one whose sockets live and whose application hangs is found out too.
    Protocol,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, as in $example:expr;)+) => {
        /// Settings of a client.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pubsub_client::ClientConfig;
        ///
        /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket")
        ///     .request_timeout(Duration::from_secs(2))
        ///     .token("eyJhbGciOi…")
        ///     .build()?;
        /// assert_eq!(config.connect_timeout, Duration::from_secs(10));
        /// # Ok::<(), pubsub_client::ConfigError>(())
        /// ```
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct ClientConfig {
            /// Where to: `ws://` or `wss://`, host, optional port (80 and 443 by default), path and query.
            pub url: String,
            $($(#[$doc])*
            #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
            pub $name: $type,)+
        }

        impl ClientConfig {
            /// All defaults. [`validate`](Self::validate) looks at the URL.
            ///
            /// ```
            /// # use pubsub_client::ClientConfig;
            /// let mut config = ClientConfig::new("ws://127.0.0.1:8000/connection/websocket");
            /// config.seed = Some(7);
            /// config.validate()?;
            /// # Ok::<(), pubsub_client::ConfigError>(())
            /// ```
            pub fn new(url: impl Into<String>) -> Self {
                Self { url: url.into(), $($name: $default,)+ }
            }
        }

        impl ClientConfigBuilder {
            $($(#[$doc])*
            #[doc = concat!(
                "\n\nDefault: `", stringify!($default), "`.\n\n```\n# use std::time::Duration;\n# use pubsub_client::*;\n",
                "let config = ClientConfig::builder(\"ws://127.0.0.1:8000/connection/websocket\")\n    .",
                stringify!($name), "(", stringify!($example), ")\n    .build()?;\n",
                "# let _ = config;\n# Ok::<(), ConfigError>(())\n```",
            )]
            #[must_use]
            pub fn $name(mut self, $name: impl Into<$type>) -> Self {
                self.0.$name = $name.into();
                self
            })+
        }
    };
}

settings! {
    /// Ceiling of the first reconnect attempt's delay. 500 ms spreads a herd of 10,000 to 20 connects a millisecond.
    reconnect_initial_delay: Duration = Duration::from_millis(500), as in Duration::from_secs(1);
    /// Ceiling of every reconnect delay. The longest a client stays away from a server that is back.
    reconnect_max_delay: Duration = Duration::from_secs(20), as in Duration::from_secs(60);
    /// By how much the ceiling grows with each attempt. At least 1.
    reconnect_factor: f64 = 2.0, as in 1.5;
    /// Share of a delay that is left to chance: 0 (none) to 1 (full jitter). Less than 1 keeps herds in step.
    reconnect_jitter: f64 = 1.0, as in 0.5;
    /// Attempts in a row, the first included, before the client gives up for good. `None`: it never does.
    reconnect_attempts_max: Option<u32> = None, as in 10_u32;
    /// The client's own circuit breaker. `None`: none, unless one is shared through
    /// [`ClientBuilder::breaker`](crate::ClientBuilder::breaker).
    breaker: Option<BreakerConfig> = None, as in BreakerConfig::default();

    /// How often the client pings, where the server does not. Zero: never. 25 s is below the idle limit of usual
    /// proxies (60 s) even if one ping is lost.
    ping_interval: Duration = Duration::from_secs(25), as in Duration::from_secs(55);
    /// How long a pong may take; also how late the server's own ping may be. Then the connection counts as dead.
    pong_timeout: Duration = Duration::from_secs(10), as in Duration::from_secs(5);
    /// What the client's pings are.
    ping_kind: PingKind = PingKind::WebSocket, as in PingKind::Protocol;

    /// How long an answer may take, from the call on, time in the queue included.
    request_timeout: Duration = Duration::from_secs(5), as in Duration::from_secs(2);
    /// Requests that may be without an answer at one time; more are refused. Each costs about 400 bytes.
    pending_requests_max: usize = 1_024, as in 64_usize;
    /// Least time between two searches for requests that are out of time: a timeout is told at most this much late,
    /// and only where another came just before it.
    cleanup_interval: Duration = Duration::from_millis(100), as in Duration::from_millis(50);

    /// Events that one local subscriber may leave unread. Beyond that see [`Overflow`](crate::Overflow). At least 2.
    /// What one recovery brings is taken whole, however much beyond this: it comes in one message, which
    /// `message_bytes_max` bounds, and does not come again until most of it has been read.
    subscription_capacity: usize = 1_024, as in 64_usize;
    /// Requests and messages that may wait to be sent, above all while there is no connection; more are refused.
    command_capacity: usize = 1_024, as in 64_usize;
    /// Topics that are subscribed before the answers are waited for: what a reconnect asks of the server at once.
    subscribe_batch: usize = 256, as in 16_usize;

    /// How long one attempt may take, from opening the transport to the end of authentication.
    connect_timeout: Duration = Duration::from_secs(10), as in Duration::from_secs(3);
    /// Whether to authenticate right after the upgrade. Protocols that demand a first message (Centrifuge) demand this.
    auth_on_connect: bool = true, as in false;
    /// The longest message the server may send, in bytes. A longer one ends the connection (1009). Centrifuge servers
    /// join several replies in a message, and a recovery may come to hundreds of publications.
    message_bytes_max: usize = 4 * 1_024 * 1_024, as in 64 * 1_024_usize;
    /// How long a graceful close may take before the transport is dropped.
    close_timeout: Duration = Duration::from_secs(5), as in Duration::from_secs(1);

    /// The connection's token.
    token: TokenSource = TokenSource::None, as in "eyJhbGciOi…";
    /// Application data for the server, sent with the credentials.
    connect_data: Option<Payload> = None, as in Payload::from_bytes(b"[1, 2]");
    /// Headers of the upgrade request, besides those of the handshake itself.
    headers: Vec<(String, String)> = Vec::new(), as in vec![("X-Tenant".to_owned(), "blue".to_owned())];
    /// Seed of all chance in the client: delays, masks, ids. `None`: one from the operating system. With a seed, ids
    /// count their time from the start of the client rather than from 1970, so that two runs are alike.
    seed: Option<u64> = None, as in 7_u64;
}

/// Sets what differs from the defaults; see [`ClientConfig::builder`].
///
/// ```
/// use pubsub_client::ClientConfig;
///
/// let builder = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket");
/// let (one, other) = (builder.clone().seed(1u64).build()?, builder.seed(2u64).build()?);
/// assert_ne!(one.seed, other.seed);
/// # Ok::<(), pubsub_client::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfigBuilder(ClientConfig);

impl ClientConfigBuilder {
    /// The settings, if they can work.
    ///
    /// ```
    /// # use pubsub_client::ClientConfig;
    /// assert!(ClientConfig::builder("ws://127.0.0.1:8000/").build().is_ok());
    /// assert!(ClientConfig::builder("http://127.0.0.1:8000/").build().is_err());
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn build(self) -> Result<ClientConfig, ConfigError> {
        self.0.validate()?;
        Ok(self.0)
    }
}

impl ClientConfig {
    /// Begins with the defaults.
    ///
    /// ```
    /// # use pubsub_client::ClientConfig;
    /// let config = ClientConfig::builder("ws://127.0.0.1:8000/connection/websocket").command_capacity(64usize).build()?;
    /// assert_eq!(config.command_capacity, 64);
    /// # Ok::<(), pubsub_client::ConfigError>(())
    /// ```
    pub fn builder(url: impl Into<String>) -> ClientConfigBuilder {
        ClientConfigBuilder(Self::new(url))
    }

    /// The reconnect delays.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pubsub_client::ClientConfig;
    /// let backoff = ClientConfig::new("ws://127.0.0.1:8000/").backoff();
    /// assert_eq!((backoff.ceiling(1), backoff.ceiling(3)), (Duration::from_millis(500), Duration::from_secs(2)));
    /// ```
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            initial: self.reconnect_initial_delay,
            max: self.reconnect_max_delay,
            factor: self.reconnect_factor,
            jitter: self.reconnect_jitter,
        }
    }

    /// Looks for settings that cannot work, each by itself and all against each other.
    ///
    /// ```
    /// # use pubsub_client::ClientConfig;
    /// let mut config = ClientConfig::new("ftp://example.org");
    /// config.reconnect_jitter = 7.0;
    /// assert_eq!(config.validate().unwrap_err().problems.len(), 2);
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with every problem, not only the first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems(Vec::new());
        if let Err(error) = Target::parse(&self.url) {
            problems.add("url", &self.url, error.to_string());
        }
        self.validate_reconnect(&mut problems);
        self.validate_heartbeat(&mut problems);

        problems.duration("request_timeout", self.request_timeout);
        problems.duration("connect_timeout", self.connect_timeout);
        problems.duration("close_timeout", self.close_timeout);
        problems.duration("cleanup_interval", self.cleanup_interval);
        if self.cleanup_interval > self.request_timeout {
            problems.add(
                "cleanup_interval",
                format_args!("{:?}", self.cleanup_interval),
                format!("must not exceed request_timeout ({:?}): timeouts would be told late", self.request_timeout),
            );
        }
        for (field, value, least) in [
            ("pending_requests_max", self.pending_requests_max, 1),
            ("command_capacity", self.command_capacity, 1),
            ("subscription_capacity", self.subscription_capacity, 2),
            ("subscribe_batch", self.subscribe_batch, 1),
            // What a Centrifuge connect result takes, with room to spare.
            ("message_bytes_max", self.message_bytes_max, 1_024),
        ] {
            if value < least {
                problems.add(field, value, format!("must be at least {least}"));
            }
        }
        for (name, value) in &self.headers {
            let name_is_good = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !name_is_good || http::HeaderValue::from_str(value).is_err() {
                problems.add("headers", name, "not a header that HTTP allows".to_owned());
            } else if RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                problems.add("headers", name, "set by the handshake itself".to_owned());
            }
        }
        if problems.0.is_empty() { Ok(()) } else { Err(ConfigError { problems: problems.0 }) }
    }

    fn validate_reconnect(&self, problems: &mut Problems) {
        problems.duration("reconnect_initial_delay", self.reconnect_initial_delay);
        problems.at_most_a_year("reconnect_max_delay", self.reconnect_max_delay);
        if self.reconnect_max_delay < self.reconnect_initial_delay {
            problems.add(
                "reconnect_max_delay",
                format_args!("{:?}", self.reconnect_max_delay),
                format!("must not be below reconnect_initial_delay ({:?})", self.reconnect_initial_delay),
            );
        }
        if !(1.0..=1_000.0).contains(&self.reconnect_factor) {
            problems.add("reconnect_factor", self.reconnect_factor, "must be a number from 1 to 1000".to_owned());
        }
        if !(0.0..=1.0).contains(&self.reconnect_jitter) {
            problems.add("reconnect_jitter", self.reconnect_jitter, "must be a number from 0 to 1".to_owned());
        }
        if self.reconnect_attempts_max == Some(0) {
            problems.add("reconnect_attempts_max", 0, "must be at least 1, or None for no limit".to_owned());
        }
        if let Some(breaker) = self.breaker {
            if breaker.failures_max == 0 {
                problems.add("breaker.failures_max", 0, "must be at least 1".to_owned());
            }
            problems.duration("breaker.open_for", breaker.open_for);
        }
    }

    fn validate_heartbeat(&self, problems: &mut Problems) {
        problems.duration("pong_timeout", self.pong_timeout);
        problems.at_most_a_year("ping_interval", self.ping_interval);
        if !self.ping_interval.is_zero() && self.pong_timeout >= self.ping_interval {
            problems.add(
                "pong_timeout",
                format_args!("{:?}", self.pong_timeout),
                format!("must be below ping_interval ({:?}): the next ping would be sent before", self.ping_interval),
            );
        }
    }
}

/// The longest that anything may take. Longer means for ever, and a moment so far away cannot be reckoned with.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Headers that the upgrade request brings itself.
const RESERVED_HEADERS: [&str; 7] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, field: &'static str, value: impl fmt::Display, problem: String) {
        self.0.push(ConfigProblem { field, value: value.to_string(), problem });
    }

    fn duration(&mut self, field: &'static str, value: Duration) {
        if value.is_zero() {
            self.add(field, "0s", "must be above zero".to_owned());
        }
        self.at_most_a_year(field, value);
    }

    fn at_most_a_year(&mut self, field: &'static str, value: Duration) {
        if value > DURATION_MAX {
            self.add(field, format_args!("{value:?}"), "must be at most 365 days".to_owned());
        }
    }
}

/// One thing that is wrong with a [`ClientConfig`].
///
/// ```
/// # use pubsub_client::ClientConfig;
/// let error = ClientConfig::builder("ws://127.0.0.1:8000/").command_capacity(0usize).build().unwrap_err();
/// let problem = &error.problems[0];
/// assert_eq!((problem.field, &*problem.value, &*problem.problem), ("command_capacity", "0", "must be at least 1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// Which setting.
    pub field: &'static str,
    /// What it is set to.
    pub value: String,
    /// What is wrong with that, or what is allowed.
    pub problem: String,
}

/// Everything that is wrong with a [`ClientConfig`].
///
/// ```
/// # use pubsub_client::ClientConfig;
/// let error = ClientConfig::builder("ws://127.0.0.1:8000/").command_capacity(0usize).build().unwrap_err();
/// assert_eq!(error.to_string(), "the client's settings cannot work: command_capacity = 0: must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's settings cannot work: ")?;
        for (i, ConfigProblem { field, value, problem }) in self.problems.iter().enumerate() {
            write!(f, "{}{field} = {value}: {problem}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "ws://localhost:8000/connection/websocket";

    fn problems(change: impl FnOnce(&mut ClientConfig)) -> Vec<&'static str> {
        let mut config = ClientConfig::new(URL);
        change(&mut config);
        config.validate().err().map_or(Vec::new(), |error| error.problems.iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn the_defaults_work() {
        assert_eq!(problems(|_| ()), [""; 0]);
    }

    #[test]
    #[expect(clippy::type_complexity, reason = "a table")]
    fn each_inconsistency_is_found_by_itself() {
        let zero = Duration::ZERO;
        let cases: [(&str, Box<dyn FnOnce(&mut ClientConfig)>); 26] = [
            ("url", Box::new(|c| c.url = "http://localhost".into())),
            ("url", Box::new(|c| c.url = "ws://".into())),
            ("url", Box::new(|c| c.url = String::new())),
            ("reconnect_initial_delay", Box::new(move |c| c.reconnect_initial_delay = zero)),
            ("reconnect_max_delay", Box::new(|c| c.reconnect_max_delay = Duration::from_millis(499))),
            ("reconnect_factor", Box::new(|c| c.reconnect_factor = 0.99)),
            ("reconnect_factor", Box::new(|c| c.reconnect_factor = f64::NAN)),
            ("reconnect_jitter", Box::new(|c| c.reconnect_jitter = 1.01)),
            ("reconnect_jitter", Box::new(|c| c.reconnect_jitter = -0.01)),
            ("reconnect_attempts_max", Box::new(|c| c.reconnect_attempts_max = Some(0))),
            (
                "breaker.failures_max",
                Box::new(|c| {
                    c.breaker = Some(BreakerConfig { failures_max: 0, ..BreakerConfig::default() });
                }),
            ),
            (
                "breaker.open_for",
                Box::new(move |c| {
                    c.breaker = Some(BreakerConfig { open_for: zero, ..BreakerConfig::default() });
                }),
            ),
            ("pong_timeout", Box::new(move |c| c.pong_timeout = zero)),
            ("pong_timeout", Box::new(|c| c.pong_timeout = c.ping_interval)),
            (
                "request_timeout",
                Box::new(move |c| {
                    c.request_timeout = zero;
                    c.cleanup_interval = Duration::from_nanos(1);
                }),
            ),
            ("cleanup_interval", Box::new(move |c| c.cleanup_interval = zero)),
            ("cleanup_interval", Box::new(|c| c.cleanup_interval = c.request_timeout * 2)),
            ("connect_timeout", Box::new(move |c| c.connect_timeout = zero)),
            ("close_timeout", Box::new(move |c| c.close_timeout = zero)),
            ("pending_requests_max", Box::new(|c| c.pending_requests_max = 0)),
            ("command_capacity", Box::new(|c| c.command_capacity = 0)),
            ("subscription_capacity", Box::new(|c| c.subscription_capacity = 1)),
            ("subscribe_batch", Box::new(|c| c.subscribe_batch = 0)),
            ("message_bytes_max", Box::new(|c| c.message_bytes_max = 1_023)),
            ("headers", Box::new(|c| c.headers.push(("a b".into(), String::new())))),
            ("headers", Box::new(|c| c.headers.push(("Upgrade".into(), "h2c".into())))),
        ];
        for (i, (field, change)) in cases.into_iter().enumerate() {
            let found = problems(change);
            // A request timeout of zero is also below the cleanup interval.
            assert!(found == [field] || found == [field, "cleanup_interval"], "case {i}, {field}: found {found:?}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error = ClientConfig::builder("ftp://x")
            .reconnect_factor(0.0)
            .reconnect_jitter(7.0)
            .command_capacity(0usize)
            .build()
            .unwrap_err();
        let fields: Vec<_> = error.problems.iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["url", "reconnect_factor", "reconnect_jitter", "command_capacity"]);
        assert!(error.to_string().contains("reconnect_jitter = 7: must be a number from 0 to 1; command_capacity = 0"));
    }

    #[test]
    fn no_duration_is_so_long_that_its_end_cannot_be_reckoned() {
        let found = problems(|c| {
            for duration in [
                &mut c.reconnect_initial_delay,
                &mut c.reconnect_max_delay,
                &mut c.ping_interval,
                &mut c.pong_timeout,
                &mut c.request_timeout,
                &mut c.connect_timeout,
                &mut c.close_timeout,
                &mut c.cleanup_interval,
            ] {
                *duration = Duration::MAX;
            }
            c.pong_timeout -= Duration::from_nanos(1);
            c.breaker = Some(BreakerConfig { open_for: Duration::MAX, ..BreakerConfig::default() });
        });
        assert_eq!(found.len(), 9, "{found:?}");
    }

    #[test]
    fn no_pings_at_all_is_allowed() {
        assert_eq!(problems(|c| c.ping_interval = Duration::ZERO), [""; 0]);
    }
}
