//! Who may connect, for how long, and how much one connection may ask for.

use std::path::PathBuf;
use std::time::Duration;

use super::pattern::Pattern;
use super::secret::Secret;
use super::section::{Later, section};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

section! {
    /// `client`: connections of clients.
    pub struct ClientConfig {
        /// Values of the `Origin` header that are let in, with `*` for any run of characters. Browsers always send one;
        /// empty lets in only clients without. `["*"]` lets in every web page.
        allowed_origins: Vec<String> = Vec::new();
        /// No token is needed and every permission is granted. For development.
        insecure: bool = false;
        /// Let clients in that show no token, as the anonymous user (empty user id).
        allow_anonymous_connect_without_token: bool = false;
        /// Refuse tokens whose user id is empty.
        disallow_anonymous_connection_tokens: bool = false;
        /// HTTP header that holds the user id, set by a proxy in front that has checked it. Whoever reaches the server
        /// past that proxy can be anyone. Empty: none.
        user_id_http_header: Option<String> = None;
        /// Keys and rules for tokens: connection tokens, and subscription tokens unless they have a section of their own.
        token: TokenConfig = TokenConfig::default();
        /// Keys and rules for subscription tokens alone.
        subscription_token: SubscriptionTokenConfig = SubscriptionTokenConfig::default();
        /// Time between two pings to a client. Short finds dead connections soon and costs wake-ups and traffic, on
        /// phones above all. 0 (or -1): no pings, and dead connections stay until the kernel notices.
        ping_interval: Duration = Duration::from_secs(25) => between(0, DAY);
        /// Time for the pong; then the connection is closed with 3012. Less than `ping_interval`. 0 (or -1): clients are
        /// asked for no pong.
        pong_timeout: Duration = Duration::from_secs(8) => between(0, DAY);
        /// Time a client has to refresh an expired token before it is closed with 3005.
        expired_close_delay: Duration = Duration::from_secs(25) => between(0, DAY);
        /// The same for an expired subscription.
        expired_sub_close_delay: Duration = Duration::from_secs(25) => between(0, DAY);
        /// Time from the open socket to a successful connect command; then 3502. 0: no limit, and idle strangers hold
        /// connections for ever.
        stale_close_delay: Duration = Duration::from_secs(10) => between(0, DAY);
        /// Subscriptions per connection; one more is refused with error 106.
        channel_limit: usize = 128 => between(1, 1 << 24);
        /// Bytes that may wait for one connection; a slower reader is closed with 3008 and recovers from history. Answers to
        /// what it has asked, as a recovery, stand beside it.
        queue_max_size: usize = 1_048_576 => between(1024, 1 << 40);
        /// Time between two sweeps over a connection's subscriptions. Read and not needed: presence in memory does not
        /// run out, and expiry is looked at when it is due.
        presence_update_interval: Duration = Duration::from_secs(27) => between(1000, DAY);
        /// Commands of one connection that may be worked on at the same time. Read and not needed: they are always
        /// worked on one after the other, and replies keep the order of the commands.
        concurrency: usize = 0 => between(0, 1 << 16);
        /// Time after which a subscriber's position is compared with its stream again. Read and not needed: the memory
        /// engine loses nothing on the way to a subscriber.
        channel_position_check_delay: Duration = Duration::from_secs(40) => between(0, DAY);
        /// Connections to this node; one more is refused with HTTP 503. 0: no limit but the descriptors.
        connection_limit: usize = 0;
        /// Connections of one user to this node; one more is closed with 3504. 0: no limit. The anonymous user is not
        /// counted.
        user_connection_limit: usize = 0;
        /// New connections per second to this node; more are refused with HTTP 503. 0: no limit.
        connection_rate_limit: u32 = 0;
        /// New connections per second from one address. Everyone behind one NAT shares it. 0: no limit.
        connection_rate_limit_per_address: u32 = 0 => ours;
        /// Commands per second from one connection, on average; beyond them error 111. 0: no limit.
        command_rate_limit: u32 = 0 => ours;
        /// Commands that may come at once before `command_rate_limit` holds. 0: as many as in one second.
        command_rate_burst: u32 = 0 => ours;
        /// Tell the time of the server in the connect reply.
        connect_include_server_time: bool = false;
        /// Publications one history call may return.
        history_max_publication_limit: usize = 300 => between(1, 1 << 24);
        /// Publications one recovery may return; a client that missed more is told that it cannot recover.
        recovery_max_publication_limit: usize = 300 => between(1, 1 << 24);
        /// Subscribe each user to a channel of its own on connect.
        subscribe_to_user_personal_channel: PersonalChannelConfig = PersonalChannelConfig::default();
    }
}

