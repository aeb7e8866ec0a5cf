//! What single keys cannot know: how they fit together, and whether the files and keys they name are any good.

use std::collections::BTreeSet;

use super::channel::NamespaceOptions;
use super::client::TokenConfig;
use super::report::Report;
use super::{Config, RecoveryMode, duration, tls};
use crate::token::Verifier;

/// Checks everything that is not a matter of one key alone.
pub(crate) fn check(config: &Config, report: &mut Report) {
    times(config, report);
    paths(config, report);
    origins(config, report);
    tls::check(&config.http_server.tls, report);
    token("client.token", &config.client.token, report);
    token("client.subscription_token", &config.client.subscription_token.token, report);
    who_may_connect(config, report);
    names(config, report);
    namespaces(config, report);
    personal_channel(config, report);
    if config.log.file.as_ref().is_some_and(|file| file.is_dir()) {
        report.conflict(&["log.file"], "is a directory, and a file is due".to_owned());
    }
}

fn times(config: &Config, report: &mut Report) {
    let (ping, pong) = (config.client.ping_interval, config.client.pong_timeout);
    if !ping.is_zero() && pong >= ping {
        report.conflict(
            &["client.pong_timeout", "client.ping_interval"],
            format!("{} must be less than client.ping_interval, {}", duration::show(pong), duration::show(ping)),
        );
    }
    let (spread, timeout) = (config.shutdown.spread, config.shutdown.timeout);
    if !spread.is_zero() && spread >= timeout {
        report.conflict(
            &["shutdown.spread", "shutdown.timeout"],
            format!("{} must be less than shutdown.timeout, {}", duration::show(spread), duration::show(timeout)),
        );
    }
}

/// Each enabled endpoint needs a path of its own on its listener.
fn paths(config: &Config, report: &mut Report) {
    let internal = config.http_server.internal_addr().is_some();
    let endpoints = [
        ("websocket.handler_prefix", &config.websocket.handler_prefix, !config.websocket.disabled, false),
        (
            "http_api.handler_prefix",
            &config.http_api.handler_prefix,
            !config.http_api.disabled,
            internal && !config.http_api.external,
        ),
        ("prometheus.handler_prefix", &config.prometheus.handler_prefix, config.prometheus.enabled, internal),
        ("health.handler_prefix", &config.health.handler_prefix, config.health.enabled, internal),
    ];
    let mut taken: Vec<(&str, bool, &str)> = vec![("/ready", internal, "the readiness endpoint")];
    if config.echo.enabled {
        taken.push(("/echo", false, "the echo endpoint"));
    }
    for (key, path, enabled, inside) in endpoints {
        if !path.starts_with('/') || path.contains(['?', '#', '{', '}']) || path.contains(char::is_whitespace) {
            report.conflict(&[key], format!("expected a path such as /name, got {path:?}"));
            continue;
        }
        if !enabled {
            continue;
        }
        let bare = path.trim_end_matches('/');
        match taken.iter().find(|(other, there, _)| *other == bare && *there == inside) {
            Some((_, _, who)) => report.conflict(&[key], format!("{path} is the path of {who} already")),
            None => taken.push((bare, inside, key)),
        }
    }
}

fn origins(config: &Config, report: &mut Report) {
    for origin in &config.client.allowed_origins {
        let scheme = origin.contains("://") || origin.starts_with('*');
        if !scheme || origin.ends_with('/') {
            report.doubt(
                &["client.allowed_origins"],
                format!(
                    "{origin:?} matches no browser: an origin looks like https://example.com or https://*.example.com"
                ),
            );
        }
    }
    let header = config.client.user_id_http_header.as_deref();
    if header.is_some_and(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
        report.conflict(
            &["client.user_id_http_header"],
            format!("{:?} is not the name of a header", header.unwrap_or("")),
        );
    }
}

/// Shorter secrets can be guessed from a single token (RFC 7518, 3.2).
const HMAC_BYTES_MIN: usize = 32;

