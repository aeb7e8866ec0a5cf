//! What a lasting fault does to one direction of one connection: one small file per kind.
//!
//! The blows (reset, FIN) need no state and live in [`super::stream`]; what is done to bytes and whole frames
//! is in [`corruption`] and [`mutation`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::injector::Active;
use super::plan::{Direction, Kind};

mod bandwidth;
mod coalescing;
pub mod corruption;
mod drip;
mod gate;
mod latency;
pub mod mutation;
mod slices;
mod spikes;
mod yields;

pub(crate) use bandwidth::Bucket;

/// How many bytes may leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    /// At most so many, at least one.
    Bytes(usize),
    /// None before this moment.
    After(Instant),
    /// None until the fault is healed.
    Never,
}

/// A lasting fault at work in one direction. Every default is "no effect".
pub(crate) trait Shape: Send {
    /// How long a piece that comes in now will travel.
    fn delay(&mut self, _now: Instant) -> Duration {
        Duration::ZERO
    }

    /// How many of `want` bytes may pass now.
    fn allow(&mut self, _now: Instant, want: usize) -> Allow {
        Allow::Bytes(want)
    }

    /// So many have passed.
    fn passed(&mut self, _bytes: usize) {}

    /// Whether this poll says "not yet" for no reason.
    fn yields(&mut self) -> bool {
        false
    }
}

/// The shape of a lasting fault for one connection and direction; `None` for the blows.
pub(crate) fn shape(active: &Arc<Active>, link: u64, direction: Direction, now: Instant) -> Option<Box<dyn Shape>> {
    let purpose = match direction {
        Direction::In => format!("{}/in", active.fault.id),
        _ => format!("{}/out", active.fault.id),
    };
    let chance = active.seed.chance(link, &purpose);
    Some(match &active.fault.kind {
        Kind::Latency(latency) => Box::new(latency::Delay::new(*latency, chance)),
        Kind::Spikes { turn_bad, turn_good, delays } => {
            Box::new(spikes::Spikes::new(*turn_bad, *turn_good, delays.clone(), chance))
        }
        Kind::Bandwidth { bytes_per_second, burst, shared } => Box::new(bandwidth::Bandwidth::new(if *shared {
            active.bucket.clone()
        } else {
            Bucket::shared(*bytes_per_second, *burst, now)
        })),
        Kind::Drip { bytes, every } => Box::new(drip::Drip::new(*bytes, *every)),
        Kind::Slices { bytes } => Box::new(slices::Slices::new(*bytes)),
        Kind::Coalesce { window } => Box::new(coalescing::Coalescing::new(*window, active.began)),
        Kind::Yields { chance: p } => Box::new(yields::Yields::new(*p, chance)),
        Kind::Stall | Kind::HalfOpen => Box::new(gate::Gate),
        Kind::Reset | Kind::Fin | Kind::Corrupt(_) | Kind::Mutant(_) | Kind::Refuse | Kind::Blackhole => return None,
        Kind::Kill | Kind::Restart | Kind::Pause => return None,
    })
}
