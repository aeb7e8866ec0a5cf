//! One direction of a faulty stream: a delay line.
//!
//! Each piece of data gets the moment at which it arrives: `max(release of the piece before it, now + delay)`.
//! Nobody sleeps: that would turn a delay of one second into one message per second. Between the pieces stand
//! the blows (a reset, a FIN, the beginning of a stall), so that they strike after exactly the bytes they were aimed behind.
//! The lane is bounded in bytes; a full lane takes no more, as a full socket buffer does, and its peak is reported.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::injector::Active;

/// What a lane holds unless told otherwise. The longest honest use is half a second of a 100 KB payload stream;
/// a link with latency `d` moves at most this much per `d`.
pub const LANE_BYTES_MAX: usize = 4 << 20;

/// What stands in the line besides bytes.
#[derive(Debug)]
pub(crate) enum Blow {
    /// The connection is reset.
    Reset,
    /// This direction ends.
    End,
    /// A FIN from outside: this way, or both.
    Fin { both: bool },
    /// Nothing passes until the fault is healed.
    Stall(Arc<Active>),
    /// The stream underneath failed.
    Failed(io::Error),
}

/// A place in the line.
#[derive(Debug)]
pub(crate) enum Item {
    /// So many bytes are still to be read from `at` on.
    Bytes { bytes: Box<[u8]>, at: usize },
    /// Something happens.
    Blow(Blow),
}

#[derive(Debug)]
struct Entry {
    release: Instant,
    item: Item,
}

