//! Tokens (JWT): who a connection is, and what it may subscribe to.
//!
//! Pure: the time is passed in as seconds since 1970, so that a test, the lab and a paused clock can all
//! drive it. What a refusal becomes on the wire (3500, 109, 103) is the session's business.
//!
//! Law of this file: **the key decides the algorithm, never the token**. A token names an algorithm in its
//! header; it is looked up among the configured keys, and a key only ever serves its own family. So a token
//! that says `none`, or an HMAC made with the text of a public RSA key, finds no key at all.
//!
//! - [`keys`]: what is configured, checked once
//! - [`claims`]: what a verified token says
//! - [`signer`]: making tokens, for trying things out and for tests

pub mod claims;
pub mod keys;
pub mod signer;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use claims::{ConnectClaims, Overrides, SubClaims, SubscribeClaims};
pub use keys::{KeyError, KeyProblem};
pub use signer::Signer;

use claims::Registered;
use keys::Keys;

use crate::config::{Pattern, TokenConfig};

/// How far ahead of our clock `nbf` may lie, in seconds.
///
/// A backend that stamps `nbf` with its own "now" makes tokens that are not yet valid for a server whose
/// clock runs a little behind, and asking it for another token would not help. Clocks kept by NTP differ by
/// far less. `exp` has no such allowance: there the answer "expired" makes the client fetch a new token,
/// which does help.
pub const NOT_BEFORE_LEEWAY_SECONDS: i64 = 5;

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Rightly signed and for us, but not at this time: `exp` has passed or `nbf` has not come.
    #[error("the token is not valid at this time: {reason}")]
    Expired {
        /// Which claim, and by how much. For the log: it names no secret.
        reason: String,
    },
    /// Not one of ours: shape, signature, audience, issuer or claims.
    #[error("invalid token: {reason}")]
    Invalid {
        /// What is wrong. For the log, not for the peer.
        reason: String,
    },
    /// No key is configured, so no token can be accepted.
    #[error("no key for tokens is configured: set hmac_secret_key or one of the *_public_key options")]
    NotConfigured,
}

/// Checks tokens with the configured keys.
#[derive(Debug)]
pub struct Verifier {
    keys: Keys,
    audience: Option<Expected>,
    issuer: Option<Expected>,
    /// Where the user's id stands, if not in `sub`.
    user_claim: Option<String>,
    times_count: bool,
}

impl Verifier {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// All that is wrong with them at once: see [`KeyError`].
    pub fn new(config: &TokenConfig) -> Result<Self, KeyError> {
        let mut problems = Vec::new();
        let keys = Keys::read(config, &mut problems);
        let audience = Expected::read(&config.audience, &config.audience_regex, "audience_regex", &mut problems);
        let issuer = Expected::read(&config.issuer, &config.issuer_regex, "issuer_regex", &mut problems);
        KeyError::unless_empty(problems)?;
        let user_claim = config.user_id_claim.clone();
        Ok(Self { keys, audience, issuer, user_claim, times_count: true })
    }

    /// The same, but neither `exp` nor `nbf` is looked at and nothing it accepts ever expires.
    ///
    /// For `client.insecure`: tokens are still verified and used there, but an old one is as good as a new one.
    #[must_use]
    pub fn ignoring_expiry(self) -> Self {
        Self { times_count: false, ..self }
    }

    /// Whether there is any key at all. Without one every token is [`TokenError::NotConfigured`].
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks the token of a `connect` or `refresh` command.
    ///
    /// # Errors
    /// See [`TokenError`]. A token with a `channel` is for subscribing: as a connection token it is invalid,
    /// or else whoever may read one channel could connect as that user.
    pub fn verify_connect(&self, token: &str, now_unix: i64) -> Result<ConnectClaims, TokenError> {
        let (text, registered) = self.verify(token, now_unix)?;
        let claims = ConnectClaims::from_wire(parse(&text)?, self.user(&text)?, self.expire_at(&registered))?;
        self.check_times(&registered, now_unix)?;
        Ok(claims)
    }

