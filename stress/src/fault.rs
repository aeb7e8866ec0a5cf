//! What can be done to a stream, to a connect, and to an operation: faults as values, ended by guards.
//!
//! In reading order:
//!
//! - [`plan`]: what a run does, as a value that can be written down, replayed and shrunk
//! - [`injector`]: [`Faults`], the plan at work: which fault holds for which connection, from when until when
//! - [`stream`]: [`FaultyStream`], the `AsyncRead + AsyncWrite` around any other, and its laws
//! - [`lane`]: one direction of it, the delay line; [`frames`]: where WebSocket frames begin and end in it;
//!   [`aim`]: what such a frame carries, so that a fault can wait for it; [`sense`]: which kind can wait for which;
//!   [`conduct`]: whether a server may send it
//! - [`kind`]: one small file per kind of fault
//! - [`carrier`], [`memory`]: the streams underneath, which can be reset; TCP and in memory
//! - [`latency_simulator`], [`failure_injector`]: the plain faces, for code that wants one delay or one failure
//! - [`counters`]: attempted, applied, seen; a fault that was never applied proves nothing

pub mod aim;
pub mod carrier;
pub mod conduct;
pub mod counters;
pub mod failure_injector;
pub mod frames;
pub mod injector;
pub mod kind;
pub mod lane;
pub mod latency_simulator;
pub mod memory;
pub mod plan;
pub mod sense;
pub mod stream;

pub use carrier::Carrier;
pub use counters::{FaultCounters, FaultCounts};
pub use failure_injector::{FailureInjector, Operation};
pub use injector::{FaultGuard, Faults, Observed};
pub use latency_simulator::LatencySimulator;
pub use plan::{Aim, Direction, Fault, Kind, Plan, Target};
pub use stream::FaultyStream;
