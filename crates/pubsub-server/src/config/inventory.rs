//! Every key there is, as a list: for unknown keys, environment names and documentation.

use std::sync::LazyLock;

use super::Config;
use super::channel::Namespace;
use super::raw::Raw;
use super::section::{Items, Meta, Visitor, Walk};
use super::value::Value;

/// One key, a section of keys, or a list of sections.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its path; `channel.namespaces[].presence` for one inside a list.
    pub(crate) path: String,
    pub(crate) meta: &'static Meta,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Section,
    List,
    Value { default: Raw, allowed: String },
}

/// The keys in the order in which they are written down; a section stands before its keys.
pub(crate) fn keys() -> &'static [Key] {
    static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| inventory(&mut Config::default()));
    &KEYS
}

/// The keys of a configuration, with its values as defaults.
pub(crate) fn inventory(config: &mut Config) -> Vec<Key> {
    static ROOT: Meta = Meta::new("", "").flat();
    let mut collect = Collect::default();
    config.walk(&ROOT, &mut collect);
    collect.keys
}

/// The keys of one namespace, under `channel.namespaces[]`, with its values as defaults.
pub(crate) fn inventory_of_namespace(mut namespace: Namespace) -> Vec<Key> {
    static ITEM: Meta = Meta::new("", "").flat();
    let mut collect = Collect { section: vec!["channel.namespaces[]".to_owned()], keys: Vec::new() };
    namespace.walk(&ITEM, &mut collect);
    collect.keys
}

/// The environment variable of a key.
pub(crate) fn variable(path: &str) -> String {
    format!("PUBSUB_{}", path.to_uppercase().replace('.', "_"))
}

/// A path with the names of list items left out: `channel.namespaces[chat].presence` is one of
/// `channel.namespaces[].presence`.
pub(crate) fn generic(path: &str) -> String {
    let mut generic = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        if c == ']' {
            inside = false;
        }
        if !inside {
            generic.push(c);
        }
        if c == '[' {
            inside = true;
        }
    }
    generic
}

/// A key under its section.
pub(crate) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

#[derive(Default)]
struct Collect {
    section: Vec<String>,
    keys: Vec<Key>,
}

impl Collect {
    fn path(&self, name: &str) -> String {
        join(self.section.last().map_or("", String::as_str), name)
    }
}

impl Visitor for Collect {
    fn key(&mut self, meta: &'static Meta, value: &mut dyn Value) {
        let kind = Kind::Value { default: value.show(), allowed: value.allowed(meta) };
        self.keys.push(Key { path: self.path(meta.name()), meta, kind });
    }

    fn enter(&mut self, meta: &'static Meta) {
        let path = self.path(meta.name());
        self.keys.push(Key { path: path.clone(), meta, kind: Kind::Section });
        self.section.push(path);
    }

    fn leave(&mut self) {
        self.section.pop();
    }

    fn list(&mut self, meta: &'static Meta, items: &mut dyn Items) {
        let path = self.path(meta.name());
        self.keys.push(Key { path: path.clone(), meta, kind: Kind::List });
        // One item, to see what keys an item has.
        items.resize(1);
        self.section.push(format!("{path}[]"));
        items.walk_item(0, self);
        self.section.pop();
        items.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_two_keys_share_a_variable() {
        let mut names = BTreeMap::new();
        for key in keys().iter().filter(|key| !matches!(key.kind, Kind::Section) && !key.path.contains('[')) {
            if let Some(other) = names.insert(variable(&key.path), &key.path) {
                panic!("{other} and {}", key.path);
            }
        }
        assert_eq!(names["PUBSUB_CLIENT_TOKEN_HMAC_SECRET_KEY"], "client.token.hmac_secret_key");
        assert!(names.len() > 100, "{}", names.len());
    }

    #[test]
    fn every_key_is_explained_in_a_sentence() {
        for key in keys() {
            let doc = key.meta.doc();
            assert!(doc.ends_with('.') && !doc.contains('|'), "{}: {doc}", key.path);
        }
    }

    #[test]
    fn names_of_list_items_are_left_out() {
        assert_eq!(generic("channel.namespaces[a.b].presence"), "channel.namespaces[].presence");
        assert_eq!(generic("client.token"), "client.token");
    }
}
