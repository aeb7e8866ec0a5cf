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
