//! Keys that Centrifugo v6 has and we have not. A file that carries them with their defaults, or switched off, works as
//! it is; one that relies on them is told so.
//!
//! The rule: it is an error if somebody would be let in or turned away, or would miss something, that is not so with
//! Centrifugo; a warning if nothing but the looks, the speed or the observation of the server differs.

use super::inventory::{generic, join, variable};
use super::raw::Raw;
use super::section::Later;

use Inert::{Anything, Empty, Is, WhileOff};
use Later::{Refuse, Warn};

/// When a key that we do not support changes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inert {
    /// Whatever it says: it tunes what we do not have.
    Anything,
    /// While `enabled` is not true in it, or in any item if it is a list.
    WhileOff,
    /// While it is an empty list, section or string.
    Empty,
    /// While it is one of these.
    Is(&'static [&'static str]),
}

/// A key or a section of Centrifugo's; `*` stands for any one part of a path.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) path: &'static str,
    pub(crate) inert: Inert,
    pub(crate) later: Later,
}

const fn key(path: &'static str, inert: Inert, later: Later) -> Foreign {
    Foreign { path, inert, later }
}

const OFF: Inert = Is(&["false"]);
const UNSET: Inert = Is(&[""]);
const TRANSPORT: Later = Refuse("its clients could not connect");
const BACKEND: Later = Refuse("what it publishes would never arrive");
const ASK: Later = Refuse("the backend that decides would not be asked");
const LOOKS: Later = Warn("it is not served");
const NOTHING: Later = Warn("it has no effect");

