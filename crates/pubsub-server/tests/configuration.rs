//! The configuration through its public API: what loads, what is refused and in which words, which layer wins.

// Clippy lets tests unwrap, but not the functions that help them.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use pubsub_server::config::{
    Config, ErrorMode, FlagValue, Loaded, LogLevel, Problems, PublicationDataFormat, RecoveryMode, Sources,
};

const RSA_PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxP9AbbLj34ZsH1ZAKgb/\n\
    j5CcmMWWhyuJDWytEI1OY3FeqOKF4M9c9aCyNUha3KVcjN0LBZezmyWbYl+tq2lt\n\
    bxd4S0oIT29UKd1F+QnpPeE0/BDMMl08yy2gpGoc9zvWcUlqJq+SMVxW01cdmN47\n\
    agTG4jyzAzdyVpfndn2hXD1A1dKLEWqiGE/ScHcpnQACwIBnVEYSJ+6fEZ1j0d6l\n\
    1K1UrqzRMN776lSi6uFbtjNToPUIqY+aOVDfRtZvHb2qpQhFpG4sKUAh89IK9VUM\n\
    t5lPuEo3nXu4Wb7cWuGCU2/qJrbJO2ZJkEjew2MnzU/Zsrq8+Nnx8xM5xrUBKtBp\n\
    HwIDAQAB\n\
    -----END PUBLIC KEY-----";

/// A file in a directory of its own, which ends with it.
struct File {
    directory: tempfile::TempDir,
    name: String,
}

impl File {
    fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }
}

