//! Values as a file, a variable or a flag gives them, and the formats of files.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer};

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

/// The formats a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Toml,
    Yaml,
}

impl Format {
    /// By the file's ending.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// Where a text breaks the rules of its format, and how. The text itself is not quoted: it may hold secrets.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    format: Format,
    place: Option<(usize, usize)>,
    what: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            Format::Json => "JSON",
            Format::Toml => "TOML",
            Format::Yaml => "YAML",
        };
        write!(f, "not valid {format}")?;
        if let Some((line, column)) = self.place {
            write!(f, " at line {line}, column {column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Raw {
    /// Reads a text of the given format. A key that is there twice is an error in each of them.
    pub(crate) fn parse(format: Format, text: &str) -> Result<Self, SyntaxError> {
        let wrong = |place, what: String| SyntaxError { format, place, what };
        let raw: Self = match format {
            Format::Json => serde_json::from_str(text).map_err(|error| {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default().to_owned();
                wrong(Some((error.line(), error.column())), what)
            })?,
            Format::Toml => toml::from_str(text).map_err(|error| {
                wrong(error.span().map(|span| line_and_column(text, span.start)), error.message().to_owned())
            })?,
            Format::Yaml => {
                let yaml = |error: serde_yaml_ng::Error| {
                    let what = error.to_string();
                    let what = what.split(" at line ").next().unwrap_or_default().to_owned();
                    wrong(error.location().map(|at| (at.line(), at.column())), what)
                };
                let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(yaml)?;
                // `<<: *defaults`, with which people share options between namespaces.
                value.apply_merge().map_err(yaml)?;
                serde_yaml_ng::from_value(value).map_err(yaml)?
            }
        };
        match raw {
            // An empty YAML file is one with no keys.
            Self::Null => Ok(Self::Map(Vec::new())),
            Self::Map(_) => Ok(raw),
            other => Err(wrong(None, format!("expected keys and values, got {other}"))),
        }
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::from(value))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map: Vec<(String, Raw)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.iter().any(|(known, _)| *known == key) {
                return Err(de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            map.push((key, entries.next_value()?));
        }
        Ok(Raw::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_say_the_same() {
        let json = Raw::parse(Format::Json, r#"{"a": {"b": 1, "c": [true, "x"]}, "d": 0.5}"#).unwrap();
        let toml = Raw::parse(Format::Toml, "d = 0.5\n[a]\nb = 1\nc = [true, \"x\"]").unwrap();
        let yaml = Raw::parse(Format::Yaml, "a:\n  b: 1\n  c: [true, x]\nd: 0.5").unwrap();
        let sorted = |raw| match raw {
            Raw::Map(mut map) => {
                map.sort_by(|(left, _), (right, _)| left.cmp(right));
                map
            }
            other => panic!("{other}"),
        };
        assert_eq!(sorted(json.clone()), sorted(toml));
        assert_eq!(sorted(json), sorted(yaml));
    }

    #[test]
    fn what_breaks_the_format_is_told_with_line_and_column_and_without_the_text() {
        let cases = [
            (Format::Json, "{\n  \"key\": \"hush\",\n  oops\n}", "not valid JSON at line 3, column 3: "),
            (Format::Toml, "key = 1\nsecret = \"hush\n", "not valid TOML at line 2, column 15: "),
            (Format::Yaml, "key: 1\n  secret: [hush\n", "not valid YAML at line 2, column 9: "),
        ];
        for (format, text, start) in cases {
            let told = Raw::parse(format, text).unwrap_err().to_string();
            assert!(told.starts_with(start), "{told}");
            assert!(told.len() > start.len() && !told.contains("hush") && !told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_by_each_format() {
        for (format, text) in [
            (Format::Json, r#"{"port": 1, "port": 2}"#),
            (Format::Toml, "port = 1\nport = 2"),
            (Format::Yaml, "port: 1\nport: 2"),
        ] {
            let told = Raw::parse(format, text).unwrap_err().to_string();
            assert!(told.contains("twice") || told.contains("duplicate"), "{told}");
        }
    }

    #[test]
    fn yaml_may_share_options_and_be_empty() {
        let raw = Raw::parse(Format::Yaml, "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3").unwrap();
        let Raw::Map(map) = raw else { panic!("{raw}") };
        let Raw::Map(b) = &map[1].1 else { panic!("{}", map[1].1) };
        assert!(b.contains(&("x".to_owned(), Raw::Integer(1))) && b.contains(&("y".to_owned(), Raw::Integer(3))));
        assert_eq!(Raw::parse(Format::Yaml, "# nothing\n").unwrap(), Raw::Map(Vec::new()));
        assert_eq!(
            Raw::parse(Format::Json, "[1]").unwrap_err().to_string(),
            "not valid JSON: expected keys and values, got a list"
        );
    }
}
