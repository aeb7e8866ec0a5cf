//! The `pubsub` tool against the real server: what it prints, and how it says what went wrong.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pubsub_server::config::{Config, Secret};
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::token::Signer;
use pubsub_server::transport::listener::TcpListener;

/// A server on threads of its own, so that a test can wait for a process.
struct Running {
    url: String,
    _server: ServerHandle,
    runtime: tokio::runtime::Runtime,
}

fn server(config: Config) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = {
        let _guard = runtime.enter();
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        Server::new(config).start(listener).unwrap()
    };
    let url = format!("ws://{}/connection/websocket", server.local_addr().unwrap());
    Running { url, _server: server, runtime }
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
    let for_another = signer.subscription("bob", "$private", None);
    // A token that was given is not asked for again.
    for (sub_token, code, expected) in
        [("nonsense", 5, "does not accept this --sub-token"), (&for_another, 4, "the token is bad")]
    {
        let mut listening = pubsub(&server.url, &["sub", "$private", "--sub-token", sub_token]);
        let output = listening.env("PUBSUB_TOKEN", &token).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
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
fn the_first_subscribe_leaves_along_with_the_credentials() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let mut listening = pubsub(&url, &["sub", "a", "b", "a"]).spawn().unwrap();
    // A server that answers nothing is sent everything at once, or never.
    let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
    let message = socket.read().unwrap().into_text().unwrap();
    let commands: Vec<serde_json::Value> = message.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(commands[0]["connect"].is_object(), "{message}");
    let channels: Vec<_> = commands[1..].iter().map(|command| &command["subscribe"]["channel"]).collect();
    assert_eq!(channels, ["a", "b"]);
    listening.kill().unwrap();
    listening.wait().unwrap();
}

#[test]
fn a_wrong_address_says_what_is_allowed() {
    let output = run("http://localhost", &["info"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("must begin with ws:// or wss://"), "{}", said(&output));
    assert_eq!(run("ws://localhost", &["sub", ""]).status.code(), Some(2), "no channel has no name");
}

#[test]
fn a_timeout_is_a_time_and_a_negative_number_is_data() {
    for timeout in ["0", "-1", "soon"] {
        let output = Command::new(env!("CARGO_BIN_EXE_pubsub")).args(["info", "--timeout", timeout]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("a number above zero is wanted"), "{}", said(&output));
    }
    let server = server(Config::open_default());
    assert!(run(&server.url, &["pub", "c", "-5"]).status.success());
    assert_eq!(lines(&run(&server.url, &["history", "c"]))[0]["data"], -5);
}

#[test]
fn publishing_while_the_server_is_away_says_so_once() {
    let server = server(Config::open_default());
    let hop = Hop::before(&server);
    let mut publishing = Command::new(env!("CARGO_BIN_EXE_pubsub"))
        .args(["--url", &hop.url, "--timeout", "1", "-v", "pub", "c"])
        .env_remove("PUBSUB_TOKEN")
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = publishing.stdin.take().unwrap();
    lines.write_all(b"1\n").unwrap();
    let listened = run(&server.url, &["sub", "c", "--since", "0@", "--count", "1", "--data-only"]);
    assert_eq!(listened.stdout, b"1\n");
    hop.cut();
    // Not before it knows.
    let mut told = BufReader::new(publishing.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("connection lost")));
    lines.write_all(b"2\n").unwrap();
    drop(lines);
    let last = told.last().unwrap();
    assert_eq!(last.matches("within 1s").count(), 1, "{last}");
    assert_eq!(publishing.wait().unwrap().code(), Some(3), "{last}");
}

/// A hop between a client and the server that can be cut.
struct Hop {
    url: String,
    /// How often it was cut, and whether it lets anybody through now.
    state: tokio::sync::watch::Sender<(u64, bool)>,
    passed: Arc<AtomicU64>,
}

