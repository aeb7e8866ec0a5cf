//! The configured keys, and the one place that calls the cryptography.

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto, decode_header};
use serde_json::value::RawValue;

use super::{TokenError, invalid};

/// Keys and expectations, named as in the configuration. An empty text means "not set".
#[derive(Clone, Debug, Default)]
pub struct TokenConfig {
    /// Secret for HS256, HS384 and HS512.
    pub hmac_secret_key: String,
    /// The secret before that, so that tokens already handed out outlive a change of secret.
    pub hmac_previous_secret_key: String,
    /// Until when (seconds since 1970) the previous secret is accepted. 0: as long as it is configured.
    pub hmac_previous_secret_key_valid_until: i64,
    /// PEM of a public RSA key of 2048 to 8192 bits, for RS256, RS384 and RS512.
    pub rsa_public_key: String,
    /// PEM of a public key on P-256 (then for ES256) or P-384 (then for ES384).
    pub ecdsa_public_key: String,
    /// PEM of a public Ed25519 key, for EdDSA.
    pub eddsa_public_key: String,
    /// What `aud` must be, or contain if it is a list.
    pub audience: String,
    /// The same as a pattern, found anywhere unless anchored by `^` and `$`. Not together with `audience`.
    pub audience_regex: String,
    /// What `iss` must be.
    pub issuer: String,
    /// The same as a pattern, found anywhere unless anchored by `^` and `$`. Not together with `issuer`.
    pub issuer_regex: String,
    /// The claim that holds the user's id, if not `sub`.
    pub user_id_claim: String,
}

/// One mistake in the configuration of tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct KeyProblem {
    /// The option's name, without its section.
    pub key: &'static str,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl KeyProblem {
    pub(super) fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// All mistakes in the configuration of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// At least one.
    pub problems: Vec<KeyProblem>,
}

impl KeyError {
    pub(super) fn unless_empty(problems: Vec<KeyProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl std::error::Error for KeyError {}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// Not the PS family: Centrifugo does not know it, and an algorithm nobody asked for is only a risk.
const RSA: &[Algorithm] = &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];

/// A key, and the only algorithms it is ever used with.
#[derive(Debug)]
struct Key {
    decoding: DecodingKey,
    algorithms: &'static [Algorithm],
    valid_until: Option<i64>,
}

impl Key {
    fn new(decoding: DecodingKey, algorithms: &'static [Algorithm]) -> Self {
        Self { decoding, algorithms, valid_until: None }
    }