fn token(section: &str, token: &TokenConfig, report: &mut Report) {
    let key = |name: &str| format!("{section}.{name}");
    for problem in Verifier::new(token).err().map(|error| error.problems).unwrap_or_default() {
        report.conflict(&[&key(problem.key)], problem.message);
    }
    let claim = token.user_id_claim.as_deref().unwrap_or("sub");
    if claim.is_empty() || !claim.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
        report.conflict(&[&key("user_id_claim")], format!("expected letters and _ only, got {claim:?}"));
    }
    if token.hmac_secret_key.as_ref().is_some_and(|secret| secret.expose().len() < HMAC_BYTES_MIN) {
        report.doubt(
            &[&key("hmac_secret_key")],
            format!("is shorter than {HMAC_BYTES_MIN} bytes, so it can be guessed from any one token"),
        );
    }
    if token.hmac_previous_secret_key.is_some() && token.hmac_secret_key.is_none() {
        report.doubt(&[&key("hmac_previous_secret_key")], format!("has no effect without {}", key("hmac_secret_key")));
    }
}

fn who_may_connect(config: &Config, report: &mut Report) {
    let client = &config.client;
    let anyone =
        client.insecure || client.allow_anonymous_connect_without_token || client.user_id_http_header.is_some();
    if !anyone && !client.token.has_key() && !config.websocket.disabled {
        report.doubt(
            &["client.token.hmac_secret_key"],
            "no client can connect: there is no key to verify tokens with, and nobody is let in without one".to_owned(),
        );
    }
    if client.subscription_token.enabled && !client.subscription_token.token.has_key() {
        report.doubt(
            &["client.subscription_token.enabled"],
            "every subscription token will be refused: this section has no key to verify them with".to_owned(),
        );
    }
    let api = &config.http_api;
    if !api.disabled && !api.insecure && api.key.is_none() {
        report.doubt(&["http_api.key"], "the HTTP API refuses every request, as there is no key to show".to_owned());
    }
    if api.insecure && api.key.is_some() {
        report.doubt(&["http_api.insecure"], "http_api.key is set and not asked for".to_owned());
    }
}

fn names(config: &Config, report: &mut Report) {
    let channel = &config.channel;
    let boundaries = [
        ("channel.private_prefix", &channel.private_prefix),
        ("channel.namespace_boundary", &channel.namespace_boundary),
        ("channel.user_boundary", &channel.user_boundary),
        ("channel.user_separator", &channel.user_separator),
    ];
    for (index, (key, text)) in boundaries.iter().enumerate().filter(|(_, (_, text))| !text.is_empty()) {
        if let Some((other, _)) = boundaries[..index].iter().find(|(_, earlier)| earlier == text) {
            report.conflict(&[key, other], format!("{text:?} is {other} already"));
        }
    }
    if channel.user_separator.is_empty() && !channel.user_boundary.is_empty() {
        report.conflict(&["channel.user_separator"], "must not be empty while channel.user_boundary is set".to_owned());
    }
}

fn namespaces(config: &Config, report: &mut Report) {
    let channel = &config.channel;
    options("channel.without_namespace", config, &channel.without_namespace, report);
    let mut names = BTreeSet::new();
    for (index, namespace) in channel.namespaces.iter().enumerate() {
        let name = namespace.name.as_str();
        let path = if name.is_empty() {
            format!("channel.namespaces[{index}]")
        } else {
            format!("channel.namespaces[{name}]")
        };
        let key = format!("{path}.name");
        let valid = name.len() >= 2 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !valid {
            report.conflict(&[&key], format!("expected two or more of A-Z a-z 0-9 - _ . , got {name:?}"));
        } else if !names.insert(name) {
            report.conflict(&[&key], "there is a namespace of this name already".to_owned());
        }
        options(&path, config, &namespace.options, report);
    }
    if channel.namespace_boundary.is_empty() && !channel.namespaces.is_empty() {
        report.doubt(
            &["channel.namespace_boundary"],
            "is empty, so no channel belongs to any of channel.namespaces".to_owned(),
        );
    }
}

