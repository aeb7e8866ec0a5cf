//! The binary from outside: what it prints where, and the code it ends with.

// Clippy lets tests unwrap, but not the functions that help them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The binary without any variable of ours in its environment.
fn pubsub_server(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("pubsub-server").unwrap();
    command.env_clear().args(arguments);
    command
}

fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Ends with code 2, says nothing on standard output, and tells this on standard error.
fn refused(arguments: &[&str], told: &str) {
    let assert = pubsub_server(arguments).assert().code(2);
    assert_eq!(stdout(&assert), "", "{arguments:?}");
    assert!(stderr(&assert).contains(told), "{arguments:?}: {}", stderr(&assert));
}

fn write(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_explains_every_flag_and_every_key_with_its_default() {
    let long = stdout(&pubsub_server(&["--help"]).assert().success());
    for part in [
        "--config <FILE>",
        "--port <PORT>",
        "[default: 8000]",
        "checkconfig",
        "defaultconfig",
        "gentoken",
        "client.ping_interval = \"25s\"",
        "channel.namespaces[].history_size = 0",
        "PUBSUB_CLIENT_PING_INTERVAL",
    ] {
        assert!(long.contains(part), "{part}\n{long}");
    }
    let short = stdout(&pubsub_server(&["-h"]).assert().success());
    assert!(short.lines().count() < 50 && short.contains("--port"), "{short}");
    pubsub_server(&["--version"]).assert().success();
}

#[test]
fn a_wrong_flag_is_told_with_the_one_that_was_meant() {
    refused(&["--prot", "1"], "'--port'");
    refused(&["--set", "client.ping_interval"], "expected KEY=VALUE");
    refused(&["checkconfg"], "checkconfig");
    refused(
        &["--port", "many"],
        "http_server.port (flag --port): expected a whole number from 0 to 65535, got \"many\"",
    );
    refused(&["gentoken", "--ttl", "soon"], "expected a duration such as 1h30m, or seconds");
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_the_reason_alone() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| write(directory.path(), name, bytes);
    let cases = [
        ("/nowhere/config.json".to_owned(), "there is no such file"),
        (directory.path().to_str().unwrap().to_owned(), "is a directory, and a file is due"),
        (at("config.ini", b"x"), "the name must end in .json, .toml, .yaml or .yml"),
        (at("latin.json", b"{\"node\": {\"name\": \"\xe4\"}}"), "is not text in UTF-8"),
        (at("broken.json", b"{\n  \"client\": }"), "not valid JSON at line 2, column 13: expected value"),
        (at("broken.toml", b"[client]\nport = \n"), "not valid TOML at line 2, column "),
        (at("broken.yaml", b"client:\n  a: b: c\n"), "not valid YAML at line 2, column 7: "),
        (at("list.yaml", b"- a\n"), "not valid YAML: expected keys and values, got a list"),
        (at("twice.json", b"{\"log\": {}, \"log\": {}}"), "the key \"log\" is there twice"),
    ];
    for (path, told) in &cases {
        for arguments in [&["--config", path][..], &["checkconfig", path], &["gentoken", "-c", path]] {
            let assert = pubsub_server(arguments).assert().code(2);
            let expected = format!("pubsub-server: the configuration has a mistake:\n  {path}: ");
            assert!(stderr(&assert).starts_with(&expected) && stderr(&assert).contains(told), "{}", stderr(&assert));
            assert_eq!(stderr(&assert).lines().count(), 2, "{}", stderr(&assert));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), "config.json", "{}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything: then there is nothing to see here.
    if std::fs::read(&path).is_err() {
        refused(&["checkconfig", &path], "cannot be read: Permission denied");
    }
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    let mut command = pubsub_server(&["checkconfig"]);
    let assert = command.env("PUBSUB_CONFIG", "/nowhere.toml").assert().code(2);
    assert!(stderr(&assert).contains("/nowhere.toml: there is no such file"), "{}", stderr(&assert));
}

#[test]
fn checkconfig_tells_all_mistakes_or_that_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let bad = write(directory.path(), "bad.yaml", "client:\n  ping_interval: 25\n  insecur: true\n");
    let assert = pubsub_server(&["checkconfig", &bad, "--port", "x"]).env("PUBSUB_LOG_LEVEL", "loud").assert().code(2);
    let told = stderr(&assert);
    assert!(told.starts_with("pubsub-server: the configuration has 4 mistakes:\n"), "{told}");
    for part in ["client.ping_interval (", "client.insecur (", "log.level (variable PUBSUB_LOG_LEVEL)", "(flag --port)"]
    {
        assert!(told.contains(part), "{part}\n{told}");
    }

    let good = write(directory.path(), "good.yaml", "admin: {enabled: true}\nhttp_api: {key: k}\n");
    let assert = pubsub_server(&["checkconfig", "-c", &good]).assert().success();
    assert_eq!(stdout(&assert), "the configuration is good\n");
    assert!(stderr(&assert).contains("warning: admin ("), "{}", stderr(&assert));
}

#[test]
fn the_default_configuration_is_a_good_one_in_each_format() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["toml", "yaml", "json"] {
        let text = stdout(&pubsub_server(&["defaultconfig", "--format", format]).assert().success());
        assert!(text.contains("ping_interval"), "{text}");
        let path = write(directory.path(), &format!("config.{format}"), text);
        pubsub_server(&["checkconfig", &path]).assert().success();
    }
    let toml = stdout(&pubsub_server(&["defaultconfig"]).assert().success());
    assert!(toml.contains("# Time between two pings to a client."), "{toml}");
}

