//! How a section of the configuration is written down: once. `section!` makes of one list of keys the struct that the
//! server reads, its defaults, and the walk over its keys from which everything else comes - loading, checking,
//! unknown keys, environment names, `defaultconfig`, `--help` and `docs/configuration.md`.
//!
//! Nothing here knows a single key.

use super::value::Value;

/// What is known of a key beside its value: the words for people and the bounds for the loader.
#[derive(Debug)]
pub(crate) struct Meta {
    name: &'static str,
    doc: &'static str,
    /// Centrifugo does not have this key.
    pub(crate) ours: bool,
    /// Least and greatest value; milliseconds for a duration.
    pub(crate) range: Option<(u64, u64)>,
    /// The server does not do this yet.
    pub(crate) later: Option<Later>,
    /// The section's keys stand among those of its parent.
    pub(crate) flat: bool,
}

/// What becomes of a key that we know and do not support yet, once it is set to something else than its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Later {
    /// Somebody would be let in or turned away, or miss something: refuse to start.
    Refuse(&'static str),
    /// Nobody is worse off than with the default: say so and go on.
    Warn(&'static str),
}

impl Meta {
    pub(crate) const fn new(name: &'static str, doc: &'static str) -> Self {
        Self { name, doc, ours: false, range: None, later: None, flat: false }
    }

    pub(crate) const fn ours(mut self) -> Self {
        self.ours = true;
        self
    }

    pub(crate) const fn between(mut self, least: u64, greatest: u64) -> Self {
        self.range = Some((least, greatest));
        self
    }

    pub(crate) const fn later(mut self, later: Later) -> Self {
        self.later = Some(later);
        self
    }

    pub(crate) const fn flat(mut self) -> Self {
        self.flat = true;
        self
    }

    /// For a key whose name is a word of Rust's own.
    pub(crate) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The last part of the key's path.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The doc comment, joined to one line.
    #[must_use]
    pub(crate) fn doc(&self) -> String {
        self.doc.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Goes over the keys of a configuration, in the order in which they are written down.
pub(crate) trait Visitor {
    /// A key that holds a value.
    fn key(&mut self, meta: &'static Meta, value: &mut dyn Value);
    /// The keys until `leave` are those of this section.
    fn enter(&mut self, meta: &'static Meta);
    /// Ends the section entered last.
    fn leave(&mut self);
    /// A list of sections.
    fn list(&mut self, meta: &'static Meta, items: &mut dyn Items);
}

/// A key or a section of keys.
pub(crate) trait Walk {
    fn walk(&mut self, meta: &'static Meta, visitor: &mut dyn Visitor);
}

/// A list whose items are sections.
pub(crate) trait Items {
    /// Makes the list `len` long; new items have their defaults.
    fn resize(&mut self, len: usize);
    /// Goes over the keys of one item.
    fn walk_item(&mut self, index: usize, visitor: &mut dyn Visitor);
}

impl<T: Default + Clone + Walk> Items for Vec<T> {
    fn resize(&mut self, len: usize) {
        Vec::resize(self, len, T::default());
    }

    fn walk_item(&mut self, index: usize, visitor: &mut dyn Visitor) {
        static ITEM: Meta = Meta::new("", "").flat();
        self[index].walk(&ITEM, visitor);
    }
}

/// Declares one section: `key: Type = default => mark, mark(argument);` with the key's documentation above it. The marks
/// are the `const` builders of [`Meta`].
macro_rules! section {
    (
        $(#[$attribute:meta])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $type:ty = $default:expr $(=> $($mark:ident $(($($argument:expr),+))?),+)?;
            )+
        }
    ) => {
        $(#[$attribute])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        impl $crate::config::section::Walk for $name {
            fn walk(
                &mut self,
                meta: &'static $crate::config::section::Meta,
                visitor: &mut dyn $crate::config::section::Visitor,
            ) {
                if !meta.flat {
                    visitor.enter(meta);
                }
                $({
                    static META: $crate::config::section::Meta =
                        $crate::config::section::Meta::new(stringify!($field), concat!($($doc, "\n"),+))
                            $($(.$mark($($($argument),+)?))+)?;
                    $crate::config::section::Walk::walk(&mut self.$field, &META, visitor);
                })+
                if !meta.flat {
                    visitor.leave();
                }
            }
        }
    };
}
pub(crate) use section;