fn options(path: &str, config: &Config, options: &NamespaceOptions, report: &mut Report) {
    let key = |name: &str| format!("{path}.{name}");
    let (size, ttl) = (key("history_size"), key("history_ttl"));
    if (options.history_size > 0) == options.history_ttl.is_zero() {
        let (set, missing) = if options.history_size > 0 { (&size, &ttl) } else { (&ttl, &size) };
        report.conflict(&[set, missing], format!("needs {missing} too: history is bounded both ways"));
    }
    let meta_ttl = config.channel.history_meta_ttl_of(options);
    if meta_ttl < options.history_ttl {
        let own = key("history_meta_ttl");
        let meta = if options.history_meta_ttl.is_zero() { "channel.history_meta_ttl" } else { own.as_str() };
        report.conflict(
            &[&ttl, meta],
            format!("{} must not exceed {meta}, {}", duration::show(options.history_ttl), duration::show(meta_ttl)),
        );
    }
    let history = options.has_history();
    if options.force_recovery && !history {
        report.conflict(&[&key("force_recovery"), &size, &ttl], format!("needs history: set {size} and {ttl}"));
    }
    if options.auto_cache_recover && !(options.force_recovery && options.force_recovery_mode == RecoveryMode::Cache) {
        report.conflict(
            &[&key("auto_cache_recover"), &key("force_recovery"), &key("force_recovery_mode")],
            format!("needs {} and {} set to \"cache\"", key("force_recovery"), key("force_recovery_mode")),
        );
    }
    for delta in options.allowed_delta_types.iter().filter(|delta| *delta != "fossil") {
        report.conflict(&[&key("allowed_delta_types")], format!("expected \"fossil\", got {delta:?}"));
    }
    without_effect(&key, options, report);
}

/// Options that wait for another one.
fn without_effect(key: &dyn Fn(&str) -> String, options: &NamespaceOptions, report: &mut Report) {
    let history = options.has_history();
    let o = options;
    let needs = [
        ("allow_recovery", o.allow_recovery, history, "history_size"),
        ("force_positioning", o.force_positioning, history, "history_size"),
        ("allow_positioning", o.allow_positioning, history, "history_size"),
        ("force_push_join_leave", o.force_push_join_leave, o.join_leave, "join_leave"),
        ("allow_presence_for_client", o.allow_presence_for_client, o.presence, "presence"),
        ("allow_presence_for_subscriber", o.allow_presence_for_subscriber, o.presence, "presence"),
        ("allow_history_for_client", o.allow_history_for_client, history, "history_size"),
        ("allow_history_for_subscriber", o.allow_history_for_subscriber, history, "history_size"),
        (
            "allow_subscribe_for_anonymous",
            o.allow_subscribe_for_anonymous,
            o.allow_subscribe_for_client,
            "allow_subscribe_for_client",
        ),
        (
            "allow_publish_for_anonymous",
            o.allow_publish_for_anonymous,
            o.allow_publish_for_client || o.allow_publish_for_subscriber,
            "allow_publish_for_client",
        ),
        (
            "allow_presence_for_anonymous",
            o.allow_presence_for_anonymous,
            o.allow_presence_for_client || o.allow_presence_for_subscriber,
            "allow_presence_for_client",
        ),
        (
            "allow_history_for_anonymous",
            o.allow_history_for_anonymous,
            o.allow_history_for_client || o.allow_history_for_subscriber,
            "allow_history_for_client",
        ),
    ];
    for (name, set, met, other) in needs {
        if set && !met {
            report.doubt(&[&key(name), &key(other)], format!("has no effect without {}", key(other)));
        }
    }
}

fn personal_channel(config: &Config, report: &mut Report) {
    let personal = &config.client.subscribe_to_user_personal_channel;
    if !personal.enabled {
        return;
    }
    let section = "client.subscribe_to_user_personal_channel";
    let name = personal.personal_channel_namespace.as_str();
    let namespace_key = format!("{section}.personal_channel_namespace");
    match config.channel.namespace(name) {
        None => report.conflict(&[&namespace_key], format!("there is no namespace {name:?} in channel.namespaces")),
        Some(options) if personal.single_connection && !options.presence => {
            let place = if name.is_empty() {
                "channel.without_namespace".to_owned()
            } else {
                format!("channel.namespaces[{name}]")
            };
            report.conflict(
                &[&format!("{section}.single_connection")],
                format!("needs {place}.presence, to know the user's other connections"),
            );
        }
        Some(_) => {}
    }
}
