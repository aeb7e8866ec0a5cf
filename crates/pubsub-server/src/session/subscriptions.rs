//! The subscriptions of one connection.

use std::sync::Arc;

use pubsub_protocol::{Payload, StreamPosition};
use smallvec::SmallVec;

/// A connection's interest in a channel.
#[derive(Debug)]
pub struct Subscription {
    /// The channel.
    pub channel: Arc<str>,
    /// Number of this subscription, unique in its shard: a channel can be subscribed again.
    pub join: u64,
    /// Place among the channel's members in the shard; see `shard/members.rs`.
    pub member: u32,
    /// How far it is.
    pub stage: Stage,
    /// What it gets and who may end it.
    pub traits: Traits,
    /// What few subscriptions have.
    pub extra: Option<Box<Extra>>,
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Asked for; the engine has not answered yet.
    Subscribing,
    /// Answered.
    Subscribed,
}

/// What a subscription gets and who may end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The server began it.
    pub server_side: bool,
    /// Its position is watched: a gap ends it.
    pub positioned: bool,
    /// It can be recovered after a reconnect.
    pub recoverable: bool,
    /// It gets joins and leaves.
    pub join_leave: bool,
    /// It is in the channel's presence.
    pub present: bool,
    /// Its coming was announced, and its going will be.
    pub announced: bool,
}

/// What few subscriptions have.
#[derive(Debug, Default)]
pub struct Extra {
    /// What the token says of the user in this channel.
    pub chan_info: Option<Payload>,
    /// When it ends unless refreshed, in [`crate::clock::Now::ms`]; 0: never.
    pub expires_ms: u64,
    /// What its answer gives the client, until it is given.
    pub data: Option<Payload>,
    /// The position the client asked to recover from, until it is answered.
    pub asked: Option<StreamPosition>,
}

impl Extra {
    /// Itself, unless there is nothing in it.
    pub fn if_any(self) -> Option<Box<Self>> {
        let any = self.chan_info.is_some() || self.expires_ms > 0 || self.data.is_some() || self.asked.is_some();
        any.then(|| Box::new(self))
    }
}

impl Subscription {
    /// What the token says of the user in this channel.
    pub fn chan_info(&self) -> Option<&Payload> {
        self.extra.as_ref()?.chan_info.as_ref()
    }

    /// Takes out what its answer needs, and with it the box if nothing else is in there.
    pub fn take_answered(&mut self) -> (Option<Payload>, Option<StreamPosition>) {
        let Some(mut extra) = self.extra.take() else { return (None, None) };
        let answered = (extra.data.take(), extra.asked.take());
        self.extra = extra.if_any();
        answered
    }

    /// When it ends unless refreshed.
    pub fn expires_ms(&self) -> Option<u64> {
        self.extra.as_ref().map(|extra| extra.expires_ms).filter(|&ms| ms > 0)
    }
}

/// All of a connection's subscriptions, by channel. Most connections have few; none may make others slow.
#[derive(Debug, Default)]
pub struct Subscriptions(SmallVec<[Box<Subscription>; 1]>);

impl Subscriptions {
    fn place(&self, channel: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|subscription| (*subscription.channel).cmp(channel))
    }

    /// The subscription to a channel.
    pub fn get(&self, channel: &str) -> Option<&Subscription> {
        self.place(channel).ok().map(|i| &*self.0[i])
    }

    /// The subscription to a channel.
    pub fn get_mut(&mut self, channel: &str) -> Option<&mut Subscription> {
        self.place(channel).ok().map(|i| &mut *self.0[i])
    }

    /// Adds one; there is none to this channel yet.
    pub fn insert(&mut self, subscription: Subscription) {
        match self.place(&subscription.channel) {
            Ok(i) => debug_assert!(false, "subscribed twice to {}", self.0[i].channel),
            Err(i) => self.0.insert(i, Box::new(subscription)),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, channel: &str) -> Option<Subscription> {
        let removed = self.place(channel).ok().map(|i| *self.0.remove(i));
        if self.0.is_empty() {
            self.0 = SmallVec::new();
        }
        removed
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = Subscription> {
        std::mem::take(&mut self.0).into_iter().map(|subscription| *subscription)
    }

    /// All, in the order of their channels.
    pub fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.0.iter().map(|subscription| &**subscription)
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.0.iter_mut().map(|subscription| &mut **subscription)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