#[test]
fn beyond_loopback_it_does_not_start_while_it_is_open() {
    refused(&["--address", "0.0.0.0", "--port", "0"], "client.insecure: refusing to listen on 0.0.0.0:0");
    refused(&["--open", "--address", "::", "--port", "0"], "(by --open)");
    refused(
        &["--set", "http_api.insecure=true", "--address", "0.0.0.0"],
        "http_api.insecure (flag --set http_api.insecure)",
    );
}

fn claims(token: &str, secret: &str) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims
}

#[test]
fn gentoken_prints_a_token_that_the_configuration_believes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(
        directory.path(),
        "config.json",
        json!({"client": {"token": {"hmac_secret_key": SECRET, "audience": "app", "issuer": "me"}}}).to_string(),
    );
    let arguments =
        ["gentoken", "-c", &path, "--user", "42", "--ttl", "1h", "--channels", "a,b", "--info", r#"{"n":1}"#];
    let printed = stdout(&pubsub_server(&arguments).assert().success());
    let claims = claims(printed.strip_suffix('\n').unwrap(), SECRET);
    assert_eq!(claims["sub"], "42");
    assert_eq!(claims["channels"], json!(["a", "b"]));
    assert_eq!(claims["info"], json!({"n": 1}));
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!("app"), &json!("me")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    assert_eq!(claims.get("channel"), None);
}

#[test]
fn a_token_may_last_for_ever_and_carry_its_user_elsewhere() {
    let secret = format!("client.token.hmac_secret_key={SECRET}");
    let arguments = ["gentoken", "--set", &secret, "--set", "client.token.user_id_claim=uid", "-u", "7", "--ttl", "0"];
    let printed = stdout(&pubsub_server(&arguments).assert().success());
    let claims = claims(printed.trim(), SECRET);
    assert_eq!((&claims["uid"], claims.get("sub"), claims.get("exp")), (&json!("7"), None, None));
}

#[test]
fn gensubtoken_signs_with_the_secret_for_subscriptions() {
    let other = "fedcba9876543210fedcba9876543210";
    let mut command = pubsub_server(&["gensubtoken", "--user", "42", "--channel", "$room", "--ttl", "60"]);
    command.env("PUBSUB_CLIENT_TOKEN_HMAC_SECRET_KEY", SECRET);
    let claims_of = |command: &mut Command, secret| claims(stdout(&command.assert().success()).trim(), secret);
    let one = claims_of(&mut command, SECRET);
    assert_eq!((&one["sub"], &one["channel"]), (&json!("42"), &json!("$room")));
    assert_eq!(one["exp"].as_u64().unwrap() - one["iat"].as_u64().unwrap(), 60);
    command.env("PUBSUB_CLIENT_SUBSCRIPTION_TOKEN_ENABLED", "true");
    command.env("PUBSUB_CLIENT_SUBSCRIPTION_TOKEN_HMAC_SECRET_KEY", other);
    assert_eq!(claims_of(&mut command, other)["channel"], "$room");
}

#[test]
fn without_a_secret_there_is_no_token_and_the_way_to_one_is_told() {
    refused(&["gentoken", "--user", "42"], "set the variable PUBSUB_CLIENT_TOKEN_HMAC_SECRET_KEY");
    refused(&["gensubtoken", "--channel", "a"], "client.token.hmac_secret_key is not set");
    refused(&["gensubtoken", "--user", "42"], "--channel");
}
