//! A place in a channel's stream.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a reader stands in a channel's stream.
///
/// `offset` counts publications: the first is 1, there are no holes, and 0 means "before the first".
/// `epoch` names the life of the stream. An offset means nothing without it: when a stream is lost and
/// begins again, offset 7 exists a second time with other content, and only the epoch tells them apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Number of the last publication seen.
    #[serde(default)]
    pub offset: u64,
    /// Which life of the stream the offset belongs to. Empty: not known.
    #[serde(default)]
    pub epoch: String,
}

impl StreamPosition {
    /// A position from its two parts.
    pub fn new(offset: u64, epoch: impl Into<String>) -> Self {
        Self { offset, epoch: epoch.into() }
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.offset, self.epoch)
    }
}