/// What is at the front of a lane.
pub(crate) enum Front<'a> {
    /// Nothing.
    Empty,
    /// Something that arrives at this moment.
    NotBefore(Instant),
    /// These bytes.
    Bytes(&'a [u8]),
    /// This blow.
    Blow(&'a Blow),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: VecDeque<Entry>,
    capacity: usize,
    queued: usize,
    peak: usize,
    /// Stalls in line, counted: the line of a sliced stream is long and is asked on every poll.
    stalls: usize,
    last_release: Option<Instant>,
    /// Bytes that have come in, ever: where [`super::Aim::Byte`] counts.
    entered: u64,
}

impl Lane {
    /// An empty lane of a stream that `entered` bytes have already gone through.
    pub(crate) fn new(capacity: usize, entered: u64) -> Self {
        Self { queue: VecDeque::new(), capacity, queued: 0, peak: 0, stalls: 0, last_release: None, entered }
    }

    /// Room for so many more bytes. What is on the way may be as much as the link carries; what has arrived and is
    /// not taken is bounded by `arrived_max`, or the lane would be a buffer that no real connection has.
    pub(crate) fn room(&self, now: Instant, arrived_max: usize) -> usize {
        let arrived = matches!(self.front(now), Front::Bytes(_));
        let bound = if arrived { self.capacity.min(arrived_max) } else { self.capacity };
        bound.saturating_sub(self.queued)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) fn entered(&self) -> u64 {
        self.entered
    }

    /// Puts bytes in line, to arrive at `arrival` or right after the piece before them.
    pub(crate) fn push_bytes(&mut self, arrival: Instant, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.entered += bytes.len() as u64;
        self.queued += bytes.len();
        self.peak = self.peak.max(self.queued);
        self.push(arrival, Item::Bytes { bytes: bytes.into(), at: 0 });
    }

    /// Puts a blow in line.
    pub(crate) fn push_blow(&mut self, arrival: Instant, blow: Blow) {
        self.stalls += usize::from(matches!(blow, Blow::Stall(_)));
        self.push(arrival, Item::Blow(blow));
    }

    fn push(&mut self, arrival: Instant, item: Item) {
        let release = self.last_release.map_or(arrival, |last| last.max(arrival));
        self.last_release = Some(release);
        self.queue.push_back(Entry { release, item });
    }

    /// What is at the front, seen from `now`.
    pub(crate) fn front(&self, now: Instant) -> Front<'_> {
        match self.queue.front() {
            None => Front::Empty,
            Some(entry) if entry.release > now => Front::NotBefore(entry.release),
            Some(Entry { item: Item::Bytes { bytes, at }, .. }) => Front::Bytes(&bytes[*at..]),
            Some(Entry { item: Item::Blow(blow), .. }) => Front::Blow(blow),
        }
    }

    /// Takes `count` bytes off the piece at the front.
    pub(crate) fn advance(&mut self, count: usize) {
        if let Some(Entry { item: Item::Bytes { bytes, at }, .. }) = self.queue.front_mut() {
            *at += count;
            self.queued -= count;
            if *at == bytes.len() {
                self.queue.pop_front();
            }
        }
    }

    /// Takes the blow off the front.
    pub(crate) fn pop_blow(&mut self) -> Option<Blow> {
        match self.queue.front() {
            Some(Entry { item: Item::Blow(_), .. }) => match self.queue.pop_front()?.item {
                Item::Blow(blow) => {
                    self.stalls -= usize::from(matches!(blow, Blow::Stall(_)));
                    Some(blow)
                }
                Item::Bytes { .. } => None,
            },
            _ => None,
        }
    }

    /// Everything in it vanishes.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        (self.queued, self.stalls) = (0, 0);
    }

    /// What has not arrived by `now` vanishes.
    pub(crate) fn forget_in_flight(&mut self, now: Instant) {
        while self.queue.back().is_some_and(|entry| entry.release > now) {
            match self.queue.pop_back().map(|entry| entry.item) {
                Some(Item::Bytes { bytes, at }) => self.queued -= bytes.len() - at,
                Some(Item::Blow(Blow::Stall(_))) => self.stalls -= 1,
                Some(Item::Blow(_)) | None => {}
            }
        }
        self.last_release = self.queue.back().map(|entry| entry.release);
    }

    /// Takes out the stalls whose fault has been healed, and every blow after which nothing can come.
    pub(crate) fn drop_blows(&mut self, mut gone: impl FnMut(&Blow) -> bool) {
        self.queue.retain(|entry| !matches!(&entry.item, Item::Blow(blow) if gone(blow)));
        let is_stall = |entry: &&Entry| matches!(entry.item, Item::Blow(Blow::Stall(_)));
        self.stalls = self.queue.iter().filter(is_stall).count();
    }

    /// Whether a stall stands in line: then nothing more is taken in either.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalls > 0
    }

    /// Whether it is this fault's.
    pub(crate) fn is_stalled_by(&self, key: u64) -> bool {
        let by = |item: &Item| matches!(item, Item::Blow(Blow::Stall(active)) if active.key == key);
        self.stalls > 0 && self.queue.iter().any(|entry| by(&entry.item))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_piece_that_would_overtake_waits_for_the_one_before_it() {
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        let mut lane = Lane::new(100, 0);
        lane.push_bytes(later(50), b"slow");
        lane.push_bytes(later(10), b"quick");
        assert!(matches!(lane.front(later(20)), Front::NotBefore(at) if at == later(50)));
        // At 20 ms neither has arrived, though the second alone would have: both are lost.
        lane.forget_in_flight(later(20));
        assert_eq!((lane.queued(), lane.is_empty()), (0, true));
    }

    #[test]
    fn bounds_and_counts_follow_what_goes_in_and_out() {
        let now = Instant::now();
        let mut lane = Lane::new(10, 7);
        lane.push_bytes(now, b"abcdef");
        assert_eq!((lane.queued(), lane.peak(), lane.entered()), (6, 6, 13));
        assert_eq!((lane.room(now, 4), lane.room(now, 100)), (0, 4), "arrived and unread has a bound of its own");
        lane.advance(2);
        lane.push_blow(now, Blow::End);
        assert!(matches!(lane.front(now), Front::Bytes(b"cdef")));
        lane.advance(4);
        assert!(matches!(lane.front(now), Front::Blow(Blow::End)));
        assert_eq!((lane.queued(), lane.peak()), (0, 6));
    }
}