/// Centrifugo's keys; a more exact path stands before or after a wider one, it wins either way.
pub(crate) static FOREIGN: &[Foreign] = &[
    key("http_server.tls.client_ca_pem", UNSET, Refuse("clients without a certificate would be let in")),
    key("http_server.tls.client_ca_pem_b64", UNSET, Refuse("clients without a certificate would be let in")),
    key("http_server.tls.client_ca_pem_file", UNSET, Refuse("clients without a certificate would be let in")),
    key("http_server.tls.cert_pem_b64", UNSET, Refuse("use cert_pem, which takes base64 too")),
    key("http_server.tls.key_pem_b64", UNSET, Refuse("use key_pem, which takes base64 too")),
    key("http_server.tls.server_ca_pem", Anything, NOTHING),
    key("http_server.tls.server_ca_pem_b64", Anything, NOTHING),
    key("http_server.tls.server_ca_pem_file", Anything, NOTHING),
    key("http_server.tls.insecure_skip_verify", Anything, NOTHING),
    key("http_server.tls.server_name", Anything, NOTHING),
    key("http_server.tls_autocert", WhileOff, Refuse("there would be no certificate")),
    key("http_server.tls_external", OFF, Refuse("the internal listener speaks TLS like the public one")),
    key("http_server.internal_tls", WhileOff, Refuse("the internal listener has the certificate of the public one")),
    key("http_server.http3", WhileOff, Warn("clients use HTTP/1.1")),
    key("http_server.h2c_external", OFF, Warn("clients use HTTP/1.1")),
    key("client.proxy.connect", WhileOff, ASK),
    key("client.proxy.refresh", WhileOff, ASK),
    key("client.channel_position_max_time_lag", Is(&["0s", "0", ""]), Warn("the lag is not looked at")),
    key(
        "client.insecure_skip_token_signature_verify",
        OFF,
        Refuse("tokens are always verified; for trying things out there is client.insecure"),
    ),
    key("client.connect_code_to_unidirectional_disconnect", WhileOff, NOTHING),
    key("client.token.insecure_skip_jwks_endpoint_safety_check", Anything, NOTHING),
    key("client.subscription_token.insecure_skip_jwks_endpoint_safety_check", Anything, NOTHING),
    key("channel.proxy", Anything, NOTHING),
    key("channel.proxy.*.endpoint", UNSET, Warn("it is never asked")),
    key("channel.OPTIONS.subscribe_proxy_enabled", OFF, ASK),
    key("channel.OPTIONS.subscribe_proxy_name", Anything, NOTHING),
    key("channel.OPTIONS.publish_proxy_enabled", OFF, ASK),
    key("channel.OPTIONS.publish_proxy_name", Anything, NOTHING),
    key("channel.OPTIONS.sub_refresh_proxy_enabled", OFF, ASK),
    key("channel.OPTIONS.sub_refresh_proxy_name", Anything, NOTHING),
    key("channel.OPTIONS.subscribe_stream_proxy_enabled", OFF, BACKEND),
    key("channel.OPTIONS.subscribe_stream_proxy_name", Anything, NOTHING),
    key("channel.OPTIONS.subscribe_stream_proxy_bidirectional", Anything, NOTHING),
    key(
        "channel.OPTIONS.subscription_type",
        Is(&["", "stream"]),
        Refuse("only streams are kept here, no maps or polled state"),
    ),
    key("channel.OPTIONS.map", Anything, NOTHING),
    key("channel.OPTIONS.shared_poll", Anything, NOTHING),
    key("channel.OPTIONS.map_clients_presence_channel_prefix", UNSET, Refuse("nothing would arrive there")),
    key("channel.OPTIONS.map_users_presence_channel_prefix", UNSET, Refuse("nothing would arrive there")),
    key("rpc", Anything, NOTHING),
    key("rpc.without_namespace.proxy_enabled", OFF, ASK),
    key("rpc.namespaces", Empty, ASK),
    key("rpc.ping", WhileOff, Refuse("the call is answered with error 108")),
    key("proxies", Empty, Warn("they are never asked")),
    key("unified_proxy", Empty, Warn("it is never asked")),
    key("websocket.read_buffer_size", Anything, NOTHING),
    key("websocket.write_buffer_size", Anything, NOTHING),
    key("websocket.use_write_buffer_pool", Anything, NOTHING),
    key("websocket.decompressed_message_size_limit", Anything, NOTHING),
    key("sse", WhileOff, TRANSPORT),
    key("http_stream", WhileOff, TRANSPORT),
    key("webtransport", WhileOff, TRANSPORT),
    key("uni_sse", WhileOff, TRANSPORT),
    key("uni_http_stream", WhileOff, TRANSPORT),
    key("uni_websocket", WhileOff, TRANSPORT),
    key("uni_grpc", WhileOff, TRANSPORT),
    key("emulation", Anything, NOTHING),
    key("grpc_api", WhileOff, BACKEND),
    key("consumers", WhileOff, BACKEND),
    key("engine.redis", Anything, NOTHING),
    key("engine.nats", Anything, NOTHING),
    key("engine.postgres", Anything, NOTHING),
    key("broker", WhileOff, Refuse("nodes would not see each other's publications")),
    key("presence_manager", WhileOff, Refuse("nodes would not see each other's presence")),
    key("map_broker", Anything, NOTHING),
    key("shared_poll", Anything, NOTHING),
    key("prometheus.instrument_http_handlers", OFF, Warn("HTTP handlers are not measured")),
    key("prometheus.recovered_publications_histogram", OFF, Warn("that histogram is not kept")),
    key("prometheus.native_histograms", OFF, Warn("histograms have buckets")),
    key("admin", WhileOff, LOOKS),
    key("swagger", WhileOff, LOOKS),
    key("debug", WhileOff, LOOKS),
    key("dev", WhileOff, LOOKS),
    key("init", WhileOff, LOOKS),
    key("opentelemetry", WhileOff, Warn("nothing is traced")),
    key("graphite", WhileOff, Warn("nothing is sent to Graphite")),
    key("usage_stats", Anything, NOTHING),
    key("node.info_metrics_aggregate_interval", Anything, NOTHING),
    key("pid_file", UNSET, Warn("no file is written")),
    key("enable_unreleased_features", OFF, NOTHING),
];

/// What is to be said of a key that is none of ours.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Centrifugo's, and set to something we cannot do.
    Later(String, Later),
    /// Nobody's.
    Unknown(String),
}

