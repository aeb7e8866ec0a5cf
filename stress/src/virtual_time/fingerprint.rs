//! A whole run in one number: two runs with the same one did the same, in the same order, at the same virtual times.
//!
//! What is noted: who did it, where, when, how much chance had been drawn by then, and what passed. Ids of connections
//! stand for tasks, since tokio numbers its own across all runtimes of a process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Notes in one virtual instant, beyond which somebody spins: time cannot pass while they keep each other busy.
const NOTES_PER_INSTANT_MAX: u64 = 2_000_000;

/// Where something was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Site {
    /// A client opened a connection.
    Connect,
    /// Somebody read from a stream.
    Read,
    /// Somebody wrote to a stream.
    Write,
    /// Somebody shut its writing half down.
    Shutdown,
    /// Somebody dropped its end.
    Drop,
    /// Reading or writing failed.
    Failure,
    /// The agenda did something.
    Agenda,
}

/// The fingerprint of a run under way. Cloning shares.
#[derive(Clone, Debug)]
pub struct Fingerprint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    /// Chance drawn before: by other runs on this thread.
    drawn: u64,
    state: Mutex<State>,
    notes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    hash: u64,
    at: u128,
    here: u64,
}

impl Fingerprint {
    /// Of a run that begins now.
    #[must_use]
    pub fn begin() -> Self {
        let (state, notes) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { began: Instant::now(), drawn: crate::chance::drawn(), state, notes }))
    }

    /// `who` did something at `site` with `bytes`.
    ///
    /// # Panics
    /// When so much happens in one virtual instant that it will never end.
    pub fn note(&self, who: u64, site: Site, bytes: &[u8]) {
        self.note_hash(who, site, xxh3_64(bytes));
    }

    /// The same with bytes whose hash is known.
    ///
    /// # Panics
    /// As [`note`](Self::note).
    pub fn note_hash(&self, who: u64, site: Site, hash: u64) {
        let at = self.0.began.elapsed().as_nanos();
        let mut record = [0; 41];
        record[..8].copy_from_slice(&who.to_le_bytes());
        record[8] = site as u8;
        record[9..25].copy_from_slice(&at.to_le_bytes());
        record[25..33].copy_from_slice(&(crate::chance::drawn() - self.0.drawn).to_le_bytes());
        record[33..].copy_from_slice(&hash.to_le_bytes());
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.hash = xxh3_64_with_seed(&record, state.hash);
        if at != state.at {
            (state.at, state.here) = (at, 0);
        }
        state.here += 1;
        let spins = state.here > NOTES_PER_INSTANT_MAX;
        drop(state);
        self.0.notes.fetch_add(1, Relaxed);
        // What is dropped on the way out of that is noted too, and may not fail again.
        assert!(
            !spins || std::thread::panicking(),
            "{NOTES_PER_INSTANT_MAX} things happened at one virtual instant: somebody spins"
        );
    }

    /// The number so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).hash
    }

    /// How many notes it is made of.
    #[must_use]
    pub fn notes(&self) -> u64 {
        self.0.notes.load(Relaxed)
    }
}
