//! The server API as its callers and the clients they act upon see it: over HTTP, against a whole server on an
//! in-memory listener, under a paused clock.

// Clippy lets tests unwrap, but not the functions that help them.
#![allow(clippy::unwrap_used)]

mod channels;
mod connections;
mod http;
mod manual;
mod probes;
mod publish;
mod rig;
