//! The server as a child process, watched from outside.
//!
//! It is found, not linked: `--server PATH`, or the binary beside our own, or a build of the workspace. It listens on a
//! port of its own choice and says which; what it logs is kept, so that a failure can show its last lines. Dropping the
//! handle kills it: Ctrl-C leaves no child behind. [`http`] asks it questions the way anybody would.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub mod http;

/// How long the server may take to say that it listens.
const START_MAX: Duration = Duration::from_secs(20);
/// How long one that has given up may take to end and say why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Lines of its log that are kept.
const LOG_LINES_MAX: usize = 200;
/// What the line begins with that says where it listens.
const LISTENING: &str = "listening on ";
/// What a line of its log has in it when a thread or task of it has panicked: it may live on, and say nothing else.
const PANICKED: &str = "panicked at ";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No binary.
    #[error(
        "no server binary: looked at {looked_at}; build it with `cargo build --release -p pubsub-server`, or name one with --server PATH"
    )]
    NotFound {
        /// Where.
        looked_at: String,
    },
    /// It cannot be run.
    #[error("cannot run {path}")]
    Spawn {
        /// Which binary.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It ended before it listened: a port that is taken, a configuration it does not like.
    #[error("{path} ended ({status}) before it listened; its last words:\n{log}")]
    Ended {
        /// Which binary.
        path: PathBuf,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: String,
    },
    /// It said nothing for too long.
    #[error("{path} did not say `listening on http://ADDRESS:PORT` within {START_MAX:?}; its last words:\n{log}")]
    Silent {
        /// Which binary.
        path: PathBuf,
        /// Its log.
        log: String,
    },
    /// A signal could not be sent.
    #[error("cannot signal the server (process {pid})")]
    Signal {
        /// Whom.
        pid: u32,
        /// What the system says.
        source: rustix::io::Errno,
    },
    /// Its configuration could not be written.
    #[error("cannot write the server's configuration")]
    Config(#[from] std::io::Error),
}

/// How the server of a scenario is set up: the keys of its configuration file that matter to the lab.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The whole file.
    pub file: Value,
    /// Port; 0 for any. A restart asks for the one it had.
    pub port: u16,
}

impl Default for ServerConfig {
    /// Open, with history and recovery in every channel.
    fn default() -> Self {
        Self {
            file: json!({
                "client": { "insecure": true, "allowed_origins": ["*"] },
                "http_api": { "insecure": true },
                "channel": { "without_namespace": {
                    "history_size": 1000, "history_ttl": "300s", "force_recovery": true, "force_positioning": true,
                } },
                "log": { "level": "warn" },
            }),
            port: 0,
        }
    }
}

impl ServerConfig {
    /// With `value` at the dotted `key`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.file;
        for part in key.split('.') {
            place = &mut place[part];
        }
        *place = value.into();
        self
    }

    /// What differs from the default, by key.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        put_differences("", &self.file, &Self::default().file, &mut settings);
        settings
    }
}

/// Puts the values below `key` that are not those of `other` into `differences`.
fn put_differences(key: &str, value: &Value, other: &Value, differences: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                put_differences(&key, value, &other[name], differences);
            }
        }
        _ if value == other => {}
        _ => drop(differences.insert(key.to_owned(), value.to_string())),
    }
}

/// Where the server binary is.
///
/// # Errors
/// When it is nowhere.
pub fn find_binary(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    if let Some(path) = named {
        let found = path.is_file().then(|| path.to_owned());
        return found.ok_or_else(|| ServerError::NotFound { looked_at: path.display().to_string() });
    }
    let here = std::env::current_exe().unwrap_or_default();
    let mut candidates = Vec::new();
    // Beside us; above us when we are a test (target/debug/deps); and the release build next to a debug one.
    for directory in here.ancestors().skip(1).take(3) {
        candidates.push(directory.join("pubsub-server"));
        candidates.push(directory.join("release").join("pubsub-server"));
    }
    let looked_at: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| ServerError::NotFound { looked_at: looked_at.join(", ") })
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: u32,
    address: String,
    binary: PathBuf,
    config: ServerConfig,
    log: Arc<Mutex<VecDeque<String>>>,
    panics: Arc<Mutex<Vec<String>>>,
    /// Holds the configuration file for as long as the server may want to read it again.
    file: PathBuf,
}

impl Server {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(binary: &Path, config: ServerConfig) -> Result<Self, ServerError> {
        // A name of its own for each: one that takes the place of another must not lose its file with that.
        static STARTS: AtomicU64 = AtomicU64::new(0);
        let name = format!("stress-{}-{}.json", std::process::id(), STARTS.fetch_add(1, Relaxed));
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, config.file.to_string())?;
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(&file)
            .arg("--port")
            .arg(config.port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C on a terminal is for the lab, which ends its servers by itself.
            .process_group(0)
            .spawn()
            .map_err(|source| ServerError::Spawn { path: binary.to_owned(), source })?;
        let pid = child.id().unwrap_or(0);
        let log: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let panics: Arc<Mutex<Vec<String>>> = Arc::default();
        let reading = child.stderr.take().map(|stderr| {
            let (log, panics) = (Arc::clone(&log), Arc::clone(&panics));
            // Ends with the child: its end of the pipe closes.
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.contains(PANICKED) {
                        panics.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                    }
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG_LINES_MAX {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            })
        });
        let stdout = child.stdout.take().map(BufReader::new);
        let announced = tokio::time::timeout(START_MAX, async {
            let mut lines = stdout?.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(url) = line.strip_prefix(LISTENING) {
                    return url.trim().strip_prefix("http://").map(str::to_owned);
                }
            }
            None
        });
        match announced.await {
            Ok(Some(address)) => Ok(Self { child, pid, address, binary: binary.to_owned(), config, log, panics, file }),
            Ok(None) | Err(_) => {
                // It closes its output a moment before it ends; its last words are in the pipe by then.
                let ended = tokio::time::timeout(LAST_WORDS, child.wait()).await;
                let _killed = child.kill().await;
                if let Some(reading) = reading {
                    let _late = tokio::time::timeout(LAST_WORDS, reading).await;
                }
                let _best_effort = std::fs::remove_file(&file);
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let (path, log) = (binary.to_owned(), log.iter().cloned().collect::<Vec<_>>().join("\n"));
                Err(match ended {
                    Ok(Ok(status)) => ServerError::Ended { path, status, log },
                    Ok(Err(_)) | Err(_) => ServerError::Silent { path, log },
                })
            }
        }
    }

    /// The same server again, on the port it had; what it kept in memory is gone.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn restart(mut self) -> Result<Self, ServerError> {
        let _gone = self.child.wait().await;
        let port = self.address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        let again = Self::start(&self.binary.clone(), ServerConfig { port, ..self.config.clone() }).await?;
        // What the old process did is not mended by another.
        again.panics.lock().unwrap_or_else(PoisonError::into_inner).extend(self.panics());
        Ok(again)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Asks it to drain and end.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<(), ServerError> {
        self.signal(Signal::TERM)
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn kill(&self) -> Result<(), ServerError> {
        self.signal(Signal::KILL)
    }

    /// Stops it where it is; [`resume`](Self::resume) lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal(Signal::CONT)
    }

    /// Every line in which it, or the process before a restart, told of a panic.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn signal(&self, signal: Signal) -> Result<(), ServerError> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal));
        sent.map_err(|source| ServerError::Signal { pid: self.pid, source })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child itself is killed by tokio's `kill_on_drop`; one that was stopped dies of it too.
        let _best_effort = std::fs::remove_file(&self.file);
    }
}
