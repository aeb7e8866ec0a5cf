//! The keys for people: `defaultconfig`, `--help`, and `docs/configuration.md`.

use std::fmt::Write as _;

use super::foreign::{FOREIGN, Inert};
use super::inventory::{Key, Kind, keys};
use super::raw::Raw;
use super::section::Later;

/// Columns that explanations may fill.
const WIDTH: usize = 100;

/// The formats in which `defaultconfig` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Notation {
    /// With comments.
    #[default]
    Toml,
    /// With comments.
    Yaml,
    /// Without: it has none.
    Json,
}

/// The whole default configuration, explained where the format has comments.
#[must_use]
pub fn default_config(notation: Notation) -> String {
    let root = Node::root();
    let mut text = String::new();
    match notation {
        Notation::Toml => {
            comment(&mut text, "", HEADER);
            toml(&root, &mut text);
        }
        Notation::Yaml => {
            comment(&mut text, "", HEADER);
            yaml(&root, 0, &mut text);
        }
        Notation::Json => {
            json(&root, 0, &mut text);
            text.push('\n');
        }
    }
    text
}

const HEADER: &str = "Every key there is, with its default. A key that is left out has this default too, so keep what you \
                      change and drop the rest. `pubsub-server checkconfig -c FILE` tells every mistake. As it stands, no \
                      client may connect and no request to the HTTP API is let in: set client.token.hmac_secret_key and \
                      http_api.key.";

/// The keys as `--help` lists them.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Configuration keys, with their defaults. Each may stand in the configuration file, in a variable\n\
         of the environment (PUBSUB_ and the key in capitals, with _ for the dots, as in\n\
         PUBSUB_CLIENT_PING_INTERVAL=10s) or in a flag (--set client.ping_interval=10s). Flags weigh more\n\
         than variables, and variables more than the file.\n",
    );
    for key in keys() {
        match &key.kind {
            Kind::Section => {}
            Kind::List => {
                let _ = writeln!(text, "\n  {} = []", key.path);
                wrap(&mut text, "        ", &explained(key));
            }
            Kind::Value { default, .. } => {
                let _ = writeln!(text, "\n  {} = {}", key.path, literal(default));
                wrap(&mut text, "        ", &explained(key));
            }
        }
    }
    text
}

/// `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    include_str!("manual.md").replace("{{keys}}", &key_tables()).replace("{{foreign}}", &foreign_table())
}

fn key_tables() -> String {
    let mut text = String::new();
    let sections = keys().iter().filter(|key| matches!(key.kind, Kind::Section));
    let options = "channel.namespaces[]";
    for (path, doc) in sections.map(|key| (key.path.as_str(), key.meta.doc())) {
        let own: Vec<_> = keys().iter().filter(|key| parent(&key.path) == path && is_leaf(key)).collect();
        if own.is_empty() || path == "channel.without_namespace" {
            continue;
        }
        let _ = writeln!(text, "### `{path}`\n\n{doc}\n");
        if path == "client.subscription_token" {
            table(&own[..1], &mut text);
            text.push_str("The other keys are those of `client.token`.\n\n");
        } else {
            table(&own, &mut text);
        }
    }
    let _ = writeln!(
        text,
        "### `channel.without_namespace` and each of `channel.namespaces`\n\n\
         Options of channels. An entry of `channel.namespaces` has a `name` beside them.\n",
    );
    let own: Vec<_> = keys().iter().filter(|key| parent(&key.path) == options && is_leaf(key)).collect();
    table(&own, &mut text);
    text.trim_end().to_owned()
}

fn table(keys: &[&Key], text: &mut String) {
    text.push_str("| key | default | allowed | what it does |\n|---|---|---|---|\n");
    for key in keys {
        let name = key.meta.name();
        let ours = if key.meta.ours { " **ours**" } else { "" };
        let (default, allowed) = match &key.kind {
            Kind::Value { default, allowed, .. } => (literal(default), allowed.clone()),
            _ => ("[]".to_owned(), "a list of sections".to_owned()),
        };
        let _ = writeln!(text, "| `{name}`{ours} | `{default}` | {allowed} | {} |", explained(key));
    }
    text.push('\n');
}

