//! F12, F14: data takes time. The lane keeps the order.

use std::time::Duration;

use tokio::time::Instant;

use super::Shape;
use crate::chance::Chance;
use crate::fault::latency_simulator::LatencySimulator;
use crate::fault::plan::Latency;

pub(super) struct Delay(LatencySimulator);

impl Delay {
    pub(super) fn new(latency: Latency, chance: Chance) -> Self {
        Self(LatencySimulator::from_latency(latency).with_chance(chance))
    }
}

impl Shape for Delay {
    fn delay(&mut self, _: Instant) -> Duration {
        self.0.next_delay()
    }
}