    /// Checks the token of a `subscribe` or `sub_refresh` command.
    ///
    /// That its user and channel are those of the connection and the command is left to the caller.
    ///
    /// # Errors
    /// See [`TokenError`]. A token without a `channel` is invalid here.
    pub fn verify_subscribe(&self, token: &str, now_unix: i64) -> Result<SubscribeClaims, TokenError> {
        let (text, registered) = self.verify(token, now_unix)?;
        let claims = SubscribeClaims::from_wire(parse(&text)?, self.user(&text)?, self.expire_at(&registered))?;
        self.check_times(&registered, now_unix)?;
        Ok(claims)
    }

    /// Signature first: nothing in a token means anything before that. Then whether it is meant for us.
    fn verify(&self, token: &str, now_unix: i64) -> Result<(Box<RawValue>, Registered), TokenError> {
        let text = self.keys.verify(token, now_unix)?;
        let registered: Registered = parse(&text)?;
        if let Some(expected) = &self.audience {
            let given = &registered.aud.0;
            if !given.iter().any(|audience| expected.accepts(audience)) {
                return Err(invalid(format!("audience: `aud` is {given:?}, expected {expected}")));
            }
        }
        if let Some(expected) = &self.issuer {
            let given = registered.iss.as_deref().unwrap_or_default();
            if !expected.accepts(given) {
                return Err(invalid(format!("issuer: `iss` is {given:?}, expected {expected}")));
            }
        }
        Ok((text, registered))
    }

    /// Last, so that "expired" is only said of a token with which nothing else is wrong: the client will
    /// fetch another from the same place, and that must stand a chance.
    fn check_times(&self, registered: &Registered, now_unix: i64) -> Result<(), TokenError> {
        if !self.times_count {
            return Ok(());
        }
        if let Some(exp) = registered.exp
            && now_unix >= exp.0
        {
            let ago = now_unix.saturating_sub(exp.0);
            return Err(TokenError::Expired { reason: format!("`exp` is {} and passed {ago} s ago", exp.0) });
        }
        if let Some(nbf) = registered.nbf
            && now_unix.saturating_add(NOT_BEFORE_LEEWAY_SECONDS) < nbf.0
        {
            let ahead = nbf.0.saturating_sub(now_unix);
            return Err(TokenError::Expired { reason: format!("`nbf` is {} and comes in {ahead} s", nbf.0) });
        }
        Ok(())
    }

    /// When the connection or subscription expires: `expire_at` if it is there (0: never), else `exp`.
    fn expire_at(&self, registered: &Registered) -> Option<i64> {
        let moment = registered.expire_at.or(registered.exp)?.0;
        let never = !self.times_count || registered.expire_at.is_some_and(|at| at.0 == 0);
        (!never).then_some(moment)
    }

    fn user(&self, text: &RawValue) -> Result<String, TokenError> {
        claims::user(text, self.user_claim.as_deref().unwrap_or("sub"))
    }
}

/// What a claim must say: exactly this, or something that the pattern finds itself in.
#[derive(Debug)]
enum Expected {
    Exactly(String),
    Matching(Pattern),
}

impl Expected {
    fn read(
        exactly: &Option<String>,
        pattern: &Option<Pattern>,
        pattern_key: &'static str,
        problems: &mut Vec<KeyProblem>,
    ) -> Option<Self> {
        match (exactly, pattern) {
            (None, None) => None,
            (Some(exactly), None) => Some(Self::Exactly(exactly.clone())),
            (None, Some(pattern)) => Some(Self::Matching(pattern.clone())),
            (Some(_), Some(_)) => {
                let message = "set together with the exact value: keep one of the two".to_owned();
                problems.push(KeyProblem { key: pattern_key, message });
                None
            }
        }
    }

    fn accepts(&self, given: &str) -> bool {
        match self {
            Self::Exactly(expected) => expected == given,
            Self::Matching(pattern) => pattern.is_match(given),
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(expected) => write!(f, "{expected:?}"),
            Self::Matching(pattern) => write!(f, "a match of {:?}", pattern.as_str()),
        }
    }
}

fn invalid(reason: impl Into<String>) -> TokenError {
    TokenError::Invalid { reason: reason.into() }
}

fn parse<T: DeserializeOwned>(text: &RawValue) -> Result<T, TokenError> {
    serde_json::from_str(text.get()).map_err(|error| invalid(format!("claims: {error}")))
}
