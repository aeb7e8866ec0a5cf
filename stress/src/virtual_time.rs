//! Runs in virtual time: the real server, the real client, faulty streams between them, one thread, one seed, no waiting.
//!
//! The clock of the runtime is paused: whenever everybody waits, it jumps to the moment of the next timer. A day
//! takes as long as what happens in it takes to compute, and the same seed gives the same run, to the byte.
//! In reading order:
//!
//! - [`network`]: pipes between clients and server, which note what passes; [`fingerprint`]: all of that in one number
//! - [`node`]: the server in this process: killed, restarted, asked what it holds
//! - [`agenda`]: what is due when: publications, departures, requests; all drawn from the plan
//! - [`world`]: all of it together: a plan goes in, an [`Outcome`] comes out
//!
//! Nothing in here, or under it, may read the machine's clock or its randomness. What such a run cannot show: kernel
//! buffers, real scheduling, and how long anything takes.

pub mod agenda;
pub mod fingerprint;
mod hesitant;
pub mod network;
pub mod node;
pub mod world;

pub use fingerprint::Fingerprint;
pub use world::{Outcome, run};
