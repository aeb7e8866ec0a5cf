//! What one subscriber has got of one publisher in a channel without history, where the publisher's own numbers are all there is.

use super::track::{Arrival, Track};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    /// How many had been begun when the subscription was answered: any of them may be from before it.
    begun: u64,
    /// Of what must come, which the first number says that stands where it was begun.
    track: Option<Track>,
    /// What came of those before it without an answer to its publisher. Such a publish may be carried out after later
    /// ones, since its connection was lost and the next one may have been faster: it tells nothing of what must follow.
    strays: Vec<u64>,
}

impl Publisher {
    pub(super) fn new(begun: u64) -> Self {
        Self { begun, track: None, strays: Vec::new() }
    }

    /// Takes a number in; `unknown` if nobody knows what came of its publish.
    pub(super) fn arrive(&mut self, number: u64, unknown: bool) -> Arrival {
        let start = self.track.as_ref().map_or(self.begun, Track::start);
        if unknown && number <= start {
            let again = self.strays.contains(&number);
            self.strays.push(number);
            return if again { Arrival::Again } else { Arrival::Next };
        }
        let track = self.track.get_or_insert_with(|| {
            let mut track = Track::new(self.begun.min(number.saturating_sub(1)));
            for &stray in self.strays.iter().filter(|&&stray| stray >= number) {
                track.arrive(stray, false);
            }
            track
        });
        match track.arrive(number, false) {
            Arrival::Late if unknown => Arrival::Next,
            arrival => arrival,
        }
    }

    /// The highest number that arrived, if it belongs to what must come.
    pub(super) fn last(&self) -> Option<u64> {
        self.track.as_ref().map(Track::last)
    }

    /// Runs of numbers that are missing, from the first to the last of each.
    pub(super) fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.track.iter().flat_map(|track| track.missing().0)
    }
}
