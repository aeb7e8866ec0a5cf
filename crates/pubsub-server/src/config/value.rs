//! The kinds of value a key may hold: how each is read from a file, a variable or a flag, what it says when it cannot
//! be, and how it is printed. A string is accepted wherever a number or a boolean is due, as Centrifugo does: variables
//! and flags know nothing else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::section::{Meta, Visitor, Walk};

/// A value as a file, a variable or a flag gives it, before its key says what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// `null`: as if the key were not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Raw>),
    /// Keys and values, in the order of the file.
    Map(Vec<(String, Raw)>),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a section"),
        }
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One kind of value.
pub(crate) trait Scalar: Sized {
    /// Reads it; the error says what is allowed.
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String>;
    /// What `parse` reads back as the same value.
    fn show(&self) -> Raw;
    /// What is allowed, for people: "a duration such as 25s or 1m30s".
    fn allowed(meta: &Meta) -> String;
    /// Whether the value must not be printed.
    const SECRET: bool = false;
}

/// A [`Scalar`] behind a key, whatever its type.
pub(crate) trait Value {
    fn set(&mut self, raw: &Raw, meta: &Meta) -> Result<(), String>;
    fn show(&self) -> Raw;
    fn allowed(&self, meta: &Meta) -> String;
    fn is_secret(&self) -> bool;
}

impl<T: Scalar> Value for T {
    fn set(&mut self, raw: &Raw, meta: &Meta) -> Result<(), String> {
        *self = T::parse(raw, meta)?;
        Ok(())
    }

    fn show(&self) -> Raw {
        Scalar::show(self)
    }

    fn allowed(&self, meta: &Meta) -> String {
        T::allowed(meta)
    }

    fn is_secret(&self) -> bool {
        T::SECRET
    }
}

impl<T: Scalar> Walk for T {
    fn walk(&mut self, meta: &'static Meta, visitor: &mut dyn Visitor) {
        visitor.key(meta, self);
    }
}

/// "expected …, got …": the words of every refusal.
fn expected<T: Scalar>(raw: &Raw, meta: &Meta) -> String {
    if T::SECRET {
        format!("expected {}", T::allowed(meta))
    } else {
        format!("expected {}, got {raw}", T::allowed(meta))
    }
}

impl Scalar for bool {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        match raw {
            Raw::Bool(value) => Ok(*value),
            Raw::Text(text) if matches!(text.trim(), "true" | "True" | "TRUE" | "1") => Ok(true),
            Raw::Text(text) if matches!(text.trim(), "false" | "False" | "FALSE" | "0") => Ok(false),
            _ => Err(expected::<Self>(raw, meta)),
        }
    }

    fn show(&self) -> Raw {
        Raw::Bool(*self)
    }

    fn allowed(_: &Meta) -> String {
        "true or false".to_owned()
    }
}

macro_rules! whole_numbers {
    ($($type:ty),+) => {$(
        impl Scalar for $type {
            fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
                let number = match raw {
                    Raw::Integer(number) => Some(*number),
                    Raw::Text(text) => text.trim().parse().ok(),
                    _ => None,
                };
                let (least, greatest) = bounds::<$type>(meta);
                number
                    .filter(|number| (i128::from(least)..=i128::from(greatest)).contains(number))
                    .and_then(|number| <$type>::try_from(number).ok())
                    .ok_or_else(|| expected::<Self>(raw, meta))
            }

            fn show(&self) -> Raw {
                i128::try_from(*self).map_or(Raw::Null, Raw::Integer)
            }

            fn allowed(meta: &Meta) -> String {
                match bounds::<$type>(meta) {
                    (0, u64::MAX) => "a whole number, 0 or more".to_owned(),
                    (least, greatest) => format!("a whole number from {least} to {greatest}"),
                }
            }
        }

        impl Bounded for $type {
            const GREATEST: u64 = <$type>::MAX as u64;
        }
    )+};
}

trait Bounded {
    const GREATEST: u64;
}

fn bounds<T: Bounded>(meta: &Meta) -> (u64, u64) {
    meta.range.unwrap_or((0, T::GREATEST))
}

whole_numbers!(u16, u32, u64, usize);

impl Scalar for Duration {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        let value = match raw {
            Raw::Text(text) => duration::parse(text.trim()),
            // A bare 0 has no unit to forget; -1 is how Centrifugo says "off".
            Raw::Integer(0 | -1) => Some(Self::ZERO),
            _ => None,
        };
        let (least, greatest) = meta.range.unwrap_or((0, DURATION_MAX_MS));
        value
            .filter(|value| (u128::from(least)..=u128::from(greatest)).contains(&value.as_millis()))
            .ok_or_else(|| expected::<Self>(raw, meta))
    }

    fn show(&self) -> Raw {
        Raw::Text(duration::show(*self))
    }

    fn allowed(meta: &Meta) -> String {
        let example = "a duration such as 25s or 1m30s";
        match meta.range {
            None => example.to_owned(),
            Some((least, greatest)) => {
                let show = |ms| duration::show(Self::from_millis(ms));
                format!("{example}, from {} to {}", show(least), show(greatest))
            }
        }
    }
}

/// Ten years. Longer than any sensible timer, short enough that adding it to a clock cannot overflow.
const DURATION_MAX_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

