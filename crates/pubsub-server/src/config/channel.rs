//! Channels: how their names are read, and the options of each namespace.

use std::time::Duration;

use super::choice::choice;
use super::pattern::Pattern;
use super::section::{Items, Later, Meta, Visitor, Walk, section};

const YEAR: u64 = 365 * 24 * 3_600_000;

section! {
    /// `channel`: names of channels, and what may be done in them.
    pub struct ChannelConfig {
        /// Options of channels without a namespace.
        without_namespace: NamespaceOptions = NamespaceOptions::default();
        /// Namespaces: each an entry with a `name` and options.
        namespaces: Vec<Namespace> = Vec::new();
        /// How long the position (epoch and offset) of a stream outlives its last publication, the last who was told of it, and
        /// its last subscriber, so that a client that comes back learns what it missed. Must not be less than any
        /// `history_ttl`. Costs a few hundred bytes per stream.
        history_meta_ttl: Duration = Duration::from_secs(720 * 3600) => between(1000, 10 * YEAR);
        /// What publications may hold, unless the namespace says otherwise. See the option of that name.
        publication_data_format: PublicationDataFormat = PublicationDataFormat::Unset;
        /// Longest channel name in bytes.
        max_length: usize = 255 => between(1, 65_535);
        /// A channel that begins with this needs a subscription token. Empty: no such channels.
        private_prefix: String = "$".to_owned();
        /// Ends the namespace in a channel name. Empty: no namespaces, every name is one without.
        namespace_boundary: String = ":".to_owned();
        /// Begins the list of users in a channel name. Empty: no such channels.
        user_boundary: String = "#".to_owned();
        /// Between two users in that list.
        user_separator: String = ",".to_owned();
    }
}

impl ChannelConfig {
    /// The options of a namespace; the empty name is that of channels without one. `None`: not configured (error 102).
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&NamespaceOptions> {
        if name.is_empty() {
            return Some(&self.without_namespace);
        }
        self.namespaces.iter().find(|namespace| namespace.name == name).map(|namespace| &namespace.options)
    }

    /// How long the position of a stream with these options outlives its last publication.
    #[must_use]
    pub fn history_meta_ttl_of(&self, options: &NamespaceOptions) -> Duration {
        if options.history_meta_ttl.is_zero() { self.history_meta_ttl } else { options.history_meta_ttl }
    }

    /// What publications in a channel with these options may hold.
    #[must_use]
    pub fn publication_data_format_of(&self, options: &NamespaceOptions) -> PublicationDataFormat {
        match options.publication_data_format {
            PublicationDataFormat::Unset => self.publication_data_format,
            format => format,
        }
    }
}

section! {
    /// One entry of `channel.namespaces`.
    pub struct Namespace {
        /// Name of the namespace: two or more of `A-Z a-z 0-9 - _ .`. In a channel name it stands before the boundary.
        name: String = String::new();
        /// Its options.
        options: NamespaceOptions = NamespaceOptions::default() => flat;
    }
}

impl Walk for Vec<Namespace> {
    fn walk(&mut self, meta: &'static Meta, visitor: &mut dyn Visitor) {
        visitor.list(meta, self as &mut dyn Items);
    }
}

const NO_DELTA: Later = Later::Warn("clients that ask for deltas get full publications");
const NO_FILTER: Later = Later::Refuse("a client that asks for a filter is refused with error 107");

section! {
    /// Options of channels, for a namespace or for channels without one.
    pub struct NamespaceOptions {
        /// Publications kept per channel; needs `history_ttl` too. 0: none, and nothing can be recovered. Each channel
        /// may hold this many in memory.
        history_size: usize = 0 => between(0, 1 << 30);
        /// How long publications are kept after the channel's last one: each new one renews it for all. Needs
        /// `history_size` too. 0: no history.
        history_ttl: Duration = Duration::ZERO => between(0, YEAR);
        /// Overrides `channel.history_meta_ttl`. 0: does not.
        history_meta_ttl: Duration = Duration::ZERO => between(0, 10 * YEAR);
        /// Every subscription recovers what it missed after a reconnect. Needs history.
        force_recovery: bool = false;
        /// A subscription recovers if its client asks for it. Needs history.
        allow_recovery: bool = false;
        /// What is recovered: `stream`, every publication missed; `cache`, the newest only.
        force_recovery_mode: RecoveryMode = RecoveryMode::Stream;
        /// In cache mode, give the newest publication on the first subscribe too.
        auto_cache_recover: bool = false;
        /// Every subscription knows its position, and is told when publications were lost on the way. Needs history.
        force_positioning: bool = false;
        /// A subscription knows its position if its client asks for it. Needs history.
        allow_positioning: bool = false;
        /// Keep who is in the channel now. Costs memory per subscription.
        presence: bool = false;
        /// Publish an event when a client joins or leaves. With many subscribers each event goes to all of them.
        join_leave: bool = false;
        /// Send these events to all subscribers, also those that did not ask.
        force_push_join_leave: bool = false;
        /// Clients with a user id may subscribe.
        allow_subscribe_for_client: bool = false;
        /// With the above, anonymous clients too.
        allow_subscribe_for_anonymous: bool = false;
        /// Clients with a user id may publish.
        allow_publish_for_client: bool = false;
        /// Clients that are subscribed may publish.
        allow_publish_for_subscriber: bool = false;
        /// With one of the above, anonymous clients too.
        allow_publish_for_anonymous: bool = false;
        /// Clients with a user id may ask for presence.
        allow_presence_for_client: bool = false;
        /// Clients that are subscribed may ask for presence.
        allow_presence_for_subscriber: bool = false;
        /// With one of the above, anonymous clients too.
        allow_presence_for_anonymous: bool = false;
        /// Clients with a user id may read history.
        allow_history_for_client: bool = false;
        /// Clients that are subscribed may read history.
        allow_history_for_subscriber: bool = false;
        /// With one of the above, anonymous clients too.
        allow_history_for_anonymous: bool = false;
        /// A channel whose name ends in a list of users (`room#1,2`) is open to these users.
        allow_user_limited_channels: bool = false;
        /// Expression that the channel's name, without its namespace, must match wherever a client names it: in subscribe,
        /// publish, history and presence. Without one a name must be ASCII.
        channel_regex: Option<Pattern> = None;
        /// What publications may hold: empty, anything but nothing; `json`; `json_object`; `binary`, anything.
        publication_data_format: PublicationDataFormat = PublicationDataFormat::Unset;
        /// Kinds of delta compression a client may ask for; `fossil` is the only one there is.
        allowed_delta_types: Vec<String> = Vec::new() => later(NO_DELTA);
        /// Publish everything with delta, for subscribers that negotiated it.
        delta_publish: bool = false => later(NO_DELTA);
        /// A client may ask for publications with certain tags only.
        allow_tags_filter: bool = false => later(NO_FILTER);
    }
}

impl NamespaceOptions {
    /// Whether channels keep a stream at all.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }
}

choice! {
    /// What a recovery gives.
    pub enum RecoveryMode {
        /// Every publication that was missed.
        #[default]
        Stream = "stream" | "",
        /// The newest publication only.
        Cache = "cache",
    }
}

choice! {
    /// What a publication may hold.
    pub enum PublicationDataFormat {
        /// Anything but nothing; for a namespace, what `channel.publication_data_format` says.
        #[default]
        Unset = "",
        /// Valid JSON.
        Json = "json",
        /// A JSON object.
        JsonObject = "json_object",
        /// Anything, also nothing.
        Binary = "binary",
    }
}