/// Judges a key that is none of ours, and the keys in it: what is found is handed to `found`.
pub(crate) fn judge(path: &str, value: &Raw, found: &mut dyn FnMut(Verdict)) {
    judge_under(path, value, None, found);
}

fn judge_under(path: &str, value: &Raw, wider: Option<&'static Foreign>, found: &mut dyn FnMut(Verdict)) {
    let pattern = pattern_of(path);
    let known = FOREIGN.iter().find(|foreign| matches(foreign.path, &pattern)).or(wider);
    if let (Raw::Map(entries), true) = (value, FOREIGN.iter().any(|foreign| begins_with(foreign.path, &pattern))) {
        let wider = known.filter(|foreign| matches!(foreign.inert, Anything));
        for (name, value) in entries {
            judge_under(&join(path, name), value, wider, found);
        }
        return;
    }
    match known {
        Some(foreign) if is_inert(foreign.inert, value) => {}
        Some(foreign) => found(Verdict::Later(path.to_owned(), foreign.later)),
        None => found(Verdict::Unknown(path.to_owned())),
    }
}

/// Judges a variable by its name; `None` if it is not Centrifugo's either.
pub(crate) fn judge_variable(name: &str, value: &str) -> Option<Option<(String, Later)>> {
    let plain = FOREIGN.iter().filter(|foreign| !foreign.path.contains('*') && !foreign.path.contains("OPTIONS"));
    // The longest name, so that `rpc.ping` comes before `rpc`.
    let foreign = plain.filter(|foreign| belongs(name, &variable(foreign.path))).max_by_key(|it| it.path.len())?;
    let whole = name == variable(foreign.path);
    let on = matches!(value, "true" | "True" | "TRUE" | "1");
    let set = match foreign.inert {
        Anything => false,
        WhileOff => on && name == variable(&join(foreign.path, "enabled")),
        Empty | Is(_) => whole && !is_inert(foreign.inert, &Raw::from(value)),
    };
    Some(set.then(|| (foreign.path.to_owned(), foreign.later)))
}