    fn serves(&self, algorithm: Algorithm, now_unix: i64) -> bool {
        self.algorithms.contains(&algorithm) && self.valid_until.is_none_or(|until| now_unix < until)
    }
}

#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    pub(super) fn read(config: &TokenConfig, problems: &mut Vec<KeyProblem>) -> Self {
        let mut keys = Vec::new();
        keys.extend(hmac("hmac_secret_key", &config.hmac_secret_key, problems));
        if let Some(mut key) = hmac("hmac_previous_secret_key", &config.hmac_previous_secret_key, problems) {
            key.valid_until = Some(config.hmac_previous_secret_key_valid_until).filter(|&until| until != 0);
            keys.push(key);
        }
        keys.extend(public("rsa_public_key", &config.rsa_public_key, rsa, problems));
        keys.extend(public("ecdsa_public_key", &config.ecdsa_public_key, ecdsa, problems));
        keys.extend(public("eddsa_public_key", &config.eddsa_public_key, ed25519, problems));
        Self(keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims of the token, if a key that is valid now made its signature.
    ///
    /// Not the library's `decode`: that would also look at the claims, and at the clock of the machine.
    pub(super) fn verify(&self, token: &str, now_unix: i64) -> Result<Box<RawValue>, TokenError> {
        if self.is_empty() {
            return Err(TokenError::NotConfigured);
        }
        let (Ok(header), Some((message, signature))) = (decode_header(token), token.rsplit_once('.')) else {
            return Err(invalid("not three base64url parts with dots between, or an unknown algorithm in the header"));
        };
        if header.crit.is_some() {
            return Err(invalid("the header demands extensions (`crit`): none is known"));
        }
        let algorithm = header.alg;
        let mut keys = self.0.iter().filter(|key| key.serves(algorithm, now_unix)).peekable();
        if keys.peek().is_none() {
            return Err(invalid(format!("no key is configured for its algorithm {algorithm:?}")));
        }
        // An error here is a signature that is not base64url.
        if !keys.any(|key| crypto::verify(signature, message.as_bytes(), &key.decoding, algorithm).unwrap_or(false)) {
            return Err(invalid("the signature was not made with the configured key"));
        }
        let claims = message.rsplit_once('.').and_then(|(_, claims)| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims = claims.ok_or_else(|| invalid("claims: not base64url"))?;
        serde_json::from_slice(&claims).map_err(|error| invalid(format!("claims: {error}")))
    }
}

fn hmac(name: &'static str, secret: &str, problems: &mut Vec<KeyProblem>) -> Option<Key> {
    if secret.is_empty() {
        return None;
    }
    if secret.contains("-----BEGIN ") {
        // Everybody may know a public key: with it as the secret, everybody could make tokens.
        problems.push(KeyProblem::new(
            name,
            "this is a PEM key, not a secret: it belongs into one of the *_public_key options",
        ));
        return None;
    }
    Some(Key::new(DecodingKey::from_secret(secret.as_bytes()), HMAC))
}

fn public(
    name: &'static str,
    pem: &str,
    read: fn(&[u8]) -> Result<Key, String>,
    problems: &mut Vec<KeyProblem>,
) -> Option<Key> {
    if pem.is_empty() {
        return None;
    }
    let key = if pem.contains("PRIVATE KEY-----") {
        Err("this is a private key: the server needs the public one only, and is the wrong place for the other"
            .to_owned())
    } else if pem.contains("-----BEGIN CERTIFICATE-----") {
        Err("this is a certificate: give its public key (openssl x509 -pubkey -noout)".to_owned())
    } else if !pem.contains("PUBLIC KEY-----") {
        Err("not a PEM: it must begin with -----BEGIN PUBLIC KEY-----, line breaks included".to_owned())
    } else {
        read(pem.as_bytes())
    };
    key.map_err(|message| problems.push(KeyProblem::new(name, message))).ok()
}

fn rsa(pem: &[u8]) -> Result<Key, String> {
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| "not a public RSA key".to_owned())?;
    let bytes = key.try_get_as_bytes().ok().and_then(|der| PublicKey::from_der(der).ok()).map(|key| key.modulus_len());
    if !bytes.is_some_and(|bytes| (2048..=8192).contains(&(bytes * 8))) {
        return Err("not a public RSA key of 2048 to 8192 bits".to_owned());
    }
    Ok(Key::new(key, RSA))
}

fn ecdsa(pem: &[u8]) -> Result<Key, String> {
    const ALLOWED: &str = "must be on P-256 (for ES256) or P-384 (for ES384)";
    let key = DecodingKey::from_ec_pem(pem).map_err(|_| format!("not a public elliptic curve key: it {ALLOWED}"))?;
    if fits(&key, &ECDSA_P256_SHA256_FIXED) {
        Ok(Key::new(key, &[Algorithm::ES256]))
    } else if fits(&key, &ECDSA_P384_SHA384_FIXED) {
        Ok(Key::new(key, &[Algorithm::ES384]))
    } else {
        Err(format!("a key on another curve, or a damaged one: it {ALLOWED}"))
    }
}

fn ed25519(pem: &[u8]) -> Result<Key, String> {
    let key = DecodingKey::from_ed_pem(pem).map_err(|_| "not a public Ed25519 key".to_owned())?;
    if !fits(&key, &ED25519) {
        return Err("a damaged Ed25519 key".to_owned());
    }
    Ok(Key::new(key, &[Algorithm::EdDSA]))
}

/// Whether the algorithm can work with the key: its length, and that the point lies on the curve.
///
/// The library that reads the PEM does not look, so a wrong key would only show as tokens that never verify.
fn fits(key: &DecodingKey, algorithm: &'static dyn VerificationAlgorithm) -> bool {
    key.try_get_as_bytes().is_ok_and(|bytes| ParsedPublicKey::new(algorithm, bytes).is_ok())
}
