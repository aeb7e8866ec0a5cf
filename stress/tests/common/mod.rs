//! Servers, inside the test's own process or as a binary, and what a report of a small run has to say.

use pubsub_server::config::Config;
use pubsub_server::server::{Server, ServerHandle};
use pubsub_server::transport::listener::TcpListener;
use stress::Verdict;
use stress::report::Report;

/// Inside this process: open, with so many publications kept in each channel. Returns where it listens; it ends with the handle.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn serving(history_size: u32) -> (ServerHandle, String) {
    let mut config = Config::open_default();
    config.channel.without_namespace.history_size = history_size as _;
    if history_size == 0 {
        config.channel.without_namespace.history_ttl = Default::default();
        config.channel.without_namespace.force_recovery = false;
        config.channel.without_namespace.force_positioning = false;
    }
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into(), 4096, None).unwrap();
    let server = Server::new(config).start(listener).unwrap();
    let address = server.local_addr().unwrap().to_string();
    (server, address)
}

/// The server's binary, built now if need be: tests that send signals or set limits want a process of its own.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn binary() -> std::path::PathBuf {
    static BUILT: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = std::process::Command::new(cargo);
        build.args(["build", "--quiet", "--package", "pubsub-server", "--bin", "pubsub-server"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let status =
            build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs these tests, so it is there");
        assert!(status.success(), "the server does not build");
        let test = std::env::current_exe().unwrap();
        // target/debug/deps/TEST, and the binary two up. A profile of its own keeps to its own directory.
        let directory = test.ancestors().nth(2).unwrap();
        let beside = directory.join("pubsub-server");
        if beside.is_file() { beside } else { directory.parent().unwrap().join("debug").join("pubsub-server") }
    });
    built.clone()
}

/// What is said, delivered and counted, and not how fast: the machine of a test has other things to do, so that a rate
/// that could not be offered is no reason to fail here. Every other one is.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn held<E: From<String>>(report: &Report) -> Result<(), E> {
    let excused = report.inconclusive.iter().all(|reason| reason.starts_with("of the planned rate"));
    let arrived = report.tally.pushed > 0 && report.violations.is_empty();
    if report.verdict != Verdict::Broken && excused && arrived {
        return Ok(());
    }
    Err(serde_json::to_string_pretty(report).expect("a report is JSON").into())
}
