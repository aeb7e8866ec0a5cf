//! The command line: running the server without a word, and the verbs around its configuration.
//!
//! [`token`] makes tokens for trying things out.

pub mod token;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, CONFIG_VARIABLE, FlagValue, Loaded, Notation, Problems, Sources};

/// A WebSocket pub/sub server that speaks the Centrifuge protocol.
///
/// Without a configuration it listens on 127.0.0.1:8000, open to everyone there, with history and recovery in every
/// channel. A configuration file is JSON, TOML or YAML, with the keys of Centrifugo v6.
#[derive(Debug, Parser)]
#[command(name = "pubsub-server", version, args_conflicts_with_subcommands = true, styles = STYLES)]
pub struct Cli {
    /// What to do; without a word, run the server.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where the configuration of the server comes from.
    #[command(flatten)]
    pub sources: SourceArgs,
}

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default());

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the configuration and tell every mistake.
    Checkconfig {
        /// The configuration file; the same as --config.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// What to check.
        #[command(flatten)]
        sources: SourceArgs,
    },
    /// Print the whole default configuration, with comments.
    Defaultconfig {
        /// In which format.
        #[arg(long, short, value_enum, default_value_t)]
        format: Notation,
    },
    /// Print docs/configuration.md.
    Configdoc,
    /// Print a connection token for trying things out, signed with client.token.hmac_secret_key.
    Gentoken(GenToken),
    /// Print a subscription token for trying things out, signed with the HMAC secret of the configuration.
    Gensubtoken(GenSubToken),
}

/// What a configuration is made of, besides the environment.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// Configuration file: .json, .toml, .yaml or .yml.
    #[arg(long, short, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long, short, value_name = "ADDRESS", alias = "http_server.address")]
    pub address: Option<String>,
    /// Port to listen on; 0 picks a free one [default: 8000].
    #[arg(long, short, value_name = "PORT", alias = "http_server.port")]
    pub port: Option<String>,
    /// Address of the internal listener, for API, metrics and health [default: that of --address].
    #[arg(long, value_name = "ADDRESS", alias = "http_server.internal_address")]
    pub internal_address: Option<String>,
    /// Port of the internal listener [default: none, all on --port].
    #[arg(long, value_name = "PORT", alias = "http_server.internal_port")]
    pub internal_port: Option<String>,
    /// Least level that is logged: trace, debug, info, warn, error or none [default: info].
    #[arg(long, value_name = "LEVEL", alias = "log.level")]
    pub log_level: Option<String>,
    /// How the log looks: text or json [default: text].
    #[arg(long, value_name = "FORMAT", alias = "log.format")]
    pub log_format: Option<String>,
    /// File to log to [default: standard error].
    #[arg(long, value_name = "FILE", alias = "log.file")]
    pub log_file: Option<String>,
    /// Begin with the open configuration, as if nothing were configured, and lay the other layers over it.
    #[arg(long)]
    pub open: bool,
    /// Set any key of the configuration: --set client.ping_interval=10s. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as client.ping_interval=10s")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

impl SourceArgs {
    /// The layers that these arguments and the environment make.
    #[must_use]
    pub fn sources(&self, variables: Vec<(String, String)>) -> Sources {
        let named = [
            ("--address", "http_server.address", &self.address),
            ("--port", "http_server.port", &self.port),
            ("--internal-address", "http_server.internal_address", &self.internal_address),
            ("--internal-port", "http_server.internal_port", &self.internal_port),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
            ("--log-file", "log.file", &self.log_file),
        ];
        let named = named.into_iter().filter_map(|(flag, key, value)| {
            let value = value.clone()?;
            Some(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value })
        });
        let set = self.set.iter().map(|(key, value)| FlagValue {
            flag: format!("--set {key}"),
            key: key.clone(),
            value: value.clone(),
        });
        // A flag of its own weighs more than --set: it is the one that is typed last in a script.
        Sources { file: self.config.clone(), variables, flags: set.chain(named).collect(), open: self.open }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        self.sources(variables.collect()).load()
    }
}

fn text(text: OsString) -> Option<String> {
    text.into_string().ok()
}

/// Arguments of `gentoken`.
#[derive(Args, Debug)]
pub struct GenToken {
    /// User id; empty for an anonymous user.
    #[arg(long, short, default_value = "")]
    pub user: String,
    /// How long the token lasts: a duration, or seconds; 0 for ever.
    #[arg(long, short, default_value = "168h", value_parser = ttl)]
    pub ttl: Duration,
    /// Channel to subscribe the connection to, from the server's side. May be given several times.
    #[arg(long = "channel", visible_alias = "channels", short = 's', value_name = "CHANNEL", value_delimiter = ',')]
    pub channels: Vec<String>,
    /// What others see of this connection in presence and publications, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub info: Option<serde_json::Value>,
    /// Where the secret is.
    #[command(flatten)]
    pub sources: SecretArgs,
}

/// Arguments of `gensubtoken`.
#[derive(Args, Debug)]
pub struct GenSubToken {
    /// User id: that of the connection which subscribes.
    #[arg(long, short, default_value = "")]
    pub user: String,
    /// The channel.
    #[arg(long, short = 's')]
    pub channel: String,
    /// How long the token lasts: a duration, or seconds; 0 for ever.
    #[arg(long, short, default_value = "168h", value_parser = ttl)]
    pub ttl: Duration,
    /// What others see of this subscription in presence and publications, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub info: Option<serde_json::Value>,
    /// Where the secret is.
    #[command(flatten)]
    pub sources: SecretArgs,
}

/// Where the configuration with the secret comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct SecretArgs {
    /// Configuration file: .json, .toml, .yaml or .yml.
    #[arg(long, short, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Set any key of the configuration: --set client.token.hmac_secret_key=....
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl SecretArgs {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        SourceArgs { config: self.config.clone(), set: self.set.clone(), ..SourceArgs::default() }.load()
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => {
            config::parse_duration(text).ok_or_else(|| "expected a duration such as 1h30m, or seconds".to_owned())
        }
    }
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

impl Cli {
    /// Parses the arguments of this process; a wrong one, `--help` and `--version` end it.
    #[must_use]
    pub fn from_process() -> Self {
        let matches = Self::command().after_long_help(config::help()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}