fn file(name: &str, text: &str) -> File {
    let file = File { directory: tempfile::tempdir().unwrap(), name: name.to_owned() };
    std::fs::write(file.path(), text).unwrap();
    file
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flags(flags: &[(&str, &str)]) -> Vec<FlagValue> {
    let flag = |(key, value): &(&str, &str)| FlagValue {
        flag: format!("--set {key}"),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    flags.iter().map(flag).collect()
}

fn load_json(json: &str) -> Result<Loaded, Problems> {
    let file = file("config.json", json);
    Sources { file: Some(file.path()), ..Sources::default() }.load()
}

/// Each problem as `key: what`.
fn errors(result: Result<Loaded, Problems>) -> Vec<String> {
    let problems = result.map(|loaded| loaded.config).unwrap_err();
    problems.errors.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
}

#[test]
fn a_file_of_centrifugo_v6_loads_unchanged_and_means_the_same_in_each_format() {
    let load = |ending: &str| {
        let path = format!("{}/tests/configuration/centrifugo_v6.{ending}", env!("CARGO_MANIFEST_DIR"));
        let loaded = Sources { file: Some(path.into()), ..Sources::default() }.load().unwrap();
        assert_eq!(warnings(&loaded), Vec::<String>::new(), "{ending}");
        assert!(!loaded.open);
        loaded.config
    };
    let config = load("json");
    assert_eq!(config, load("toml"));
    assert_eq!(config, load("yaml"));

    assert_eq!(config.http_server.public_addr().to_string(), "0.0.0.0:8000");
    assert_eq!(config.http_server.internal_addr().unwrap().to_string(), "127.0.0.1:9000");
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.client.allowed_origins, ["https://example.com", "https://*.example.com"]);
    assert_eq!(config.client.token.hmac_secret_key.as_ref().unwrap().expose(), "0123456789abcdef0123456789abcdef");
    assert_eq!(config.client.token.hmac_previous_secret_key, None);
    assert_eq!(config.client.token.audience.as_deref(), Some("app"));
    assert!(config.client.token.issuer_regex.as_ref().unwrap().is_match("https://b.example.com"));
    assert!(config.client.subscription_token.enabled);
    assert_eq!(config.client.subscription_token.token.audience.as_deref(), Some("sub"));
    assert_eq!(config.client.ping_interval, Duration::from_secs(15));
    assert_eq!(config.client.concurrency, 8);
    assert_eq!(config.client.subscribe_to_user_personal_channel.personal_channel_namespace, "personal");
    assert_eq!(config.http_api.error_mode, ErrorMode::Transport);
    assert_eq!(config.websocket.write_timeout, Duration::from_secs(2));
    assert_eq!(config.node.name, "node-1");

    let chat = config.channel.namespace("chat").unwrap();
    assert_eq!((chat.history_size, chat.history_ttl), (100, Duration::from_secs(600)));
    assert_eq!(config.channel.history_meta_ttl_of(chat), Duration::from_secs(48 * 3600));
    assert_eq!(config.channel.publication_data_format_of(chat), PublicationDataFormat::JsonObject);
    let feed = config.channel.namespace("feed").unwrap();
    assert_eq!(feed.force_recovery_mode, RecoveryMode::Cache);
    assert_eq!(config.channel.history_meta_ttl_of(feed), Duration::from_secs(100 * 3600));
    assert_eq!(config.channel.publication_data_format_of(feed), PublicationDataFormat::Json);
    assert_eq!(config.channel.namespace("").unwrap().force_recovery_mode, RecoveryMode::Stream);
    assert!(config.channel.namespace("nobody").is_none());
}

#[test]
fn with_nothing_configured_it_is_open_on_loopback_and_says_so() {
    let loaded = Sources::default().load().unwrap();
    assert!(loaded.open);
    assert_eq!(loaded.config, Config::open_default());
    assert_eq!(loaded.config.http_server.public_addr().to_string(), "127.0.0.1:8000");
    assert!(loaded.config.client.insecure && loaded.config.http_api.insecure);
    assert!(loaded.config.channel.without_namespace.has_history());
    assert!(loaded.notices[0].contains("everything is open: whoever reaches 127.0.0.1"), "{:?}", loaded.notices);
    assert_eq!(warnings(&loaded), Vec::<String>::new());
}

#[test]
fn places_limits_and_times_do_not_close_it_and_anything_that_decides_who_may_what_does() {
    let load = |settings: &[(&str, &str)]| Sources { flags: flags(settings), ..Sources::default() }.load().unwrap();
    let tuned = load(&[
        ("http_server.port", "0"),
        ("log.level", "debug"),
        ("shutdown.timeout", "1s"),
        ("client.ping_interval", "9s"),
        ("client.channel_limit", "5"),
    ]);
    assert!(tuned.open && tuned.config.client.insecure && tuned.config.client.channel_limit == 5);
    for closing in [
        ("client.allowed_origins", "[]"),
        ("client.allow_anonymous_connect_without_token", "true"),
        ("client.subscription_token.enabled", "true"),
        ("client.subscribe_to_user_personal_channel.enabled", "true"),
        ("channel.max_length", "9"),
        ("http_api.key", "k"),
    ] {
        let loaded = load(&[closing]);
        assert!(!loaded.open && !loaded.config.client.insecure && !loaded.config.http_api.insecure, "{closing:?}");
        let told = &loaded.notices[0];
        assert!(told.starts_with(closing.0) && told.contains("--open"), "{told}");
    }
    let variables = pairs(&[("PUBSUB_CLIENT_TOKEN_HMAC_SECRET_KEY", "0123456789abcdef0123456789abcdef")]);
    let loaded = Sources { variables, ..Sources::default() }.load().unwrap();
    assert!(!loaded.open && !loaded.config.client.insecure);
    let empty = file("empty.yaml", "");
    assert!(!Sources { file: Some(empty.path()), ..Sources::default() }.load().unwrap().open);
    // Asked for, it is open below what is set.
    let asked = Sources { open: true, flags: flags(&[("channel.max_length", "9")]), ..Sources::default() };
    let asked = asked.load().unwrap();
    assert!(asked.open && asked.config.client.insecure && asked.config.channel.max_length == 9);
    assert!(asked.notices[0].contains("everything is open"), "{:?}", asked.notices);
}

#[test]
fn defaults_weigh_less_than_the_file_less_than_the_environment_less_than_flags() {
    let file = file("config.toml", "[client]\nchannel_limit = 1\nconcurrency = 1\nconnection_limit = 1\n");
    let sources = Sources {
        file: Some(file.path()),
        variables: pairs(&[("PUBSUB_CLIENT_CONCURRENCY", "2"), ("PUBSUB_CLIENT_CONNECTION_LIMIT", "2")]),
        flags: flags(&[("client.connection_limit", "3")]),
        open: false,
    };
    let client = sources.load().unwrap().config.client;
    let defaults = Config::default().client;
    assert_eq!((client.channel_limit, client.concurrency, client.connection_limit), (1, 2, 3));
    assert_eq!(client.queue_max_size, defaults.queue_max_size);
}

#[test]
fn lists_and_namespaces_may_come_from_the_environment_and_replace_those_of_the_file() {
    let file =
        file("config.json", r#"{"channel": {"namespaces": [{"name": "old", "presence": true}, {"name": "two"}]}}"#);
    let variables = pairs(&[
        ("PUBSUB_CHANNEL_NAMESPACES", r#"[{"name": "new", "history_size": 3, "history_ttl": "1m"}]"#),
        ("PUBSUB_CLIENT_ALLOWED_ORIGINS", "https://a.example https://b.example"),
        ("PUBSUB_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true"),
        ("PUBSUB_HTTP_API_KEY", ""),
    ]);
    let config = Sources { file: Some(file.path()), variables, ..Sources::default() }.load().unwrap().config;
    assert_eq!(config.channel.namespaces.len(), 1);
    let new = config.channel.namespace("new").unwrap();
    assert_eq!((new.history_size, new.presence), (3, false));
    assert_eq!(config.client.allowed_origins, ["https://a.example", "https://b.example"]);
    assert!(config.channel.without_namespace.presence);
    assert_eq!(config.http_api.key, None, "an empty variable counts as not set");
    let json = pairs(&[("PUBSUB_CLIENT_ALLOWED_ORIGINS", r#"["https://a.example"]"#)]);
    let config = Sources { variables: json, ..Sources::default() }.load().unwrap().config;
    assert_eq!(config.client.allowed_origins, ["https://a.example"]);
}

#[test]
fn all_mistakes_of_all_layers_are_told_at_once() {
    let file = file(
        "config.json",
        r#"{
            "http_server": {"port": 70000},
            "client": {"ping_intervall": "25s", "pong_timeout": 25, "token": {"hmac_secret_key": ["hush"]}},
            "channel": {"namespaces": [{"name": "chat", "histroy_size": 10}, 7], "without_namespace": []},
            "sse": {"enabled": true},
            "api_key": "hush"
        }"#,
    );
    let sources = Sources {
        file: Some(file.path()),
        variables: pairs(&[("PUBSUB_CLIENT_CHANNEL_LIMIT", "many"), ("PUBSUB_PORT", "80"), ("OTHER", "x")]),
        flags: flags(&[("log.level", "loud"), ("client.nonsense", "1")]),
        open: false,
    };
    let problems = sources.load().map(|loaded| loaded.config).unwrap_err();
    let path = file.path();
    let path = path.display();
    let expected = [
        "variable PUBSUB_PORT: unknown; did you mean PUBSUB_HTTP_SERVER_PORT?".to_owned(),
        format!("http_server.port ({path}): expected a whole number from 0 to 65535, got 70000"),
        format!("client.token.hmac_secret_key ({path}): expected a string"),
        format!("client.pong_timeout ({path}): expected a duration such as 25s or 1m30s, from 0s to 24h, got 25"),
        format!("client.ping_intervall ({path}): unknown key; did you mean client.ping_interval?"),
        format!("channel.without_namespace ({path}): expected a section with keys of its own, got a list"),
        format!(
            "channel.namespaces[chat].histroy_size ({path}): unknown key; did you mean \
             channel.namespaces[chat].history_size?"
        ),
        format!("channel.namespaces[1] ({path}): expected a section with a name, got 7"),
        format!(
            "sse ({path}): known to Centrifugo, not supported here yet: its clients could not connect. Remove it, or \
             switch it off"
        ),
        format!("api_key ({path}): unknown key; did you mean http_api.key?"),
        "client.channel_limit (variable PUBSUB_CLIENT_CHANNEL_LIMIT): expected a whole number from 1 to 16777216, got \
         \"many\""
            .to_owned(),
        "log.level (flag --set log.level): expected one of \"trace\", \"debug\", \"info\", \"warn\", \"error\", \
         \"fatal\", \"none\", got \"loud\""
            .to_owned(),
        "client.nonsense (flag --set client.nonsense): unknown key".to_owned(),
    ];
    let told: Vec<_> = problems.errors.iter().map(ToString::to_string).collect();
    assert_eq!(told, expected);
    assert!(problems.to_string().starts_with("the configuration has 13 mistakes:\n  variable PUBSUB_PORT"));
}

#[test]
fn keys_that_do_not_fit_together_are_refused_with_the_one_to_change() {
    let cases = [
        (
            r#"{"client": {"pong_timeout": "25s"}}"#,
            "client.pong_timeout: 25s must be less than client.ping_interval, 25s",
        ),
        (
            r#"{"shutdown": {"timeout": "3s", "spread": "3s"}}"#,
            "shutdown.spread: 3s must be less than shutdown.timeout, 3s",
        ),
        (
            r#"{"channel": {"without_namespace": {"history_size": 1}}}"#,
            "channel.without_namespace.history_size: needs channel.without_namespace.history_ttl too",
        ),
        (
            r#"{"channel": {"namespaces": [{"name": "ab", "history_ttl": "1s"}]}}"#,
            "channel.namespaces[ab].history_ttl: needs channel.namespaces[ab].history_size too",
        ),
        (
            r#"{"channel": {"without_namespace": {"force_recovery": true}}}"#,
            "channel.without_namespace.force_recovery: needs history",
        ),
        (
            r#"{"channel": {"history_meta_ttl": "1h", "without_namespace": {"history_size": 1, "history_ttl": "2h"}}}"#,
            "channel.without_namespace.history_ttl: 2h must not exceed channel.history_meta_ttl, 1h",
        ),
        (
            r#"{"channel": {"without_namespace": {"history_size": 1, "history_ttl": "2h", "history_meta_ttl": "1h"}}}"#,
            "channel.without_namespace.history_ttl: 2h must not exceed channel.without_namespace.history_meta_ttl, 1h",
        ),
        (
            r#"{"channel": {"without_namespace": {"auto_cache_recover": true}}}"#,
            "channel.without_namespace.auto_cache_recover: needs",
        ),
        (
            r#"{"channel": {"namespaces": [{"name": "ab"}, {"name": "ab"}]}}"#,
            "channel.namespaces[ab].name: there is a namespace of this name already",
        ),
        (r#"{"channel": {"namespaces": [{"name": "a b"}]}}"#, "channel.namespaces[a b].name: expected two or more of"),
        (r#"{"channel": {"namespaces": [{"presence": true}]}}"#, "channel.namespaces[0].name: expected two or more of"),
        (
            r#"{"channel": {"namespaces": [{"name": "ab", "channel_regex": "(["}]}}"#,
            "channel.namespaces[ab].channel_regex: \"([\" is not a regular expression: unclosed character class",
        ),
        (
            r##"{"channel": {"namespace_boundary": "#"}}"##,
            "channel.user_boundary: \"#\" is channel.namespace_boundary already",
        ),
        (r#"{"channel": {"user_separator": ""}}"#, "channel.user_separator: must not be empty"),
        (
            r#"{"http_api": {"handler_prefix": "api"}}"#,
            "http_api.handler_prefix: expected a path such as /name, got \"api\"",
        ),
        (
            r#"{"health": {"handler_prefix": "/metrics/"}}"#,
            "health.handler_prefix: /metrics/ is the path of prometheus.handler_prefix already",
        ),
        (
            r#"{"echo": {"enabled": true}, "websocket": {"handler_prefix": "/echo"}}"#,
            "websocket.handler_prefix: /echo is the path of the echo endpoint already",
        ),
        (
            r#"{"client": {"token": {"audience": "a", "audience_regex": "b"}}}"#,
            "client.token.audience_regex: set together with the exact value",
        ),
        (
            r#"{"client": {"token": {"user_id_claim": "a.b"}}}"#,
            "client.token.user_id_claim: expected letters and _ only, got \"a.b\"",
        ),
        (
            r#"{"client": {"token": {"rsa_public_key": "hush"}}}"#,
            "client.token.rsa_public_key: not a PEM: it must begin with -----BEGIN PUBLIC KEY-----",
        ),
        (
            r#"{"client": {"subscription_token": {"ecdsa_public_key": "hush"}}}"#,
            "client.subscription_token.ecdsa_public_key: not a PEM",
        ),
        (
            r#"{"client": {"user_id_http_header": "a b"}}"#,
            "client.user_id_http_header: \"a b\" is not the name of a header",
        ),
        (
            r#"{"client": {"subscribe_to_user_personal_channel": {"enabled": true, "personal_channel_namespace": "no"}}}"#,
            "client.subscribe_to_user_personal_channel.personal_channel_namespace: there is no namespace \"no\"",
        ),
        (
            r#"{"client": {"subscribe_to_user_personal_channel": {"enabled": true, "single_connection": true}}}"#,
            "client.subscribe_to_user_personal_channel.single_connection: needs channel.without_namespace.presence",
        ),
        (
            r#"{"http_server": {"tls": {"enabled": true, "key_pem_file": "/nowhere/key.pem"}}}"#,
            "http_server.tls.cert_pem_file: must be set while http_server.tls.enabled is true",
        ),
        (
            r#"{"engine": {"type": "redis"}}"#,
            "engine.type: \"redis\" is Centrifugo's and not supported here yet; expected \"memory\"",
        ),
        (
            r#"{"client": {"token": {"jwks_public_endpoint": "http://x"}}}"#,
            "client.token.jwks_public_endpoint: known to Centrifugo, not supported here yet",
        ),
        (
            r#"{"channel": {"namespaces": [{"name": "ab", "allow_tags_filter": true}]}}"#,
            "channel.namespaces[ab].allow_tags_filter: known to Centrifugo, not supported here yet",
        ),
        (
            r#"{"channel": {"namespaces": [{"name": "ab", "subscribe_proxy_enabled": true}]}}"#,
            "channel.namespaces[ab].subscribe_proxy_enabled: known to Centrifugo, not supported here yet",
        ),
        (r#"{"log": {"file": "/"}}"#, "log.file: is a directory"),
    ];
    for (json, expected) in cases {
        let told = errors(load_json(json));
        assert!(told[0].starts_with(expected), "{json}\n{told:#?}");
        assert!(!told.iter().any(|told| told.contains("hush")), "{told:#?}");
    }
}

#[test]
fn what_has_no_effect_is_worth_a_warning_and_no_more() {
    let cases = [
        (r#"{"admin": {"enabled": true}}"#, "admin: known to Centrifugo, not supported here yet: it is not served"),
        (r#"{"websocket": {"compression": true}}"#, "websocket.compression: known to Centrifugo"),
        (
            r#"{"channel": {"without_namespace": {"allowed_delta_types": ["fossil"]}}}"#,
            "channel.without_namespace.allowed_delta_types: known to Centrifugo",
        ),
        (
            r#"{"channel": {"without_namespace": {"allow_publish_for_anonymous": true}}}"#,
            "channel.without_namespace.allow_publish_for_anonymous: has no effect without",
        ),
        (
            r#"{"channel": {"without_namespace": {"force_positioning": true}}}"#,
            "channel.without_namespace.force_positioning: has no effect without",
        ),
        (
            r#"{"client": {"allowed_origins": ["example.com"]}}"#,
            "client.allowed_origins: \"example.com\" matches no browser",
        ),
        (
            r#"{"client": {"token": {"hmac_secret_key": "hush"}}}"#,
            "client.token.hmac_secret_key: is shorter than 32 bytes",
        ),
        (r#"{"http_api": {"key": "k", "insecure": true}}"#, "http_api.insecure: http_api.key is set and not asked for"),
        (r"{}", "client.token.hmac_secret_key: no client can connect"),
        (r"{}", "http_api.key: the HTTP API refuses every request"),
    ];
    for (json, expected) in cases {
        let told = warnings(&load_json(json).unwrap());
        assert!(told.iter().any(|told| told.starts_with(expected)), "{json}\n{told:#?}");
        assert!(!told.iter().any(|told| told.contains("hush")), "{told:#?}");
    }
}

#[test]
fn beyond_loopback_nobody_is_let_in_who_shows_nothing() {
    let closed = r#""token": {"hmac_secret_key": "0123456789abcdef0123456789abcdef"}"#;
    let file = |address: &str, client: &str, api: &str, more: &str| {
        format!(
            r#"{{"http_server": {{"address": "{address}"{more}}}, "client": {{{closed}{client}}}, "http_api": {{"key": "k"{api}}}}}"#
        )
    };
    let insecure = r#", "insecure": true"#;
    let anonymous = r#", "allow_anonymous_connect_without_token": true"#;
    let internal = r#", "internal_address": "127.0.0.1", "internal_port": 9000"#;
    let cases = [
        (file("0.0.0.0", "", "", ""), None),
        (file("", insecure, "", ""), Some("client.insecure")),
        (file("0.0.0.0", insecure, "", ""), Some("client.insecure")),
        (file("::", insecure, "", ""), Some("client.insecure")),
        (file("192.0.2.1", anonymous, "", ""), Some("client.allow_anonymous_connect_without_token")),
        (file("0.0.0.0", r#", "user_id_http_header": "X-User""#, "", ""), Some("client.user_id_http_header")),
        (file("0.0.0.0", "", insecure, ""), Some("http_api.insecure")),
        (file("0.0.0.0", "", insecure, internal), None),
        (file("0.0.0.0", "", r#", "insecure": true, "external": true"#, internal), Some("http_api.insecure")),
        (file("127.0.0.1", "", insecure, r#", "internal_address": "0.0.0.0""#), Some("http_api.insecure")),
        (file("127.0.0.1", insecure, insecure, ""), None),
        (file("127.8.9.1", insecure, insecure, ""), None),
        (file("::1", insecure, insecure, ""), None),
        (file("::ffff:127.0.0.1", insecure, insecure, ""), None),
        (file("localhost", insecure, insecure, ""), None),
        (file("0.0.0.0", insecure, insecure, r#", "open_to_network": true"#), None),
    ];
    for (json, decides) in cases {
        match (load_json(&json), decides) {
            (Ok(_), None) => {}
            (Err(problems), Some(key)) => {
                assert_eq!(problems.errors.len(), 1, "{problems}");
                assert_eq!(problems.errors[0].key, key);
                assert!(problems.errors[0].what.starts_with("refusing to listen on "), "{problems}");
            }
            (Ok(_), Some(key)) => panic!("{json} was accepted in spite of {key}"),
            (Err(problems), None) => panic!("{json}\n{problems}"),
        }
    }
    let nothing = Sources { flags: flags(&[("http_server.address", "0.0.0.0")]), ..Sources::default() };
    let told = errors(nothing.load());
    assert!(
        told[0].starts_with("client.insecure: refusing") && told[1].starts_with("http_api.insecure: refusing"),
        "{told:#?}"
    );
    assert!(told[0].contains("since nothing is configured, everything is open"), "{told:#?}");
    let allowed = [("http_server.address", "0.0.0.0"), ("http_server.open_to_network", "true")];
    let allowed = Sources { flags: flags(&allowed), ..Sources::default() }.load().unwrap();
    assert_eq!(warnings(&allowed).len(), 2, "{:?}", allowed.warnings);
}

#[test]
fn an_address_that_is_not_set_stays_on_loopback_and_is_told() {
    let loaded = load_json(r#"{"http_api": {"key": "k"}}"#).unwrap();
    assert!(loaded.config.http_server.address.is_loopback());
    assert!(loaded.notices[0].contains("http_server.address is not set"), "{:?}", loaded.notices);
    assert_eq!(load_json(r#"{"http_server": {"address": "127.0.0.1"}}"#).unwrap().notices, Vec::<String>::new());
}

#[test]
fn a_short_shutdown_shortens_what_nobody_set() {
    let config = load_json(r#"{"shutdown": {"timeout": "2s"}}"#).unwrap().config;
    assert_eq!(config.shutdown.spread, Duration::from_secs(1));
}

#[test]
fn secrets_are_never_shown() {
    let secret = "a-secret-that-nobody-may-see-anywhere";
    let json = format!(
        r#"{{"client": {{"token": {{"hmac_secret_key": "{secret}", "hmac_previous_secret_key": "{secret}"}}}},
            "http_api": {{"key": "{secret}"}}, "http_server": {{"tls": {{"enabled": true, "cert_pem": "{secret}", "key_pem": "{secret}"}}}}}}"#
    );
    let problems = load_json(&json).map(|loaded| loaded.config).unwrap_err();
    assert!(!format!("{problems} {problems:?}").contains(secret), "{problems}");
    let json = json.replace(r#""enabled": true"#, r#""enabled": false"#).replace(r#""cert_pem""#, r#""server_name""#);
    let loaded = load_json(&json).unwrap();
    assert_eq!(loaded.config.http_api.key.as_ref().unwrap().expose(), secret);
    assert!(!format!("{loaded:?}").contains(secret), "{loaded:?}");
}

#[test]
fn secrets_may_stand_in_files_of_their_own() {
    let secret = file("secret", "0123456789abcdef0123456789abcdef\n");
    let empty = file("empty", "\n");
    let config = |key: &str| format!(r#"{{"client": {{"token": {{{key}}}}}}}"#);
    let named = |file: &File| format!(r#""hmac_secret_key_file": "{}""#, file.path().display());
    let loaded = load_json(&config(&named(&secret))).unwrap();
    let key = loaded.config.client.token.hmac_secret_key.unwrap();
    assert_eq!(key.expose(), "0123456789abcdef0123456789abcdef");
    let told = errors(load_json(&config(&named(&empty))));
    assert!(told[0].starts_with("client.token.hmac_secret_key_file: ") && told[0].ends_with(" is empty"), "{told:?}");
    let told = errors(load_json(&config(r#""hmac_secret_key_file": "/nowhere""#)));
    assert!(told[0].contains("/nowhere cannot be read: No such file"), "{told:?}");
    let told = errors(load_json(&config(&format!(r#""hmac_secret_key": "hush", {}"#, named(&secret)))));
    assert!(told[0].contains("client.token.hmac_secret_key is set too"), "{told:?}");
}

#[test]
fn certificate_and_key_are_read_and_have_to_belong_together() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = file("cert.pem", &certified.cert.pem());
    let key = file("key.pem", &certified.signing_key.serialize_pem());
    let stranger = file("other.pem", &other.signing_key.serialize_pem());
    let tls = |certificate: &str, key: &str| {
        let settings = [
            ("http_server.tls.enabled", "true"),
            (certificate.split_once('=').unwrap()),
            (key.split_once('=').unwrap()),
        ];
        Sources { flags: flags(&settings), ..Sources::default() }.load()
    };
    let certificate_file = format!("http_server.tls.cert_pem_file={}", certificate.path().display());
    let key_file = format!("http_server.tls.key_pem_file={}", key.path().display());
    let loaded = tls(&certificate_file, &key_file).unwrap();
    assert_eq!(loaded.config.http_server.tls.key_pair().unwrap().certificates.len(), 1);
    // Centrifugo's way: a path, or the text itself.
    let certificate_path = format!("http_server.tls.cert_pem={}", certificate.path().display());
    let key_text = format!("http_server.tls.key_pem={}", certified.signing_key.serialize_pem());
    tls(&certificate_path, &key_text).unwrap();

    let told = errors(tls(&certificate_file, &format!("http_server.tls.key_pem_file={}", stranger.path().display())));
    assert!(told[0].starts_with("http_server.tls.key_pem_file: does not go with the certificate"), "{told:?}");
    let told = errors(tls("http_server.tls.cert_pem_file=/nowhere", &format!("http_server.tls.key_pem={}", "bad")));
    assert!(told[0].starts_with("http_server.tls.cert_pem_file: /nowhere cannot be read"), "{told:?}");
    assert!(told[1].starts_with("http_server.tls.key_pem: expected a PEM"), "{told:?}");
    let told = errors(tls(&format!("http_server.tls.cert_pem_file={}", key.path().display()), &key_file));
    assert!(
        told[0].starts_with("http_server.tls.cert_pem_file: expected a certificate in PEM, found none"),
        "{told:?}"
    );
}

#[test]
fn public_keys_are_told_apart() {
    let keys = [
        ("rsa_public_key", RSA_PUBLIC_KEY.to_owned()),
        ("ecdsa_public_key", rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().public_key_pem()),
        ("eddsa_public_key", rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().public_key_pem()),
    ];
    let p521 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let private = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let load = |name: &str, pem: &str| {
        let key = format!("client.token.{name}");
        Sources { flags: flags(&[(&key, pem)]), ..Sources::default() }.load()
    };
    for (name, pem) in &keys {
        for (other, _) in &keys {
            assert_eq!(load(other, pem).is_ok(), name == other, "{name} as {other}");
        }
        assert!(load(name, &p521.public_key_pem()).is_err(), "{name}");
        assert!(load(name, &private).is_err(), "{name}");
    }
}

#[test]
fn variables_that_are_not_ours_are_left_alone_and_slips_of_the_pen_are_not() {
    let variables =
        |name: &str, value: &str| Sources { variables: pairs(&[(name, value)]), ..Sources::default() }.load();
    let links = [
        ("PUBSUB_SERVICE_HOST", "10.0.0.1"),
        ("PUBSUB_SERVICE_PORT_HTTP", "8000"),
        ("PUBSUB_PORT", "tcp://10.0.0.1:8000"),
        ("PUBSUB_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("PUBSUB_CONFIG", "x.toml"),
        ("PUBSUB_URL", "ws://localhost:8000/connection/websocket"),
        ("PUBSUB_TOKEN", "of the command-line client"),
        ("PUBSUB_SSE_ENABLED", "false"),
        ("CENTRIFUGE_X", "x"),
    ];
    for (name, value) in links {
        let loaded = variables(name, value).unwrap();
        assert!(loaded.open && loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
    assert_eq!(warnings(&variables("PUBSUB_EMULATOR_HOST", "x").unwrap()), [": ignored: no key has this name"]);
    let left_over = variables("CENTRIFUGO_CLIENT_INSECURE", "maybe").unwrap();
    assert_eq!(warnings(&left_over), [": not read here; name it PUBSUB_CLIENT_INSECURE"]);
    for (name, value) in [
        ("PUBSUB_CLIENT_TOKEN_HMAC_SECRT_KEY", "hush"),
        ("PUBSUB_CLIENT_WHATEVER", "1"),
        ("PUBSUB_PORT", "8000"),
        ("PUBSUB_SSE_ENABLED", "true"),
        ("PUBSUB_HTTP_SERVER_PORT", "x"),
        ("PUBSUB_CHANNEL_NAMESPACES", "chat"),
    ] {
        let told = variables(name, value).map(|loaded| loaded.config).unwrap_err();
        assert!(told.to_string().contains(name) && !told.to_string().contains("hush"), "{told}");
    }
}
