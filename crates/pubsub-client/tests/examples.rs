//! The examples do what they say, against the real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

use pubsub_server::config::Config;
use pubsub_server::server::Server;
use pubsub_server::transport::listener::TcpListener;

/// Runs an example against a server of its own. Returns what it printed.
fn run(example: &str, arguments: &[&str]) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = {
        let _guard = runtime.enter();
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        Server::new(Config::open_default()).start(listener).unwrap()
    };
    // Beside the tests, where cargo puts them; it builds them for this one too.
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.extend(["examples", example]);
    if !program.exists() {
        let build = ["build", "--quiet", "-p", "pubsub-client", "--example", example];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    let url = format!("ws://{}/connection/websocket", server.local_addr().unwrap());
    let output = Command::new(program).arg(url).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn requests_are_answered_or_refused() {
    let printed = run("request_response", &[]);
    assert!(printed.contains(r#"number 1 is Payload({"hello":"world"})"#), "{printed}");
    assert!(printed.contains("refused: 108: not available"), "{printed}");
}

#[test]
fn a_subscription_is_told_of() {
    let printed = run("subscription", &["2"]);
    // (The server tells also that the example itself has joined.)
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.starts_with("Join")).collect();
    assert_eq!(lines, ["subscribed", "1 Payload(1)", "2 Payload(2)"]);
}

#[test]
fn a_handler_around_another_counts_what_passes() {
    let printed = run("custom_handler", &[]);
    let bytes: usize = printed.split(' ').next().unwrap().parse().unwrap();
    // The session, and ten answers of at least `{"id":N,"publish":{}}`.
    assert!(bytes > 200, "{printed}");
}
