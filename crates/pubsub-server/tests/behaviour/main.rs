//! The server, driven from outside over in-memory connections: one file per behaviour.
//!
//! Where timers matter the clock is paused. Every test ends by asking that nothing is left behind.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bad_input;
mod bugs;
mod closing;
mod counting;
mod fairness;
mod formats;
mod liveness;
mod pipelining;
mod positions;
mod races;
mod retention;
mod rig;
mod slow_readers;
mod users;
