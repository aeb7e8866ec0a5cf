//! What the server API, or the server itself, tells a shard to do to connections.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::session::control::Action;
use crate::session::id::ClientId;

/// Something for a shard to do.
pub enum Control {
    /// Do something to connections.
    Act {
        /// To which.
        target: Target,
        /// What.
        action: Action,
        /// Told how many there were.
        done: oneshot::Sender<usize>,
    },
    /// Close all connections with the shutdown code, spread from now over so many milliseconds.
    Drain {
        /// Milliseconds.
        spread_ms: u64,
    },
    /// Drop all connections and end.
    Stop,
}

/// Which connections.
#[derive(Clone, Debug)]
pub enum Target {
    /// One, in this slot, if it still is the one.
    Client(u32, ClientId),
    /// Those in these slots, if they still belong to this user, but not `except`.
    User {
        /// The user.
        user: Arc<str>,
        /// Where its connections live in this shard.
        slots: Vec<u32>,
        /// Connections to be left alone.
        except: Vec<ClientId>,
    },
    /// Everyone without a user id, but not `except`.
    Anonymous {
        /// Connections to be left alone.
        except: Vec<ClientId>,
    },
}
