//! When which connection wants attention: one ring for all, instead of a timer for each.
//!
//! A connection stands in the ring at most once for what counts. A deadline that moves later leaves the entry where it is, and
//! when its tick comes it is put in again further on, without a look at the connection: that is the common case, since each
//! pong moves the deadline of its ping, and of ten thousand connections none is in a cache. A deadline that moves earlier makes
//! a second entry, and the first one no longer counts.

use crate::clock::Now;

/// Milliseconds of one tick: how late an event may be.
const TICK_MS: u64 = 100;

/// Ticks in the ring, a little over 51 s. What is further away is put in again on the way.
const TICKS: u64 = 512;

/// A tick that never comes: 2³² of them are 13 years of uptime.
const NEVER: u32 = u32::MAX;

/// The ring.
#[derive(Debug)]
pub struct Deadlines {
    buckets: Box<[Vec<u32>]>,
    /// By slot.
    entries: Vec<Entry>,
    /// The next tick to be looked at.
    tick: u64,
    /// Nothing is in a bucket between there and here, so that not every turn looks through all of them.
    first: u64,
}

/// Where a connection stands, and what for: not in the connection, whose memory is far away.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The tick whose bucket it stands in, or that it was taken out at; [`NEVER`]: none.
    stands: u32,
    /// The tick at which it wants attention, not before that one.
    wanted: u32,
}

const NOWHERE: Entry = Entry { stands: NEVER, wanted: NEVER };

impl Deadlines {
    /// An empty ring that begins at `now`.
    pub fn new(now: Now) -> Self {
        let tick = now.ms / TICK_MS;
        let buckets = (0..TICKS).map(|_| Vec::new()).collect();
        Self { buckets, entries: Vec::new(), tick, first: tick }
    }

    /// Makes sure that `slot` is looked at when `deadline_ms` has come, and not before; `u64::MAX`: never.
    pub fn schedule(&mut self, slot: u32, deadline_ms: u64) {
        let wanted = u32::try_from(deadline_ms.div_ceil(TICK_MS)).unwrap_or(NEVER);
        let at = slot as usize;
        if at >= self.entries.len() {
            self.entries.resize(at + 1, NOWHERE);
        }
        let entry = &mut self.entries[at];
        entry.wanted = wanted;
        // It may be over already, and then no tick comes sooner than the next. Also one that was taken out and still waits to be
        // looked at stands early enough.
        if u64::from(entry.stands) > u64::from(wanted).max(self.tick) {
            self.put(slot);
        }
    }

