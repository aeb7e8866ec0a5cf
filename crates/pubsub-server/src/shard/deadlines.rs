//! When which connection wants attention: one ring for all, instead of a timer for each.
//!
//! A connection stands in the ring at most once for what counts, at the tick it is *scheduled* for. A
//! deadline that moves later leaves the entry where it is: when its tick comes, the connection is put in
//! again further on. That is the common case, since every ping moves the next one. A deadline that moves
//! earlier makes a second entry, and the first one no longer counts.

use crate::clock::Now;

/// Milliseconds of one tick: how late an event may be.
const TICK_MS: u64 = 100;

/// Ticks in the ring, a little over 51 s. What is further away is looked at once more on the way.
const TICKS: usize = 512;

/// The ring.
#[derive(Debug)]
pub struct Deadlines {
    buckets: Box<[Vec<u32>]>,
    /// The next tick to be looked at.
    tick: u64,
    /// Nothing is in a bucket between there and here, so that not every turn looks through all of them.
    first: u64,
}

/// A connection's place in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduled(Option<std::num::NonZeroU32>);

impl Scheduled {
    fn tick(self) -> Option<u64> {
        self.0.map(|tick| u64::from(tick.get()) - 1)
    }

    fn at(tick: u64) -> Self {
        // 2³² ticks are 13 years of uptime.
        Self(u32::try_from(tick + 1).ok().and_then(std::num::NonZeroU32::new))
    }
}

impl Deadlines {
    /// An empty ring that begins at `now`.
    pub fn new(now: Now) -> Self {
        let tick = now.ms / TICK_MS;
        Self { buckets: vec![Vec::new(); TICKS].into(), tick, first: tick }
    }

    /// Makes sure that `slot` is looked at when `deadline_ms` has come. `scheduled` is kept by the connection.
    pub fn schedule(&mut self, slot: u32, deadline_ms: u64, scheduled: &mut Scheduled) {
        let wanted = deadline_ms.div_ceil(TICK_MS).clamp(self.tick, self.tick + TICKS as u64 - 1);
        // Also one that was taken out and still waits to be looked at.
        if scheduled.tick().is_some_and(|tick| tick <= wanted) {
            return;
        }
        *scheduled = Scheduled::at(wanted);
        self.first = self.first.min(wanted);
        self.bucket(wanted).push(slot);
    }

    /// Takes out the connections of the next tick that has come. `None`: none has. An entry counts only if
    /// [`Deadlines::counts`] says so.
    pub fn due(&mut self, now: Now) -> Option<(u64, Vec<u32>)> {
        while self.tick <= now.ms / TICK_MS {
            let tick = self.tick;
            self.tick += 1;
            let bucket = std::mem::take(self.bucket(tick));
            if !bucket.is_empty() {
                return Some((tick, bucket));
            }
        }
        None
    }

    /// Whether an entry taken out at `tick` is the one that counts; then it is used up.
    pub fn counts(tick: u64, scheduled: &mut Scheduled) -> bool {
        let counts = scheduled.tick() == Some(tick);
        if counts {
            *scheduled = Scheduled::default();
        }
        counts
    }

    /// When to look again, in [`Now::ms`]; `None`: nothing is scheduled.
    pub fn next_ms(&mut self) -> Option<u64> {
        let end = self.tick + TICKS as u64;
        self.first = self.first.max(self.tick);
        while self.first < end && self.buckets[index(self.first)].is_empty() {
            self.first += 1;
        }
        (self.first < end).then_some(self.first * TICK_MS)
    }

    fn bucket(&mut self, tick: u64) -> &mut Vec<u32> {
        &mut self.buckets[index(tick)]
    }
}

fn index(tick: u64) -> usize {
    usize::try_from(tick % TICKS as u64).expect("a remainder of 512")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Now {
        Now { ms, unix_ms: 0 }
    }

    proptest! {
        /// Connections whose deadlines move about are each looked at in the tick after their deadline, never
        /// before it.
        #[test]
        fn every_deadline_is_met_within_a_tick(
            moves in prop::collection::vec((0u64..200_000, 0usize..5, 1u64..120_000), 1..60),
        ) {
            let mut moves = moves;
            moves.sort_unstable();
            let mut ring = Deadlines::new(at(0));
            let mut deadlines = [None::<u64>; 5];
            let mut scheduled = [Scheduled::default(); 5];
            let mut next_move = moves.into_iter().peekable();
            for ms in (0..400_000).step_by(50) {
                while let Some((_, slot, ahead)) = next_move.next_if(|(when, ..)| *when <= ms) {
                    deadlines[slot] = Some(ms + ahead);
                    ring.schedule(slot as u32, ms + ahead, &mut scheduled[slot]);
                }
                while let Some((tick, slots)) = ring.due(at(ms)) {
                    for slot in slots {
                        let slot = slot as usize;
                        if !Deadlines::counts(tick, &mut scheduled[slot]) { continue }
                        match deadlines[slot] {
                            Some(deadline) if deadline <= ms => deadlines[slot] = None,
                            Some(deadline) => ring.schedule(slot as u32, deadline, &mut scheduled[slot]),
                            None => {}
                        }
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
        assert_eq!(ring.due(at(1_000_000_000)), None);
    }
}
