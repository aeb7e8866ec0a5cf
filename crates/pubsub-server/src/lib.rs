//! A WebSocket pub/sub server that Centrifugo SDKs use unchanged.
//!
//! A command goes socket → [`transport`] → [`session`] → [`node`] → [`engine`]; a publication comes back
//! [`engine`] → [`hub`] → [`shard`] → [`outbox`] → socket. `docs/architecture.md` is the map.
//!
//! - [`server`]: a configuration and a listener go in, a handle comes out; [`run`]: the same as a process
//! - [`config`], [`cli`]: what it may be told; [`channel`], [`token`], [`rate`]: who may do what
//! - [`transport`]: from a listener to a shard; [`shard`]: the loop that owns connections
//! - [`session`]: one connection's conversation, pure; [`outbox`]: what it has yet to be sent; [`batches`]: what several are
//!   given in answers
//! - [`node`], [`hub`], [`users`]: who is here; [`engine`], [`stream`], [`recovery`]: what is kept
//! - [`api`], [`metrics`]: what operators and backends see; [`clock`]: the one seam to wall time
//! - [`planted`]: bugs for the stress lab to find, in no build that serves anybody

mod affinity;
pub mod api;
pub mod batches;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod hub;
pub mod metrics;
pub mod node;
pub mod outbox;
pub mod planted;
pub mod process;
pub mod rate;
pub mod recovery;
pub mod server;
pub mod session;
pub mod shard;
mod sparse;
pub mod stopping;
pub mod stream;
mod sync;
pub mod token;
pub mod transport;
pub mod users;
mod vital;

pub use process::run;
