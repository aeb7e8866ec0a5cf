//! Channels: how their names are read, which options they have, and who may do what in them.
//!
//! Pure, and cheap enough to ask on every command: namespaces are put into a table once, and resolving a name
//! allocates nothing. That a channel exists means here that its namespace is configured; whether anything is in
//! it, the engine knows.
//!
//! - [`permission`]: who may subscribe, publish, read presence and history
//! - [`data`]: what a publication may hold

pub mod data;
pub mod permission;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use pubsub_protocol::ErrorCode;

use crate::config::{ChannelConfig, NamespaceOptions, PersonalChannelConfig};

pub use permission::Caller;

/// The rules of names and the table of namespaces.
#[derive(Debug)]
pub struct Channels {
    rules: ChannelConfig,
    without_namespace: Arc<NamespaceOptions>,
    namespaces: BTreeMap<Box<str>, Arc<NamespaceOptions>>,
}

/// A channel whose name and namespace are in order.
#[derive(Clone, Copy, Debug)]
pub struct ResolvedChannel<'a> {
    /// The whole name, which is also the channel's identity: `$news:eu` and `news:eu` are two channels.
    pub name: &'a str,
    /// The namespace's name. Empty: without one.
    pub namespace: &'a str,
    /// What follows the namespace and its boundary; the whole name if there is none.
    pub rest: &'a str,
    /// Whether it can only be subscribed to with a token.
    pub private: bool,
    /// The channel's options. What they leave to the `channel` section is filled in.
    pub options: &'a Arc<NamespaceOptions>,
    /// The list of users at the end of the name, if it has one and the namespace heeds it.
    users: Option<&'a str>,
    user_separator: &'a str,
}

impl Channels {
    /// Puts the namespaces into a table. Of two with the same name the first counts; the configuration's own
    /// check reports them.
    #[must_use]
    pub fn new(config: &ChannelConfig) -> Self {
        let effective = |options: &NamespaceOptions| {
            Arc::new(NamespaceOptions {
                history_meta_ttl: config.history_meta_ttl_of(options),
                publication_data_format: config.publication_data_format_of(options),
                ..options.clone()
            })
        };
        let mut namespaces = BTreeMap::new();
        for namespace in &config.namespaces {
            namespaces.entry(namespace.name.as_str().into()).or_insert_with(|| effective(&namespace.options));
        }
        Self { rules: config.clone(), without_namespace: effective(&config.without_namespace), namespaces }
    }

    /// Reads a name that a client has sent.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`] for a name that is empty, too long, holds control characters, or does not fit the
    /// namespace's pattern (without a pattern: is not ASCII). [`ErrorCode::UnknownChannel`] for a namespace that
    /// is not configured.
    pub fn resolve<'a>(&'a self, name: &'a str) -> Result<ResolvedChannel<'a>, ErrorCode> {
        let channel = self.resolve_trusted(name)?;
        let spelled_well = match &channel.options.channel_regex {
            Some(pattern) => pattern.is_match(channel.rest),
            None => name.is_ascii(),
        };
        if spelled_well { Ok(channel) } else { Err(ErrorCode::BadRequest) }
    }

    /// Reads a name that the application has given, in a token or through the HTTP API. It is free in its spelling:
    /// pattern and ASCII bind clients, who would otherwise make up names.
    ///
    /// # Errors
    /// As [`Self::resolve`], but for the spelling.
    pub fn resolve_trusted<'a>(&'a self, name: &'a str) -> Result<ResolvedChannel<'a>, ErrorCode> {
        let rules = &self.rules;
        if name.is_empty() || name.len() > rules.max_length || has_control_character(name) {
            return Err(ErrorCode::BadRequest);
        }
        // An empty mark is switched off: it would be found in every name.
        let bare = Some(rules.private_prefix.as_str())
            .filter(|prefix| !prefix.is_empty())
            .and_then(|prefix| name.strip_prefix(prefix));
        let (namespace, rest) = Some(rules.namespace_boundary.as_str())
            .filter(|boundary| !boundary.is_empty())
            .and_then(|boundary| bare.unwrap_or(name).split_once(boundary))
            .unwrap_or(("", name));
        let options = match namespace {
            "" => &self.without_namespace,
            _ => self.namespaces.get(namespace).ok_or(ErrorCode::UnknownChannel)?,
        };
        let users = Some(rules.user_boundary.as_str())
            .filter(|boundary| options.allow_user_limited_channels && !boundary.is_empty())
            .and_then(|boundary| rest.rsplit_once(boundary))
            .map(|(_, users)| users);
        Ok(ResolvedChannel {
            name,
            namespace,
            rest,
            private: bare.is_some(),
            options,
            users,
            user_separator: &rules.user_separator,
        })
    }

    /// The name of the user's own channel, which each of its connections is subscribed to by the server. `None`:
    /// that is switched off, or the user is anonymous.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownChannel`] if its namespace is not configured. [`ErrorCode::BadRequest`] if the user's id
    /// gives no good name: too long, or with a mark in it that has a meaning there. For the user `a,b` the name
    /// would be `#a,b`, open to the users `a` and `b`.
    pub fn personal(&self, config: &PersonalChannelConfig, user: &str) -> Result<Option<String>, ErrorCode> {
        if !config.enabled || user.is_empty() {
            return Ok(None);
        }
        let rules = &self.rules;
        let namespace = config.personal_channel_namespace.as_str();
        let (boundary, hash) = (rules.namespace_boundary.as_str(), rules.user_boundary.as_str());
        let has = |mark: &str| !mark.is_empty() && user.contains(mark);
        let name = if namespace.is_empty() {
            if has(boundary) {
                return Err(ErrorCode::BadRequest);
            }
            format!("{hash}{user}")
        } else {
            format!("{namespace}{boundary}{hash}{user}")
        };
        let channel = self.resolve_trusted(&name)?;
        if channel.is_user_limited() && (has(hash) || has(&rules.user_separator)) {
            return Err(ErrorCode::BadRequest);
        }
        Ok(Some(name))
    }
}

impl ResolvedChannel<'_> {
    /// Whether only the users listed in the name may subscribe without a token.
    #[must_use]
    pub fn is_user_limited(&self) -> bool {
        self.users.is_some()
    }

    /// Whether the name lists this user. The anonymous user is never listed, not even by an empty entry.
    #[must_use]
    pub fn lists(&self, user: &str) -> bool {
        let Some(users) = self.users else { return false };
        if user.is_empty() {
            return false;
        }
        match self.user_separator {
            "" => users == user,
            separator => users.split(separator).any(|listed| listed == user),
        }
    }
}

/// Line breaks above all: names stand in logs, in metrics and in file names of the curious.
fn has_control_character(name: &str) -> bool {
    if name.is_ascii() {
        return name.bytes().any(|byte| byte.is_ascii_control());
    }
    name.chars().any(char::is_control)
}
