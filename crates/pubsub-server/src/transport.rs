//! From a listener to a shard: accept, HTTP, upgrade, hand-over. HTTP and axum stay on this side.
//!
//! - [`listener`]: where connections come from; [`tls`]: the same behind TLS; [`socket`]: what a shard gets
//! - [`newcomer`]: a plain upgrade, recognised at once; [`http`], [`patient`]: all other requests
//! - [`upgrade`]: who becomes a WebSocket, by either way
//! - [`gate`]: who is let in; [`frame`]: what goes out

pub mod frame;
pub mod gate;
pub mod http;
pub mod listener;
pub mod newcomer;
pub mod patient;
pub mod socket;
pub mod tls;
pub mod upgrade;

pub use gate::{Gate, Slot};
