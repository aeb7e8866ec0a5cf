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
    /// Close the connection in a slot, if it is this user's and there is a newer one. Which is the newest is looked up
    /// when this arrives: by then somebody else may live in the slot, also the newest itself.
    Outdated {
        /// The user.
        user: Arc<str>,
        /// The slot.
        slot: u32,
    },
    /// Close all connections with the shutdown code, spread from now over so many milliseconds.
    Drain {
        /// Milliseconds.
        spread_ms: u64,
    },
    /// Count what there is.
    Count {
        /// Told the counts.
        done: oneshot::Sender<Census>,
    },
    /// Drop all connections and end.
    Stop,
}

/// What there is in a shard, or in all of them, and beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections.
    pub connections: usize,
    /// Channels with members, once for each shard.
    pub channels: usize,
    /// Members of these.
    pub members: usize,
    /// Of these, the ones that wait for their answer, or for the shard to come as far as it.
    pub waiting: usize,
    /// Answers whose subscription has not entered its channel yet.
    pub answers: usize,
    /// Bytes that wait in outboxes.
    pub outbox_bytes: usize,
    /// Of these, pushes in the outbox that has most of them.
    pub outbox_push_bytes_max: usize,
    /// Answers in the outbox that has most of them.
    pub outbox_answer_bytes_max: usize,
    /// Messages that wait in inboxes.
    pub inbox_messages: usize,
    /// Channels in the hub.
    pub routes: usize,
    /// Users with a connection.
    pub users: usize,
}

impl Census {
    /// Together with what another shard has.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            channels: self.channels + other.channels,
            members: self.members + other.members,
            waiting: self.waiting + other.waiting,
            answers: self.answers + other.answers,
            outbox_bytes: self.outbox_bytes + other.outbox_bytes,
            outbox_push_bytes_max: self.outbox_push_bytes_max.max(other.outbox_push_bytes_max),
            outbox_answer_bytes_max: self.outbox_answer_bytes_max.max(other.outbox_answer_bytes_max),
            inbox_messages: self.inbox_messages + other.inbox_messages,
            routes: self.routes + other.routes,
            users: self.users + other.users,
        }
    }
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
