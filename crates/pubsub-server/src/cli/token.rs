//! Tokens for trying things out. A real one is made by the application's backend, which knows its users.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{GenSubToken, GenToken};
use crate::config::{Config, TokenConfig};
use crate::token::Signer;

/// A connection token. `now` is the time in Unix seconds.
///
/// # Errors
/// Without an HMAC secret in the configuration.
pub fn connection(arguments: &GenToken, config: &Config, now: u64) -> anyhow::Result<String> {
    let token = &config.client.token;
    let mut claims = claims(token, &arguments.user, arguments.ttl, now);
    if !arguments.channels.is_empty() {
        claims.insert("channels".to_owned(), json!(arguments.channels));
    }
    if let Some(info) = &arguments.info {
        claims.insert("info".to_owned(), info.clone());
    }
    sign(&claims, "client.token", token)
}

/// A subscription token. `now` is the time in Unix seconds.
///
/// # Errors
/// Without an HMAC secret in the configuration.
pub fn subscription(arguments: &GenSubToken, config: &Config, now: u64) -> anyhow::Result<String> {
    let separate = &config.client.subscription_token;
    let (section, token) = match separate.enabled {
        true => ("client.subscription_token", &separate.token),
        false => ("client.token", &config.client.token),
    };
    let mut claims = claims(token, &arguments.user, arguments.ttl, now);
    claims.insert("channel".to_owned(), json!(arguments.channel));
    if let Some(info) = &arguments.info {
        claims.insert("info".to_owned(), info.clone());
    }
    sign(&claims, section, token)
}

/// What both have, as the configuration wants to see it.
fn claims(token: &TokenConfig, user: &str, ttl: Duration, now: u64) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert(token.user_id_claim.clone().unwrap_or_else(|| "sub".to_owned()), json!(user));
    claims.insert("iat".to_owned(), json!(now));
    if !ttl.is_zero() {
        claims.insert("exp".to_owned(), json!(now.saturating_add(ttl.as_secs().max(1))));
    }
    for (name, value) in [("aud", &token.audience), ("iss", &token.issuer)] {
        if let Some(value) = value {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    claims
}

fn sign(claims: &Map<String, Value>, section: &str, token: &TokenConfig) -> anyhow::Result<String> {
    let Some(secret) = &token.hmac_secret_key else {
        let variable = format!("PUBSUB_{}_HMAC_SECRET_KEY", section.to_uppercase().replace('.', "_"));
        anyhow::bail!(
            "{section}.hmac_secret_key is not set, so there is nothing to sign with: give the configuration file with \
             --config, or set the variable {variable}"
        );
    };
    Ok(Signer::hs256(secret.expose()).sign(claims))
}