    /// Nobody is in `slot` any more.
    pub fn forget(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = NOWHERE;
        }
    }

    /// Gives back what many slots needed, when all are forgotten.
    pub fn give_back(&mut self) {
        self.entries = Vec::new();
    }

    /// Takes out the entries of the next tick that has come. `None`: none has. Whether one still counts says
    /// [`Deadlines::is_due`].
    pub fn take(&mut self, now: Now) -> Option<(u64, Vec<u32>)> {
        while self.tick <= now.ms / TICK_MS {
            let tick = self.tick;
            self.tick += 1;
            let bucket = std::mem::take(&mut self.buckets[index(tick)]);
            if !bucket.is_empty() {
                return Some((tick, bucket));
            }
        }
        None
    }

    /// Whether `slot`, which was taken out at `tick`, is to be looked at: then that is done with. If its deadline has moved
    /// meanwhile it stands further on.
    pub fn is_due(&mut self, tick: u64, slot: u32) -> bool {
        let Some(entry) = self.entries.get_mut(slot as usize).filter(|entry| u64::from(entry.stands) == tick) else {
            return false;
        };
        entry.stands = NEVER;
        let is_due = u64::from(entry.wanted) < self.tick;
        if !is_due && entry.wanted < NEVER {
            self.put(slot);
        }
        is_due
    }

    /// When to look again, in [`Now::ms`]; `None`: nothing is scheduled.
    pub fn next_ms(&mut self) -> Option<u64> {
        let end = self.tick + TICKS;
        self.first = self.first.max(self.tick);
        while self.first < end && self.buckets[index(self.first)].is_empty() {
            self.first += 1;
        }
        (self.first < end).then_some(self.first * TICK_MS)
    }

    /// Puts a slot where it is wanted, or as far on its way there as the ring reaches.
    fn put(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let tick = u64::from(entry.wanted).clamp(self.tick, self.tick + TICKS - 1);
        entry.stands = u32::try_from(tick).unwrap_or(NEVER);
        self.first = self.first.min(tick);
        self.buckets[index(tick)].push(slot);
    }
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % TICKS).expect("a remainder of 512")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Now {
        Now { ms, unix_ms: 0 }
    }

    proptest! {
        /// Connections whose deadlines move about, and who leave their slots to others, are each looked at in the tick after
        /// their deadline, and never before it.
        #[test]
        fn every_deadline_is_met_within_a_tick(
            moves in prop::collection::vec((0u64..200_000, 0usize..5, prop::option::of(1u64..120_000)), 1..60),
        ) {
            let mut moves = moves;
            moves.sort_unstable();
            let mut ring = Deadlines::new(at(0));
            let mut deadlines = [None::<u64>; 5];
            let mut next_move = moves.into_iter().peekable();
            for ms in (0..400_000).step_by(50) {
                let mut taken = Vec::new();
                while let Some((tick, slots)) = ring.take(at(ms)) {
                    taken.extend(slots.into_iter().map(|slot| (tick, slot)));
                }
                // Also while some are taken out and wait.
                while let Some((_, slot, ahead)) = next_move.next_if(|(when, ..)| *when <= ms) {
                    deadlines[slot] = ahead.map(|ahead| ms + ahead);
                    match deadlines[slot] {
                        Some(deadline) => ring.schedule(slot as u32, deadline),
                        None => ring.forget(slot as u32),
                    }
                }
                for (tick, slot) in taken {
                    if ring.is_due(tick, slot) {
                        let deadline = deadlines[slot as usize].take();
                        prop_assert!(deadline.is_some_and(|deadline| deadline <= ms), "{deadline:?} looked at at {ms}");
                    }
                }
                for deadline in deadlines.into_iter().flatten() {
                    prop_assert!(deadline + 2 * TICK_MS > ms, "deadline {deadline} not met at {ms}");
                    prop_assert!(ring.next_ms().is_some_and(|next| next <= deadline.max(ms) + TICK_MS));
                }
            }
        }
    }

    #[test]
    fn an_idle_ring_never_wakes_anyone() {
        let mut ring = Deadlines::new(at(1234));
        assert_eq!(ring.next_ms(), None);
        assert_eq!(ring.take(at(1_000_000_000)), None);
    }

    #[test]
    fn whose_deadline_is_over_stands_once_and_is_not_put_off_by_being_scheduled_again() {
        let mut ring = Deadlines::new(at(0));
        ring.take(at(5000));
        for deadline_ms in [3000, 3000, 2000, 4000] {
            ring.schedule(0, deadline_ms);
        }
        let (tick, slots) = ring.take(at(5100)).expect("the next tick");
        assert_eq!(slots, [0], "it stands there once");
        ring.schedule(0, 1000);
        assert!(ring.is_due(tick, 0), "it was scheduled while it waited to be looked at");
        assert_eq!(ring.next_ms(), None);
    }

    #[test]
    fn what_is_never_due_any_more_leaves_the_ring() {
        let mut ring = Deadlines::new(at(0));
        ring.schedule(0, 1000);
        ring.schedule(0, u64::MAX);
        let (tick, slots) = ring.take(at(1000)).expect("its entry is still there");
        assert_eq!((slots, ring.is_due(tick, 0)), (vec![0], false));
        assert_eq!(ring.next_ms(), None);
    }

    #[test]
    fn who_is_in_a_slot_later_is_not_looked_at_for_who_was_there_before() {
        let mut ring = Deadlines::new(at(0));
        ring.schedule(7, 1000);
        ring.forget(7);
        ring.give_back();
        ring.schedule(7, 1000);
        ring.schedule(7, 2000);
        let (tick, slots) = ring.take(at(1000)).expect("both stand there");
        assert_eq!(slots.into_iter().filter(|&slot| ring.is_due(tick, slot)).count(), 0);
        let (tick, slots) = ring.take(at(2000)).expect("it stands further on");
        assert_eq!(slots.into_iter().filter(|&slot| ring.is_due(tick, slot)).count(), 1);
    }
}
