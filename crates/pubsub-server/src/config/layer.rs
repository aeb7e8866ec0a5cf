//! The layers a configuration is made of: a file, the environment, the flags. Each becomes a tree of keys that knows
//! where every value was written; what cannot become one is reported.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::foreign;
use super::inventory::{self, Kind};
use super::nearest;
use super::problem::{Origin, Problem};
use super::raw::{Format, Raw};
use super::report::{Report, upwards};

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) entries: Vec<(String, Raw)>,
    /// Where keys were written, if not all in the same place.
    origins: BTreeMap<String, Origin>,
    /// Where all others were.
    origin: Origin,
}

impl Layer {
    fn new(origin: Origin) -> Self {
        Self { entries: Vec::new(), origins: BTreeMap::new(), origin }
    }

    #[cfg(test)]
    pub(crate) fn of(entries: Vec<(String, Raw)>) -> Self {
        Self { entries, ..Self::new(Origin::Default) }
    }

    /// Where a key was written; one that is part of a value, or has parts, was written with it or with one of them.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        let part =
            || self.origins.iter().find(|(key, _)| key.starts_with(&format!("{path}."))).map(|(_, origin)| origin);
        upwards(path).find_map(|path| self.origins.get(path)).or_else(part).unwrap_or(&self.origin).clone()
    }

    /// Reads a file. Its ending says the format.
    pub(crate) fn file(path: &Path, report: &mut Report) -> Self {
        let mut layer = Self::new(Origin::File(path.to_owned()));
        let text = match std::fs::read(path) {
            _ if path.is_dir() => Err("is a directory, and a file is due".to_owned()),
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not text in UTF-8".to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err("there is no such file".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        };
        let parsed = text.and_then(|text| {
            let format = Format::of(path)
                .ok_or("the name must end in .json, .toml, .yaml or .yml, which says how to read it".to_owned())?;
            Raw::parse(format, text.trim_start_matches('\u{feff}')).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(Raw::Map(entries)) => layer.entries = entries,
            Ok(_) => unreachable!("a file that is parsed has keys"),
            Err(what) => report.error(Problem { key: String::new(), origin: layer.origin.clone(), what }),
        }
        layer
    }

    /// Takes the variables that begin with `PUBSUB_`. An empty one counts as not set.
    pub(crate) fn environment(variables: &[(String, String)], report: &mut Report) -> Self {
        let mut layer = Self::new(Origin::Default);
        for (name, value) in variables {
            if let Some(rest) = name.strip_prefix("CENTRIFUGO_").filter(|_| !value.is_empty()) {
                // Left over from a move: whoever set it believes that it counts.
                let what = format!("not read here; name it PUBSUB_{rest}");
                report.warning(Problem { key: String::new(), origin: Origin::Variable(name.clone()), what });
            }
            if !name.starts_with("PUBSUB_") || RESERVED.contains(&name.as_str()) || value.is_empty() {
                continue;
            }
            let origin = Origin::Variable(name.clone());
            let known = inventory::keys()
                .iter()
                .find(|key| !matches!(key.kind, Kind::Section) && inventory::variable(&key.path) == *name);
            match known {
                Some(key) => layer.put(&key.path, value, origin),
                None => judge_variable(name, value, origin, report),
            }
        }
        layer
    }

    /// Takes key and value of each flag.
    pub(crate) fn flags(flags: &[FlagValue]) -> Self {
        let mut layer = Self::new(Origin::Default);
        for flag in flags {
            layer.put(&flag.key, &flag.value, Origin::Flag(flag.flag.clone()));
        }
        layer
    }

    /// The paths that variables or flags have set.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.origins.keys().map(String::as_str)
    }

    fn put(&mut self, path: &str, value: &str, origin: Origin) {
        let list = inventory::keys().iter().any(|key| key.path == path && matches!(key.kind, Kind::List));
        let raw = match serde_json::from_str(value) {
            Ok(raw) if list => raw,
            _ => Raw::from(value),
        };
        place(&mut self.entries, path, raw);
        self.origins.insert(path.to_owned(), origin);
    }
}

/// A flag of the command line: `--port 9000` is `http_server.port` with the value `9000`.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The flag as it was typed.
    pub flag: String,
    /// The key it sets.
    pub key: String,
    /// The value, as text.
    pub value: String,
}

/// Variables that are not keys: where the configuration file is, and those of the command-line client.
const RESERVED: [&str; 3] = [CONFIG_VARIABLE, "PUBSUB_URL", "PUBSUB_TOKEN"];

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "PUBSUB_CONFIG";

/// Puts a value into a tree, under a path with dots; what was there before is replaced.
fn place(entries: &mut Vec<(String, Raw)>, path: &str, raw: Raw) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let index = entries.iter().position(|(name, _)| name == first).unwrap_or_else(|| {
        entries.push((first.to_owned(), Raw::Null));
        entries.len() - 1
    });
    let slot = &mut entries[index].1;
    match rest {
        None => *slot = raw,
        Some(rest) => {
            if !matches!(slot, Raw::Map(_)) {
                *slot = Raw::Map(Vec::new());
            }
            if let Raw::Map(entries) = slot {
                place(entries, rest, raw);
            }
        }
    }
}

/// A variable that is no key of ours: Centrifugo's, a slip of the pen, or nothing to do with us.
fn judge_variable(name: &str, value: &str, origin: Origin, report: &mut Report) {
    if let Some(foreign) = foreign::judge_variable(name, value) {
        if let Some((path, later)) = foreign {
            report.later(path, origin, later);
        }
        return;
    }
    if is_service_link(name, value) {
        return;
    }
    let ours = inventory::keys().iter().any(|key| {
        matches!(key.kind, Kind::Section) && name.starts_with(&format!("{}_", inventory::variable(&key.path)))
    });
    let problem = |what| Problem { key: String::new(), origin, what };
    match nearest::variable_name(name) {
        Some(near) => report.error(problem(format!("unknown; did you mean {near}?"))),
        None if ours => report.error(problem("unknown: no key has this name".to_owned())),
        // Google's emulator and others use the same first word.
        None => report.warning(problem("ignored: no key has this name".to_owned())),
    }
}

/// What Kubernetes and Docker set for a service that is called `pubsub`.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || value.starts_with("tcp://")
        || name.contains("_TCP_")
        || name.ends_with("_TCP")
}