fn foreign_table() -> String {
    let mut text = String::from("| key | accepted | otherwise |\n|---|---|---|\n");
    for foreign in FOREIGN {
        let path = foreign.path.replace("OPTIONS", "*");
        let accepted = match foreign.inert {
            Inert::Anything => "always; it has no effect".to_owned(),
            Inert::WhileOff => "while `enabled` is not true".to_owned(),
            Inert::Empty => "while empty".to_owned(),
            Inert::Is(values) => {
                let values: Vec<_> = values
                    .iter()
                    .map(|value| if value.is_empty() { "empty".into() } else { format!("`{value}`") })
                    .collect();
                format!("while {}", values.join(" or "))
            }
        };
        let otherwise = match (foreign.inert, foreign.later) {
            (Inert::Anything, _) => String::new(),
            (_, Later::Refuse(why)) => format!("error: {why}"),
            (_, Later::Warn(why)) => format!("warning: {why}"),
        };
        let _ = writeln!(text, "| `{path}` | {accepted} | {otherwise} |");
    }
    text.trim_end().to_owned()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn is_leaf(key: &Key) -> bool {
    !matches!(key.kind, Kind::Section)
}

/// What a key is for, and whether it is honoured yet.
fn explained(key: &Key) -> String {
    let doc = key.meta.doc();
    match key.meta.later {
        Some(Later::Refuse(why)) => format!("{doc} Not supported yet, and refused: {why}."),
        Some(Later::Warn(why)) => format!("{doc} Not supported yet: {why}."),
        None => doc,
    }
}

/// A section with what stands in it: first its values, then its sections, as TOML wants it.
struct Node {
    path: String,
    doc: String,
    values: Vec<&'static Key>,
    sections: Vec<Node>,
}

impl Node {
    fn root() -> Self {
        Self::of("", String::new())
    }

    fn of(path: &str, doc: String) -> Self {
        let own = || keys().iter().filter(|key| parent(&key.path) == path);
        Self {
            path: path.to_owned(),
            doc,
            values: own().filter(|key| is_leaf(key)).collect(),
            sections: own().filter(|key| !is_leaf(key)).map(|key| Self::of(&key.path, key.meta.doc())).collect(),
        }
    }

    fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&self.path, |(_, name)| name)
    }
}

const EXAMPLE: &str = r#"For instance: [{"name": "chat", "history_size": 100, "history_ttl": "5m"}]"#;

fn value_of(key: &Key) -> String {
    match &key.kind {
        Kind::Value { default, .. } => literal(default),
        _ => "[]".to_owned(),
    }
}

fn explain_value(key: &Key, indent: &str, text: &mut String) {
    comment(text, indent, &explained(key));
    if matches!(key.kind, Kind::List) {
        comment(text, indent, EXAMPLE);
    }
}

fn toml(node: &Node, text: &mut String) {
    if !node.path.is_empty() && !node.values.is_empty() {
        text.push('\n');
        comment(text, "", &node.doc);
        let _ = writeln!(text, "[{}]", node.path);
    }
    for key in &node.values {
        explain_value(key, "", text);
        let _ = writeln!(text, "{} = {}", key.meta.name(), value_of(key));
    }
    for section in &node.sections {
        toml(section, text);
    }
}

fn yaml(node: &Node, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for key in &node.values {
        explain_value(key, &indent, text);
        let _ = writeln!(text, "{indent}{}: {}", key.meta.name(), value_of(key));
    }
    for section in &node.sections {
        if depth == 0 {
            text.push('\n');
        }
        comment(text, &indent, &section.doc);
        let _ = writeln!(text, "{indent}{}:", section.name());
        yaml(section, depth + 1, text);
    }
}

fn json(node: &Node, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth + 1);
    text.push('{');
    let mut separator = "\n";
    for key in &node.values {
        let _ = write!(text, "{separator}{indent}\"{}\": {}", key.meta.name(), value_of(key));
        separator = ",\n";
    }
    for section in &node.sections {
        let _ = write!(text, "{separator}{indent}\"{}\": ", section.name());
        json(section, depth + 1, text);
        separator = ",\n";
    }
    let _ = write!(text, "\n{}}}", "  ".repeat(depth));
}

/// A value as all three formats write it.
fn literal(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) => serde_json::to_string(text).unwrap_or_default(),
        Raw::List(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn comment(text: &mut String, indent: &str, words: &str) {
    wrap(text, &format!("{indent}# "), words);
}

/// Breaks a text into lines that each begin with `prefix`.
fn wrap(text: &mut String, prefix: &str, words: &str) {
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && prefix.len() + line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{prefix}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{prefix}{line}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::inventory::{inventory, variable};
    use super::super::layer::Layer;
    use super::super::{Config, apply, report::Report};
    use super::*;

    #[test]
    fn the_default_configuration_is_the_default_in_each_format() {
        for (notation, name) in [(Notation::Toml, "c.toml"), (Notation::Yaml, "c.yaml"), (Notation::Json, "c.json")] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            std::fs::write(&path, default_config(notation)).unwrap();
            let mut report = Report::default();
            let layer = Layer::file(&path, &mut report);
            // From open to closed: every key has to be in the file for this to come out right.
            let mut config = Config::open_default();
            apply::apply(&layer, &mut config, &mut report);
            assert_eq!(report.finish().unwrap(), [], "{name}");
            assert_eq!(config, Config::default(), "{name}");
        }
    }

    #[test]
    fn every_key_is_in_the_help_with_its_variable() {
        let help = help();
        for key in inventory(&mut Config::default()).iter().filter(|key| is_leaf(key)) {
            assert!(help.contains(&format!("\n  {} = ", key.path)), "{}", key.path);
        }
        assert!(help.contains(&variable("client.ping_interval")));
        assert!(help.lines().all(|line| line.len() <= 120), "{help}");
    }

    /// `pubsub-server configdoc > docs/configuration.md` writes it anew.
    #[test]
    fn the_page_in_docs_is_the_one_the_keys_make() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page == markdown(), "docs/configuration.md is stale: make it anew with `pubsub-server configdoc`");
    }
}
