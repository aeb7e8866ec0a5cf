//! Who is measured and how it is started: the floor, and our server with one thing or another switched on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::stream::{Trust, trust};
use super::words::Words;

/// How a peer is started on a port, with a folder for what it wants to write: a program and its arguments.
pub type CommandOn = Box<dyn Fn(u16, &Path) -> anyhow::Result<(PathBuf, Vec<String>)> + Send + Sync>;

/// A server to be measured.
pub struct Peer {
    /// Its name in the report, with what is switched on.
    pub name: String,
    /// Its version, and how it is configured.
    pub version: String,
    /// How it is started.
    pub command: CommandOn,
    /// The path of its WebSocket. `{c}` stands for the channel.
    pub path: String,
    /// Its words.
    pub words: Words,
    /// What it takes to speak TLS to it, if it does.
    pub trust: Option<Trust>,
    /// Connections that come and go beside a workload, per second.
    pub reconnects_per_s: f64,
    /// The workloads it is measured in; none: all.
    pub only: &'static [&'static str],
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).field("words", &self.words).finish_non_exhaustive()
    }
}

/// The name of the floor, which all others are compared with.
pub const FLOOR: &str = "floor";

/// The name of our server as it comes.
pub const OURS: &str = "pubsub-server";

impl Peer {
    /// A peer by this name, measured in all workloads.
    #[must_use]
    pub fn new(name: &str, version: String, words: Words, path: &str, command: CommandOn) -> Self {
        let (name, path) = (name.to_owned(), path.to_owned());
        Self { name, version, command, path, words, trust: None, reconnects_per_s: 0.0, only: &[] }
    }
}

/// The floor of our own: this program, asked to be one, with a heartbeat for each connection every `pings`.
///
/// # Errors
/// When this program can not find itself.
pub fn floor(pings: Option<Duration>) -> anyhow::Result<Peer> {
    let program = std::env::current_exe()?;
    let version = format!("{}, part of this benchmark", env!("CARGO_PKG_VERSION"));
    let command: CommandOn = Box::new(move |port, _| {
        let mut arguments = vec!["floor".to_owned(), port.to_string()];
        arguments.extend(pings.map(|pings| format!("--pings={}", pings.as_secs())));
        Ok((program.clone(), arguments))
    });
    Ok(Peer::new(FLOOR, version, Words::Raw, "/", command))
}

/// Our server, with `options` set, as `key=value`.
///
/// # Errors
/// When its binary is not there.
pub fn server(name: &str, options: &[String]) -> anyhow::Result<Peer> {
    let program = crate::server::find_binary(None)?;
    let mut arguments: Vec<String> = vec!["--log-level".to_owned(), "error".to_owned()];
    let open = ["client.insecure=true".to_owned(), "http_api.insecure=true".to_owned()];
    for option in open.iter().chain(options) {
        arguments.extend(["--set".to_owned(), option.clone()]);
    }
    let version = match options {
        [] => env!("CARGO_PKG_VERSION").to_owned(),
        options => format!("{}, `{}`", env!("CARGO_PKG_VERSION"), options.join("`, `")),
    };
    let command: CommandOn = Box::new(move |port, _| {
        let mut arguments = arguments.clone();
        arguments.extend(["--port".to_owned(), port.to_string()]);
        Ok((program.clone(), arguments))
    });
    Ok(Peer::new(name, version, Words::Centrifuge, "/connection/websocket", command))
}

/// Our server with one feature switched on, or one more thing to do, each beside the bare one. `options` go to all of them.
///
/// # Errors
/// When its binary is not there.
pub fn features(options: &[String]) -> anyhow::Result<Vec<Peer>> {
    let with = |name: &str, more: &[&str]| {
        let options: Vec<String> =
            options.iter().cloned().chain(more.iter().map(|&option| option.to_owned())).collect();
        server(&format!("{OURS}, {name}"), &options)
    };
    let history = [
        "channel.without_namespace.history_size=100",
        "channel.without_namespace.history_ttl=5m",
        "channel.without_namespace.force_recovery=true",
    ];
    let shards = ["http_server.shards=1"];
    let mut features = vec![
        with("history of 100 and recovery", &history)?,
        with("presence", &["channel.without_namespace.presence=true"])?,
        in_protobuf(with("protobuf", &[])?),
        with("one shard", &shards)?,
        tls(with("TLS", &[])?)?,
        Peer { reconnects_per_s: 200.0, ..with("200 reconnects/s", &[])? },
    ];
    // Beside a load: what is asked here is what they cost others.
    features.last_mut().expect("there are some").only = &["W2", "W3", "W4", "W5"];
    Ok(features)
}

/// A server of ours, spoken to in protobuf.
fn in_protobuf(peer: Peer) -> Peer {
    Peer { words: Words::Protobuf, path: format!("{}?format=protobuf", peer.path), ..peer }
}

/// A server of ours, over TLS with a certificate made for it.
fn tls(mut peer: Peer) -> anyhow::Result<Peer> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    peer.trust = Some(trust(made.cert.der().clone())?);
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let command = peer.command;
    peer.command = Box::new(move |port, folder| {
        let (program, mut arguments) = command(port, folder)?;
        for (name, pem) in [("cert_pem", &certificate), ("key_pem", &key)] {
            let file = folder.join(format!("{name}.pem"));
            std::fs::write(&file, pem)?;
            arguments.extend(["--set".to_owned(), format!("http_server.tls.{name}_file={}", file.display())]);
        }
        arguments.extend(["--set".to_owned(), "http_server.tls.enabled=true".to_owned()]);
        Ok((program, arguments))
    });
    Ok(peer)
}
