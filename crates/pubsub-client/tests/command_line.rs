//! The `pubsub` tool against the real server: what it prints, and how it says what went wrong.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pubsub_server::config::{Config, Secret};
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::token::Signer;
use pubsub_server::transport::listener::TcpListener;

/// A server on threads of its own, so that a test can wait for a process.
struct Running {
    url: String,
    _server: ServerHandle,
    _runtime: tokio::runtime::Runtime,
}

fn server(config: Config) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = {
        let _guard = runtime.enter();
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        Server::new(config).start(listener).unwrap()
    };
    let url = format!("ws://{}/connection/websocket", server.local_addr().unwrap());
    Running { url, _server: server, _runtime: runtime }
}

fn pubsub(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pubsub"));
    command.args(["--url", url, "--timeout", "10"]).args(arguments).env_remove("PUBSUB_TOKEN").env_remove("RUST_LOG");
    command
}

fn run(url: &str, arguments: &[&str]) -> Output {
    pubsub(url, arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", said(output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_published_is_printed_as_it_arrives_and_found_in_history() {
    let server = server(Config::open_default());
    // What is there already, then what comes.
    assert!(run(&server.url, &["pub", "c", r#"{"n":1}"#, "plain text"]).status.success());
    let mut listening =
        pubsub(&server.url, &["sub", "c", "--since", "0@", "--count", "3"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(listening.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&printed.next().unwrap().unwrap()).unwrap();
    let first = next();
    assert_eq!((&first["channel"], &first["offset"], &first["data"]["n"]), (&"c".into(), &1.into(), &1.into()));
    assert_eq!(next()["data"], "plain text");
    let mut publishing = pubsub(&server.url, &["pub", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    publishing.stdin.take().unwrap().write_all(b"[1, 2]\n").unwrap();
    assert!(publishing.wait().unwrap().success());
    assert_eq!(next()["data"], serde_json::json!([1, 2]));
    assert!(listening.wait().unwrap().success());

    let history = lines(&run(&server.url, &["history", "c", "--limit", "2", "--reverse"]));
    assert_eq!(history.iter().map(|one| &one["offset"]).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(
        lines(&run(&server.url, &["presence", "c", "--stats"])),
        [serde_json::json!({"clients": 0, "users": 0})]
    );
    let info = lines(&run(&server.url, &["info"])).remove(0);
    assert!(info["client"].as_str().is_some_and(|client| !client.is_empty()), "{info}");
}

#[test]
fn an_unreachable_server_is_told_plainly() {
    // Bound and not listening: nobody else can have this port, and nobody answers.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = held.local_addr().unwrap();
    let output = run(&format!("ws://{address}/connection/websocket"), &["info"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).starts_with(&format!("pubsub: the server is unreachable: cannot reach {address}:")));
    let server = server(Config::open_default());
    let elsewhere = server.url.replace("/connection/websocket", "/nowhere");
    let output = run(&elsewhere, &["info"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("status 404"), "{}", said(&output));
}

#[test]
fn a_bad_token_and_a_forbidden_channel_are_told_apart() {
    let mut config = Config::open_default();
    config.client.insecure = false;
    config.client.token.hmac_secret_key = Some(Secret::new("a secret that is long enough"));
    config.channel.without_namespace.allow_subscribe_for_client = true;
    let (server, signer) = (server(config), Arc::new(Signer::hs256("a secret that is long enough")));
    for (token, expected) in [
        (Some("nonsense".to_owned()), "does not accept it"),
        (Some(signer.connection("ann", Some(1))), "has expired"),
        (None, "wants a token"),
    ] {
        let mut arguments = vec!["info"];
        arguments.extend(token.iter().flat_map(|token| ["--token", token]));
        let output = run(&server.url, &arguments);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let token = signer.connection("ann", None);
    for arguments in [["sub", "$private"].as_slice(), &["pub", "c", "1"], &["history", "c"], &["presence", "c"]] {
        let output = pubsub(&server.url, arguments).env("PUBSUB_TOKEN", &token).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains("forbidden"), "{}", said(&output));
    }
    let sub_token = signer.subscription("ann", "$private", None);
    let mut listening = pubsub(&server.url, &["sub", "$private", "--sub-token", &sub_token, "--join-leave"])
        .env("PUBSUB_TOKEN", &token)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(listening.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(r#""user":"ann""#), "{line}");
    listening.kill().unwrap();
    listening.wait().unwrap();
}

#[test]
fn a_wrong_address_says_what_is_allowed() {
    let output = run("http://localhost", &["info"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("must begin with ws:// or wss://"), "{}", said(&output));
}
