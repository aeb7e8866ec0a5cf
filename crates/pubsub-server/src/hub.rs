//! Who is subscribed on this node, seen from above: which shards have members of a channel, and how many.
//!
//! The entry of a channel exists as long as it has members. Its lock is the one place that orders a
//! publication against a subscription: both put their message into the shards' inboxes under it, so every
//! shard sees them in one order. Lock order: engine's stream, then the hub's entry, then an inbox.

pub(crate) mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use ahash::RandomState;
use pubsub_protocol::push::PushBody;
use pubsub_protocol::reply::Reply;
use pubsub_protocol::{Format, Publication, Push};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::engine::{Feed, PresenceEvent};
use crate::outbox::Frame;
use crate::shard::control::{Census, Control};
use crate::shard::inbox::{Delivery, Inbox, Marker, ShardMessage};
use crate::sparse::is_sparse;
use crate::sync::{DashMap, Entry};
use crate::transport::frame::encode_reply;
use room::Room;

/// Lock stripes of the map. Fixed, so that runs do not differ by the machine's number of cores.
const STRIPES: usize = 64;

/// A push encoded once for all who get it.
#[derive(Clone, Debug)]
pub struct Encoded {
    json: Frame,
}

impl Encoded {
    /// Encodes for every format that has subscribers; today that is one.
    pub fn new(push: Push) -> Self {
        Self { json: encode_reply(Format::Json, &Reply::Push(push)) }
    }

    /// The frame for connections of this format.
    pub fn frame(&self, format: Format) -> &Frame {
        match format {
            Format::Json => &self.json,
            _ => unreachable!("a connection is only accepted in a format that is encoded here"),
        }
    }

    /// The same for another shard. A small push is copied once rather than counted by two threads for each of
    /// its deliveries (measured: a tenth of a delivery's cost at 1,000 subscribers on two shards).
    fn for_another_thread(&self) -> Self {
        const COPIED_BYTES_MAX: usize = 16 * 1024;
        if self.bytes() > COPIED_BYTES_MAX { self.clone() } else { Self { json: self.json.unshared() } }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.json.size()
    }
}

/// Channels with members on this node, and the way to the shards that have them.
pub struct Hub {
    routes: DashMap<Arc<str>, Route, RandomState>,
    inboxes: Box<[Inbox]>,
    room: Room,
}

/// Members of one channel, counted by shard; shards without any are not in it.
#[derive(Default)]
struct Route(SmallVec<[(u16, u32); 2]>);

impl Hub {
    /// A hub over `shards` shards. `seed` keys the hashing of names.
    pub fn new(shards: usize, seed: u64) -> Self {
        let hasher = RandomState::with_seeds(seed, seed.rotate_left(16), seed.rotate_left(32), !seed);
        Self {
            routes: DashMap::with_hasher_and_shard_amount(hasher, STRIPES),
            inboxes: (0..shards).map(|_| Inbox::default()).collect(),
            room: Room::default(),
        }
    }

    /// The inbox of a shard.
    pub fn inbox(&self, shard: usize) -> &Inbox {
        &self.inboxes[shard]
    }

    /// Adds a member and puts the marker in, from which on the member gets the channel's publications.
    pub fn join(&self, shard: usize, channel: &str, slot: u32, join: u64) {
        let mut entry = match self.routes.get_mut(channel) {
            Some(entry) => entry,
            None => self.routes.entry(channel.into()).or_default(),
        };
        entry.value_mut().add(shard);
        let channel = entry.key().clone();
        self.inboxes[shard].push(ShardMessage::Join(Marker { channel, slot, join }));
    }

    /// Takes a member away. Returns whether that was the channel's last one.
    pub fn leave(&self, shard: usize, channel: &Arc<str>) -> bool {
        let Entry::Occupied(mut entry) = self.routes.entry(channel.clone()) else { return false };
        let is_last = entry.get_mut().remove(shard);
        if is_last {
            entry.remove();
        }
        is_last
    }

    /// Gives memory back that the map needed when it had many more channels.
    pub fn shrink(&self) {
        if is_sparse(self.routes.len(), self.routes.capacity()) {
            self.routes.shrink_to_fit();
        }
    }

    /// How many channels have members.
    pub fn channels(&self) -> usize {
        self.routes.len()
    }

    /// How many members a channel has.
    pub fn members(&self, channel: &str) -> u32 {
        self.routes.get(channel).map_or(0, |route| route.total())
    }