impl Scalar for String {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Ok(text.clone()),
            Raw::Integer(number) => Ok(number.to_string()),
            _ => Err(expected::<Self>(raw, meta)),
        }
    }

    fn show(&self) -> Raw {
        Raw::Text(self.clone())
    }

    fn allowed(_: &Meta) -> String {
        "a string".to_owned()
    }
}

impl Scalar for PathBuf {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Ok(Self::from(text)),
            _ => Err(expected::<Self>(raw, meta)),
        }
    }

    fn show(&self) -> Raw {
        Raw::Text(self.to_string_lossy().into_owned())
    }

    fn allowed(_: &Meta) -> String {
        "a path".to_owned()
    }
}

impl Scalar for IpAddr {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        match raw {
            // Centrifugo's empty address means every interface.
            Raw::Text(text) if text.trim().is_empty() => Ok(Self::V4(Ipv4Addr::UNSPECIFIED)),
            Raw::Text(text) if text.trim() == "localhost" => Ok(Self::V4(Ipv4Addr::LOCALHOST)),
            Raw::Text(text) => {
                let text = text.trim();
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                bare.parse().map_err(|_| expected::<Self>(raw, meta))
            }
            _ => Err(expected::<Self>(raw, meta)),
        }
    }

    fn show(&self) -> Raw {
        Raw::Text(self.to_string())
    }

    fn allowed(_: &Meta) -> String {
        "an IP address such as 127.0.0.1, 0.0.0.0 or ::1".to_owned()
    }
}

/// An empty string stands for "none": it is what a file with every key in it says.
impl<T: Scalar> Scalar for Option<T> {
    const SECRET: bool = T::SECRET;

    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.is_empty() => Ok(None),
            _ => T::parse(raw, meta).map(Some),
        }
    }

    fn show(&self) -> Raw {
        self.as_ref().map_or_else(|| Raw::from(""), Scalar::show)
    }

    fn allowed(meta: &Meta) -> String {
        T::allowed(meta)
    }
}

impl Scalar for Vec<String> {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        let wrong = || expected::<Self>(raw, meta);
        match raw {
            Raw::List(items) => items
                .iter()
                .map(|item| match item {
                    Raw::Text(text) => Ok(text.clone()),
                    _ => Err(wrong()),
                })
                .collect(),
            // A variable or a flag: JSON, or words with blanks or commas between them.
            Raw::Text(text) if text.trim_start().starts_with('[') => serde_json::from_str(text).map_err(|_| wrong()),
            Raw::Text(text) => {
                let words = text.split([' ', ',']).filter(|word| !word.is_empty());
                Ok(words.map(str::to_owned).collect())
            }
            _ => Err(wrong()),
        }
    }

    fn show(&self) -> Raw {
        Raw::List(self.iter().map(|text| Raw::from(text.as_str())).collect())
    }

    fn allowed(_: &Meta) -> String {
        "a list of strings".to_owned()
    }
}

/// A string that must not be seen: `Debug` and every report leave it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a string.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The string itself; not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Scalar for Secret {
    const SECRET: bool = true;

    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        String::parse(raw, meta).map(Self).map_err(|_| expected::<Self>(raw, meta))
    }

    fn show(&self) -> Raw {
        Raw::from("<secret>")
    }

    fn allowed(_: &Meta) -> String {
        "a string".to_owned()
    }
}

/// A regular expression, compiled when the configuration is read. It may match anywhere: anchor it with `^` and `$`.
#[derive(Clone)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// What the expression's syntax does not allow.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        regex::Regex::new(pattern).map(Self)
    }

    /// Whether it matches somewhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Scalar for Pattern {
    fn parse(raw: &Raw, meta: &Meta) -> Result<Self, String> {
        let Raw::Text(text) = raw else { return Err(expected::<Self>(raw, meta)) };
        Self::new(text).map_err(|error| {
            // The library draws the place over several lines; its last one says what is wrong.
            let error = error.to_string();
            let what = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            format!("{text:?} is not a regular expression: {what}")
        })
    }

    fn show(&self) -> Raw {
        Raw::from(self.as_str())
    }

    fn allowed(_: &Meta) -> String {
        "a regular expression".to_owned()
    }
}

/// Declares an enum of which a file names one variant: `Variant = "name"`.
macro_rules! choice {
    (
        $(#[$attribute:meta])+
        pub enum $name:ident { $($(#[$note:meta])+ $variant:ident = $text:literal),+ $(,)? }
    ) => {
        $(#[$attribute])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$note])+ $variant),+ }

        impl $name {
            /// The name it has in a configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::config::value::Scalar for $name {
            fn parse(
                raw: &$crate::config::value::Raw,
                meta: &$crate::config::section::Meta,
            ) -> Result<Self, String> {
                match raw {
                    $($crate::config::value::Raw::Text(text) if text == $text => Ok(Self::$variant),)+
                    _ => Err(format!("expected {}, got {raw}", Self::allowed(meta))),
                }
            }

            fn show(&self) -> $crate::config::value::Raw {
                $crate::config::value::Raw::from(self.as_str())
            }

            fn allowed(_: &$crate::config::section::Meta) -> String {
                let names: &[&str] = &[$($text),+];
                let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
                format!("one of {}", names.join(", "))
            }
        }
    };
}
pub(crate) use choice;