fn belongs(name: &str, section: &str) -> bool {
    name.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Options stand in two places, and mean the same in both.
fn pattern_of(path: &str) -> String {
    let path = generic(path);
    for place in ["channel.without_namespace", "channel.namespaces[]"] {
        if let Some(rest) = path.strip_prefix(place).filter(|rest| rest.is_empty() || rest.starts_with('.')) {
            return format!("channel.OPTIONS{rest}");
        }
    }
    path
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('.');
    pattern.split('.').all(|part| parts.next().is_some_and(|it| part == "*" || part == it)) && parts.next().is_none()
}

/// Whether there is something more exact than `path` in the list.
fn begins_with(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('.');
    path.split('.').all(|it| parts.next().is_some_and(|part| part == "*" || part == it)) && parts.next().is_some()
}

fn is_inert(inert: Inert, value: &Raw) -> bool {
    match (inert, value) {
        (_, Raw::Null) | (Anything, _) => true,
        (WhileOff, Raw::Map(entries)) => !entries.iter().any(|(name, value)| name == "enabled" && is_true(value)),
        (WhileOff, Raw::List(items)) => items.iter().all(|item| is_inert(WhileOff, item)),
        (WhileOff, _) => false,
        (Empty, Raw::Map(entries)) => entries.is_empty(),
        (Empty, Raw::List(items)) => items.is_empty(),
        (Empty, Raw::Text(text)) => matches!(text.trim(), "" | "[]" | "{}"),
        (Empty, _) => false,
        (Is(values), Raw::Text(text)) => values.contains(&text.as_str()),
        (Is(values), value) => values.contains(&value.to_string().as_str()),
    }
}

fn is_true(value: &Raw) -> bool {
    match value {
        Raw::Bool(value) => *value,
        Raw::Text(text) => !matches!(text.as_str(), "" | "false" | "False" | "FALSE" | "0"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::keys;
    use super::super::raw::Format;
    use super::*;

    fn judged(json: &str) -> Vec<String> {
        let Raw::Map(entries) = Raw::parse(Format::Json, json).unwrap() else { panic!() };
        let mut found = Vec::new();
        for (name, value) in entries {
            judge(&name, &value, &mut |verdict| {
                found.push(match verdict {
                    Verdict::Later(path, Refuse(_)) => format!("refused {path}"),
                    Verdict::Later(path, Warn(_)) => format!("warned {path}"),
                    Verdict::Unknown(path) => format!("unknown {path}"),
                });
            });
        }
        found
    }

    #[test]
    fn none_of_these_is_ours() {
        for foreign in FOREIGN {
            let ours = keys().iter().find(|key| pattern_of(&key.path) == foreign.path);
            assert!(ours.is_none(), "{}", foreign.path);
        }
    }

    #[test]
    fn what_is_off_or_default_is_accepted() {
        let quiet = r#"{
            "sse": {"enabled": false, "handler_prefix": "/x"}, "admin": {"password": "x"}, "usage_stats": {"disabled": true},
            "consumers": [{"name": "k", "enabled": false}], "proxies": [], "pid_file": "", "swagger": {"enabled": "false"},
            "rpc": {"ping": {"enabled": false}, "namespaces": [], "proxy": {"endpoint": ""}, "namespace_boundary": ":"},
            "http_server": {"h2c_external": false, "tls_autocert": {"enabled": false, "email": "a@b"}},
            "channel": {"proxy": {"subscribe": {"endpoint": "", "timeout": "1s"}},
                        "without_namespace": {"subscribe_proxy_name": "default", "subscribe_proxy_enabled": false}}
        }"#;
        assert_eq!(judged(quiet), Vec::<String>::new());
    }

    #[test]
    fn what_is_relied_on_is_told() {
        let cases = [
            (r#"{"sse": {"enabled": true}}"#, "refused sse"),
            (r#"{"consumers": [{"enabled": false}, {"enabled": true}]}"#, "refused consumers"),
            (r#"{"client": {"proxy": {"connect": {"enabled": true}}}}"#, "refused client.proxy.connect"),
            (
                r#"{"client": {"insecure_skip_token_signature_verify": true}}"#,
                "refused client.insecure_skip_token_signature_verify",
            ),
            (
                r#"{"channel": {"proxy": {"subscribe": {"endpoint": "http://x"}}}}"#,
                "warned channel.proxy.subscribe.endpoint",
            ),
            (
                r#"{"channel": {"without_namespace": {"publish_proxy_enabled": true}}}"#,
                "refused channel.without_namespace.publish_proxy_enabled",
            ),
            (r#"{"rpc": {"ping": {"enabled": true}}}"#, "refused rpc.ping"),
            (r#"{"admin": {"enabled": true}}"#, "warned admin"),
            (r#"{"client": {"proxy": {"conect": {"enabled": true}}}}"#, "unknown client.proxy.conect"),
            (r#"{"nonsense": 1}"#, "unknown nonsense"),
        ];
        for (json, told) in cases {
            assert_eq!(judged(json), [told], "{json}");
        }
    }

    #[test]
    fn variables_are_judged_likewise() {
        assert_eq!(judge_variable("PUBSUB_SSE_ENABLED", "false"), Some(None));
        assert_eq!(judge_variable("PUBSUB_SSE_ENABLED", "true"), Some(Some(("sse".to_owned(), TRANSPORT))));
        assert_eq!(judge_variable("PUBSUB_RPC_PING_ENABLED", "1").unwrap().unwrap().0, "rpc.ping");
        assert_eq!(judge_variable("PUBSUB_PID_FILE", "/x").unwrap().unwrap().0, "pid_file");
        assert_eq!(judge_variable("PUBSUB_CLIENT_PROXY_CONNECT_ENDPOINT", "http://x"), Some(None));
        assert_eq!(judge_variable("PUBSUB_SSEX", "1"), None);
        assert_eq!(judge_variable("PUBSUB_CLIENT_PING", "1"), None);
    }
}
