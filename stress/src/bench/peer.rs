//! Who is measured, how it is started, and in which words it is spoken to.

use std::path::PathBuf;

use pubsub_protocol::websocket::{Opcode, encode_frame};

/// How a peer is started on a port: a program and its arguments.
pub type CommandOn = Box<dyn Fn(u16) -> anyhow::Result<(PathBuf, Vec<String>)>>;

/// A server to be measured.
pub struct Peer {
    /// Its name in the report, with what is switched on.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it is started.
    pub command: CommandOn,
    /// The path of its WebSocket.
    pub path: String,
    /// Its words.
    pub words: Words,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).field("words", &self.words).finish_non_exhaustive()
    }
}

/// What a server wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `sub CHANNEL` is answered by `ok`, `pub CHANNEL BODY` sends BODY: the floor, and the naive server.
    Raw,
    /// The Centrifuge client protocol in JSON.
    Centrifuge,
    /// NATS over WebSocket.
    Nats,
}

impl Words {
    /// What a subscriber says first, masked as a client must.
    #[must_use]
    pub fn subscribe(self, channel: &str) -> Vec<u8> {
        let text = match self {
            Self::Raw => format!("sub {channel}"),
            Self::Centrifuge => {
                format!(r#"{{"id":1,"connect":{{}}}}{}{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#, '\n')
            }
            Self::Nats => {
                format!(
                    "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":false}}\r\nSUB {channel} 1\r\nPING\r\n"
                )
            }
        };
        self.frame(&text)
    }

    /// What a publisher says first.
    #[must_use]
    pub fn greet(self) -> Vec<u8> {
        match self {
            Self::Raw => Vec::new(),
            Self::Centrifuge => self.frame(r#"{"id":1,"connect":{}}"#),
            Self::Nats => self.frame("CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n"),
        }
    }

    /// Publishes `body`, which needs no escape.
    #[must_use]
    pub fn publish(self, id: u64, channel: &str, body: &str) -> Vec<u8> {
        self.frame(&match self {
            Self::Raw => format!("pub {channel} {body}"),
            Self::Centrifuge => format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"{body}"}}}}"#),
            Self::Nats => format!("PUB {channel} {}\r\n{body}\r\n", body.len()),
        })
    }

    /// Whether a message says that the subscription is there, or that it will not be.
    #[must_use]
    pub fn subscribed(self, message: &[u8]) -> Option<bool> {
        let has = |needle: &[u8]| message.windows(needle.len()).any(|window| window == needle);
        match self {
            Self::Raw => has(b"ok").then_some(true),
            Self::Centrifuge if has(b"\"error\"") => Some(false),
            Self::Centrifuge => has(b"\"id\":2").then_some(true),
            Self::Nats if has(b"-ERR") => Some(false),
            Self::Nats => has(b"PONG").then_some(true),
        }
    }

    /// The answer to a ping of the protocol, if the message is one.
    #[must_use]
    pub fn pong(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Raw => None,
            Self::Centrifuge => (message == b"{}").then(|| self.frame("{}")),
            Self::Nats => message.starts_with(b"PING").then(|| self.frame("PONG\r\n")),
        }
    }

    fn frame(self, text: &str) -> Vec<u8> {
        let opcode = if self == Self::Nats { Opcode::Binary } else { Opcode::Text };
        let mut out = Vec::with_capacity(text.len() + 14);
        // The mask hides nothing here; its cost at the server is the same whatever it is.
        encode_frame(opcode, text.as_bytes(), Some([0x5a, 0xc3, 0x3c, 0xa5]), true, &mut out);
        out
    }
}

/// The floor of our own: this program, asked to be one.
///
/// # Errors
/// When this program can not find itself.
pub fn floor() -> anyhow::Result<Peer> {
    let program = std::env::current_exe()?;
    Ok(Peer {
        name: "floor".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: Box::new(move |port| Ok((program.clone(), vec!["floor".to_owned(), port.to_string()]))),
        path: "/".to_owned(),
        words: Words::Raw,
    })
}

/// Our server, with `options` set, as `key=value`.
///
/// # Errors
/// When its binary is not there.
pub fn server(name: &str, options: &[&str]) -> anyhow::Result<Peer> {
    let program = crate::server::find_binary(None)?;
    let mut arguments: Vec<String> = vec!["--log-level".to_owned(), "error".to_owned()];
    let open = ["client.insecure=true", "http_api.insecure=true"];
    for option in open.iter().chain(options) {
        arguments.extend(["--set".to_owned(), (*option).to_owned()]);
    }
    Ok(Peer {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: Box::new(move |port| {
            let mut arguments = arguments.clone();
            arguments.extend(["--port".to_owned(), port.to_string()]);
            Ok((program.clone(), arguments))
        }),
        path: "/connection/websocket".to_owned(),
        words: Words::Centrifuge,
    })
}

/// nats-server, if it is installed.
#[must_use]
pub fn nats() -> Option<Peer> {
    let program = which("nats-server")?;
    let version = first_line(std::process::Command::new(&program).arg("--version"));
    Some(Peer {
        name: "nats-server".to_owned(),
        version,
        command: Box::new(move |port| {
            let file = std::env::temp_dir().join(format!("pubsub-bench-nats-{port}.conf"));
            std::fs::write(
                &file,
                format!(
                    "listen: 127.0.0.1:-1\nmax_pending: 256MB\nwebsocket {{ listen: \"127.0.0.1:{port}\", no_tls: true, compression: false }}\n"
                ),
            )?;
            Ok((program.clone(), vec!["-c".to_owned(), file.display().to_string()]))
        }),
        path: "/".to_owned(),
        words: Words::Nats,
    })
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn first_line(command: &mut std::process::Command) -> String {
    let output =
        command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    output.lines().next().unwrap_or("unknown").to_owned()
}
