//! The configured keys, and the one place that calls the cryptography.

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto, decode_header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{TokenError, invalid};
use crate::config::{Secret, TokenConfig};

/// One mistake in the configuration of tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct KeyProblem {
    /// The option's name, without its section.
    pub key: &'static str,
    /// What is wrong and what is allowed.
    pub message: String,
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
    pub(super) fn read<'a>(config: &'a TokenConfig, problems: &mut Vec<KeyProblem>) -> Self {
        let mut keys = Vec::new();
        let secret = |secret: &'a Option<Secret>| secret.as_ref().map(Secret::expose);
        keys.extend(read("hmac_secret_key", secret(&config.hmac_secret_key), hmac, problems));
        let previous = secret(&config.hmac_previous_secret_key);
        if let Some(mut key) = read("hmac_previous_secret_key", previous, hmac, problems) {
            let until = config.hmac_previous_secret_key_valid_until;
            key.valid_until = (until != 0).then(|| i64::try_from(until).unwrap_or(i64::MAX));
            keys.push(key);
        }
        keys.extend(read("rsa_public_key", config.rsa_public_key.as_deref(), rsa, problems));
        keys.extend(read("ecdsa_public_key", config.ecdsa_public_key.as_deref(), ecdsa, problems));
        keys.extend(read("eddsa_public_key", config.eddsa_public_key.as_deref(), eddsa, problems));
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
            return Err(unreadable(token));
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

/// Why the library could not read the header: most often because of an algorithm it does not know.
fn unreadable(token: &str) -> TokenError {
    #[derive(Deserialize)]
    struct Named {
        alg: String,
    }
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    match header.as_deref().map(serde_json::from_slice::<Named>) {
        // A stranger's text, on its way into the log: quoted, and not at any length.
        Some(Ok(Named { alg })) if alg.len() <= 16 => invalid(format!("its algorithm {alg:?} is not supported")),
        _ => invalid("not three base64url parts with dots between, the first of them a JSON header"),
    }
}

fn read(
    name: &'static str,
    text: Option<&str>,
    read: fn(&str) -> Result<Key, String>,
    problems: &mut Vec<KeyProblem>,
) -> Option<Key> {
    let text = text.filter(|text| !text.is_empty())?;
    read(text).map_err(|message| problems.push(KeyProblem { key: name, message })).ok()
}

fn hmac(secret: &str) -> Result<Key, String> {
    if secret.contains("-----BEGIN ") {
        // Everybody may know a public key: with it as the secret, everybody could make tokens.
        return Err("this is a PEM key, not a secret: it belongs into one of the *_public_key options".to_owned());
    }
    Ok(Key::new(DecodingKey::from_secret(secret.as_bytes()), HMAC))
}

/// Refuses what a PEM file may hold instead of a public key.
fn public(pem: &str) -> Result<&[u8], String> {
    if pem.contains("PRIVATE KEY-----") {
        Err("this is a private key: the server needs the public one only, and is the wrong place for the other"
            .to_owned())
    } else if pem.contains("-----BEGIN CERTIFICATE-----") {
        Err("this is a certificate: give its public key (openssl x509 -pubkey -noout)".to_owned())
    } else if !pem.contains("PUBLIC KEY-----") {
        Err("not a PEM: it must begin with -----BEGIN PUBLIC KEY-----, line breaks included".to_owned())
    } else {
        Ok(pem.as_bytes())
    }
}

fn rsa(pem: &str) -> Result<Key, String> {
    let key = DecodingKey::from_rsa_pem(public(pem)?).map_err(|_| "not a public RSA key".to_owned())?;
    let bytes = key.try_get_as_bytes().ok().and_then(|der| PublicKey::from_der(der).ok()).map(|key| key.modulus_len());
    if !bytes.is_some_and(|bytes| (2048..=8192).contains(&(bytes * 8))) {
        return Err("not a public RSA key of 2048 to 8192 bits".to_owned());
    }
    Ok(Key::new(key, RSA))
}

fn ecdsa(pem: &str) -> Result<Key, String> {
    const ALLOWED: &str = "must be on P-256 (for ES256) or P-384 (for ES384)";
    let key =
        DecodingKey::from_ec_pem(public(pem)?).map_err(|_| format!("not a public elliptic curve key: it {ALLOWED}"))?;
    if fits(&key, &ECDSA_P256_SHA256_FIXED) {
        Ok(Key::new(key, &[Algorithm::ES256]))
    } else if fits(&key, &ECDSA_P384_SHA384_FIXED) {
        Ok(Key::new(key, &[Algorithm::ES384]))
    } else {
        Err(format!("a key on another curve, or a damaged one: it {ALLOWED}"))
    }
}

fn eddsa(pem: &str) -> Result<Key, String> {
    let key = DecodingKey::from_ed_pem(public(pem)?).map_err(|_| "not a public Ed25519 key".to_owned())?;
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
