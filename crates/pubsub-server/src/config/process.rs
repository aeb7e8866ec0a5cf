//! The process: its logs, its engine, its end.

use std::path::PathBuf;
use std::time::Duration;

use super::choice::choice;
use super::section::section;

section! {
    /// `log`: what is logged, and where.
    pub struct LogConfig {
        /// Least level that is logged: `trace`, `debug`, `info`, `warn`, `error`, `fatal` (as `error`) or `none`.
        level: LogLevel = LogLevel::Info;
        /// File to append to. Empty: standard error.
        file: Option<PathBuf> = None;
        /// `text` for people, `json` for machines, one object per line.
        format: LogFormat = LogFormat::Text => ours;
    }
}

choice! {
    /// Least level that is logged.
    pub enum LogLevel {
        /// Every frame's journey.
        Trace = "trace",
        /// Every connection's life.
        Debug = "debug",
        /// What an operator wants to know.
        #[default]
        Info = "info",
        /// What may need attention.
        Warn = "warn",
        /// What does need it.
        Error = "error",
        /// Centrifugo's; nothing is logged above `error` here.
        Fatal = "fatal",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// How a line of the log looks.
    pub enum LogFormat {
        /// For people.
        #[default]
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

section! {
    /// `engine`: where streams and presence are kept.
    pub struct EngineConfig {
        /// `memory`: in this process; a restart begins every stream anew, with a new epoch.
        kind: EngineKind = EngineKind::Memory => named("type");
    }
}

choice! {
    /// Where streams and presence are kept.
    pub enum EngineKind {
        /// In this process.
        #[default]
        Memory = "memory",
        ; later "redis", "redisnats", "nats", "postgres"
    }
}

section! {
    /// `shutdown`: how the server ends.
    pub struct ShutdownConfig {
        /// Time to drain all connections; then the process ends regardless.
        timeout: Duration = Duration::from_secs(30) => between(0, 3_600_000);
        /// Time over which the closing of connections is spread, so that not all of them come back to the other nodes in
        /// the same moment; at most half a millisecond for each connection: 1,000 connections are closed within 0.5 s.
        /// Less than `timeout`; unless set, at most half of it. 0: all at once.
        spread: Duration = Duration::from_secs(5) => ours, between(0, 3_600_000);
    }
}

section! {
    /// `node`: this process among others.
    pub struct NodeConfig {
        /// Name in `info`. Empty: host name and port.
        name: String = String::new();
    }
}
