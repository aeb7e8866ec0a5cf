//! What happened: what was sent, what was acknowledged, what was received, as events in the order they were seen.
//!
//! The ledger is the lab's own and believes nobody. Its events carry numbers (channel, subscription, epoch), not
//! names, so that a generator can make them, a mutator can spoil them and two judges can read them. Each event
//! goes straight to the [`Oracle`]; all of them are kept only when asked, for small runs and replays.

use std::fmt;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::live_bytes::live_bytes;
use crate::oracle::{Judgement, Law, Oracle};
use crate::payload::PublicationId;

/// The name of an epoch as a number: its letters if there are at most eight, and a hash of a longer one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl From<&str> for Epoch {
    fn from(name: &str) -> Self {
        Self(match name.len() {
            0..=8 => name.bytes().fold(0, |number, letter| number << 8 | u64::from(letter)),
            _ => xxh3_64(name.as_bytes()),
        })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_be_bytes();
        let letters = &bytes[self.0.leading_zeros() as usize / 8..];
        match std::str::from_utf8(letters) {
            Ok(name) if !name.is_empty() && name.bytes().all(|letter| letter.is_ascii_graphic()) => f.write_str(name),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which life of the stream.
    pub epoch: Epoch,
    /// Offset in it.
    pub offset: u64,
}

/// What a channel promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Publications kept. 0: no history, no offsets, nothing recovered.
    pub history_size: u64,
    /// How long they are kept.
    pub history_ttl: Duration,
    /// Publications handed out in one recovery at most.
    pub recovery_max: u64,
}

/// What came of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the channel; at this place, if the acknowledgement said so.
    Ok(Option<Place>),
    /// It is not, and never will be.
    Failed,
    /// The answer never came: it may be there once, or not.
    Unknown,
}

/// A received payload: whose it is, or that it is damaged.
pub type Content = Result<PublicationId, crate::payload::Damage>;

/// Why continuity ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection ended with this close code (1006: without one).
    Disconnected(u32),
    /// An unsubscribe push with this code.
    Unsubscribed(u32),
}

/// Something that happened. `at` is the time since the run began.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are named for what they are")]
pub enum Event {
    /// A channel exists.
    Channel { channel: u32, policy: Policy },
    /// A publisher exists, for one channel.
    Publisher { publisher: u32, channel: u32 },
    /// A subscription exists; of a connection that no fault of the plan touches, if `bystander`.
    Subscription { sub: u32, channel: u32, bystander: bool },
    /// A publish begins.
    Invoke { at: Duration, id: PublicationId },
    /// A publish ends.
    Done { at: Duration, id: PublicationId, outcome: Outcome },
    /// A subscribe is sent on the `generation`-th connection, asking to recover from `from`.
    Ask { at: Duration, sub: u32, generation: u32, from: Option<Place> },
    /// It is answered. `place` is what the reply says: the top, or the place asked from if recovered. A client that
    /// hands the recovered batch out as publications one by one says `batch_follows`, and the batch is empty here.
    Reply {
        at: Duration,
        sub: u32,
        generation: u32,
        recovered: bool,
        was_recovering: bool,
        place: Option<Place>,
        batch: Vec<(u64, Content)>,
        batch_follows: bool,
    },
    /// A publication arrives. `channel` is the one it says it is for, `epoch` is there if it says so.
    Push { at: Duration, sub: u32, generation: u32, channel: u32, epoch: Option<Epoch>, offset: u64, content: Content },
    /// Continuity ends, and the subscriber knows.
    Break { at: Duration, sub: u32, generation: u32, cause: Cause },
    /// The subscriber's own unsubscribe is answered, or it closed its connection: it wants nothing more.
    Left { at: Duration, sub: u32, generation: u32 },
    /// The history of a channel, from its oldest kept publication to its top: what `request` was told, or somebody without a
    /// network in between.
    History { at: Duration, channel: u32, request: Option<u64>, top: Place, entries: Vec<(u64, Content)> },
    /// The last publication of a channel: every subscription has to reach it.
    Sentinel { channel: u32, id: PublicationId },
    /// The server lost its memory, as it must when a memory engine is killed: epochs up to now may be gone.
    Amnesia,
    /// The end: what is not there now will not come.
    Census { at: Duration },
    /// A request other than a publish begins, by number; about this channel.
    Request { request: u64, channel: Option<u32> },
    /// It is completed.
    Completion { request: u64 },
    /// A number that should be another: `expected ± tolerance` (for I13 and I15: at most that).
    Compare { law: Law, name: String, expected: f64, actual: f64, tolerance: f64 },
    /// So many things were checked against a law elsewhere (frames, watchdog ticks), and these were wrong.
    Checked { law: Law, count: u64, wrong: Vec<String> },
}

/// Takes events down and has them judged.
#[derive(Debug, Default)]
pub struct Ledger {
    oracle: Oracle,
    kept: Option<Vec<Event>>,
    events: u64,
    bytes: i64,
}

impl Ledger {
    /// Constant memory per subscription, eight bytes per publication.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps every event as well.
    #[must_use]
    pub fn keeping() -> Self {
        Self { kept: Some(Vec::new()), ..Self::default() }
    }

    /// Takes an event down.
    pub fn record(&mut self, event: Event) {
        let before = live_bytes();
        self.events += 1;
        self.oracle.observe(&event);
        self.bytes += live_bytes().cast_signed() - before.cast_signed();
        if let Some(kept) = &mut self.kept {
            kept.push(event);
        }
    }

    /// Bytes that it holds: they grow with the run, rightly. Exact where one thread does everything, as in virtual time.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(0)
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.events
    }

    /// Whether nothing has happened: then nothing is proved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The events, if they were kept.
    #[must_use]
    pub fn events(&self) -> Option<&[Event]> {
        self.kept.as_deref()
    }

    /// What has been delivered so far, in numbers.
    #[must_use]
    pub fn tally(&self) -> crate::oracle::Tally {
        self.oracle.tally()
    }

    /// What was found so far; whether anything is missing only the end tells.
    #[must_use]
    pub fn found(&self) -> Judgement {
        self.oracle.found()
    }

    /// The judgement. Record [`Event::Census`] first.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        self.oracle.judge()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_its_letters() {
        for name in ["a", "xyz", "abcdEFGH", "zzzzzzzz"] {
            assert_eq!(Epoch::from(name).to_string(), name);
        }
        assert_eq!((Epoch(7).to_string(), Epoch(0).to_string()), ("7".to_owned(), "0".to_owned()));
    }

    #[test]
    fn other_names_are_other_epochs() {
        let names = ["", "a", "b", "aa", "ab", "ba", "abcdefgh", "abcdefgi", "abcdefghi", "abcdefghj", "bcdefghi"];
        let epochs: std::collections::BTreeSet<Epoch> = names.map(Epoch::from).into();
        assert_eq!(epochs.len(), names.len());
    }
}
