//! Making tokens: for the command that hands one out to try things with, and for tests.
//!
//! An application makes its users' tokens itself, with the library of its own language.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::json;

/// Makes HS256 tokens with a secret.
#[derive(Clone, Debug)]
pub struct Signer {
    key: EncodingKey,
}

impl Signer {
    /// A signer with the same `hmac_secret_key` as the server that is to accept its tokens.
    #[must_use]
    pub fn hs256(secret: &str) -> Self {
        Self { key: EncodingKey::from_secret(secret.as_bytes()) }
    }

    /// A token to connect with. An empty user is anonymous; without `exp` it is good for ever.
    #[must_use]
    pub fn connection(&self, user: &str, exp: Option<i64>) -> String {
        let mut claims = json!({ "sub": user });
        if let Some(exp) = exp {
            claims["exp"] = exp.into();
        }
        self.sign(&claims)
    }

    /// A token to subscribe that user to that channel with.
    #[must_use]
    pub fn subscription(&self, user: &str, channel: &str, exp: Option<i64>) -> String {
        let mut claims = json!({ "sub": user, "channel": channel });
        if let Some(exp) = exp {
            claims["exp"] = exp.into();
        }
        self.sign(&claims)
    }

    /// A token with these claims and no others.
    ///
    /// # Panics
    /// When the claims cannot be written as JSON, as a map whose keys are not texts.
    #[must_use]
    pub fn sign<T: Serialize>(&self, claims: &T) -> String {
        encode(&Header::default(), claims, &self.key).expect("claims are JSON, and HMAC takes any secret")
    }
}
