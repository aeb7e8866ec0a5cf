//! N4: a poll that says "not yet" for no reason and wakes at once: another schedule, the same stream.

use super::Shape;
use crate::chance::Chance;

pub(super) struct Yields {
    p: f64,
    chance: Chance,
}

impl Yields {
    pub(super) fn new(p: f64, chance: Chance) -> Self {
        // Above this a poll would hardly ever get through.
        Self { p: p.clamp(0.0, 0.95), chance }
    }
}

impl Shape for Yields {
    fn yields(&mut self) -> bool {
        self.chance.bernoulli(self.p)
    }
}
