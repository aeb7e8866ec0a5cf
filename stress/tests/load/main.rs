//! Many clients at once, and one client for long: what a daemon has to bear on any day. Without faults; those are the
//! business of the scenarios.
//!
//! Each claim stands twice where size matters: small in the normal tests, large in the ignored ones. Large ones take their
//! number of clients from `PUBSUB_STRESS_CLIENTS` where no number is their point, and print what they measured:
//!
//! ```sh
//! cargo test --release -p stress --test load -- --ignored --nocapture --test-threads 1
//! ```
//!
//! - `kit`: the server, the clients and the counters that all of them use
//! - `herd`: all at the same moment: connecting, publishing, pinging, closing, large messages
//! - `order`: each client's messages in the order it sent them
//! - `service`: one after the other: right answers, no mix-up, no failures, steady times, no growth
//! - `absent`: no server there

#![allow(clippy::unwrap_used, reason = "clippy takes the rig of a test for something else than a test")]

mod absent;
mod herd;
mod kit;
mod order;
mod service;
