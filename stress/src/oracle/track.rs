//! What one continuous claim has covered so far: numbers that should come one after the other.
//!
//! Constant memory: where it began, how far it is, and the holes, of which there are few or the run is lost anyway.

/// Holes kept apart; what goes beyond is counted as lost at once.
const HOLES_MAX: usize = 64;

/// What the next number turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one.
    Next,
    /// Later than the next: these are missing, for now.
    Ahead { from: u64, to: u64 },
    /// One that had been missing.
    Late,
    /// It has been here.
    Again,
    /// From before the claim began.
    Before,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// Everything up to here was there before.
    start: u64,
    last: u64,
    holes: Vec<(u64, u64)>,
    overflow: u64,
}

impl Track {
    pub(super) fn new(start: u64) -> Self {
        Self { start, last: start, holes: Vec::new(), overflow: 0 }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Takes a number in. With `charged`, what it skips is somebody else's fault and counts as if it had come.
    pub(super) fn arrive(&mut self, number: u64, charged: bool) -> Arrival {
        if number == self.last + 1 {
            self.last = number;
            return Arrival::Next;
        }
        if number > self.last {
            let (from, to) = (self.last + 1, number - 1);
            self.last = number;
            if !charged {
                if self.holes.len() < HOLES_MAX {
                    self.holes.push((from, to));
                } else {
                    self.overflow += to - from + 1;
                }
            }
            return Arrival::Ahead { from, to };
        }
        if number <= self.start {
            return Arrival::Before;
        }
        let Some(at) = self.holes.iter().position(|&(from, to)| (from..=to).contains(&number)) else {
            return Arrival::Again;
        };
        let (from, to) = self.holes.swap_remove(at);
        self.holes.extend([(from, number - 1), (number + 1, to)].into_iter().filter(|(from, to)| from <= to));
        Arrival::Late
    }

    /// Declares everything up to `number` to be somebody else's business.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// What is missing: the holes, and how many more there were.
    pub(super) fn missing(&self) -> (impl Iterator<Item = (u64, u64)> + '_, u64) {
        (self.holes.iter().copied(), self.overflow)
    }
}
