//! Lays one layer over a configuration: each key that the layer has is read, what it has beyond that is reported.

use super::Config;
use super::foreign::{self, Verdict};
use super::inventory::join;
use super::layer::Layer;
use super::nearest;
use super::problem::Problem;
use super::raw::Raw;
use super::report::Report;
use super::section::{Items, Meta, Visitor, Walk};
use super::value::Value;

/// Lays `layer` over `config`.
pub(crate) fn apply(layer: &Layer, config: &mut Config, report: &mut Report) {
    static ROOT: Meta = Meta::new("", "").flat();
    let root = Frame { path: String::new(), entries: &layer.entries, seen: Vec::new() };
    let mut apply = Apply { layer, frames: vec![root], report };
    config.walk(&ROOT, &mut apply);
    apply.close();
}

struct Apply<'a> {
    layer: &'a Layer,
    /// The section we are in, below those it stands in.
    frames: Vec<Frame<'a>>,
    report: &'a mut Report,
}

struct Frame<'a> {
    path: String,
    entries: &'a [(String, Raw)],
    /// Keys that were asked for; the others are unknown.
    seen: Vec<&'static str>,
}

impl<'a> Apply<'a> {
    /// The path of a key of the section we are in, and its value if the layer has it.
    fn take(&mut self, meta: &'static Meta) -> (String, Option<&'a Raw>) {
        let Some(frame) = self.frames.last_mut() else { return (meta.name().to_owned(), None) };
        frame.seen.push(meta.name());
        let raw = frame.entries.iter().find(|(name, _)| name == meta.name()).map(|(_, raw)| raw);
        (join(&frame.path, meta.name()), raw.filter(|raw| **raw != Raw::Null))
    }

    fn wrong(&mut self, key: String, what: String) {
        let origin = self.layer.origin(&key);
        self.report.error(Problem { key, origin, what });
    }

    /// Ends a section: what nobody asked for is not ours.
    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        for (name, value) in frame.entries.iter().filter(|(name, _)| !frame.seen.contains(&name.as_str())) {
            foreign::judge(&join(&frame.path, name), value, &mut |verdict| match verdict {
                Verdict::Later(path, later) => {
                    let origin = self.layer.origin(&path);
                    self.report.later(path, origin, later);
                }
                Verdict::Unknown(path) => {
                    let what = match nearest::key(&path) {
                        Some(near) => format!("unknown key; did you mean {near}?"),
                        None => "unknown key".to_owned(),
                    };
                    self.wrong(path, what);
                }
            });
        }
    }
}

impl Visitor for Apply<'_> {
    fn key(&mut self, meta: &'static Meta, value: &mut dyn Value) {
        let (path, Some(raw)) = self.take(meta) else { return };
        match value.set(raw, meta) {
            Ok(()) => self.report.read(&path, self.layer.origin(&path)),
            Err(what) => self.wrong(path, what),
        }
    }

    fn enter(&mut self, meta: &'static Meta) {
        let (path, raw) = self.take(meta);
        let entries: &[_] = match raw {
            Some(Raw::Map(entries)) => entries,
            Some(other) => {
                self.wrong(path.clone(), format!("expected a section with keys of its own, got {other}"));
                &[]
            }
            None => &[],
        };
        self.frames.push(Frame { path, entries, seen: Vec::new() });
    }

    fn leave(&mut self) {
        self.close();
    }

    fn list(&mut self, meta: &'static Meta, items: &mut dyn Items) {
        let (path, Some(raw)) = self.take(meta) else { return };
        let Raw::List(list) = raw else {
            let what = format!("expected a list such as [{{\"name\": \"chat\"}}], got {raw}");
            return self.wrong(path, what);
        };
        // A list of more weight replaces the one below, it does not add to it.
        items.resize(0);
        items.resize(list.len());
        self.report.read(&path, self.layer.origin(&path));
        for (index, raw) in list.iter().enumerate() {
            let Raw::Map(entries) = raw else {
                self.wrong(format!("{path}[{index}]"), format!("expected a section with a name, got {raw}"));
                continue;
            };
            let path = item_path(&path, index, entries);
            self.frames.push(Frame { path, entries, seen: Vec::new() });
            items.walk_item(index, self);
            self.close();
        }
    }
}

/// `channel.namespaces[chat]`, or with the item's place while it has no name.
fn item_path(list: &str, index: usize, entries: &[(String, Raw)]) -> String {
    match entries.iter().find(|(key, _)| key == "name") {
        Some((_, Raw::Text(name))) if !name.is_empty() => format!("{list}[{name}]"),
        _ => format!("{list}[{index}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::{Kind, keys, variable};
    use super::super::layer::FlagValue;
    use super::*;

    /// Values of every kind, among them one for each key that is not its default.
    const VALUES: [&str; 15] = [
        "true",
        "false",
        "7",
        "2000",
        "1h",
        "5m",
        "x",
        "::1",
        "debug",
        "json",
        "cache",
        "transport",
        "memory",
        "/a/b",
        "",
    ];

    fn changed(layer: &Layer) -> Option<Config> {
        let (mut config, mut report) = (Config::default(), Report::default());
        apply(layer, &mut config, &mut report);
        report.finish().is_ok().then_some(config).filter(|config| *config != Config::default())
    }

    #[test]
    fn every_key_changes_the_configuration_from_a_variable_and_from_a_flag() {
        for key in keys().iter().filter(|key| matches!(key.kind, Kind::Value { .. }) && !key.path.contains('[')) {
            // There is one engine.
            if key.path == "engine.type" {
                continue;
            }
            let flag = |value: &str| {
                let value = FlagValue { flag: String::new(), key: key.path.clone(), value: value.to_owned() };
                changed(&Layer::flags(&[value]))
            };
            let environment = |value: &str| {
                let variables = [(variable(&key.path), value.to_owned())];
                changed(&Layer::environment(&variables, &mut Report::default()))
            };
            let by_flag: Vec<_> = VALUES.iter().filter(|value| !value.is_empty()).map(|value| flag(value)).collect();
            let by_variable: Vec<_> =
                VALUES.iter().filter(|value| !value.is_empty()).map(|value| environment(value)).collect();
            assert!(by_flag.iter().any(Option::is_some), "{}", key.path);
            assert_eq!(by_flag, by_variable, "{}", key.path);
        }
    }

    #[test]
    fn every_key_refuses_what_it_cannot_be_and_says_what_it_may_be() {
        for key in keys().iter().filter(|key| !key.path.contains('[')) {
            let mut raw = Raw::Float(0.5);
            for part in key.path.rsplit('.') {
                raw = Raw::Map(vec![(part.to_owned(), raw)]);
            }
            let Raw::Map(entries) = raw else { unreachable!() };
            let mut report = Report::default();
            apply(&Layer::of(entries), &mut Config::default(), &mut report);
            let problems = report.finish().unwrap_err();
            assert_eq!(problems.errors.len(), 1, "{problems}");
            assert_eq!(problems.errors[0].key, key.path);
            assert!(problems.errors[0].what.starts_with("expected "), "{problems}");
        }
    }

    #[test]
    fn null_is_as_if_the_key_were_not_there() {
        let entries = vec![
            ("client".to_owned(), Raw::Map(vec![("insecure".to_owned(), Raw::Null)])),
            ("sse".to_owned(), Raw::Null),
        ];
        let mut report = Report::default();
        let mut config = Config::open_default();
        apply(&Layer::of(entries), &mut config, &mut report);
        assert_eq!(config, Config::open_default());
        assert!(report.finish().is_ok());
    }
}
