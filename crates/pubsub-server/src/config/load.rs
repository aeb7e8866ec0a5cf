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

/// Sections that say nothing about who may connect and what a channel is. Who sets only these is still trying things out.
const NEUTRAL: [&str; 9] =
    ["http_server", "log", "websocket", "prometheus", "health", "engine", "shutdown", "node", "echo"];

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
        let configured = file.is_some() || environment.written().chain(flags.written()).any(|path| !is_neutral(path));
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
        let notices = notices(&config, open, &report);
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
    NEUTRAL.contains(&path.split('.').next().unwrap_or(path))
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

fn notices(config: &Config, open: bool, report: &Report) -> Vec<String> {
    let mut notices = Vec::new();
    let http = &config.http_server;
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