impl Hop {
    /// In front of `server`, on its threads.
    fn before(server: &Running) -> Self {
        let target = address(server);
        let (state, passed) = (tokio::sync::watch::Sender::new((0, true)), Arc::new(AtomicU64::new(0)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("ws://{}/connection/websocket", listener.local_addr().unwrap());
        let (watch, count) = (state.subscribe(), passed.clone());
        server.runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (mut state, target) = (watch.clone(), target.clone());
                let (born, open) = *state.borrow();
                if !open {
                    continue;
                }
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|(cuts, _)| *cuts > born) => {}
                    }
                });
            }
        });
        Self { url, state, passed }
    }

    fn cut(&self) {
        self.state.send_modify(|(cuts, open)| (*cuts, *open) = (*cuts + 1, false));
    }

    fn mend(&self) {
        self.state.send_modify(|(_, open)| *open = true);
    }
}

fn address(server: &Running) -> String {
    server.url.trim_start_matches("ws://").split('/').next().unwrap().to_owned()
}

#[test]
fn listening_goes_on_through_cuts_and_prints_each_publication_once() {
    const CUTS: u64 = 3;
    let server = server(Config::open_default());
    let hop = Hop::before(&server);
    let mut listening =
        pubsub(&hop.url, &["sub", "c", "--since", "0@", "--data-only"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(listening.stdout.take().unwrap()).lines();
    let mut next = || printed.next().unwrap().unwrap();
    for round in 0..CUTS {
        let number = |i: u64| (3 * round + i).to_string();
        assert!(run(&server.url, &["pub", "c", &number(0)]).status.success());
        assert_eq!(next(), number(0));
        hop.cut();
        assert!(run(&server.url, &["pub", "c", &number(1)]).status.success());
        hop.mend();
        assert!(run(&server.url, &["pub", "c", &number(2)]).status.success());
        assert_eq!((next(), next()), (number(1), number(2)));
    }
    assert_eq!(hop.passed.load(Ordering::SeqCst), 1 + CUTS, "each cut was felt");
    assert_eq!(interrupted(&mut listening), Some(0), "the user's wish is no error");
    assert!(printed.next().is_none(), "nothing twice");
}

/// Presses Ctrl-C, and returns the exit code.
fn interrupted(child: &mut std::process::Child) -> Option<i32> {
    assert!(Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

#[test]
fn who_reads_the_output_may_stop_at_any_time() {
    let server = server(Config::open_default());
    let mut listening = pubsub(&server.url, &["sub", "c", "--since", "0@"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(run(&server.url, &["pub", "c", "1"]).status.success());
    let mut line = String::new();
    let mut printed = BufReader::new(listening.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    drop(printed);
    assert!(run(&server.url, &["pub", "c", "2"]).status.success());
    let output = listening.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*said(&output)), (Some(0), ""));
}

#[test]
fn data_is_printed_as_it_was_published() {
    let server = server(Config::open_default());
    let data = r#"{"z":1,"a":12345678901234567890123,"m":1.50}"#;
    assert!(run(&server.url, &["pub", "c", data]).status.success());
    for arguments in [["history", "c"].as_slice(), &["sub", "c", "--since", "0@", "--count", "1"]] {
        let output = run(&server.url, arguments);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(&format!(r#""data":{data}"#)), "{printed}");
    }
}

#[test]
fn what_the_server_ends_says_why() {
    let server = server(Config::open_default());
    let mut listening = pubsub(&server.url, &["sub", "c", "--since", "0@"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(run(&server.url, &["pub", "c", "1"]).status.success());
    let mut printed = BufReader::new(listening.stdout.take().unwrap());
    printed.read_line(&mut String::new()).unwrap();
    let body = r#"{"user":"","channel":"c"}"#;
    let (host, length) = (address(&server), body.len());
    let mut api = std::net::TcpStream::connect(&host).unwrap();
    write!(api, "POST /api/unsubscribe HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let output = listening.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(said(&output).contains("the server ended the subscription to \"c\": 2000"), "{}", said(&output));
}
