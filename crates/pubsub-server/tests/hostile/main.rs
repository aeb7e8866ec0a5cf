//! Clients that mean harm, against the server as a process of its own: what it answers, what they cost it, seen from
//! outside, and what healthy clients notice of them. The table in `docs/security.md` is made of these.
//!
//! - `words`: what is said wrongly, one connection at a time: commands, names, JSON, HTTP
//! - `handshakes`, `frames`, `commands`: crowds that do one thing, [`withstood`](siege::withstand) while others are served
//!
//! Every crowd runs twice: small in the normal tests, and large (`PUBSUB_STRESS_CLIENTS`, 1,000 unless set) in the ignored
//! ones, which print their figures:
//!
//! ```sh
//! cargo test --release -p pubsub-server --test hostile -- --ignored --nocapture --test-threads 1
//! ```

#![allow(clippy::unwrap_used, reason = "clippy takes the rig of a test for something else than a test")]

mod commands;
#[path = "../conformance/frame.rs"]
mod frame;
mod frames;
mod handshakes;
mod healthy;
mod peer;
mod siege;
mod table;
mod victim;
mod words;
