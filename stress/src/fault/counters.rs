//! Three numbers per fault, because each means something else: it was due, it was done, it was felt.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// The numbers of one fault, counted while it holds.
#[derive(Debug, Default)]
pub struct FaultCounters {
    attempted: AtomicU64,
    applied: AtomicU64,
    seen: AtomicU64,
}

impl FaultCounters {
    /// Its moment came on some connection.
    pub(crate) fn attempt(&self) {
        self.attempted.fetch_add(1, Relaxed);
    }

    /// It was done: a piece was delayed, a stream was reset, a frame was changed.
    pub(crate) fn apply(&self) {
        self.applied.fetch_add(1, Relaxed);
    }

    /// One of the two ends felt it: see `stream/felt.rs` for when that is.
    pub(crate) fn see(&self) {
        self.seen.fetch_add(1, Relaxed);
    }

    /// The numbers now.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        FaultCounts {
            attempted: self.attempted.load(Relaxed),
            applied: self.applied.load(Relaxed),
            seen: self.seen.load(Relaxed),
        }
    }
}

/// What [`FaultCounters`] had counted. `applied == 0` makes a scenario inconclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounts {
    /// How often its moment came.
    pub attempted: u64,
    /// How often it was done.
    pub applied: u64,
    /// How often one of the two ends was seen to feel it. 0 for what is done to the server itself, which no stream sees.
    pub seen: u64,
}
