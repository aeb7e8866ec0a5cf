//! Regular expressions, checked when the configuration is read and not when the first client comes.

use std::fmt;

use super::raw::Raw;
use super::section::Meta;
use super::value::{Scalar, expected};

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
