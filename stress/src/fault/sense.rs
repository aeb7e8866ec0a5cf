//! Which kinds of fault can strike at which moments: the cells of the matrix that mean something.

use super::plan::{Aim, Kind};

/// Whether a kind of fault has a moment of this family to strike at, both by their names.
#[must_use]
pub fn makes_sense(kind: &str, family: &str) -> bool {
    match (kind, family) {
        // A node is not on any stream: nothing of a conversation could be waited for.
        ("kill" | "restart" | "pause", family) => family == "at",
        // Before there is a stream there is nothing but the connect to hurt.
        ("refuse" | "blackhole", family) => family == "connect",
        ("latency", "connect") => true,
        (_, "connect") => false,
        // What changes frames changes them whole, wherever in one it aims. Only a byte of the stream can be told by its number.
        ("mutant", "byte") | ("corrupt", "at") | ("corrupt" | "mutant", "handshake" | "mid_header") => false,
        _ => true,
    }
}

/// How many cells of the matrix mean something.
#[must_use]
pub fn cells() -> usize {
    let pairs = Kind::NAMES.into_iter().flat_map(|kind| Aim::FAMILIES.into_iter().map(move |family| (kind, family)));
    pairs.filter(|(kind, family)| makes_sense(kind, family)).count()
}
