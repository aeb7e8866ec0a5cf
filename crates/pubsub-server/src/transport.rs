//! From a listener to a shard: accept, HTTP, upgrade, hand-over. HTTP and axum stay on this side.
//!
//! - [`listener`]: where connections come from; [`tls`]: the same behind TLS; [`socket`]: what a shard gets
//! - [`http`], [`patient`]: one connection's requests; [`upgrade`]: the one that makes it a WebSocket
//! - [`gate`]: who is let in; [`frame`]: what goes out

pub mod frame;
pub mod gate;
pub mod http;
pub mod listener;
pub mod patient;
pub mod socket;
pub mod tls;
pub mod upgrade;

pub use gate::{Gate, Slot};
