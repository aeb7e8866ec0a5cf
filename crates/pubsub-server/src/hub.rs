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

/// Wire formats: those that somebody is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    json: bool,
    protobuf: bool,
}

impl Formats {
    /// This one as well.
    pub fn add(&mut self, format: Format) {
        match format {
            Format::Json => self.json = true,
            Format::Protobuf => self.protobuf = true,
        }
    }

    fn or(self, other: Self) -> Self {
        Self { json: self.json || other.json, protobuf: self.protobuf || other.protobuf }
    }
}

impl From<Format> for Formats {
    fn from(format: Format) -> Self {
        let mut formats = Self::default();
        formats.add(format);
        formats
    }
}

/// A push encoded once for all who get it, in each format that any of them is spoken to in.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    json: Option<Frame>,
    protobuf: Option<Frame>,
}

impl Encoded {
    /// Encodes for these formats.
    pub fn new(push: &Reply, formats: Formats) -> Self {
        let mut encoded = Self::default();
        encoded.complete(push, formats);
        encoded
    }

    /// Encodes the same push for those of the formats that are missing.
    fn complete(&mut self, push: &Reply, formats: Formats) {
        if formats.json && self.json.is_none() {
            self.json = Some(encode_reply(Format::Json, push));
        }
        if formats.protobuf && self.protobuf.is_none() {
            self.protobuf = Some(encode_reply(Format::Protobuf, push));
        }
    }

    /// The frame for connections of this format.
    ///
    /// # Panics
    /// When nobody who gets the push is spoken to in it: a member's format is known before its marker is in the inbox.
    #[inline]
    pub fn frame(&self, format: Format) -> &Frame {
        let frame = match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        };
        frame.as_ref().expect("a push is encoded for all who are in its channel")
    }

    /// The same for another shard. A small push is copied once rather than counted by two threads for each of
    /// its deliveries (measured: a tenth of a delivery's cost at 1,000 subscribers on two shards).
    fn for_another_thread(&self) -> Self {
        const COPIED_BYTES_MAX: usize = 16 * 1024;
        if self.bytes() > COPIED_BYTES_MAX {
            return self.clone();
        }
        let unshared = |frame: &Option<Frame>| frame.as_ref().map(Frame::unshared);
        Self { json: unshared(&self.json), protobuf: unshared(&self.protobuf) }
    }

    /// Size in bytes, of all formats together.
    pub fn bytes(&self) -> usize {
        self.json.iter().chain(&self.protobuf).map(Frame::size).sum()
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
struct Route(SmallVec<[Members; 2]>);

/// Those in one shard.
struct Members {
    shard: u16,
    /// The formats of all of them, and perhaps of some who have left.
    formats: Formats,
    count: u32,
}

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
    pub fn join(&self, shard: usize, channel: &str, slot: u32, join: u64, format: Format) {
        let mut entry = match self.routes.get_mut(channel) {
            Some(entry) => entry,
            None => self.routes.entry(channel.into()).or_default(),
        };
        entry.value_mut().add(shard, format);
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
        body: impl FnOnce() -> PushBody,
        message: impl Fn(Arc<str>, Encoded) -> ShardMessage,
    ) {
        // Encoding takes a while for a large payload: not under the lock, and not at all for nobody.
        let Some(formats) = self.routes.get(channel).map(|route| route.formats()) else { return };
        let reply = Reply::Push(Push { channel: channel.to_owned(), body: body() });
        let mut push = Encoded::new(&reply, formats);
        let Some(route) = self.routes.get_mut(channel) else { return };
        // Somebody may have come meanwhile who is spoken to in another format.
        push.complete(&reply, route.formats());
        let mut shards = route.0.iter().map(|members| usize::from(members.shard));
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
    fn add(&mut self, shard: usize, format: Format) {
        let shard = u16::try_from(shard).expect("a server has fewer than 65,536 shards");
        match self.0.iter_mut().find(|members| members.shard == shard) {
            Some(members) => {
                members.count += 1;
                members.formats.add(format);
            }
            None => self.0.push(Members { shard, formats: format.into(), count: 1 }),
        }
    }

    fn formats(&self) -> Formats {
        self.0.iter().fold(Formats::default(), |formats, members| formats.or(members.formats))
    }

    /// Returns whether that was the channel's last member.
    fn remove(&mut self, shard: usize) -> bool {
        if let Some(i) = self.0.iter().position(|members| usize::from(members.shard) == shard) {
            self.0[i].count -= 1;
            if self.0[i].count == 0 {
                self.0.swap_remove(i);
            }
        }
        self.0.is_empty()
    }

    fn total(&self) -> u32 {
        self.0.iter().map(|members| members.count).sum()
    }
}

impl Feed for Hub {
    fn publication(&self, channel: &str, publication: Publication, epoch: &str) {
        let (offset, epoch) = (publication.offset, epoch_tag(epoch));
        self.fan_out(
            channel,
            || PushBody::Publication(publication),
            |channel, push| ShardMessage::Publication(Delivery { channel, offset, epoch, push }),
        );
    }

    fn has_members(&self, channel: &str) -> bool {
        self.routes.contains_key(channel)
    }

    fn presence_event(&self, channel: &str, event: PresenceEvent) {
        let body = || match event {
            PresenceEvent::Join(info) => PushBody::Join(Arc::unwrap_or_clone(info)),
            PresenceEvent::Leave(info) => PushBody::Leave(Arc::unwrap_or_clone(info)),
        };
        self.fan_out(channel, body, |channel, push| ShardMessage::PresenceEvent { channel, push });
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