    /// Channels for which `matches` says so, with their number of members.
    pub fn list(&self, matches: impl Fn(&str) -> bool) -> BTreeMap<String, u32> {
        let matching = self.routes.iter().filter(|entry| matches(entry.key()));
        matching.map(|entry| (entry.key().to_string(), entry.value().total())).collect()
    }

    /// Puts one message for each shard in.
    pub fn tell_all(&self, mut message: impl FnMut(usize) -> ShardMessage) {
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            inbox.push(message(shard));
        }
    }

    /// What each shard has. One that has ended has nothing.
    pub async fn census(&self) -> Vec<Census> {
        let mut counted = Vec::with_capacity(self.inboxes.len());
        self.tell_all(|_| {
            let (done, count) = oneshot::channel();
            counted.push(count);
            ShardMessage::Control(Control::Count { done })
        });
        let mut shards = Vec::with_capacity(counted.len());
        for count in counted {
            shards.push(count.await.unwrap_or_default());
        }
        shards
    }

    /// Ready when every shard can take another publication; a publisher asks before it publishes.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.room.poll(cx, || self.has_room())
    }

    /// Waits until every shard can take another publication.
    pub async fn room(&self) {
        std::future::poll_fn(|cx| self.poll_room(cx)).await;
    }

    /// Whether every shard can take another publication.
    pub fn has_room(&self) -> bool {
        self.inboxes.iter().all(Inbox::has_room)
    }

    /// A shard took messages out of its inbox: whoever waits for room may look again.
    pub fn made_room(&self) {
        self.room.made(|| self.has_room());
    }

    /// Hands `message` to the shards that have members of `channel`, in one order for all of them.
    fn fan_out(
        &self,
        channel: &str,
        encode: impl FnOnce() -> Encoded,
        message: impl Fn(Arc<str>, Encoded) -> ShardMessage,
    ) {
        // Encoding takes a while for a large payload: not under the lock, and not at all for nobody.
        if !self.routes.contains_key(channel) {
            return;
        }
        let push = encode();
        let Some(route) = self.routes.get_mut(channel) else { return };
        let mut shards = route.0.iter().map(|&(shard, _)| usize::from(shard));
        let first = shards.next();
        for shard in shards {
            self.inboxes[shard].push(message(route.key().clone(), push.for_another_thread()));
        }
        if let Some(shard) = first {
            self.inboxes[shard].push(message(route.key().clone(), push));
        }
    }
}

impl Route {
    fn add(&mut self, shard: usize) {
        let shard = u16::try_from(shard).expect("a server has fewer than 65,536 shards");
        match self.0.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, members)) => *members += 1,
            None => self.0.push((shard, 1)),
        }
    }

    /// Returns whether that was the channel's last member.
    fn remove(&mut self, shard: usize) -> bool {
        if let Some(i) = self.0.iter().position(|(other, _)| usize::from(*other) == shard) {
            self.0[i].1 -= 1;
            if self.0[i].1 == 0 {
                self.0.swap_remove(i);
            }
        }
        self.0.is_empty()
    }

    fn total(&self) -> u32 {
        self.0.iter().map(|(_, members)| members).sum()
    }
}

impl Feed for Hub {
    fn publication(&self, channel: &str, publication: Publication, epoch: &str) {
        let (offset, epoch) = (publication.offset, epoch_tag(epoch));
        let body = PushBody::Publication(publication);
        self.fan_out(
            channel,
            || Encoded::new(Push { channel: channel.to_owned(), body }),
            |channel, push| ShardMessage::Publication(Delivery { channel, offset, epoch, push }),
        );
    }

    fn has_members(&self, channel: &str) -> bool {
        self.routes.contains_key(channel)
    }

    fn presence_event(&self, channel: &str, event: PresenceEvent) {
        let body = match event {
            PresenceEvent::Join(info) => PushBody::Join(Arc::unwrap_or_clone(info)),
            PresenceEvent::Leave(info) => PushBody::Leave(Arc::unwrap_or_clone(info)),
        };
        self.fan_out(
            channel,
            || Encoded::new(Push { channel: channel.to_owned(), body }),
            |channel, push| ShardMessage::PresenceEvent { channel, push },
        );
    }
}

/// A number for an epoch, to compare instead of its letters. 0 for none.
pub fn epoch_tag(epoch: &str) -> u64 {
    match epoch.len() {
        0 => 0,
        // Our own epochs have at most eight letters: the letters themselves are the number.
        1..=8 => epoch.bytes().fold(0, |tag, byte| tag << 8 | u64::from(byte)),
        _ => RandomState::with_seeds(1, 2, 3, 4).hash_one(epoch),
    }
}
