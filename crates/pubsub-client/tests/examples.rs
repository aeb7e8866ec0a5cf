//! The examples do what they say, against the real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener as Hop, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::TcpListener;
use tokio::runtime::Runtime;

/// A server of an example's own.
fn serving() -> (Runtime, ServerHandle, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = {
        let _guard = runtime.enter();
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 16, None).unwrap();
        Server::new(Config::open_default()).start(listener).unwrap()
    };
    let address = server.local_addr().unwrap();
    (runtime, server, address)
}

/// The example, told where the server is.
fn example(name: &str, server: SocketAddr) -> Command {
    // Beside the tests, where cargo puts them; it builds them for this one too.
    let mut program = std::env::current_exe().unwrap();
    program.pop();
    program.pop();
    program.extend(["examples", name]);
    if !program.exists() {
        let build = ["build", "--quiet", "-p", "pubsub-client", "--example", name];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    let mut command = Command::new(program);
    command.arg(format!("ws://{server}/connection/websocket"));
    command
}

/// Runs an example to its end. Returns what it printed.
fn run(name: &str, arguments: &[&str]) -> String {
    let (_runtime, _server, address) = serving();
    let output = example(name, address).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A way to the server, and whatever connection goes through it, to be cut.
fn hop(server: SocketAddr) -> (SocketAddr, mpsc::Receiver<TcpStream>) {
    let hop = Hop::bind(("127.0.0.1", 0)).unwrap();
    let address = hop.local_addr().unwrap();
    let (cuttable, cut) = mpsc::channel();
    thread::spawn(move || {
        for client in hop.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            for (mut from, mut to) in
                [(&client, &server), (&server, &client)].map(|(a, b)| (a.try_clone().unwrap(), b.try_clone().unwrap()))
            {
                thread::spawn(move || {
                    // Over, in whatever way: the other side hears of it.
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
            if cuttable.send(client).is_err() {
                return;
            }
        }
    });
    (address, cut)
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
fn a_subscription_goes_on_through_a_reconnect() {
    let (_runtime, _server, server) = serving();
    let (address, connections) = hop(server);
    let mut child = example("subscription", address).arg("5").stdout(Stdio::piped()).spawn().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        told.push(line.unwrap().trim().to_owned());
        if told.last().unwrap().starts_with("2 ") {
            connections.recv().unwrap().shutdown(Shutdown::Both).unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
    let offsets: Vec<&str> = told.iter().filter_map(|line| line.split_once(" Payload")).map(|(at, _)| at).collect();
    assert_eq!(offsets, ["1", "2", "3", "4", "5"], "{told:#?}");
    let place = |what: &str| told.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(place("2 ") < place("interrupted: ") && place("interrupted: ") < place("back: what was missed follows"));
    assert!(place("back: ") < place("3 "), "{told:#?}");
}

#[test]
fn a_handler_around_another_counts_what_passes() {
    let printed = run("custom_handler", &[]);
    let bytes: usize = printed.split(' ').next().unwrap().parse().unwrap();
    // The session, and ten answers of at least `{"id":N,"publish":{}}`.
    assert!(bytes > 200, "{printed}");
}
