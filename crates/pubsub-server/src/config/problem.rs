//! What is wrong with a configuration: each mistake with its key, where it was written, what is wrong and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Variable(String),
    /// In this flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One mistake, or one thing worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path; empty if the whole file is meant.
    pub key: String,
    /// Where the key was written down.
    pub origin: Origin,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.origin) {
            ("", origin) => write!(f, "{origin}: {}", self.what),
            (key, Origin::Default) => write!(f, "{key}: {}", self.what),
            (key, origin) => write!(f, "{key} ({origin}): {}", self.what),
        }
    }
}

/// All mistakes of a configuration, and the warnings beside them.
#[derive(Debug, thiserror::Error)]
pub struct Problems {
    /// What keeps the server from starting.
    pub errors: Vec<Problem>,
    /// What would not.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.len() {
            1 => f.write_str("the configuration has a mistake:")?,
            count => write!(f, "the configuration has {count} mistakes:")?,
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}
