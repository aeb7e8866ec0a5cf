//! From layers to a configuration: defaults < file < environment < flags. Everything that is wrong, in whichever layer,
//! is found before anything is told.

use std::path::PathBuf;

use super::apply::apply;
use super::inventory::{self, Kind, generic};
use super::layer::{FlagValue, Layer};
use super::problem::{Origin, Problem, Problems};
use super::raw::Raw;
use super::report::Report;
use super::{Config, check, duration, exposure, secret};

/// Sections, and keys of `client`, that say nothing about who may connect and what a channel is. Who sets only these is
/// still trying things out. Listed are those that leave the server open: a key that nobody thought of closes it.
const NEUTRAL: [&str; 28] = [
    "http_server",
    "log",
    "websocket",
    "prometheus",
    "health",
    "engine",
    "shutdown",
    "node",
    "echo",
    "client.ping_interval",
    "client.pong_timeout",
    "client.expired_close_delay",
    "client.expired_sub_close_delay",
    "client.stale_close_delay",
    "client.channel_limit",
    "client.queue_max_size",
    "client.presence_update_interval",
    "client.concurrency",
    "client.channel_position_check_delay",
    "client.connection_limit",
    "client.user_connection_limit",
    "client.connection_rate_limit",
    "client.connection_rate_limit_per_address",
    "client.command_rate_limit",
    "client.command_rate_burst",
    "client.connect_include_server_time",
    "client.history_max_publication_limit",
    "client.recovery_max_publication_limit",
];

/// What to make a configuration of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `PUBSUB_` are left alone.
    pub variables: Vec<(String, String)>,
    /// Flags of the command line.
    pub flags: Vec<FlagValue>,
    /// Begin with [`Config::open_default`] even if something is configured.
    pub open: bool,
}

/// A configuration that can be started.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What it rests on is [`Config::open_default`].
    pub open: bool,
    /// What deserves attention.
    pub warnings: Vec<Problem>,
    /// What a newcomer would like to know.
    pub notices: Vec<String>,
}

impl Sources {
    /// Puts the layers together.
    ///
    /// # Errors
    /// Every mistake in them, at once.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let mut report = Report::default();
        let file = self.file.as_ref().map(|path| Layer::file(path, &mut report));
        let environment = Layer::environment(&self.variables, &mut report);
        let flags = Layer::flags(&self.flags);
        let decided = environment.written().chain(flags.written()).find(|path| !is_neutral(path)).map(str::to_owned);
        let configured = file.is_some() || decided.is_some();
        let open = self.open || !configured;

        let mut config = if open { Config::open_default() } else { Config::default() };
        for layer in file.iter().chain([&environment, &flags]) {
            apply(layer, &mut config, &mut report);
        }
        if !report.is_written("shutdown.spread") {
            // A file of Centrifugo's that only shortens the shutdown shortens this too.
            config.shutdown.spread = config.shutdown.spread.min(config.shutdown.timeout / 2);
        }
        tell_later(&config, &mut report);
        secret::read_files(&mut config, &mut report);
        check::check(&config, &mut report);
        exposure::check(&config, why_open(self.open, configured), &mut report);
        let closed_by = decided.filter(|_| !open && file.is_none());
        let notices = notices(&config, open, closed_by.as_deref(), &report);
        Ok(Loaded { config, open, warnings: report.finish()?, notices })
    }
}

fn why_open(asked: bool, configured: bool) -> Option<&'static str> {
    match (asked, configured) {
        (true, _) => Some("by --open"),
        (false, false) => Some("since nothing is configured, everything is open"),
        (false, true) => None,
    }
}

fn is_neutral(path: &str) -> bool {
    NEUTRAL
        .iter()
        .any(|neutral| path.strip_prefix(neutral).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Our own keys that the server cannot honour yet, if they were changed.
fn tell_later(config: &Config, report: &mut Report) {
    let mut config = config.clone();
    // The inventory of a configuration shows what a list's item would be; what the items are is added under their names.
    let namespaces = std::mem::take(&mut config.channel.namespaces);
    let mut keys = inventory::inventory(&mut config);
    for (index, namespace) in namespaces.into_iter().enumerate() {
        let name = if namespace.name.is_empty() { index.to_string() } else { namespace.name.clone() };
        let options = inventory::inventory_of_namespace(namespace);
        keys.extend(options.into_iter().map(|mut key| {
            key.path = key.path.replace("[]", &format!("[{name}]"));
            key
        }));
    }
    for key in &keys {
        let (Some(later), Kind::Value { default: now, .. }) = (key.meta.later, &key.kind) else { continue };
        if *now != default_of(&generic(&key.path)) {
            report.later(key.path.clone(), report.origin(&key.path), later);
        }
    }
}

fn default_of(path: &str) -> Raw {
    inventory::keys()
        .iter()
        .find(|key| key.path == path)
        .and_then(|key| match &key.kind {
            Kind::Value { default, .. } => Some(default.clone()),
            _ => None,
        })
        .unwrap_or(Raw::Null)
}

fn notices(config: &Config, open: bool, closed_by: Option<&str>, report: &Report) -> Vec<String> {
    let mut notices = Vec::new();
    let http = &config.http_server;
    if let Some(key) = closed_by {
        notices.push(format!(
            "{key} says who may do what or what a channel is, so nothing is open unasked any more: clients need a token, the \
             HTTP API a key, and channels keep no history unless told to; --open opens all that and keeps {key} as it is"
        ));
    }
    if open {
        notices.push(format!(
            "everything is open: whoever reaches {} may connect, subscribe, publish, read history, and use the HTTP API \
             without a key; every channel keeps {} publications for {}; `pubsub-server defaultconfig` prints a \
             configuration to start from",
            http.address,
            config.channel.without_namespace.history_size,
            duration::show(config.channel.without_namespace.history_ttl),
        ));
    } else if report.origin("http_server.address") == Origin::Default {
        notices.push(format!(
            "listening on {} only, since http_server.address is not set; set it to 0.0.0.0 to be reached from elsewhere \
             (Centrifugo does so unasked)",
            http.address,
        ));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_server_open_is_a_section_or_key_that_exists() {
        for neutral in NEUTRAL {
            let inside = |path: &str| path == neutral || path.starts_with(&format!("{neutral}."));
            assert!(inventory::keys().iter().any(|key| inside(&key.path)), "{neutral}");
        }
    }
}