section! {
    /// `client.token`: which tokens (JWT) are believed.
    pub struct TokenConfig {
        /// Secret of HS256, HS384 and HS512. Empty: such tokens are refused.
        hmac_secret_key: Option<Secret> = None;
        /// File whose content is the secret (without a newline at its end); instead of `hmac_secret_key`.
        hmac_secret_key_file: Option<PathBuf> = None => ours;
        /// The secret before the current one, believed while clients change over.
        hmac_previous_secret_key: Option<Secret> = None;
        /// File whose content is that secret; instead of `hmac_previous_secret_key`.
        hmac_previous_secret_key_file: Option<PathBuf> = None => ours;
        /// Unix time in seconds until which `hmac_previous_secret_key` is believed. 0: always.
        hmac_previous_secret_key_valid_until: u64 = 0;
        /// Public key, PEM, for RS256, RS384 and RS512.
        rsa_public_key: Option<String> = None;
        /// Public key, PEM, for ES256 and ES384.
        ecdsa_public_key: Option<String> = None;
        /// Public key, PEM, for EdDSA (Ed25519).
        eddsa_public_key: Option<String> = None => ours;
        /// Address of a JSON Web Key Set.
        jwks_public_endpoint: Option<String> = None => later(Later::Refuse("no token would be believed"));
        /// Value that `aud` must have. Empty: not checked.
        audience: Option<String> = None;
        /// Expression that `aud` must match. Empty: not checked.
        audience_regex: Option<Pattern> = None;
        /// Value that `iss` must have. Empty: not checked.
        issuer: Option<String> = None;
        /// Expression that `iss` must match. Empty: not checked.
        issuer_regex: Option<Pattern> = None;
        /// Claim that holds the user id. Empty: `sub`.
        user_id_claim: Option<String> = None;
    }
}

impl TokenConfig {
    /// Whether there is a key with which a token could be verified.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.hmac_secret_key.is_some()
            || self.rsa_public_key.is_some()
            || self.ecdsa_public_key.is_some()
            || self.eddsa_public_key.is_some()
            || self.jwks_public_endpoint.is_some()
    }
}

section! {
    /// `client.subscription_token`: the same keys for subscription tokens.
    pub struct SubscriptionTokenConfig {
        /// Verify subscription tokens with the keys of this section; otherwise with those of `client.token`.
        enabled: bool = false;
        /// Keys and rules.
        token: TokenConfig = TokenConfig::default() => flat;
    }
}

section! {
    /// `client.subscribe_to_user_personal_channel`: a channel of its own for each user.
    pub struct PersonalChannelConfig {
        /// Subscribe each connection that has a user id to `#USER`.
        enabled: bool = false;
        /// Namespace of that channel. Empty: none.
        personal_channel_namespace: String = String::new();
        /// Keep one connection per user: a new one closes the others with 3504. Needs `enabled`.
        single_connection: bool = false;
    }
}

impl PersonalChannelConfig {
    /// Whether a new connection of a user closes the user's others.
    #[must_use]
    pub fn is_single_connection(&self) -> bool {
        self.enabled && self.single_connection
    }
}
