//! The kinds of value a key may hold: how each is read from a file, a variable or a flag, what it says when it cannot
//! be, and how it is printed. A string is accepted wherever a number or a boolean is due, as Centrifugo does: variables
//! and flags know nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::raw::Raw;
use super::section::{Meta, Visitor, Walk};

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
}

impl<T: Scalar> Walk for T {
    fn walk(&mut self, meta: &'static Meta, visitor: &mut dyn Visitor) {
        visitor.key(meta, self);
    }
}

/// "expected …, got …": the words of every refusal.
pub(crate) fn expected<T: Scalar>(raw: &Raw, meta: &Meta) -> String {
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
