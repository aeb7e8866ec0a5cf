//! The stress lab: breaks the server on purpose and judges every delivery.
//!
//! It trusts nobody. The server runs as a process of its own (or, in virtual time, through its public API), is watched from
//! outside, and its counters are among the things that are checked. What was lost is decided by the lab's own
//! ledger, by identity, tail included. In reading order:
//!
//! - [`chance`]: all randomness, counted from one seed
//! - [`fault`]: what is done to streams and operations; plans of it, and what each fault counted

pub mod chance;
pub mod fault;

pub use chance::{Chance, Seed};
pub use fault::{
    Aim, Direction, FailureInjector, Fault, FaultGuard, Faults, FaultyStream, Kind, LatencySimulator, Operation, Plan,
    Target,
};
